/* SPDX-License-Identifier: BSD-3-Clause
 * Bursts into columns: the common shapes in one straight line, the rest by the general parser, and
 * which loop runs.
 */
#include "vn_parse.h"

#include <rte_mbuf_ptype.h>
#include <rte_prefetch.h>

#include "vn_bytes.h"

/* The common shapes, in one straight line: Ethernet, at most two tags, IPv4 without options or IPv6
 * without extension headers, not a fragment, TCP or UDP with nothing wrong and no tunnel in it.
 * False, with nothing written, for all else. */
static __rte_always_inline bool
parse_common(const struct vn_columns *c, uint32_t row, vn_fieldset want, const uint8_t *p,
	     uint32_t avail, uint32_t wire)
{
	uint32_t l3 = 14, l4, end, depth = 0, l4_len;
	const uint8_t *ip, *h;
	uint16_t type;
	uint8_t proto;

	if (unlikely(avail < 14 + 20 + 8))
		return false;
	type = be16(p + 12);
	while (unlikely(type == 0x8100 || type == 0x88a8)) {
		if (++depth > 2)
			return false;
		type = be16(p + l3 + 2);
		l3 += 4;
	}
	ip = p + l3;
	if (likely(type == 0x0800)) {
		uint32_t total;

		l4 = l3 + 20;
		if (unlikely(avail < l4 + 8))
			return false;
		total = be16(ip + 2);
		end = l3 + total;
		proto = ip[9];
		if (unlikely(ip[0] != 0x45 || be16(ip + 6) & 0x3fff || end > wire || end < l4 + 8))
			return false;
	} else if (type == 0x86dd) {
		l4 = l3 + 40;
		if (unlikely(avail < l4 + 8))
			return false;
		end = l4 + be16(ip + 4);
		proto = ip[6];
		if (unlikely(ip[0] >> 4 != 6 || end > wire || end < l4 + 8))
			return false;
	} else {
		return false;
	}
	h = p + l4;
	if (likely(proto == 17)) {
		uint32_t len = be16(h + 4), port = be16(h + 2);

		if (unlikely(len < 8 || l4 + len > end || port == 4789 || port == 6081 ||
			     port == 2152))
			return false;
		end = l4 + len;
		l4_len = 8;
	} else if (proto == 6) {
		if (unlikely(avail < l4 + 20 || end < l4 + 20))
			return false;
		l4_len = (h[12] >> 4) * 4u;
		if (unlikely(l4_len < 20 || l4 + l4_len > end))
			return false;
	} else {
		return false;
	}

#define ASKED(fields) ((want & (fields)) != 0)
#define SET(name, value)                                                                           \
	do {                                                                                       \
		if (ASKED(VN_F(name)))                                                             \
			c->name[row] = (value);                                                    \
	} while (0)
	SET(ip_proto, proto);
	SET(l4_src, be16(h));
	SET(l4_dst, be16(h + 2));
	if (ASKED(VN_G_ETH)) {
		SET(eth_dst, be48(p));
		SET(eth_src, be48(p + 6));
		SET(ethertype, type);
	}
	if (unlikely(depth) && ASKED(VN_G_VLAN)) {
		SET(vlan_depth, (uint8_t)depth);
		SET(vlan_id, be16(p + 14) & 0xfff);
		SET(vlan_pcp, p[14] >> 5);
		SET(vlan_dei, p[14] >> 4 & 1);
		if (depth == 2) {
			SET(vlan2_id, be16(p + 18) & 0xfff);
			SET(vlan2_pcp, p[18] >> 5);
		}
	}
	if (likely(type == 0x0800)) {
		SET(ip_src, be32(ip + 12));
		SET(ip_dst, be32(ip + 16));
		if (ASKED(VN_G_IP & ~VN_F(ip_proto))) {
			SET(ip_version, 4);
			SET(ip_ttl, ip[8]);
			SET(ip_dscp, ip[1] >> 2);
			SET(ip_ecn, ip[1] & 3);
			SET(ip_len, be16(ip + 2));
		}
		if (ASKED(VN_G_IPV4 & ~(VN_F(ip_src) | VN_F(ip_dst)))) {
			SET(ip_ihl, 5);
			SET(ip_id, be16(ip + 4));
			SET(ip_flags, ip[6] >> 5);
			SET(ip_checksum, be16(ip + 10));
		}
	} else {
		if (ASKED(VN_G_IP & ~VN_F(ip_proto))) {
			SET(ip_version, 6);
			SET(ip_ttl, ip[7]);
			SET(ip_dscp, (uint8_t)(be16(ip) >> 6 & 63));
			SET(ip_ecn, ip[1] >> 4 & 3);
			SET(ip_len, (uint16_t)(be16(ip + 4) + 40));
		}
		if (ASKED(VN_G_IPV6)) {
			SET(ip6_src_hi, be64(ip + 8));
			SET(ip6_src_lo, be64(ip + 16));
			SET(ip6_dst_hi, be64(ip + 24));
			SET(ip6_dst_lo, be64(ip + 32));
			SET(ip6_flow_label, be32(ip) & 0xfffff);
			SET(ip6_next, proto);
		}
	}
	if (ASKED(VN_G_TCP | VN_G_UDP)) {
		if (proto == 17) {
			SET(udp_len, be16(h + 4));
			SET(udp_checksum, be16(h + 6));
		} else {
			SET(tcp_seq, be32(h + 4));
			SET(tcp_ack, be32(h + 8));
			SET(tcp_flags, be16(h + 12) & 0xfff);
			SET(tcp_window, be16(h + 14));
			SET(tcp_checksum, be16(h + 16));
			SET(tcp_urgent, be16(h + 18));
		}
	}
	if (ASKED(VN_G_FRAME)) {
		static const uint32_t l2[] = {RTE_PTYPE_L2_ETHER, RTE_PTYPE_L2_ETHER_VLAN,
					      RTE_PTYPE_L2_ETHER_QINQ};

		SET(wire_len, wire);
		SET(l2_len, (uint16_t)l3);
		SET(l3_len, (uint16_t)(l4 - l3));
		SET(l4_len, (uint16_t)l4_len);
		SET(payload_off, (uint16_t)(l4 + l4_len));
		SET(payload_len, (uint16_t)(end - l4 - l4_len));
		SET(ptype, l2[depth] | (type == 0x0800 ? RTE_PTYPE_L3_IPV4 : RTE_PTYPE_L3_IPV6) |
				   (proto == 17 ? RTE_PTYPE_L4_UDP : RTE_PTYPE_L4_TCP));
	}
#undef SET
#undef ASKED
	return true;
}

/* A packet in several segments, or of another shape than the common ones. */
static __rte_noinline void
parse_rare(const struct vn_columns *c, uint32_t row, vn_fieldset want, const struct rte_mbuf *m)
{
	uint8_t scratch[VN_PARSE_LIMIT];
	uint32_t avail;
	const uint8_t *p = vn_contiguous(m, scratch, &avail);

	vn_parse_bytes(c, row, want, p, 0, avail, m->pkt_len, VN_START_ETH);
}

static __rte_always_inline void
parse_mbuf(const struct vn_columns *c, uint32_t row, vn_fieldset want, const struct rte_mbuf *m)
{
	if (want & (VN_F(in_port) | VN_F(rx_time))) {
		if (want & VN_F(in_port))
			c->in_port[row] = vn_in_port(m);
		if (want & VN_F(rx_time))
			c->rx_time[row] = vn_rx_time(m);
	}
	if (unlikely(!parse_common(c, row, want, rte_pktmbuf_mtod(m, const uint8_t *), m->data_len,
				   m->pkt_len)))
		parse_rare(c, row, want, m);
}

void
vn_parse_mbuf(const struct vn_columns *c, uint32_t row, vn_fieldset want, const struct rte_mbuf *m)
{
	parse_mbuf(c, row, want, m);
}

void
vn_zero(const struct vn_columns *c, vn_fieldset fields, uint32_t from, uint32_t n)
{
	uint8_t *const *column = (uint8_t *const *)c;

	if (from == n)
		return;
	for (unsigned int word = 0; word < 2; word++)
		for (uint64_t rest = (uint64_t)(fields >> 64 * word); rest; rest &= rest - 1) {
			unsigned int f = 64 * word + (unsigned int)__builtin_ctzll(rest);

			memset(column[f] + (size_t)from * vn_field_size[f], 0,
			       (size_t)(n - from) * vn_field_size[f]);
		}
}

static __rte_always_inline void
parse_loop(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n)
{
	ptrdiff_t distance;

	if (unlikely(n == 0))
		return;
	distance = vn_header_distance(pkts[0]);
	for (uint16_t i = 0; i < RTE_MIN(n, VN_AHEAD); i++)
		vn_prefetch(pkts[i], distance);
	for (uint16_t i = 0; i < n; i++) {
		if (i + VN_AHEAD < n)
			vn_prefetch(pkts[i + VN_AHEAD], distance);
		parse_mbuf(c, i, want, pkts[i]);
	}
}

#define FIVE_TUPLE (VN_F(ip_proto) | VN_F(ip_src) | VN_F(ip_dst) | VN_G_L4)

static void
parse_plain(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n)
{
	vn_zero(c, want, 0, n);
	/* A set that is known when this is compiled needs no tests. */
	if (want == FIVE_TUPLE)
		parse_loop(c, FIVE_TUPLE, pkts, n);
	else
		parse_loop(c, want, pkts, n);
}

void
vn_parse_inner(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
	       uint16_t n, const uint16_t *inner_off, const uint16_t *inner_len,
	       const uint8_t *inner_kind)
{
	uint8_t scratch[VN_PARSE_LIMIT];

	vn_zero(c, want, 0, n);
	for (uint16_t i = 0; i < n; i++) {
		uint32_t avail;
		const uint8_t *p;

		if (inner_kind[i] == VN_START_NONE)
			continue;
		p = vn_contiguous(pkts[i], scratch, &avail);
		if (want & VN_F(in_port))
			c->in_port[i] = vn_in_port(pkts[i]);
		if (want & VN_F(rx_time))
			c->rx_time[i] = vn_rx_time(pkts[i]);
		vn_parse_bytes(c, i, want, p, inner_off[i], avail, inner_off[i] + inner_len[i],
			       inner_kind[i]);
	}
}

/* -- which loop -------------------------------------------------------------------------------- */

typedef void (*parse_fn)(const struct vn_columns *, vn_fieldset, struct rte_mbuf *const *,
			 uint16_t);

const char *const vn_simd_names[VN_SIMD_MAX] = {"plain", "sse", "avx2", "avx512"};

#ifdef VN_X86
static const parse_fn block_fns[VN_SIMD_MAX] = {parse_plain, vn_parse_sse, vn_parse_avx2,
						vn_parse_avx512};
#else
static const parse_fn block_fns[VN_SIMD_MAX] = {parse_plain};
#endif

static int simd_level = -1;

int
vn_simd_best(void)
{
#ifdef VN_X86
	__builtin_cpu_init();
	/* All that their files are compiled with (cython/meson.build). */
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("bmi") ||
	    !__builtin_cpu_supports("bmi2"))
		return VN_SIMD_SSE;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
		return VN_SIMD_AVX512;
	return VN_SIMD_AVX2;
#else
	return VN_SIMD_PLAIN;
#endif
}

int
vn_simd_get(void)
{
	int level = __atomic_load_n(&simd_level, __ATOMIC_RELAXED);

	if (unlikely(level < 0)) {
		level = vn_simd_best();
		__atomic_store_n(&simd_level, level, __ATOMIC_RELAXED);
	}
	return level;
}

int
vn_simd_set(int level)
{
	if (level < 0 || level > vn_simd_best())
		return -1;
	simd_level = level;
	return 0;
}

void
vn_parse(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n)
{
	/* What the vector loop does not know is the general parser's. */
	if (want & ~VN_BLOCK_FIELDS)
		parse_plain(c, want, pkts, n);
	else
		block_fns[vn_simd_get()](c, want, pkts, n);
}

int vn_time_offset;
uint64_t vn_time_flag;
uint32_t vn_time_unit[RTE_MAX_ETHPORTS];
uint16_t vn_port_number[RTE_MAX_ETHPORTS];

void
vn_time_look(void)
{
	int offset = rte_mbuf_dynfield_lookup(RTE_MBUF_DYNFIELD_TIMESTAMP_NAME, NULL);
	int bit = rte_mbuf_dynflag_lookup(RTE_MBUF_DYNFLAG_RX_TIMESTAMP_NAME, NULL);

	if (offset < 0 || bit < 0)
		return;
	vn_time_offset = offset;
	vn_time_flag = RTE_BIT64(bit);
}
