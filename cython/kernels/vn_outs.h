/* SPDX-License-Identifier: BSD-3-Clause
 * Where one worker's packets wait until the end of their burst: an output for each tx queue, and
 * for each ring. Each packet keeps its row in the burst, and an output sends by rows: whatever way
 * packets took through rules and branches, those of one burst leave an output in the order in
 * which they came. Copies have the row of what they are copies of.
 */
#ifndef VN_OUTS_H
#define VN_OUTS_H

#include <rte_ring.h>

#include "vn_port.h"

#define VN_MAX_BURST 512
#define VN_OUT_ROOM (2 * VN_MAX_BURST) /* packets that wait for one output, copies among them */
#define VN_SLICE 128 /* packets that go together where copies are made: so many fit in outputs */
#define VN_OUT_PORTS 128u
#define VN_OWN_QUEUE UINT16_MAX

/* A ring that packets leave by. */
struct vn_sink {
	struct rte_ring *ring;
	bool wait;		/* for room; else what finds none is dropped (ring_full) */
	volatile int *given_up; /* set: nobody takes anything out any more */
	uint16_t reason;	/* ... and what waits is dropped under this reason */
	uint64_t packets;
	uint64_t waits; /* bursts that waited */
	struct vn_account *count;
};

/* Packets that wait for a tx queue, or for a ring. */
struct vn_out {
	struct vn_txq *txq;
	struct vn_sink *sink;
	uint16_t n;
	uint16_t last; /* row of the last packet */
	bool listed;   /* in `touched` */
	bool mixed;    /* rows are not in order */
	struct rte_mbuf *pkts[VN_OUT_ROOM];
	uint16_t rows[VN_OUT_ROOM];
};

/* A port's queues are outs[first..first + n); own is the worker's. n = 0: nothing is sent there. */
struct vn_out_port {
	uint16_t first, n, own;
};

struct vn_outs {
	enum vn_tx_policy policy;
	struct vn_account *count;      /* copies, drops that are no queue's */
	struct rte_mempool *copy_pool; /* of copies; NULL: each packet's own */
	struct vn_out_port ports[VN_OUT_PORTS];
	struct vn_out *outs; /* the last one, without a queue, is for packets that are dropped */
	uint16_t n_outs;
	uint16_t *touched;
	uint16_t n_touched;
};

/* Makes the outputs of n ports, with txqs[i][0..n_queues[i]) each (0: nothing is sent there), of
 * which own[i] is the caller's, and of n_sinks rings. 0 or -ENOMEM. */
VN_EXPORT int vn_outs_init(struct vn_outs *x, struct vn_txq *const *txqs, const uint16_t *n_queues,
			   const uint16_t *own, uint16_t n, uint16_t n_sinks);
VN_EXPORT void vn_outs_fini(struct vn_outs *x);
/* Sends what waits. */
VN_EXPORT void vn_outs_flush(struct vn_outs *x);
VN_EXPORT void vn_out_flush(struct vn_outs *x, struct vn_out *o);
/* Puts n packets into a ring; what it does not take is dropped. */
VN_EXPORT void vn_sink_put(struct vn_sink *s, struct rte_mbuf **pkts, uint16_t n);

static inline void
vn_out_push(struct vn_outs *x, struct vn_out *o, struct rte_mbuf *m, uint16_t row)
{
	if (unlikely(o->n == VN_OUT_ROOM))
		vn_out_flush(x, o);
	if (!o->listed) {
		o->listed = true;
		x->touched[x->n_touched++] = (uint16_t)(o - x->outs);
	}
	o->mixed |= o->n && row < o->last;
	o->last = row;
	o->rows[o->n] = row;
	o->pkts[o->n++] = m;
}

/* The output of a port's queue; NULL: there is no such port to send on. Queues that a port lacks
 * are those that it has, over and over. */
static inline struct vn_out *
vn_out_of(struct vn_outs *x, uint16_t port, uint16_t queue)
{
	const struct vn_out_port *p;

	if (unlikely(port >= VN_OUT_PORTS || x->ports[port].n == 0))
		return NULL;
	p = &x->ports[port];
	if (likely(queue == VN_OWN_QUEUE))
		queue = p->own;
	else if (queue >= p->n)
		queue %= p->n;
	return &x->outs[p->first + queue];
}

/* Frees a packet at the end of its burst, counted now. */
static inline void
vn_out_drop(struct vn_outs *x, struct rte_mbuf *m, uint16_t reason)
{
	x->count->drops[reason]++;
	vn_out_push(x, &x->outs[x->n_outs], m, 0);
}

#endif
