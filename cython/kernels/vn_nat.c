/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_nat.h"

#include "vn_bytes.h"
#include "vn_checksum.h"

#include <rte_ether.h>

void
vn_set_init(struct vn_set *s)
{
	void **column = (void **)&s->columns;

	memset(s, 0, sizeof(*s));
	for (unsigned int k = 0; k < VN_COLUMNS; k++)
		column[k] = &s->cells[k];
}

void
vn_set_add(struct vn_set *s, enum vn_field f, uint64_t value)
{
	s->fields |= (vn_fieldset)1 << f;
	memcpy(&s->cells[f], &value, vn_field_size[f]); /* (little endian, as all of ours) */
}

void
vn_set_macs_of(const struct vn_set *s, struct rte_mbuf *m)
{
	uint8_t *eth = rte_pktmbuf_mtod(m, uint8_t *);
	uint64_t be;

	if (m->data_len < RTE_ETHER_HDR_LEN)
		return;
	if (s->fields & VN_F(eth_dst)) {
		be = __builtin_bswap64(s->cells[VN_I_eth_dst] << 16);
		memcpy(eth, &be, 6);
	}
	if (s->fields & VN_F(eth_src)) {
		be = __builtin_bswap64(s->cells[VN_I_eth_src] << 16);
		memcpy(eth + 6, &be, 6);
	}
}

void
vn_nat_init(struct vn_nat *a, bool source, uint8_t version, const uint8_t *address, bool has_port,
	    uint16_t port)
{
	memset(a, 0, sizeof(*a));
	a->version = version;
	a->source = source;
	a->has_port = has_port;
	a->port = port;
	memcpy(a->address, address, version == 4 ? 4 : 16);
	vn_set_init(&a->set);
	if (version == 4) {
		vn_set_add(&a->set, source ? VN_I_ip_src : VN_I_ip_dst, be32(address));
	} else {
		vn_set_add(&a->set, source ? VN_I_ip6_src_hi : VN_I_ip6_dst_hi, be64(address));
		vn_set_add(&a->set, source ? VN_I_ip6_src_lo : VN_I_ip6_dst_lo, be64(address + 8));
	}
	if (has_port)
		vn_set_add(&a->set, source ? VN_I_l4_src : VN_I_l4_dst, port);
}

/* Bytes that differ, written; what that does to a checksum. (Writing the same is a delta of 0xffff
 * a word: 0 in ones' complement, but the other one.) */
static inline uint32_t
put_changed(uint8_t *header, uint32_t off, const void *bytes, uint32_t len)
{
	return memcmp(header + off, bytes, len) ? vn_put(header, off, bytes, len) : 0;
}

static inline void
correct(uint8_t *checksum, uint32_t delta)
{
	uint16_t sum = vn_corrected(checksum, delta);

	memcpy(checksum, &sum, 2);
}

/* The common shapes: at most two tags, IPv4 without options or IPv6 without extension headers, not
 * a fragment, whole TCP or UDP. False, with nothing written, for all else. */
static bool
nat_common(const struct vn_nat *a, struct rte_mbuf *m)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *), *ip, *l4, *checksum;
	uint32_t avail = m->data_len, l3 = 14, at, end, delta, of_ip;
	uint16_t type, port;
	uint8_t proto;

	if (unlikely(avail < 14 + 20 + 8))
		return false;
	type = be16(p + 12);
	for (int tags = 0; unlikely(type == 0x8100 || type == 0x88a8); tags++) {
		if (tags == 2)
			return false;
		type = be16(p + l3 + 2);
		l3 += 4;
	}
	at = l3 + (a->version == 4 ? 20 : 40);
	ip = p + l3;
	l4 = p + at;
	if (unlikely(type != (a->version == 4 ? 0x0800 : 0x86dd) || avail < at + 8))
		return false;
	if (a->version == 4) {
		end = l3 + be16(ip + 2);
		proto = ip[9];
		if (unlikely(ip[0] != 0x45 || be16(ip + 6) & 0x3fff))
			return false;
	} else {
		end = at + be16(ip + 4);
		proto = ip[6];
		if (unlikely(ip[0] >> 4 != 6))
			return false;
	}
	if (unlikely(end > m->pkt_len || end < at + 8))
		return false;
	if (proto == 6) {
		if (unlikely(end < at + 20 || avail < at + 20 || (l4[12] >> 4) < 5 ||
			     at + (l4[12] >> 4) * 4u > end))
			return false;
		checksum = l4 + 16;
	} else if (proto == 17) {
		uint32_t len = be16(l4 + 4);

		if (unlikely(len < 8 || at + len > end))
			return false;
		checksum = l4 + 6;
	} else {
		return false;
	}
	if (a->version == 4)
		delta = put_changed(ip, a->source ? 12 : 16, a->address, 4);
	else
		delta = put_changed(ip, a->source ? 8 : 24, a->address, 16);
	of_ip = delta;
	if (a->has_port) {
		port = __builtin_bswap16(a->port);
		delta += put_changed(l4, a->source ? 0 : 2, &port, 2);
	}
	if (a->version == 4 && of_ip)
		correct(ip + 10, of_ip);
	if (delta && (proto == 6 || vn_word(checksum))) {
		correct(checksum, delta);
		if (proto == 17 && vn_word(checksum) == 0)
			memset(checksum, 0xff, 2); /* RFC 768: 0 says that there is none */
	}
	return true;
}

/* Where a packet's IP header begins, and its version; 0: it has none that can be read. */
static uint32_t
find_ip(const struct rte_mbuf *m, uint32_t *l3)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t cell[VN_COLUMNS];
	struct vn_columns c;

	if (likely(m->data_len >= 14 + 20)) {
		uint16_t type = be16(p + 12);

		*l3 = 14;
		if (type == 0x0800 && p[14] >> 4 == 4 && (p[14] & 15) >= 5)
			return 4;
		if (type == 0x86dd && p[14] >> 4 == 6 && m->data_len >= 14 + 40)
			return 6;
	}
	/* Tags, labels, and what is broken. */
	cell[VN_I_ip_version] = cell[VN_I_l2_len] = 0;
	for (unsigned int k = 0; k < VN_COLUMNS; k++)
		((void **)&c)[k] = &cell[k];
	vn_parse_bytes(&c, 0, VN_F(ip_version) | VN_F(l2_len), p, 0,
		       RTE_MIN((uint32_t)m->data_len, VN_PARSE_LIMIT), m->pkt_len, VN_START_ETH);
	*l3 = (uint16_t)cell[VN_I_l2_len];
	if (*l3 + ((uint8_t)cell[VN_I_ip_version] == 4 ? 20u : 40u) > m->data_len)
		return 0;
	return (uint8_t)cell[VN_I_ip_version];
}

void
vn_nat_run(const struct vn_nat *a, struct rte_mbuf *m)
{
	uint32_t l3;

	/* (Without the second question a packet of the other version would get the port.) */
	if (unlikely(!nat_common(a, m)) && find_ip(m, &l3) == a->version)
		vn_set_run(&a->set, m);
}

bool
vn_ttl_run(struct rte_mbuf *m)
{
	uint32_t l3, version = find_ip(m, &l3);
	uint8_t *ip = rte_pktmbuf_mtod(m, uint8_t *) + l3, ttl;

	if (version == 0)
		return true;
	ttl = ip[version == 4 ? 8 : 7];
	if (ttl <= 1)
		return false;
	ttl--;
	if (version == 4)
		correct(ip + 10, vn_put(ip, 8, &ttl, 1));
	else
		ip[7] = ttl;
	return true;
}
