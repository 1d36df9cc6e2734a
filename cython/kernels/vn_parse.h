/* SPDX-License-Identifier: BSD-3-Clause
 * Headers into columns. The specification is the naive twin, veridnet/headers/reference.py: both
 * say the same of every packet, malformed ones too.
 *
 * Headers are looked for in the first VN_PARSE_LIMIT bytes of a packet. A packet writes only the
 * columns of the headers that it has, and only those that are asked for: what parses single rows
 * expects zeros there, what parses bursts makes them. Parsing stops at the first header that is
 * malformed; the columns of later headers stay zero.
 */
#ifndef VN_PARSE_H
#define VN_PARSE_H

#include <stdbool.h>
#include <string.h>

#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_prefetch.h>

#include "vn_compat.h"
#include "vn_fields.h"

#if defined(__x86_64__)
#define VN_X86
#endif

#define VN_PARSE_LIMIT 2048u
#define VN_MAX_VLAN 4
#define VN_MAX_MPLS 8
#define VN_MAX_EXT 8
/* How many packets ahead mbufs and their headers are prefetched. */
#define VN_AHEAD 20

/* Where the header of an mbuf lies is not known before the mbuf is read. But most mbufs of a burst
 * are of one pool, and theirs lie equally far behind them: what the first one says is good for all,
 * and a wrong guess costs a line. So both are fetched at the same time. */
static inline ptrdiff_t
vn_header_distance(const struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod(m, const char *) - (const char *)m;
}

static inline void
vn_prefetch(const struct rte_mbuf *m, ptrdiff_t distance)
{
	rte_prefetch0(m);
	rte_prefetch0((const char *)m + distance);
}

/* What a packet, or the packet inside a tunnel, begins with. */
enum vn_start { VN_START_NONE = 0, VN_START_ETH = 1, VN_START_IP4 = 4, VN_START_IP6 = 6 };

/* Parses the packet that lies at p[base..end), of which p[..avail) can be read, into one row. */
VN_EXPORT void vn_parse_bytes(const struct vn_columns *c, uint32_t row, vn_fieldset want,
			      const uint8_t *p, uint32_t base, uint32_t avail, uint32_t end,
			      enum vn_start start);
VN_EXPORT void vn_parse_mbuf(const struct vn_columns *c, uint32_t row, vn_fieldset want,
			     const struct rte_mbuf *m);
/* Zeros in rows from..n of the columns of `fields`. */
VN_EXPORT void vn_zero(const struct vn_columns *c, vn_fieldset fields, uint32_t from, uint32_t n);
/* Parses n packets into rows 0..n, by the SIMD level that is set. What the rows hold before does
 * not matter. */
VN_EXPORT void vn_parse(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
			uint16_t n);
/* The same for the packets inside tunnels, by the columns of the outer ones. */
VN_EXPORT void vn_parse_inner(const struct vn_columns *c, vn_fieldset want,
			      struct rte_mbuf *const *pkts, uint16_t n, const uint16_t *inner_off,
			      const uint16_t *inner_len, const uint8_t *inner_kind);

enum vn_simd { VN_SIMD_PLAIN, VN_SIMD_SSE, VN_SIMD_AVX2, VN_SIMD_AVX512, VN_SIMD_MAX };
extern VN_EXPORT const char *const vn_simd_names[VN_SIMD_MAX];
/* The best level of this CPU; the level in use; another one (-1: the CPU does not have it). */
VN_EXPORT int vn_simd_best(void);
VN_EXPORT int vn_simd_get(void);
VN_EXPORT int vn_simd_set(int level);

/* The columns that the vector loops know: for Ethernet, IPv4 without options and TCP or UDP all of
 * these follow from the first 38 bytes, or are zero. */
#define VN_BLOCK_FIELDS                                                                            \
	(VN_G_ETH | VN_G_VLAN | VN_G_MPLS | VN_G_ARP | VN_G_IP | VN_G_IPV4 | VN_G_IPV6 | VN_G_L4 | \
	 VN_G_SCTP | VN_G_ICMP | VN_G_IPSEC | VN_F(in_port) | VN_F(wire_len) | VN_F(frag))

/* Of these, those of which they write every row of a whole block. */
#define VN_BLOCK_STORED                                                                            \
	(VN_G_IP | VN_F(ip_src) | VN_F(ip_dst) | VN_F(ip_ihl) | VN_F(ip_id) | VN_F(ip_flags) |     \
	 VN_F(ip_checksum) | VN_G_L4 | VN_F(ethertype))

#ifdef VN_X86
void vn_parse_sse(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
		  uint16_t n);
void vn_parse_avx2(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
		   uint16_t n);
void vn_parse_avx512(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
		     uint16_t n);
#endif

/* The first bytes of a packet in one piece: in place, or gathered into `scratch`. */
static inline const uint8_t *
vn_contiguous(const struct rte_mbuf *m, uint8_t *scratch, uint32_t *avail)
{
	uint32_t want = RTE_MIN(m->pkt_len, VN_PARSE_LIMIT);
	const uint8_t *p;

	if (likely(m->nb_segs == 1 || m->data_len >= want)) {
		*avail = RTE_MIN(want, (uint32_t)m->data_len);
		return rte_pktmbuf_mtod(m, const uint8_t *);
	}
	p = rte_pktmbuf_read(m, 0, want, scratch);
	*avail = p ? want : 0; /* (segments that are shorter than they say in sum) */
	return p;
}

/* Where in an mbuf its receive time stands, and which flag says that it does; 0: nowhere. What one
 * unit is, in ns, is the port's. */
extern VN_EXPORT int vn_time_offset;
extern VN_EXPORT uint64_t vn_time_flag;
extern VN_EXPORT uint32_t vn_time_unit[RTE_MAX_ETHPORTS];
/* DPDK's number of a port -> its number in the runtime, by the order in which ports were added. */
extern VN_EXPORT uint16_t vn_port_number[RTE_MAX_ETHPORTS];
/* Looks where receive times stand: once a port that writes them may be there. */
VN_EXPORT void vn_time_look(void);

static inline uint16_t
vn_in_port(const struct rte_mbuf *m)
{
	return m->port < RTE_MAX_ETHPORTS ? vn_port_number[m->port] : UINT16_MAX;
}

static inline uint64_t
vn_rx_time(const struct rte_mbuf *m)
{
	if (!(m->ol_flags & vn_time_flag) || m->port >= RTE_MAX_ETHPORTS)
		return 0;
	return *RTE_MBUF_DYNFIELD(m, vn_time_offset, const uint64_t *) * vn_time_unit[m->port];
}

#endif
