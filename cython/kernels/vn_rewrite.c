/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_rewrite.h"

typedef uint8_t vn_u8x16 __attribute__((vector_size(16)));

int
vn_unshare(struct rte_mempool *pool, struct rte_mbuf **pkt)
{
	struct rte_mbuf *m = *pkt;
	struct rte_mbuf *c = rte_pktmbuf_copy(m, pool ? pool : m->pool, 0, UINT32_MAX);

	if (c == NULL)
		return -1;
	rte_pktmbuf_free(m);
	*pkt = c;
	return 0;
}

/* May the first 14 bytes be written in place? The packet may have more segments after them. */
static bool
header_is_own(const struct rte_mbuf *m)
{
	return m->data_len >= RTE_ETHER_HDR_LEN && rte_mbuf_refcnt_read(m) == 1 &&
	       (m->ol_flags & VN_FOREIGN) == 0;
}

uint8_t *
vn_own_header(struct rte_mempool *pool, struct rte_mbuf **pkt)
{
	if ((*pkt)->pkt_len < RTE_ETHER_HDR_LEN)
		return NULL;
	if (!header_is_own(*pkt) && vn_unshare(pool, pkt) != 0)
		return NULL;
	return rte_pktmbuf_mtod(*pkt, uint8_t *);
}

uint16_t
vn_make_writable(struct vn_account *a, struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (vn_own_header(pool, &m))
			pkts[kept++] = m;
		else
			vn_drop(a, &m, 1,
				m->pkt_len < RTE_ETHER_HDR_LEN ? VN_DROP_RUNT : VN_DROP_NO_MBUF);
	}
	return kept;
}

uint16_t
vn_swap_macs(struct rte_mbuf **pkts, uint16_t n, struct vn_sizes *s)
{
	struct vn_sizes sum = VN_SIZES_NONE;

	for (uint16_t i = 0; i < n; i++) {
		uint8_t *eth = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		vn_u8x16 v;

		if (unlikely(vn_sizes_add(&sum, pkts[i]))) {
			eth = vn_own_header(NULL, &pkts[i]);
			if (eth == NULL) {
				if (pkts[i]->pkt_len < RTE_ETHER_HDR_LEN)
					continue;
				return i;
			}
		}
		if (unlikely(pkts[i]->data_len < sizeof(v))) {
			uint8_t src[6];

			memcpy(src, eth + 6, 6);
			memcpy(eth + 6, eth, 6);
			memcpy(eth, src, 6);
			continue;
		}
		/* Bytes 12..15 are written back as they were: one load, one shuffle, one store. */
		memcpy(&v, eth, sizeof(v));
		v = __builtin_shufflevector(v, v, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 12, 13, 14,
					    15);
		memcpy(eth, &v, sizeof(v));
	}
	*s = sum;
	return n;
}

uint16_t
vn_set_macs(struct rte_mbuf **pkts, uint16_t n, const uint8_t macs[12], int which,
	    struct vn_sizes *s)
{
	struct vn_sizes sum = VN_SIZES_NONE;
	struct vn_macs both = vn_macs_load(macs);

	for (uint16_t i = 0; i < n; i++) {
		uint8_t *eth = rte_pktmbuf_mtod(pkts[i], uint8_t *);

		if (unlikely(vn_sizes_add(&sum, pkts[i]))) {
			eth = vn_own_header(NULL, &pkts[i]);
			if (eth == NULL) {
				if (pkts[i]->pkt_len < RTE_ETHER_HDR_LEN)
					continue;
				return i;
			}
		}
		if (which == 3)
			vn_macs_store(eth, both);
		else if (which == 1)
			memcpy(eth, macs, 6);
		else
			memcpy(eth + 6, macs + 6, 6);
	}
	*s = sum;
	return n;
}
