/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_forward.h"

#include <errno.h>
#include <stdlib.h>

#include <rte_prefetch.h>

#include "vn_derive.h"

/* The scratch of one bridge worker: packets by output port. On the stack of the loop. */
struct stage {
	uint16_t n;
	struct rte_mbuf *pkts[VN_MAX_BURST];
};

/* rx_bytes: where the packets' bytes are added. known: their sizes, NULL: not yet. */
static __rte_always_inline void
lane_static(struct vn_worker *w, struct vn_lane *l, struct rte_mbuf **pkts, uint16_t n,
	    uint64_t *rx_bytes, const struct vn_sizes *known)
{
	struct vn_sizes s = VN_SIZES_NONE;
	struct vn_macs macs = vn_macs_load(l->macs);
	bool update = l->mac_updating;

	if (known && !known->odd) {
		s = *known;
		for (uint16_t i = 0; update && i < n; i++)
			vn_macs_store(rte_pktmbuf_mtod(pkts[i], uint8_t *), macs);
	} else if (update) {
		for (uint16_t i = 0; i < n; i++) {
			if (likely(vn_sizes_add(&s, pkts[i]) == 0))
				vn_macs_store(rte_pktmbuf_mtod(pkts[i], uint8_t *), macs);
		}
	} else {
		s = vn_sizes_of(pkts, n);
	}
	*rx_bytes += s.bytes;
	if (unlikely(s.odd)) {
		if (update) {
			n = vn_make_writable(&l->rxq->count, w->shared->copy_pool, pkts, n);
			for (uint16_t i = 0; i < n; i++)
				vn_macs_store(rte_pktmbuf_mtod(pkts[i], uint8_t *), macs);
			s = vn_sizes_of(pkts, n);
		}
		if (n == 0)
			return;
	}
	vn_tx_sized(l->txq, pkts, n, s, w->shared->policy);
}

/* Stages a packet for a port; without stages, among what rules send. */
static __rte_always_inline void
put(struct vn_worker *w, struct stage *stages, uint8_t port, struct rte_mbuf *m)
{
	struct vn_act_ctx *x = w->act;

	if (stages)
		stages[port].pkts[stages[port].n++] = m;
	else
		vn_out_push(x, &x->outs[x->ports[port].first + x->ports[port].own], m);
}

static __rte_always_inline void
flood(struct vn_worker *w, struct stage *stages, struct rte_mbuf *m, uint8_t in)
{
	int last = -1;

	for (uint16_t i = 0; i < w->n_tx_ports; i++) {
		uint8_t p = w->tx_ports[i];

		if (p == in)
			continue;
		if (last >= 0) {
			struct rte_mbuf *c = rte_pktmbuf_clone(m, w->shared->copy_pool);

			w->count.copies++;
			if (c == NULL)
				w->count.drops[VN_DROP_NO_MBUF]++;
			else
				put(w, stages, (uint8_t)last, c);
		}
		last = p;
	}
	if (last < 0)
		vn_drop(&w->count, &m, 1, VN_DROP_NO_OUTPUT);
	else
		put(w, stages, (uint8_t)last, m);
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

static __rte_always_inline void
bridge(struct vn_worker *w, struct vn_lane *l, struct stage *stages, struct rte_mbuf **pkts,
       uint16_t n, uint64_t *rx_bytes)
{
	/* 01:80:c2:00:00:0x as load48() reads it, the low four bits aside. */
	const uint64_t link_local = UINT64_C(0x0000c28001);
	struct vn_bridge *b = w->shared->bridge;
	uint64_t dst[RTE_HASH_LOOKUP_BULK_MAX], src[RTE_HASH_LOOKUP_BULK_MAX];
	uint8_t out[RTE_HASH_LOOKUP_BULK_MAX];
	uint64_t bytes = 0, now = rte_rdtsc();
	unsigned int bad = 0;

	for (uint16_t i = 0; i < n; i++) {
		bytes += pkts[i]->pkt_len;
		bad |= pkts[i]->data_len < RTE_ETHER_HDR_LEN;
	}
	*rx_bytes += bytes;
	if (unlikely(bad))
		n = vn_make_writable(&l->rxq->count, w->shared->copy_pool, pkts, n);
	for (uint16_t at = 0; at < n; at += RTE_HASH_LOOKUP_BULK_MAX) {
		uint16_t k = RTE_MIN(n - at, RTE_HASH_LOOKUP_BULK_MAX);

		for (uint16_t i = 0; i < k; i++) {
			const uint8_t *eth = rte_pktmbuf_mtod(pkts[at + i], const uint8_t *);

			dst[i] = load48(eth);
			src[i] = load48(eth + 6);
		}
		vn_bridge_learn(b, src, k, l->port, now);
		vn_bridge_find(b, dst, k, out, now);
		for (uint16_t i = 0; i < k; i++) {
			struct rte_mbuf *m = pkts[at + i];

			if (unlikely((dst[i] & UINT64_C(0xf0ffffffffff)) == link_local))
				vn_drop(&w->count, &m, 1, VN_DROP_LINK_LOCAL);
			else if (out[i] == VN_BRIDGE_FLOOD)
				flood(w, stages, m, l->port);
			else if (out[i] == l->port)
				vn_drop(&w->count, &m, 1, VN_DROP_SAME_PORT);
			else
				put(w, stages, out[i], m);
		}
	}
}

static void
lane_bridge(struct vn_worker *w, struct vn_lane *l, struct stage *stages, struct rte_mbuf **pkts,
	    uint16_t n, uint64_t *rx_bytes)
{
	bridge(w, l, stages, pkts, n, rx_bytes);
	for (uint16_t i = 0; i < w->n_tx_ports; i++) {
		struct stage *st = &stages[w->tx_ports[i]];

		if (st->n)
			vn_tx(w->txqs[w->tx_ports[i]], st->pkts, st->n, w->shared->policy);
		st->n = 0;
	}
}

/* -- rules ------------------------------------------------------------------------------------- */

struct way {
	struct vn_worker *w;
	struct vn_lane *l;
};

/* The forwarder's own way for packets between others that rules have sent. */
static void
own_way(void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	const struct way *way = arg;
	struct vn_worker *w = way->w;
	struct vn_lane *l = way->l;
	uint64_t counted = 0; /* already, when they came */

	if (w->shared->bridge) {
		bridge(w, l, NULL, pkts, n, &counted);
		return;
	}
	if (l->mac_updating) {
		n = vn_make_writable(&l->rxq->count, w->shared->copy_pool, pkts, n);
		for (uint16_t i = 0; i < n; i++)
			vn_macs_store(rte_pktmbuf_mtod(pkts[i], uint8_t *), vn_macs_load(l->macs));
	}
	for (uint16_t i = 0; i < n; i++)
		put(w, NULL, l->out_port, pkts[i]);
}

static void
lane_rules(struct vn_worker *w, struct vn_lane *l, struct stage *stages, struct rte_mbuf **pkts,
	   uint16_t n)
{
	struct vn_act_ctx *x = w->act;
	struct vn_rules *t = x->table;
	struct way way = {w, l};
	vn_fieldset needs = vn_rules_needs(t, x->reader);
	uint64_t counted = 0;

	if (unlikely(l->marks))
		for (uint16_t i = 0; i < n; i++)
			pkts[i]->port = l->rxq->port_id;
	vn_fill(&w->columns, needs, pkts, n);
	vn_rules_classify(t, x->reader, &w->columns, pkts, n, w->hit);
	x->own_arg = &way;
	n = vn_act_run(x, pkts, n, w->hit, vn_rules_none(t, x->reader));
	vn_rx_bytes(l->rxq, x->bytes);
	if (n == 0)
		return;
	if (stages)
		lane_bridge(w, l, stages, pkts, n, &counted);
	else
		lane_static(w, l, pkts, n, &counted, x->untouched ? &x->sizes : NULL);
}

int
vn_worker_rules(struct vn_worker *w, unsigned int reader, struct vn_txq *const *txqs,
		const uint16_t *n_queues, const uint16_t *own)
{
	/* Columns begin at different places of a page: what stands 4 KiB apart is slow. */
	const size_t gap = 3 * RTE_CACHE_LINE_SIZE;
	size_t at = 0;
	uint8_t *memory;

	w->act = calloc(1, sizeof(*w->act));
	w->hit = calloc(VN_MAX_BURST, sizeof(*w->hit));
	w->column_memory = calloc(VN_COLUMNS, VN_MAX_BURST * sizeof(uint64_t) + gap);
	if (w->act == NULL || w->hit == NULL || w->column_memory == NULL)
		return -ENOMEM;
	memory = w->column_memory;
	for (unsigned int k = 0; k < VN_COLUMNS; k++) {
		((uint8_t **)&w->columns)[k] = memory + at;
		at += VN_MAX_BURST * vn_field_size[k] + gap;
	}
	w->act->table = w->shared->rules;
	w->act->reader = reader;
	w->act->policy = w->shared->policy;
	w->act->count = &w->count;
	w->act->copy_pool = w->shared->copy_pool;
	w->act->own_way = own_way;
	if (vn_rules_register(w->shared->rules, reader) != 0 ||
	    vn_rules_cache(w->shared->rules, reader, w->shared->flow_cache) != 0)
		return -ENOMEM;
	return vn_act_init(w->act, txqs, n_queues, own, w->n_ports);
}

void
vn_worker_free_rules(struct vn_worker *w)
{
	if (w->act)
		vn_act_fini(w->act);
	free(w->act);
	free(w->hit);
	free(w->column_memory);
	w->act = NULL;
}

/* -- the loop ---------------------------------------------------------------------------------- */

/* Takes up to `want` packets from the forwarder's budget. */
static uint16_t
budget_take(struct vn_forward *f, uint16_t want)
{
	int64_t left = __atomic_load_n(&f->budget, __ATOMIC_RELAXED), take;

	do {
		take = RTE_MIN(left, (int64_t)want);
		if (take <= 0)
			return 0;
	} while (!__atomic_compare_exchange_n(&f->budget, &left, left - take, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return (uint16_t)take;
}

/* Lookups are faster for many packets at once: what fills bursts is taken together. */
static uint16_t
more(const struct vn_forward *f, struct vn_lane *l, struct rte_mbuf **pkts)
{
	uint16_t n = 0, got;

	while (n + 2u * f->burst <= VN_GATHER) {
		got = vn_rx(l->rxq, pkts + n, f->burst);
		n += got;
		if (got < f->burst)
			break;
	}
	return n;
}

int
vn_forward_loop(void *arg)
{
	struct vn_worker *w = arg;
	struct vn_forward *f = w->shared;
	struct rte_mbuf *pkts[VN_MAX_BURST];
	struct stage *stages = NULL;
	const bool limited = f->budget >= 0;
	int live = 1;

	if (f->bridge) {
		stages = calloc(w->n_ports, sizeof(*stages));
		if (stages == NULL)
			return -1;
	}
	if (f->rules)
		vn_rules_online(f->rules, w->act->reader);
	while (!f->stop && live) {
		uint32_t got = 0;

		live = 0;
		for (uint16_t i = 0; i < w->n_lanes; i++) {
			struct vn_lane *l = &w->lanes[i];
			uint16_t want = f->burst, n;

			if (unlikely(l->rxq->exhausted))
				continue;
			live = 1;
			if (unlikely(limited)) {
				uint16_t asked = want = budget_take(f, want);

				if (want == 0)
					continue;
				uint64_t before = l->rxq->count.rx_packets;

				n = vn_rx(l->rxq, pkts, want);
				asked -= (uint16_t)(l->rxq->count.rx_packets - before);
				if (asked)
					__atomic_fetch_add(&f->budget, asked, __ATOMIC_RELAXED);
			} else {
				n = vn_rx(l->rxq, pkts, want);
				if (f->rules && n == want)
					n += more(f, l, pkts + n);
			}
			if (n == 0)
				continue;
			got += n;
			if (f->rules)
				lane_rules(w, l, stages, pkts, n);
			else if (stages)
				lane_bridge(w, l, stages, pkts, n, &l->rxq->count.rx_bytes);
			else
				lane_static(w, l, pkts, n, &l->rxq->count.rx_bytes, NULL);
		}
		if (f->rules)
			vn_rules_quiescent(f->rules, w->act->reader);
		if (stages)
			vn_bridge_sweep(f->bridge, rte_rdtsc());
		/* Passes, not cycles: two TSC reads a pass would cost 4 % at 64 packets. */
		if (got)
			w->busy_passes++;
		else
			rte_pause();
		w->passes++;
	}
	if (f->rules)
		vn_rules_offline(f->rules, w->act->reader);
	free(stages);
	return 0;
}
