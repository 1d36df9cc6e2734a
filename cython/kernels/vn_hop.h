/* SPDX-License-Identifier: BSD-3-Clause
 * How long one hop through a ring takes: a burst goes to another lcore and comes back, again and
 * again, and each round trip is stamped with the time-stamp counter.
 */
#ifndef VN_HOP_H
#define VN_HOP_H

#include <stdint.h>

#include <rte_ring.h>

#include "vn_compat.h"

#define VN_HOP_BURST_MAX 256

struct vn_hop {
	struct rte_ring *to, *back; /* of pointers */
	uint32_t burst;
	uint32_t rounds;
	uint32_t *ticks; /* of each round trip */
	uint32_t done;	 /* round trips so far */
	uint32_t wrong;	 /* elements that did not come back in order */
	int stop;	 /* set by ping at its end, or by who does not want to wait longer */
};

/* lcore functions; the argument is a struct vn_hop. */
VN_EXPORT int vn_hop_ping(void *hop);
VN_EXPORT int vn_hop_pong(void *hop);

#endif
