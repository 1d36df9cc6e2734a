/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_trace.h"

#include <rte_cycles.h>

#include "vn_worker.h"

static struct vn_trace_event *
event(struct vn_trace *t, struct vn_worker *w, uint32_t packet, uint16_t kind, uint16_t stage)
{
	uint32_t at = __atomic_fetch_add(&t->n, 1, __ATOMIC_RELAXED);
	struct vn_trace_event *e;

	if (at >= t->room) {
		__atomic_fetch_sub(&t->n, 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&t->lost, 1, __ATOMIC_RELAXED);
		return NULL;
	}
	e = &t->events[at];
	e->tsc = rte_rdtsc();
	e->packet = packet;
	e->kind = kind;
	e->stage = stage;
	e->worker = w->number;
	e->port = e->reason = UINT16_MAX;
	return e;
}

static void
see(struct vn_trace_event *e, const struct rte_mbuf *m)
{
	if (e == NULL)
		return;
	e->len = m->pkt_len;
	e->captured = (uint16_t)RTE_MIN(m->data_len, VN_TRACE_BYTES);
	memcpy(e->bytes, rte_pktmbuf_mtod(m, const char *), e->captured);
}

/* Of a packet that came by a ring: its number, if it is followed; 0: it is not. */
static uint32_t
followed(struct vn_trace *t, const struct rte_mbuf *m)
{
	for (uint32_t i = 0; t->n_followed && i < VN_TRACE_FOLLOWED; i++) {
		if (t->followed[i] == m) {
			uint32_t packet = t->followed_packet[i];

			t->followed[i] = NULL;
			__atomic_fetch_sub(&t->n_followed, 1, __ATOMIC_RELEASE);
			return packet;
		}
	}
	return 0;
}

/* Before it is in the ring: whoever takes it out looks at once. */
static void
follow(struct vn_trace *t, struct rte_mbuf *m, uint32_t packet)
{
	for (uint32_t i = 0; i < VN_TRACE_FOLLOWED; i++) {
		struct rte_mbuf *none = NULL;

		if (!__atomic_compare_exchange_n(&t->followed[i], &none, m, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_RELAXED))
			continue;
		t->followed_packet[i] = packet;
		__atomic_fetch_add(&t->n_followed, 1, __ATOMIC_RELEASE);
		return;
	}
	__atomic_fetch_add(&t->lost, 1, __ATOMIC_RELAXED);
}

/* It did not get into the ring. */
static void
unfollow(struct vn_trace *t, const struct rte_mbuf *m, uint32_t packet)
{
	for (uint32_t i = 0; i < VN_TRACE_FOLLOWED; i++)
		if (t->followed[i] == m && t->followed_packet[i] == packet) {
			t->followed[i] = NULL;
			__atomic_fetch_sub(&t->n_followed, 1, __ATOMIC_RELEASE);
			return;
		}
}

static uint16_t
reason_since(const struct vn_account *a, const uint64_t *before)
{
	for (uint16_t r = 0; r < VN_DROP_MAX; r++)
		if (a->drops[r] != before[r])
			return r;
	return UINT16_MAX;
}

/* Does another worker take out what is put there? (Who takes from the program's rings does not
 * say.) */
static inline bool
between_workers(const struct vn_worker *w, const struct vn_out *o)
{
	return o->sink && o->sink->given_up == &w->engine->failed;
}

/* What waits for outputs now. */
static void
tell_outs(struct vn_trace *t, struct vn_worker *w, uint32_t packet, uint16_t stage)
{
	for (uint16_t k = 0; k < w->outs.n_touched; k++) {
		struct vn_out *o = &w->outs.outs[w->outs.touched[k]];

		for (uint16_t i = 0; i < o->n; i++) {
			struct vn_trace_event *e;

			if (o->txq == NULL && o->sink == NULL)
				continue;
			e = event(t, w, packet, o->sink ? VN_TRACE_RING : VN_TRACE_OUT, stage);
			see(e, o->pkts[i]);
			if (e)
				e->port = o->txq ? o->txq->port_id
						 : (uint16_t)(o->sink - w->program->sinks);
			if (between_workers(w, o))
				follow(t, o->pkts[i], packet);
		}
	}
}

/* Puts what waits into rings, and tells what found no room. */
static void
flush_rings(struct vn_trace *t, struct vn_worker *w, uint32_t packet, uint16_t stage)
{
	for (uint16_t k = 0; k < w->outs.n_touched; k++) {
		struct vn_out *o = &w->outs.outs[w->outs.touched[k]];
		uint16_t n = o->n, put;

		if (o->sink == NULL || n == 0)
			continue;
		put = (uint16_t)o->sink->packets;
		vn_out_flush(&w->outs, o);
		put = (uint16_t)o->sink->packets - put;
		/* (those that were dropped are still named in it) */
		for (; put < n; put++) {
			struct vn_trace_event *e = event(t, w, packet, VN_TRACE_ENDED, stage);

			if (e)
				e->reason = o->sink->wait ? o->sink->reason : VN_DROP_RING_FULL;
			if (between_workers(w, o))
				unfollow(t, o->pkts[put], packet);
		}
	}
}

void
vn_trace_chain(struct vn_trace *t, struct vn_worker *w, struct vn_batch *b,
	       const struct vn_chain *c)
{
	uint64_t before[VN_DROP_MAX];

	for (uint16_t i = 0; i < c->n && b->n; i++) {
		struct vn_stage *s = &c->stages[i];
		struct vn_trace_event *e;

		memcpy(before, s->count.drops, sizeof(before));
		s->stat.in += b->n;
		s->stat.bursts++;
		s->run(s, w, b);
		s->stat.out += b->n;
		e = event(t, w, w->traced, b->n ? VN_TRACE_STAGE : VN_TRACE_ENDED, s->number);
		if (b->n)
			see(e, b->pkts[0]);
		else if (e)
			e->reason = reason_since(&s->count, before);
	}
}

/* One packet through the chain, stage by stage. It is not `whole`: what is sent waits, and is seen.
 */
static void
one(struct vn_trace *t, struct vn_worker *w, struct vn_batch *b, const struct vn_chain *c,
    uint16_t in, bool ring)
{
	struct vn_trace_event *e = event(t, w, w->traced, ring ? VN_TRACE_FROM_RING : VN_TRACE_RX,
					 UINT16_MAX);

	see(e, b->pkts[0]);
	if (e)
		e->port = in;
	w->watch = VN_WATCH_TRACED;
	vn_chain_run(c, w, b);
	w->watch = VN_WATCH_NOT;
	if (b->n) {
		e = event(t, w, w->traced, VN_TRACE_ENDED, w->program->end.number);
		if (e)
			e->reason = VN_DROP_NO_OUTPUT;
		vn_batch_drop(b, &w->program->end.count, VN_DROP_NO_OUTPUT);
	}
	tell_outs(t, w, w->traced, UINT16_MAX);
	flush_rings(t, w, w->traced, UINT16_MAX);
}

void
vn_trace_run(struct vn_trace *t, struct vn_worker *w, struct vn_batch *b, const struct vn_chain *c)
{
	struct vn_batch *one_of = w->single;
	/* From another worker. (What comes by a ring of the program's has just come.) */
	bool ring = b->origin == NULL && b->in == VN_IN_MIXED;

	vn_batch_settle(b);
	for (uint16_t i = 0; i < b->n; i++) {
		uint32_t packet = ring ? followed(t, b->pkts[i]) : 0;

		if (!ring && t->left > 0 && __atomic_fetch_sub(&t->left, 1, __ATOMIC_RELAXED) > 0)
			packet = __atomic_add_fetch(&t->packets, 1, __ATOMIC_RELAXED);
		one_of->n = 1;
		one_of->in = b->in;
		one_of->whole = false;
		one_of->sized = false;
		one_of->looked = false;
		one_of->origin = NULL;
		one_of->have = 0;
		one_of->pkts[0] = b->pkts[i];
		one_of->rows[0] = 0;
		if (packet) {
			w->traced = packet;
			one(t, w, one_of, c, b->in, ring);
		} else {
			vn_chain_run(c, w, one_of);
			vn_batch_drop(one_of, &w->program->end.count, VN_DROP_NO_OUTPUT);
		}
		vn_outs_flush(&w->outs);
	}
	b->n = 0;
}
