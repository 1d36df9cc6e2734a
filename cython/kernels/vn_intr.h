/* SPDX-License-Identifier: BSD-3-Clause
 * The three calls by which a driver hears of events, as a table. libvnintr.so stands before
 * librte_eal in the search order and sends its callers here (vn_guard.c fills the table in).
 */
#ifndef VN_INTR_H
#define VN_INTR_H

#include <rte_interrupts.h>

struct vn_intr_calls {
	int (*add)(const struct rte_intr_handle *, rte_intr_callback_fn, void *);
	int (*remove)(const struct rte_intr_handle *, rte_intr_callback_fn, void *);
	int (*remove_pending)(const struct rte_intr_handle *, rte_intr_callback_fn, void *,
			      rte_intr_unregister_callback_fn);
};

#endif
