/* SPDX-License-Identifier: BSD-3-Clause
 * The general parser: one packet, every header, every malformation. The twin in
 * veridnet/headers/reference.py says the same in the same order.
 */
#include "vn_bytes.h"
#include "vn_parse.h"

#include <rte_mbuf_ptype.h>

/* One packet on its way through the layers. */
struct cursor {
	const struct vn_columns *c;
	const uint8_t *p;
	vn_fieldset want;
	uint32_t i;	/* the row */
	uint32_t off;	/* where the next header begins */
	uint32_t avail; /* bytes that can be read */
	uint32_t end;	/* where the packet ends, padding excluded; may lie beyond avail */
	uint32_t ptype;
	uint16_t l2_len, l3_len, l4_len;
	uint8_t frag, error;
	bool fragment; /* a first fragment: lengths above IP speak of the whole datagram */
};

#define WANT(cur, fields) (((cur)->want & (fields)) != 0)
/* Writes one column's row, if the column was asked for. */
#define PUT(cur, name, value)                                                                      \
	do {                                                                                       \
		if (WANT(cur, VN_F(name)))                                                         \
			(cur)->c->name[(cur)->i] = (value);                                        \
	} while (0)

/* Are `need` more bytes there? If not, that is the error. */
static inline bool
has(struct cursor *q, uint32_t need, enum vn_parse_error error)
{
	if (likely(q->off + need <= q->avail))
		return true;
	q->error = error;
	return false;
}

/* The packet ends `size` bytes from here, if it did not before. */
static inline void
ends_after(struct cursor *q, uint32_t size)
{
	q->end = RTE_MIN(q->end, q->off + size);
	q->avail = RTE_MIN(q->avail, q->end);
}

/* A 16-bit column's value: lengths of jumbograms do not fit. */
static inline uint16_t
cap16(uint32_t v)
{
	return (uint16_t)RTE_MIN(v, UINT16_MAX);
}

/* Ethernet, tags and labels. Returns the EtherType of what follows; 0: nothing that is parsed. */
static inline uint16_t
parse_l2(struct cursor *q)
{
	const uint8_t *eth = q->p + q->off;
	uint32_t start = q->off, depth = 0;
	uint16_t type;

	if (unlikely(!has(q, 14, VN_E_TRUNC_ETH)))
		return 0;
	if (WANT(q, VN_G_ETH)) {
		PUT(q, eth_dst, be48(eth));
		PUT(q, eth_src, be48(eth + 6));
	}
	type = be16(eth + 12);
	q->off += 14;
	q->ptype = RTE_PTYPE_L2_ETHER;
	while (unlikely(type == 0x8100 || type == 0x88a8 || type == 0x9100)) {
		const uint8_t *tag = q->p + q->off;

		if (depth == VN_MAX_VLAN) {
			q->error = VN_E_MANY_VLAN;
			break;
		}
		if (!has(q, 4, VN_E_TRUNC_VLAN))
			break;
		if (WANT(q, VN_G_VLAN)) {
			if (depth == 0) {
				PUT(q, vlan_id, be16(tag) & 0xfff);
				PUT(q, vlan_pcp, tag[0] >> 5);
				PUT(q, vlan_dei, tag[0] >> 4 & 1);
			} else if (depth == 1) {
				PUT(q, vlan2_id, be16(tag) & 0xfff);
				PUT(q, vlan2_pcp, tag[0] >> 5);
			}
			PUT(q, vlan_depth, (uint8_t)(depth + 1));
		}
		depth++;
		q->ptype = depth == 1 ? RTE_PTYPE_L2_ETHER_VLAN : RTE_PTYPE_L2_ETHER_QINQ;
		type = be16(tag + 2);
		q->off += 4;
	}
	q->l2_len = (uint16_t)(q->off - start);
	if (unlikely(q->error))
		return 0;
	if (unlikely(type < 0x600)) { /* a length: IEEE 802.3, LLC follows */
		ends_after(q, type);
		return 0;
	}
	if (WANT(q, VN_G_ETH))
		PUT(q, ethertype, type);
	if (likely(type != 0x8847 && type != 0x8848))
		return type;
	q->ptype = RTE_PTYPE_L2_ETHER_MPLS;
	for (depth = 0;; depth++) {
		const uint8_t *label = q->p + q->off;

		if (depth == VN_MAX_MPLS) {
			q->error = VN_E_MANY_MPLS;
			break;
		}
		if (!has(q, 4, VN_E_TRUNC_MPLS))
			break;
		if (WANT(q, VN_G_MPLS)) {
			if (depth == 0) {
				PUT(q, mpls_label, be32(label) >> 12);
				PUT(q, mpls_tc, label[2] >> 1 & 7);
				PUT(q, mpls_ttl, label[3]);
			}
			PUT(q, mpls_depth, (uint8_t)(depth + 1));
		}
		q->off += 4;
		if (label[2] & 1) {
			/* The bottom of the stack: what follows says its version itself. */
			q->l2_len = (uint16_t)(q->off - start);
			if (q->off >= q->avail)
				return 0;
			return q->p[q->off] >> 4 == 4	? 0x0800
			       : q->p[q->off] >> 4 == 6 ? 0x86dd
							: 0;
		}
	}
	q->l2_len = (uint16_t)(q->off - start);
	return 0;
}

static void
parse_arp(struct cursor *q)
{
	const uint8_t *a = q->p + q->off;
	uint32_t len;

	q->ptype = RTE_PTYPE_L2_ETHER_ARP;
	if (!has(q, 8, VN_E_TRUNC_ARP))
		return;
	len = 8 + 2u * (a[4] + a[5]); /* the addresses' lengths */
	if (!has(q, len, VN_E_TRUNC_ARP))
		return;
	ends_after(q, len);
	q->off += len;
	if (!WANT(q, VN_G_ARP))
		return;
	PUT(q, arp_op, be16(a + 6));
	if (be32(a) != 0x00010800 || be16(a + 4) != 0x0604)
		return; /* not Ethernet and IPv4 */
	PUT(q, arp_sha, be48(a + 8));
	PUT(q, arp_spa, be32(a + 14));
	PUT(q, arp_tha, be48(a + 18));
	PUT(q, arp_tpa, be32(a + 24));
}

/* Returns the protocol above, or -1 where parsing ends. */
static inline int
parse_ip4(struct cursor *q)
{
	const uint8_t *h = q->p + q->off;
	uint32_t ihl, total;
	uint16_t frag;

	if (unlikely(!has(q, 20, VN_E_TRUNC_IP4)))
		return -1;
	if (unlikely(h[0] >> 4 != 4)) {
		q->error = VN_E_BAD_VERSION;
		return -1;
	}
	ihl = h[0] & 15;
	if (unlikely(ihl < 5)) {
		q->error = VN_E_BAD_IHL;
		return -1;
	}
	if (unlikely(!has(q, ihl * 4, VN_E_TRUNC_IP4)))
		return -1;
	total = be16(h + 2);
	frag = be16(h + 6);
	if (WANT(q, VN_G_IP)) {
		PUT(q, ip_version, 4);
		PUT(q, ip_proto, h[9]);
		PUT(q, ip_ttl, h[8]);
		PUT(q, ip_dscp, h[1] >> 2);
		PUT(q, ip_ecn, h[1] & 3);
		PUT(q, ip_len, (uint16_t)total);
	}
	if (WANT(q, VN_G_IPV4)) {
		PUT(q, ip_src, be32(h + 12));
		PUT(q, ip_dst, be32(h + 16));
		PUT(q, ip_ihl, (uint8_t)ihl);
		PUT(q, ip_id, be16(h + 4));
		PUT(q, ip_flags, (uint8_t)(frag >> 13));
		PUT(q, ip_frag_off, frag & 0x1fff);
		PUT(q, ip_checksum, be16(h + 10));
	}
	q->ptype |= ihl == 5 ? RTE_PTYPE_L3_IPV4 : RTE_PTYPE_L3_IPV4_EXT;
	q->l3_len = (uint16_t)(ihl * 4);
	if (unlikely(total < ihl * 4 || q->off + total > q->end)) {
		q->off += ihl * 4;
		q->error = VN_E_BAD_IP_LEN;
		return -1;
	}
	ends_after(q, total);
	q->off += ihl * 4;
	if (unlikely(frag & 0x3fff)) {
		bool more = frag & 0x2000;

		q->frag = (frag & 0x1fff) == 0 ? 1 : more ? 2 : 3;
		q->fragment = true;
		if (q->frag != 1) {
			q->ptype |= RTE_PTYPE_L4_FRAG;
			return -1;
		}
	}
	return h[9];
}

static inline bool
is_ext(uint8_t next)
{
	return next == 0 || next == 43 || next == 44 || next == 51 || next == 60 || next == 135 ||
	       next == 139 || next == 140;
}

static inline int
parse_ip6(struct cursor *q)
{
	const uint8_t *h = q->p + q->off;
	uint32_t start = q->off, plen, count = 0;
	uint8_t next;
	bool over = false;

	if (unlikely(!has(q, 40, VN_E_TRUNC_IP6)))
		return -1;
	if (unlikely(h[0] >> 4 != 6)) {
		q->error = VN_E_BAD_VERSION;
		return -1;
	}
	plen = be16(h + 4);
	next = h[6];
	if (WANT(q, VN_G_IP)) {
		PUT(q, ip_version, 6);
		PUT(q, ip_proto, next);
		PUT(q, ip_ttl, h[7]);
		PUT(q, ip_dscp, (uint8_t)(be16(h) >> 6 & 63));
		PUT(q, ip_ecn, h[1] >> 4 & 3);
		PUT(q, ip_len, cap16(plen + 40));
	}
	if (WANT(q, VN_G_IPV6)) {
		PUT(q, ip6_src_hi, be64(h + 8));
		PUT(q, ip6_src_lo, be64(h + 16));
		PUT(q, ip6_dst_hi, be64(h + 24));
		PUT(q, ip6_dst_lo, be64(h + 32));
		PUT(q, ip6_flow_label, be32(h) & 0xfffff);
		PUT(q, ip6_next, next);
	}
	q->l3_len = 40;
	q->off += 40;
	/* A jumbogram (RFC 2675) says its length in a hop-by-hop option: it ends with the frame. */
	if (likely(plen || next != 0)) {
		if (unlikely(q->off + plen > q->end)) {
			q->ptype |= RTE_PTYPE_L3_IPV6;
			q->error = VN_E_BAD_IP_LEN;
			return -1;
		}
		ends_after(q, plen);
	}
	while (unlikely(is_ext(next))) {
		const uint8_t *e = q->p + q->off;
		uint32_t len;

		if (count == VN_MAX_EXT) {
			q->error = VN_E_MANY_EXT;
			break;
		}
		if (!has(q, 8, VN_E_TRUNC_EXT))
			break;
		len = next == 44 ? 8 : next == 51 ? (e[1] + 2u) * 4 : (e[1] + 1u) * 8;
		if (!has(q, len, VN_E_TRUNC_EXT))
			break;
		if (next == 51) {
			if (len < 12) {
				q->error = VN_E_TRUNC_EXT;
				break;
			}
			if (WANT(q, VN_G_IPSEC)) {
				PUT(q, ipsec_spi, be32(e + 4));
				PUT(q, ipsec_seq, be32(e + 8));
			}
		}
		if (next == 44) {
			uint16_t frag = be16(e + 2);

			if (WANT(q, VN_G_IPV6)) {
				PUT(q, ip6_frag_off, frag >> 3);
				PUT(q, ip6_frag_id, be32(e + 4));
			}
			if (frag & 0xfff9) {
				q->frag = frag >> 3 == 0 ? 1 : frag & 1 ? 2 : 3;
				q->fragment = true;
				over = q->frag != 1;
			}
		}
		next = e[0];
		count++;
		q->off += len;
		if (WANT(q, VN_G_IP))
			PUT(q, ip_proto, next);
		if (over)
			break;
	}
	if (WANT(q, VN_G_IPV6))
		PUT(q, ip6_ext, (uint8_t)count);
	q->l3_len = (uint16_t)(q->off - start);
	q->ptype |= count ? RTE_PTYPE_L3_IPV6_EXT : RTE_PTYPE_L3_IPV6;
	if (over)
		q->ptype |= RTE_PTYPE_L4_FRAG;
	return over || q->error ? -1 : next;
}

static inline void
found_tunnel(struct cursor *q, uint8_t type, uint32_t id, uint32_t inner, uint8_t kind)
{
	static const uint32_t ptypes[] = {
		0,
		RTE_PTYPE_TUNNEL_GRE,
		RTE_PTYPE_TUNNEL_VXLAN,
		RTE_PTYPE_TUNNEL_GENEVE,
		RTE_PTYPE_TUNNEL_GTPU,
		RTE_PTYPE_TUNNEL_IP,
	};

	q->ptype |= ptypes[type];
	q->off = inner;
	if (!WANT(q, VN_G_TUNNEL))
		return;
	PUT(q, tunnel, type);
	PUT(q, tunnel_id, id);
	if (kind && inner < q->end) {
		PUT(q, inner_off, (uint16_t)inner);
		PUT(q, inner_len, cap16(q->end - inner));
		PUT(q, inner_kind, kind);
	}
}

static inline uint8_t
kind_of(uint16_t ethertype)
{
	return ethertype == 0x0800   ? VN_START_IP4
	       : ethertype == 0x86dd ? VN_START_IP6
	       : ethertype == 0x6558 ? VN_START_ETH
				     : VN_START_NONE;
}

static void
parse_gre(struct cursor *q)
{
	const uint8_t *g = q->p + q->off;
	uint32_t len = 4, id = 0;
	uint16_t flags;

	if (!has(q, 4, VN_E_TRUNC_TUNNEL))
		return;
	flags = be16(g);
	if ((flags & 7) > 1 || flags & 0x4000) {
		q->error = VN_E_BAD_TUNNEL;
		return;
	}
	len += (flags & 0x8000 ? 4 : 0) + (flags & 0x2000 ? 4 : 0) + (flags & 0x1000 ? 4 : 0);
	if ((flags & 7) == 1 && flags & 0x0080)
		len += 4;
	if (!has(q, len, VN_E_TRUNC_TUNNEL))
		return;
	if (flags & 0x2000)
		id = be32(g + (flags & 0x8000 ? 8 : 4));
	q->l4_len = (uint16_t)len;
	found_tunnel(q, 1, id, q->off + len, (flags & 7) ? VN_START_NONE : kind_of(be16(g + 2)));
}

/* GTP-U (3GPP TS 29.281). What is on its port and is not GTP version 1 is no tunnel. */
static void
parse_gtpu(struct cursor *q)
{
	const uint8_t *g = q->p + q->off;
	uint32_t at = q->off + 8;
	uint8_t next, kind = VN_START_NONE;

	if (!has(q, 8, VN_E_TRUNC_TUNNEL))
		return;
	if (g[0] >> 4 != 3)
		return;
	if (g[0] & 7) {
		if (!has(q, 12, VN_E_TRUNC_TUNNEL))
			return;
		at += 4;
		next = g[0] & 4 ? g[11] : 0;
		for (unsigned int k = 0; next; k++) {
			uint32_t len;

			if (at >= q->avail) {
				q->error = VN_E_TRUNC_TUNNEL;
				return;
			}
			len = q->p[at] * 4u;
			if (len == 0 || k == VN_MAX_EXT) {
				q->error = VN_E_BAD_TUNNEL;
				return;
			}
			if (at + len > q->avail) {
				q->error = VN_E_TRUNC_TUNNEL;
				return;
			}
			next = q->p[at + len - 1];
			at += len;
		}
	}
	if (g[1] == 255 && at < q->avail)
		kind = q->p[at] >> 4 == 4   ? VN_START_IP4
		       : q->p[at] >> 4 == 6 ? VN_START_IP6
					    : VN_START_NONE;
	found_tunnel(q, 4, be32(g + 4), at, kind);
}

static void
parse_udp_tunnel(struct cursor *q, uint16_t port)
{
	const uint8_t *t = q->p + q->off;

	if (port == 2152) {
		parse_gtpu(q);
		return;
	}
	if (!has(q, 8, VN_E_TRUNC_TUNNEL))
		return;
	if (port == 4789) {
		if (t[0] & 0x08)
			found_tunnel(q, 2, be32(t + 4) >> 8, q->off + 8, VN_START_ETH);
	} else if (t[0] >> 6 == 0) {
		uint32_t len = 8 + (t[0] & 63) * 4u;

		if (has(q, len, VN_E_TRUNC_TUNNEL))
			found_tunnel(q, 3, be32(t + 4) >> 8, q->off + len, kind_of(be16(t + 2)));
	}
}

static inline void
parse_udp(struct cursor *q)
{
	const uint8_t *h = q->p + q->off;
	uint32_t len;
	uint16_t port;

	if (unlikely(!has(q, 8, VN_E_TRUNC_L4)))
		return;
	q->ptype |= RTE_PTYPE_L4_UDP;
	port = be16(h + 2);
	len = be16(h + 4);
	if (WANT(q, VN_G_L4)) {
		PUT(q, l4_src, be16(h));
		PUT(q, l4_dst, port);
	}
	if (WANT(q, VN_G_UDP)) {
		PUT(q, udp_len, (uint16_t)len);
		PUT(q, udp_checksum, be16(h + 6));
	}
	q->l4_len = 8;
	if (unlikely(len < 8 || (q->off + len > q->end && !q->fragment))) {
		q->off += 8;
		q->error = VN_E_BAD_UDP_LEN;
		return;
	}
	ends_after(q, len);
	q->off += 8;
	if (unlikely(port == 4789 || port == 6081 || port == 2152) &&
	    WANT(q, VN_G_TUNNEL | VN_G_FRAME))
		parse_udp_tunnel(q, port);
}

static inline void
parse_tcp(struct cursor *q)
{
	const uint8_t *h = q->p + q->off;
	uint32_t doff;

	if (unlikely(!has(q, 20, VN_E_TRUNC_L4)))
		return;
	q->ptype |= RTE_PTYPE_L4_TCP;
	doff = h[12] >> 4;
	if (WANT(q, VN_G_L4)) {
		PUT(q, l4_src, be16(h));
		PUT(q, l4_dst, be16(h + 2));
	}
	if (WANT(q, VN_G_TCP)) {
		PUT(q, tcp_seq, be32(h + 4));
		PUT(q, tcp_ack, be32(h + 8));
		PUT(q, tcp_flags, be16(h + 12) & 0xfff);
		PUT(q, tcp_window, be16(h + 14));
		PUT(q, tcp_checksum, be16(h + 16));
		PUT(q, tcp_urgent, be16(h + 18));
	}
	if (unlikely(doff < 5 || q->off + doff * 4 > q->end)) {
		q->l4_len = 20;
		q->off += 20;
		q->error = VN_E_BAD_DOFF;
		return;
	}
	q->l4_len = (uint16_t)(doff * 4);
	q->off += doff * 4;
}

static void
parse_icmp(struct cursor *q, bool v6)
{
	const uint8_t *h = q->p + q->off;
	uint32_t need;
	bool echo;

	if (!has(q, 4, VN_E_TRUNC_L4))
		return;
	/* All ICMP messages have 8 bytes; of ICMPv6's, echoes have. */
	echo = v6 ? h[0] == 128 || h[0] == 129 : h[0] == 0 || h[0] == 8;
	need = echo || !v6 ? 8 : 4;
	if (!has(q, need, VN_E_TRUNC_L4))
		return;
	q->ptype |= RTE_PTYPE_L4_ICMP;
	if (WANT(q, VN_G_ICMP)) {
		PUT(q, icmp_type, h[0]);
		PUT(q, icmp_code, h[1]);
		if (echo) {
			PUT(q, icmp_id, be16(h + 4));
			PUT(q, icmp_seq, be16(h + 6));
		}
	}
	q->l4_len = (uint16_t)need;
	q->off += need;
}

/* SCTP, ESP, AH, GRE, IP in IP: what is not on the fast path. */
static void
parse_l4_rest(struct cursor *q, int proto)
{
	const uint8_t *h = q->p + q->off;
	uint32_t len;

	switch (proto) {
	case 132:
		if (!has(q, 12, VN_E_TRUNC_L4))
			return;
		q->ptype |= RTE_PTYPE_L4_SCTP;
		if (WANT(q, VN_G_L4)) {
			PUT(q, l4_src, be16(h));
			PUT(q, l4_dst, be16(h + 2));
		}
		if (WANT(q, VN_G_SCTP)) {
			PUT(q, sctp_tag, be32(h + 4));
			PUT(q, sctp_checksum, be32(h + 8));
		}
		q->l4_len = 12;
		q->off += 12;
		return;
	case 50:
	case 51:
		if (!has(q, proto == 50 ? 8 : 12, VN_E_TRUNC_L4))
			return;
		len = proto == 50 ? 8 : (h[1] + 2u) * 4;
		if (len < (proto == 50 ? 8u : 12u) || !has(q, len, VN_E_TRUNC_L4)) {
			q->error = VN_E_TRUNC_L4;
			return;
		}
		if (WANT(q, VN_G_IPSEC)) {
			PUT(q, ipsec_spi, be32(h + (proto == 50 ? 0 : 4)));
			PUT(q, ipsec_seq, be32(h + (proto == 50 ? 4 : 8)));
		}
		q->l4_len = (uint16_t)len;
		q->off += len;
		return;
	case 47:
		parse_gre(q);
		return;
	case 4:
	case 41:
		found_tunnel(q, 5, 0, q->off, proto == 4 ? VN_START_IP4 : VN_START_IP6);
		return;
	case 59:
		return;
	default:
		if (!q->fragment)
			q->ptype |= RTE_PTYPE_L4_NONFRAG;
	}
}

#define VN_G_ABOVE_L2                                                                              \
	(VN_G_FRAME | VN_G_ARP | VN_G_IP | VN_G_IPV4 | VN_G_IPV6 | VN_G_L4 | VN_G_TCP | VN_G_UDP | \
	 VN_G_SCTP | VN_G_ICMP | VN_G_IPSEC | VN_G_TUNNEL)
#define VN_G_ABOVE_L3                                                                              \
	(VN_G_FRAME | VN_G_L4 | VN_G_TCP | VN_G_UDP | VN_G_SCTP | VN_G_ICMP | VN_G_IPSEC |         \
	 VN_G_TUNNEL)

void
vn_parse_bytes(const struct vn_columns *c, uint32_t row, vn_fieldset want, const uint8_t *p,
	       uint32_t base, uint32_t avail, uint32_t end, enum vn_start start)
{
	struct cursor q = {.c = c,
			   .p = p,
			   .want = want,
			   .i = row,
			   .off = base,
			   .avail = RTE_MIN(RTE_MIN(avail, end), VN_PARSE_LIMIT),
			   .end = end};
	int proto = -1;
	uint16_t type;
	bool v6 = false;

	type = start == VN_START_ETH ? parse_l2(&q) : start == VN_START_IP4 ? 0x0800 : 0x86dd;
	if (likely(type && WANT(&q, VN_G_ABOVE_L2))) {
		if (likely(type == 0x0800)) {
			proto = parse_ip4(&q);
		} else if (type == 0x86dd) {
			proto = parse_ip6(&q);
			v6 = true;
		} else if (type == 0x0806) {
			parse_arp(&q);
		}
	}
	if (likely(proto >= 0 && WANT(&q, VN_G_ABOVE_L3))) {
		if (likely(proto == 17))
			parse_udp(&q);
		else if (proto == 6)
			parse_tcp(&q);
		else if (proto == (v6 ? 58 : 1))
			parse_icmp(&q, v6);
		else
			parse_l4_rest(&q, proto);
	}
	if (WANT(&q, VN_G_FRAME)) {
		PUT(&q, wire_len, end - base);
		PUT(&q, l2_len, q.l2_len);
		PUT(&q, l3_len, q.l3_len);
		PUT(&q, l4_len, q.l4_len);
		PUT(&q, payload_off, (uint16_t)q.off);
		PUT(&q, payload_len, cap16(q.end > q.off ? q.end - q.off : 0));
		PUT(&q, ptype, q.ptype);
		PUT(&q, frag, q.frag);
		PUT(&q, error, q.error);
	}
}
