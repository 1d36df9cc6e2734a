/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_rewrite.h"

int
vn_unshare(struct rte_mempool *pool, struct rte_mbuf **pkt)
{
	struct rte_mbuf *m = *pkt;
	struct rte_mbuf *c = rte_pktmbuf_copy(m, pool ? pool : m->pool, 0, UINT32_MAX);

	if (c == NULL)
		return -1;
	if (c->data_len < RTE_MIN(m->pkt_len, (uint32_t)RTE_ETHER_HDR_LEN)) {
		rte_pktmbuf_free(c);
		return -1;
	}
	rte_pktmbuf_free(m);
	*pkt = c;
	return 0;
}

uint16_t
vn_make_writable(struct vn_account *a, struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (m->pkt_len < RTE_ETHER_HDR_LEN) {
			vn_drop(a, &m, 1, VN_DROP_RUNT);
			continue;
		}
		if (!vn_writable(m) && vn_unshare(pool, &m) != 0) {
			vn_drop(a, &m, 1, VN_DROP_NO_MBUF);
			continue;
		}
		pkts[kept++] = m;
	}
	return kept;
}

uint16_t
vn_swap_macs(struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		uint8_t *eth, src[6];

		if (unlikely(!vn_writable(pkts[i]))) {
			if (pkts[i]->pkt_len < RTE_ETHER_HDR_LEN)
				continue;
			if (vn_unshare(pool, &pkts[i]) != 0)
				return i;
		}
		eth = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		memcpy(src, eth + 6, 6);
		memcpy(eth + 6, eth, 6);
		memcpy(eth, src, 6);
	}
	return n;
}

uint16_t
vn_set_macs(struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n, const uint8_t macs[12],
	    int which)
{
	for (uint16_t i = 0; i < n; i++) {
		uint8_t *eth;

		if (unlikely(!vn_writable(pkts[i]))) {
			if (pkts[i]->pkt_len < RTE_ETHER_HDR_LEN)
				continue;
			if (vn_unshare(pool, &pkts[i]) != 0)
				return i;
		}
		eth = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		if (which == 3) {
			memcpy(eth, macs, 12);
		} else if (which == 1) {
			memcpy(eth, macs, 6);
		} else {
			memcpy(eth + 6, macs + 6, 6);
		}
	}
	return n;
}
