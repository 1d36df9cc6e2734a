/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_forward.h"

#include <rte_prefetch.h>

/* The scratch of one bridge worker: packets by output port. On the stack of the loop. */
struct stage {
	uint16_t n;
	struct rte_mbuf *pkts[VN_MAX_BURST];
};

static inline void
lane_static(struct vn_worker *w, struct vn_lane *l, struct rte_mbuf **pkts, uint16_t n)
{
	struct vn_sizes s = VN_SIZES_NONE;
	struct vn_macs macs = vn_macs_load(l->macs);
	bool update = l->mac_updating;

	if (update) {
		for (uint16_t i = 0; i < n; i++) {
			if (likely(vn_sizes_add(&s, pkts[i]) == 0))
				vn_macs_store(rte_pktmbuf_mtod(pkts[i], uint8_t *), macs);
		}
	} else {
		s = vn_sizes_of(pkts, n);
	}
	vn_rx_bytes(l->rxq, s.bytes);
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

static void
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
				stages[last].pkts[stages[last].n++] = c;
		}
		last = p;
	}
	if (last < 0)
		vn_drop(&w->count, &m, 1, VN_DROP_NO_OUTPUT);
	else
		stages[last].pkts[stages[last].n++] = m;
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
lane_bridge(struct vn_worker *w, struct vn_lane *l, struct stage *stages, struct rte_mbuf **pkts,
	    uint16_t n)
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
	vn_rx_bytes(l->rxq, bytes);
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
				stages[out[i]].pkts[stages[out[i]].n++] = m;
		}
	}
	for (uint16_t i = 0; i < w->n_tx_ports; i++) {
		struct stage *st = &stages[w->tx_ports[i]];

		if (st->n)
			vn_tx(w->txqs[w->tx_ports[i]], st->pkts, st->n, w->shared->policy);
		st->n = 0;
	}
}

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
			}
			if (n == 0)
				continue;
			got += n;
			if (stages)
				lane_bridge(w, l, stages, pkts, n);
			else
				lane_static(w, l, pkts, n);
		}
		if (stages)
			vn_bridge_sweep(f->bridge, rte_rdtsc());
		/* Passes, not cycles: two TSC reads a pass would cost 4 % at 64 packets. */
		if (got)
			w->busy_passes++;
		else
			rte_pause();
		w->passes++;
	}
	free(stages);
	return 0;
}
