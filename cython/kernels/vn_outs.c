/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_outs.h"

#include <errno.h>
#include <stdlib.h>

int
vn_outs_init(struct vn_outs *x, struct vn_txq *const *txqs, const uint16_t *n_queues,
	     const uint16_t *own, uint16_t n, uint16_t n_sinks)
{
	uint32_t total = n_sinks;

	for (uint16_t i = 0; i < n; i++) {
		x->ports[i] = (struct vn_out_port){(uint16_t)total, n_queues[i], own[i]};
		total += n_queues[i];
	}
	x->n_outs = (uint16_t)total;
	x->outs = calloc(total + 1, sizeof(*x->outs));
	x->touched = calloc(total + 2, sizeof(*x->touched)); /* one is written in vain */
	if (x->outs == NULL || x->touched == NULL)
		return -ENOMEM; /* the caller calls vn_outs_fini() */
	for (uint16_t i = 0; i < n; i++)
		for (uint16_t q = 0; q < n_queues[i]; q++)
			x->outs[x->ports[i].first + q].txq = &txqs[i][q];
	return 0;
}

void
vn_outs_fini(struct vn_outs *x)
{
	free(x->outs);
	free(x->touched);
	x->outs = NULL;
	x->touched = NULL;
}

void
vn_sink_put(struct vn_sink *s, struct rte_mbuf **pkts, uint16_t n)
{
	unsigned int done = rte_ring_enqueue_burst(s->ring, (void **)pkts, n, NULL);

	if (unlikely(done < n && s->wait)) {
		s->waits++;
		while (done < n && !*s->given_up) {
			rte_pause();
			done += rte_ring_enqueue_burst(s->ring, (void **)(pkts + done), n - done,
						       NULL);
		}
	}
	s->packets += done;
	if (unlikely(done < n))
		vn_drop(s->count, pkts + done, (uint16_t)(n - done),
			s->wait ? s->reason : VN_DROP_RING_FULL);
}

/* By rows, equal ones as they came: counted out. */
static void
in_order(struct vn_out *o)
{
	struct rte_mbuf *pkts[VN_OUT_ROOM];
	uint16_t at[VN_MAX_BURST + 1] = {0};

	for (uint16_t i = 0; i < o->n; i++)
		at[o->rows[i] + 1]++;
	for (uint16_t row = 1; row < VN_MAX_BURST; row++)
		at[row] += at[row - 1];
	for (uint16_t i = 0; i < o->n; i++)
		pkts[at[o->rows[i]]++] = o->pkts[i];
	memcpy(o->pkts, pkts, o->n * sizeof(*pkts));
}

void
vn_out_flush(struct vn_outs *x, struct vn_out *o)
{
	if (o->n && o->txq) {
		if (unlikely(o->mixed))
			in_order(o);
		vn_tx(o->txq, o->pkts, o->n, x->policy);
	} else if (o->n && o->sink) {
		if (unlikely(o->mixed))
			in_order(o);
		vn_sink_put(o->sink, o->pkts, o->n);
	} else if (o->n) {
		rte_pktmbuf_free_bulk(o->pkts, o->n);
	}
	o->n = 0;
	o->mixed = false;
}

void
vn_outs_flush(struct vn_outs *x)
{
	for (uint16_t k = 0; k < x->n_touched; k++) {
		struct vn_out *o = &x->outs[x->touched[k]];

		vn_out_flush(x, o);
		o->listed = false;
	}
	x->n_touched = 0;
}
