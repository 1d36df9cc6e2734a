/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_write.h"

#include "vn_checksum.h"
#include "vn_derive.h"
#include "vn_port.h"
#include "vn_rewrite.h"

/* What one packet's checksums must be corrected by (vn_checksum.h). */
struct deltas {
	uint32_t ip, l4;
	bool routed; /* the destination is not what the checksum is over */
};

static uint64_t
value_of(const struct vn_columns *c, enum vn_field f, uint32_t row)
{
	const uint8_t *p = ((const uint8_t *const *)c)[f] + (size_t)row * vn_field_size[f];
	uint64_t v = 0;

	memcpy(&v, p, vn_field_size[f]);
	return v;
}

/* The row of one packet as it stands in the packet. */
struct row {
	uint64_t cell[VN_COLUMNS];
	struct vn_columns c;
};

/* What must be known of a packet to write to it. */
#define PLACES                                                                                     \
	(VN_F(l2_len) | VN_F(l3_len) | VN_F(l4_len) | VN_F(frag) | VN_F(payload_off) |             \
	 VN_F(payload_len) | VN_F(vlan_depth) | VN_F(ip_version) | VN_F(ip_proto) |                \
	 VN_F(udp_checksum) | VN_F(error))

static const enum vn_field writable[] = {VN_WRITABLE};

static void
write_field(uint8_t *p, const struct row *old, enum vn_field f, uint64_t v, struct deltas *d)
{
	const uint64_t *o = old->cell;
	uint8_t *ip = p + o[VN_I_l2_len], *l4 = ip + o[VN_I_l3_len];
	bool v4 = o[VN_I_ip_version] == 4;
	uint64_t be;
	uint32_t delta;
	uint8_t byte;

	switch (f) {
	case VN_I_eth_dst:
	case VN_I_eth_src:
		be = __builtin_bswap64(v << 16);
		memcpy(p + (f == VN_I_eth_dst ? 0 : 6), &be, 6);
		break;
	case VN_I_vlan_id:
		p[14] = (uint8_t)((p[14] & 0xf0) | (v >> 8 & 15));
		p[15] = (uint8_t)v;
		break;
	case VN_I_vlan_pcp:
		p[14] = (uint8_t)((p[14] & 0x1f) | v << 5);
		break;
	case VN_I_ip_ttl:
		byte = (uint8_t)v;
		if (v4)
			d->ip += vn_put(ip, 8, &byte, 1);
		else
			ip[7] = byte;
		break;
	case VN_I_ip_dscp:
	case VN_I_ip_ecn:
		/* Both halves of one byte; in IPv6 it lies across two. */
		byte = v4 ? ip[1] : (uint8_t)(ip[0] << 4 | ip[1] >> 4);
		byte = f == VN_I_ip_dscp ? (uint8_t)((byte & 3) | v << 2)
					 : (uint8_t)((byte & 0xfc) | (v & 3));
		if (v4) {
			d->ip += vn_put(ip, 1, &byte, 1);
		} else {
			ip[0] = (uint8_t)((ip[0] & 0xf0) | byte >> 4);
			ip[1] = (uint8_t)((ip[1] & 0x0f) | byte << 4);
		}
		break;
	case VN_I_ip_id:
		d->ip += vn_put16(ip, 4, v);
		break;
	case VN_I_ip_src:
	case VN_I_ip_dst:
		delta = vn_put32(ip, f == VN_I_ip_src ? 12 : 16, v);
		d->ip += delta;
		if (f == VN_I_ip_src || !d->routed)
			d->l4 += delta;
		break;
	case VN_I_ip6_src_hi:
		d->l4 += vn_put64(ip, 8, v);
		break;
	case VN_I_ip6_src_lo:
		d->l4 += vn_put64(ip, 16, v);
		break;
	case VN_I_ip6_dst_hi:
		delta = vn_put64(ip, 24, v);
		d->l4 += d->routed ? 0 : delta;
		break;
	case VN_I_ip6_dst_lo:
		delta = vn_put64(ip, 32, v);
		d->l4 += d->routed ? 0 : delta;
		break;
	case VN_I_ip6_flow_label:
		ip[1] = (uint8_t)((ip[1] & 0xf0) | (v >> 16 & 15));
		ip[2] = (uint8_t)(v >> 8);
		ip[3] = (uint8_t)v;
		break;
	case VN_I_l4_src:
		d->l4 += vn_put16(l4, 0, v);
		break;
	case VN_I_l4_dst:
		d->l4 += vn_put16(l4, 2, v);
		break;
	case VN_I_tcp_seq:
		d->l4 += vn_put32(l4, 4, v);
		break;
	case VN_I_tcp_ack:
		d->l4 += vn_put32(l4, 8, v);
		break;
	case VN_I_tcp_flags:
		d->l4 += vn_put16(l4, 12, (uint64_t)(l4[12] >> 4) << 12 | (v & 0xfff));
		break;
	case VN_I_tcp_window:
		d->l4 += vn_put16(l4, 14, v);
		break;
	default:
		break;
	}
}

/* Does the packet have the header that a field stands in? */
static bool
has_field(const struct row *old, enum vn_field f)
{
	const uint64_t *o = old->cell;
	vn_fieldset bit = (vn_fieldset)1 << f;
	uint8_t proto = (uint8_t)o[VN_I_ip_proto];

	if (bit & VN_G_ETH)
		return true; /* own_rows and write_row see to its 14 bytes */
	if (bit & VN_G_VLAN)
		return o[VN_I_vlan_depth] != 0;
	if (bit & VN_G_IP)
		return o[VN_I_ip_version] != 0;
	if (bit & VN_G_IPV4)
		return o[VN_I_ip_version] == 4;
	if (bit & VN_G_IPV6)
		return o[VN_I_ip_version] == 6;
	if (o[VN_I_l4_len] == 0)
		return false;
	return bit & VN_G_TCP ? proto == 6 : proto == 6 || proto == 17 || proto == 132;
}

static bool
write_row(const struct vn_columns *c, vn_fieldset fields, uint32_t i, struct rte_mbuf *m,
	  struct row *old)
{
	uint8_t scratch[VN_PARSE_LIMIT];
	struct deltas d = {0, 0, false};
	const uint64_t *o = old->cell;
	bool changed = false, again = false;
	uint8_t *p, *l4;
	uint32_t size;
	uint8_t proto;

	/* Its own, or gathered: then what is written goes back to the segments. */
	p = (uint8_t *)(uintptr_t)vn_contiguous(m, scratch, &size);
	if (size < RTE_ETHER_HDR_LEN)
		return false;
	memset(old->cell, 0, sizeof(old->cell));
	vn_parse_bytes(&old->c, 0, fields | PLACES, p, 0, size, m->pkt_len, VN_START_ETH);
	d.routed = unlikely(o[VN_I_l3_len] > (o[VN_I_ip_version] == 6 ? 40 : 20)) &&
		   vn_rerouted(m, (uint32_t)o[VN_I_l2_len],
			       (uint32_t)(o[VN_I_l2_len] + o[VN_I_l3_len]),
			       o[VN_I_ip_version] == 6);
	for (unsigned int k = 0; k < RTE_DIM(writable); k++) {
		enum vn_field f = writable[k];
		uint64_t v;

		if (!(fields >> f & 1) || !has_field(old, f))
			continue;
		v = value_of(c, f, i);
		if (v == o[f])
			continue;
		write_field(p, old, f, v, &d);
		changed = true;
		again |= ((vn_fieldset)1 << f & VN_G_L4) != 0;
	}
	if (!changed)
		return false;

	if (o[VN_I_ip_version] == 4 && d.ip) {
		uint16_t sum = vn_corrected(p + o[VN_I_l2_len] + 10, d.ip);

		memcpy(p + o[VN_I_l2_len] + 10, &sum, 2);
	}
	proto = (uint8_t)o[VN_I_ip_proto];
	l4 = p + o[VN_I_l2_len] + o[VN_I_l3_len];
	if (d.l4 && o[VN_I_l4_len] && o[VN_I_frag] <= 1) {
		uint32_t at = proto == 6 ? 16 : proto == 17 ? 6 : 2;

		/* An IPv4 ICMP checksum has no pseudo-header; nor has UDP's if it is absent. */
		if (proto == 6 || (proto == 17 && o[VN_I_udp_checksum]) ||
		    (proto == 58 && o[VN_I_ip_version] == 6)) {
			uint16_t sum = vn_corrected(l4 + at, d.l4);

			if (proto == 17 && sum == 0)
				sum = 0xffff; /* RFC 768: 0 says that there is none */
			memcpy(l4 + at, &sum, 2);
		}
	}
	if (p == scratch) {
		uint32_t at = 0;

		for (struct rte_mbuf *seg = m; seg && at < size; seg = seg->next) {
			uint32_t k = RTE_MIN(size - at, (uint32_t)seg->data_len);

			memcpy(rte_pktmbuf_mtod(seg, void *), scratch + at, k);
			at += k;
		}
	}
	if (again && proto == 132 && o[VN_I_frag] == 0 && o[VN_I_error] == 0)
		vn_sctp_seal(m, (uint32_t)(o[VN_I_l2_len] + o[VN_I_l3_len]),
			     (uint32_t)(o[VN_I_payload_off] + o[VN_I_payload_len] - o[VN_I_l2_len] -
					o[VN_I_l3_len]));
	return true;
}

/* Is every byte of the packet its owner's alone, and are there so much headroom, and so much of its
 * beginning in one piece? */
static bool
is_ready(const struct rte_mbuf *m, uint16_t headroom, uint16_t head)
{
	if (rte_pktmbuf_headroom(m) < headroom || m->data_len < RTE_MIN((uint32_t)head, m->pkt_len))
		return false;
	for (; m; m = m->next)
		if (rte_mbuf_refcnt_read(m) != 1 || (m->ol_flags & VN_FOREIGN))
			return false;
	return true;
}

int
vn_own_rows(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where, uint16_t headroom,
	    uint16_t head)
{
	for (uint16_t i = 0; i < n; i++)
		if ((where == NULL || where[i]) && unlikely(!is_ready(pkts[i], headroom, head)) &&
		    vn_unshare(NULL, &pkts[i]) != 0)
			return -1;
	return 0;
}

uint16_t
vn_write(const struct vn_columns *c, vn_fieldset fields, struct rte_mbuf **pkts, uint16_t n,
	 const uint8_t *where)
{
	struct row old;
	void **column = (void **)&old.c;
	uint16_t changed = 0;

	for (unsigned int k = 0; k < VN_COLUMNS; k++)
		column[k] = &old.cell[k];
	for (uint16_t i = 0; i < n; i++)
		if (where == NULL || where[i])
			changed += write_row(c, fields, i, pkts[i], &old);
	return changed;
}

uint16_t
vn_vlan_push(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where, uint16_t tpid, uint16_t tci)
{
	uint16_t be[2] = {__builtin_bswap16(tpid), __builtin_bswap16(tci)};
	uint16_t changed = 0;

	for (uint16_t i = 0; i < n; i++) {
		uint8_t *p;

		if ((where && !where[i]) || pkts[i]->data_len < RTE_ETHER_HDR_LEN)
			continue;
		p = (uint8_t *)rte_pktmbuf_prepend(pkts[i], 4);
		if (p == NULL) /* not after vn_own_rows() */
			continue;
		memmove(p, p + 4, 12);
		memcpy(p + 12, be, 4);
		changed++;
	}
	return changed;
}

uint16_t
vn_vlan_pop(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where)
{
	uint16_t changed = 0;

	for (uint16_t i = 0; i < n; i++) {
		uint8_t *p = rte_pktmbuf_mtod(pkts[i], uint8_t *);
		uint16_t type;

		if ((where && !where[i]) || pkts[i]->data_len < RTE_ETHER_HDR_LEN + 4)
			continue;
		type = __builtin_bswap16(vn_word(p + 12));
		if (type != 0x8100 && type != 0x88a8 && type != 0x9100)
			continue;
		memmove(p + 4, p, 12);
		rte_pktmbuf_adj(pkts[i], 4);
		changed++;
	}
	return changed;
}

uint16_t
vn_partition(struct rte_mbuf **pkts, uint16_t n, const uint8_t *mask, struct rte_mbuf **out)
{
	uint16_t kept = 0, moved = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		/* Both stores, one of which counts: no branch to mispredict. */
		out[moved] = m;
		pkts[kept] = m;
		moved += mask[i] != 0;
		kept += mask[i] == 0;
	}
	return moved;
}
