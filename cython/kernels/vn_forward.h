/* SPDX-License-Identifier: BSD-3-Clause
 * The lcore loop of the forwarder: every lane is one receive queue and what becomes of its
 * packets. Each burst runs to completion: nothing waits in a buffer between two passes, so
 * `held` is zero whenever the loop is outside a burst.
 */
#ifndef VN_FORWARD_H
#define VN_FORWARD_H

#include "vn_act.h"
#include "vn_bridge.h"
#include "vn_rewrite.h"

#define VN_MAX_BURST 512
#define VN_GATHER 128u /* packets that rules look up together, where bursts are full */

struct vn_lane {
	struct vn_rxq *rxq;
	struct vn_txq *txq; /* static forwarding: where all packets go */
	uint8_t port;	    /* this worker's index of the input port */
	uint8_t out_port;   /* static forwarding: that of txq */
	bool mac_updating;
	bool marks;	  /* the driver does not say which port packets came from */
	uint8_t macs[12]; /* destination, source: written over the first 12 bytes */
};

/* What the workers of one forwarder share. */
struct vn_forward {
	volatile int stop;
	int64_t budget;		  /* packets still to receive; negative: no limit */
	struct vn_bridge *bridge; /* NULL: static forwarding */
	struct vn_rules *rules;	  /* NULL: none */
	struct rte_mempool *copy_pool;
	enum vn_tx_policy policy;
	uint16_t burst;
	bool flow_cache; /* with rules: remember what flows found (vn_emc.h) */
};

struct vn_worker {
	struct vn_forward *shared;
	struct vn_lane *lanes;
	uint16_t n_lanes;
	uint16_t n_ports;
	struct vn_txq **txqs; /* bridge: this worker's queue on each port, by index */
	uint8_t *tx_ports;    /* bridge: ports that a flood reaches */
	uint16_t n_tx_ports;
	/* With rules: */
	struct vn_act_ctx *act;	   /* its own_way is this worker's */
	struct vn_columns columns; /* of VN_MAX_BURST rows */
	void *column_memory;
	const struct vn_rule **hit;
	volatile uint64_t passes;
	volatile uint64_t busy_passes; /* those that received something */
	struct vn_account count;       /* copies; drops that are no queue's */
} VN_CACHE_ALIGNED;

/* Gives a worker its memory for rules. 0 or -ENOMEM; the worker is to be freed in any case. */
VN_EXPORT int vn_worker_rules(struct vn_worker *w, unsigned int reader, struct vn_txq *const *txqs,
			      const uint16_t *n_queues, const uint16_t *own);
VN_EXPORT void vn_worker_free_rules(struct vn_worker *w);
/* lcore_function_t; arg: struct vn_worker. Returns 0 on stop or when all its traces ended. */
VN_EXPORT int vn_forward_loop(void *arg);

#endif
