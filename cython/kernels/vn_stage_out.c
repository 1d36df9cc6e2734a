/* SPDX-License-Identifier: BSD-3-Clause
 * Stages at which packets leave, or part.
 */
#include "vn_stages.h"
#include "vn_worker.h"

static void
push_all(struct vn_worker *w, struct vn_batch *b, struct vn_out *o)
{
	for (uint16_t i = 0; i < b->n; i++)
		vn_out_push(&w->outs, o, b->pkts[i], b->rows[i]);
}

void
vn_stage_forward(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	const struct vn_forward_arg *a = s->arg;
	struct vn_out *o;

	vn_batch_settle(b);
	if (unlikely(b->in >= VN_OUT_PORTS)) {
		w->outs.count = &s->count;
		for (uint16_t i = 0; i < b->n; i++) {
			uint16_t in = vn_worker_in(w, b->pkts[i]);

			o = vn_out_of(&w->outs, in < VN_OUT_PORTS ? a->to[in] : a->other,
				      VN_OWN_QUEUE);
			if (o)
				vn_out_push(&w->outs, o, b->pkts[i], b->rows[i]);
			else
				vn_out_drop(&w->outs, b->pkts[i], VN_DROP_NO_OUTPUT);
		}
		b->n = 0;
		return;
	}
	o = vn_out_of(&w->outs, a->to[b->in], VN_OWN_QUEUE);
	if (unlikely(o == NULL))
		vn_drop(&s->count, b->pkts, b->n, VN_DROP_NO_OUTPUT);
	else if (likely(b->whole && !o->listed))
		vn_tx_sized(o->txq, b->pkts, b->n, b->sizes, w->outs.policy);
	else
		push_all(w, b, o);
	b->n = 0;
}

/* -- to rings ---------------------------------------------------------------------------------- */

#define VN_FLOW_NEEDS                                                                              \
	(VN_F(ip_version) | VN_F(ip_proto) | VN_F(frag) | VN_F(ip_src) | VN_F(ip_dst) |            \
	 VN_F(ip6_src_hi) | VN_F(ip6_src_lo) | VN_F(ip6_dst_hi) | VN_F(ip6_dst_lo) |               \
	 VN_F(l4_src) | VN_F(l4_dst))

/* Any function of the flow does; this one is quick, and has no direction. */
static inline uint32_t
flow_of(const struct vn_columns *c, uint16_t i)
{
	uint64_t h = (uint64_t)c->ip_src[i] ^ c->ip_dst[i];

	h ^= c->ip6_src_hi[i] ^ c->ip6_src_lo[i] ^ c->ip6_dst_hi[i] ^ c->ip6_dst_lo[i];
	if (c->frag[i] == 0)
		h ^= (uint64_t)(uint16_t)(c->l4_src[i] ^ c->l4_dst[i]) << 32;
	h ^= (uint64_t)c->ip_proto[i] << 48;
	h *= UINT64_C(0x9e3779b97f4a7c15);
	h ^= h >> 29;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	return (uint32_t)(h >> 32);
}

void
vn_stage_handoff(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	const struct vn_handoff_arg *a = s->arg;
	struct vn_out *outs = &w->outs.outs[a->first];

	vn_batch_settle(b);
	outs->sink->count = &s->count;
	if (a->n == 1) {
		if (b->whole && !outs->listed)
			vn_sink_put(outs->sink, b->pkts, b->n);
		else
			push_all(w, b, outs);
	} else {
		vn_batch_parse(b, VN_FLOW_NEEDS);
		for (uint16_t k = 1; k < a->n; k++)
			outs[k].sink->count = &s->count;
		for (uint16_t i = 0; i < b->n; i++) {
			uint32_t k = (uint32_t)((uint64_t)flow_of(&b->columns, i) * a->n >> 32);

			vn_out_push(&w->outs, &outs[k], b->pkts[i], b->rows[i]);
		}
	}
	b->n = 0;
}

/* -- branches ---------------------------------------------------------------------------------- */

static void
begin(struct vn_batch *child, const struct vn_batch *b)
{
	child->n = 0;
	child->in = b->in;
	child->whole = false;
	child->origin = NULL;
	child->sized = false;
	child->have = 0;
	child->looked = b->looked;
}

static inline void
append(struct vn_batch *to, struct rte_mbuf *m, const struct vn_batch *b, uint16_t i)
{
	to->pkts[to->n] = m;
	to->rows[to->n] = b->rows[i];
	to->hit[to->n++] = b->hit[i];
}

/* Takes back what branches have left, each row once, by rows. */
static void
join(struct vn_batch *b, const struct vn_split_arg *a)
{
	for (uint16_t k = 0; k < a->n; k++) {
		const struct vn_batch *child = &a->branches[k]->batch;

		for (uint16_t i = 0; i < child->n; i++) {
			uint16_t at = b->n++;

			for (; at > 0 && b->rows[at - 1] > child->rows[i]; at--) {
				b->rows[at] = b->rows[at - 1];
				b->pkts[at] = b->pkts[at - 1];
				b->hit[at] = b->hit[at - 1];
			}
			b->rows[at] = child->rows[i];
			b->pkts[at] = child->pkts[i];
			b->hit[at] = child->hit[i];
		}
		b->looked &= child->n == 0 || child->looked;
	}
}

void
vn_stage_split(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	struct vn_split_arg *a = s->arg;
	uint8_t mask[VN_MAX_BURST];
	int16_t label[VN_MAX_BURST];
	uint16_t left = 0, n = b->n;

	vn_batch_settle(b);
	memset(label, 0xff, n * sizeof(label[0]));
	for (uint16_t k = a->n; k-- > 0;) { /* the first that takes a packet has the last word */
		struct vn_branch *r = a->branches[k];

		begin(&r->batch, b);
		if (a->by_rule) {
			for (uint16_t i = 0; i < n; i++) {
				int32_t id = b->looked && b->hit[i] ? b->hit[i]->id : -1;

				label[i] = id == r->rule ? (int16_t)k : label[i];
			}
			continue;
		}
		vn_batch_parse(b, r->filter->need);
		vn_filter_run(r->filter, &b->columns, b->pkts, n, mask);
		for (uint16_t i = 0; i < n; i++)
			label[i] = mask[i] ? (int16_t)k : label[i];
	}
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = b->pkts[i];

		if (label[i] >= 0) {
			append(&a->branches[label[i]]->batch, m, b, i);
			continue;
		}
		b->rows[left] = b->rows[i];
		b->hit[left] = b->hit[i];
		b->pkts[left++] = m;
	}
	if (left == n)
		return;
	b->n = left;
	b->have = 0;
	b->sized = false;
	for (uint16_t k = 0; k < a->n; k++)
		if (a->branches[k]->batch.n)
			vn_chain_run(&a->branches[k]->chain, w, &a->branches[k]->batch);
	join(b, a);
}

void
vn_stage_tee(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	struct vn_branch *r = s->arg;
	struct rte_mempool *pool = w->outs.copy_pool;

	vn_batch_settle(b);
	begin(&r->batch, b);
	for (uint16_t i = 0; i < b->n; i++) {
		struct rte_mbuf *m = b->pkts[i];
		struct rte_mbuf *c = rte_pktmbuf_clone(m, pool ? pool : m->pool);

		s->count.copies++;
		if (c == NULL)
			s->count.drops[VN_DROP_NO_MBUF]++;
		else
			append(&r->batch, c, b, i);
	}
	b->sized = false; /* they are shared now */
	if (r->batch.n)
		vn_chain_run(&r->chain, w, &r->batch);
	vn_batch_drop(&r->batch, &s->count, VN_DROP_NO_OUTPUT);
}

/* -- the bridge -------------------------------------------------------------------------------- */

static void
flood(const struct vn_bridge_arg *a, struct vn_worker *w, struct rte_mbuf *m, uint16_t row,
      uint16_t in)
{
	struct vn_out *last = NULL;

	for (uint16_t i = 0; i < a->n; i++) {
		if (a->ports[i] == in)
			continue;
		if (last) {
			struct rte_mbuf *c = rte_pktmbuf_clone(m, w->outs.copy_pool);

			w->outs.count->copies++;
			if (c == NULL)
				w->outs.count->drops[VN_DROP_NO_MBUF]++;
			else
				vn_out_push(&w->outs, last, c, row);
		}
		last = vn_out_of(&w->outs, a->ports[i], VN_OWN_QUEUE);
	}
	if (last == NULL)
		vn_out_drop(&w->outs, m, VN_DROP_NO_OUTPUT);
	else
		vn_out_push(&w->outs, last, m, row);
}

static inline uint64_t
load48(const uint8_t *p)
{
	uint32_t lo;
	uint16_t hi;

	memcpy(&lo, p, 4);
	memcpy(&hi, p + 4, 2);
	return (uint64_t)hi << 32 | lo;
}

static void
bridge_some(const struct vn_bridge_arg *a, struct vn_worker *w, struct vn_batch *b, uint16_t at,
	    uint16_t k, uint16_t in, uint64_t now)
{
	/* 01:80:c2:00:00:0x as load48() reads it, the low four bits aside. */
	const uint64_t link_local = UINT64_C(0x0000c28001);
	uint64_t dst[RTE_HASH_LOOKUP_BULK_MAX], src[RTE_HASH_LOOKUP_BULK_MAX];
	uint8_t out[RTE_HASH_LOOKUP_BULK_MAX];

	if (k == 0)
		return;
	for (uint16_t i = 0; i < k; i++) {
		const uint8_t *eth = rte_pktmbuf_mtod(b->pkts[at + i], const uint8_t *);

		dst[i] = load48(eth);
		src[i] = load48(eth + 6);
	}
	vn_bridge_learn(a->bridge, src, k, (uint8_t)in, now);
	vn_bridge_find(a->bridge, dst, k, out, now);
	for (uint16_t i = 0; i < k; i++) {
		struct rte_mbuf *m = b->pkts[at + i];
		uint16_t row = b->rows[at + i];
		struct vn_out *o;

		if (unlikely((dst[i] & UINT64_C(0xf0ffffffffff)) == link_local)) {
			vn_out_drop(&w->outs, m, VN_DROP_LINK_LOCAL);
		} else if (out[i] == VN_BRIDGE_FLOOD) {
			flood(a, w, m, row, in);
		} else if (out[i] == in) {
			vn_out_drop(&w->outs, m, VN_DROP_SAME_PORT);
		} else {
			o = vn_out_of(&w->outs, out[i], VN_OWN_QUEUE);
			if (o)
				vn_out_push(&w->outs, o, m, row);
			else
				vn_out_drop(&w->outs, m, VN_DROP_NO_OUTPUT);
		}
	}
}

void
vn_stage_bridge(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	const struct vn_bridge_arg *a = s->arg;
	uint64_t now = rte_rdtsc();
	uint16_t step;

	vn_batch_settle(b);
	w->outs.count = &s->count;
	if (unlikely(b->sizes.odd))
		b->n = vn_make_writable(&s->count, w->outs.copy_pool, b->pkts, b->n);
	for (uint16_t at = 0; at < b->n; at += step) {
		uint16_t in = b->in;

		step = RTE_MIN(b->n - at, RTE_HASH_LOOKUP_BULK_MAX);
		if (unlikely(in >= VN_OUT_PORTS)) {
			in = vn_worker_in(w, b->pkts[at]);
			for (uint16_t k = 1; k < step; k++)
				if (vn_worker_in(w, b->pkts[at + k]) != in)
					step = k;
		}
		bridge_some(a, w, b, at, step, in, now);
	}
	b->n = 0;
}
