/* SPDX-License-Identifier: BSD-3-Clause
 * Writing Ethernet headers. A packet is written in place only when nobody else can see it;
 * otherwise it is copied first (copy on write).
 */
#ifndef VN_REWRITE_H
#define VN_REWRITE_H

#include "vn_port.h"

/* May the first 14 bytes be written in place? No other owner, own memory, one piece. */
static inline bool
vn_writable(const struct rte_mbuf *m)
{
	return m->data_len >= RTE_ETHER_HDR_LEN && rte_mbuf_refcnt_read(m) == 1 &&
	       (m->ol_flags & VN_FOREIGN) == 0;
}

static inline void
vn_write_macs(struct rte_mbuf *m, const uint8_t macs[12])
{
	memcpy(rte_pktmbuf_mtod(m, uint8_t *), macs, 12);
}

/* Replaces *pkt by a copy that is its caller's alone (from pool, or from the packet's own pool
 * where pool is NULL). 0, or -1 with *pkt as it was when there is no mbuf. */
VN_EXPORT int vn_unshare(struct rte_mempool *pool, struct rte_mbuf **pkt);
/* vn_unshare() for those of n packets that need it; drops runts, and what finds no mbuf. Returns
 * the packets left. */
VN_EXPORT uint16_t vn_make_writable(struct vn_account *a, struct rte_mempool *pool,
				    struct rte_mbuf **pkts, uint16_t n);
/* Exchanges, or sets (macs: destination, source; which: 1 destination, 2 source, 3 both), the MAC
 * addresses of n packets; runts stay as they are. Returns n, or the index of the packet for whose
 * copy there was no mbuf. */
VN_EXPORT uint16_t vn_swap_macs(struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n);
VN_EXPORT uint16_t vn_set_macs(struct rte_mempool *pool, struct rte_mbuf **pkts, uint16_t n,
			       const uint8_t macs[12], int which);

#endif
