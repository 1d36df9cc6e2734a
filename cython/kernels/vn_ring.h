/* SPDX-License-Identifier: BSD-3-Clause
 * What Python needs of rte_ring besides its own calls: waits that end, and a look at whether the
 * other side stands in the middle of a move.
 */
#ifndef VN_RING_H
#define VN_RING_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_ring.h>
#include <rte_ring_peek_zc.h>

#include "vn_compat.h"

/* rte_ring_{en,de}queue_{bulk,burst}_elem. All or nothing (bulk), or as many as there is room for.
 * In HTS mode, where a call would spin for as long as another thread's reservation stands, such a
 * ring counts as full (empty). */
VN_EXPORT unsigned int vn_ring_put(struct rte_ring *r, const void *table, unsigned int esize,
				   unsigned int n, bool bulk);
VN_EXPORT unsigned int vn_ring_get(struct rte_ring *r, void *table, unsigned int esize,
				   unsigned int n, bool bulk);

/* Would a put (get) spin now, because another thread has moved the head and not yet the tail? For
 * ever, if that was a process that has been killed. Never in single-producer (-consumer) mode. */
VN_EXPORT bool vn_ring_busy(const struct rte_ring *r, bool put);

/* Waits until `n` elements fit (are there), for `ns` nanoseconds at most, or until *stop. Returns
 * whether they do. Spins for some microseconds, then sleeps in growing steps of up to 0.2 ms. */
VN_EXPORT bool vn_ring_wait(const struct rte_ring *r, bool put, unsigned int n, uint64_t ns,
			    const int *stop);

/* Waits while vn_ring_busy(), for `ns` at most. Returns whether it is free now. */
VN_EXPORT bool vn_ring_settle(const struct rte_ring *r, bool put, uint64_t ns);

/* Zero copy (rte_ring_peek_zc.h), in single and HTS modes: where the elements are, in two pieces.
 * Returns how many there are in both. */
VN_EXPORT unsigned int vn_ring_zc_start(struct rte_ring *r, bool put, unsigned int esize,
					unsigned int n, bool bulk, struct rte_ring_zc_data *at);
VN_EXPORT void vn_ring_zc_finish(struct rte_ring *r, bool put, unsigned int n);

#endif
