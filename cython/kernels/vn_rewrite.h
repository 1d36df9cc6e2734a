/* SPDX-License-Identifier: BSD-3-Clause
 * Writing Ethernet headers. A packet is written in place only when nobody else can see it;
 * otherwise it is copied first (copy on write).
 */
#ifndef VN_REWRITE_H
#define VN_REWRITE_H

#include "vn_port.h"

/* Twelve bytes, destination and source, as two words that stay in registers. */
struct vn_macs {
	uint64_t low;
	uint32_t high;
};

static inline struct vn_macs
vn_macs_load(const uint8_t bytes[12])
{
	struct vn_macs m;

	memcpy(&m.low, bytes, 8);
	memcpy(&m.high, bytes + 8, 4);
	return m;
}

static inline void
vn_macs_store(uint8_t *eth, struct vn_macs m)
{
	memcpy(eth, &m.low, 8);
	memcpy(eth + 8, &m.high, 4);
}

/* Makes the header of *pkt writable: returns it, or NULL with *pkt as it was when the packet is a
 * runt or there is no mbuf for a copy (from pool, or from the packet's own pool if NULL). */
VN_EXPORT uint8_t *vn_own_header(struct rte_mempool *pool, struct rte_mbuf **pkt);
/* Replaces *pkt by a copy that is its caller's alone. 0, or -1 with *pkt as it was. */
VN_EXPORT int vn_unshare(struct rte_mempool *pool, struct rte_mbuf **pkt);
/* vn_own_header() for n packets; drops runts, and what finds no mbuf. Returns the packets left. */
VN_EXPORT uint16_t vn_make_writable(struct vn_account *a, struct rte_mempool *pool,
				    struct rte_mbuf **pkts, uint16_t n);
/* Exchanges, or sets (macs: destination, source; which: 1 destination, 2 source, 3 both), the MAC
 * addresses of n packets, and sums their sizes on the way; runts stay as they are. Returns n, or
 * the index of the packet for whose copy there was no mbuf (*s is then void). */
VN_EXPORT uint16_t vn_swap_macs(struct rte_mbuf **pkts, uint16_t n, struct vn_sizes *s);
VN_EXPORT uint16_t vn_set_macs(struct rte_mbuf **pkts, uint16_t n, const uint8_t macs[12],
			       int which, struct vn_sizes *s);

#endif
