/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_derive.h"

#include <rte_branch_prediction.h>
#include <rte_hash_crc.h>
#include <rte_ip.h>
#include <rte_prefetch.h>

/* The ones' complement sum of a packet's bytes off..off+len; false: they are not all there.
 * (rte_raw_cksum_mbuf() loses carries in segments that begin at an odd place.) */
static bool
sum_of(const struct rte_mbuf *m, uint32_t off, uint32_t len, uint32_t *sum)
{
	uint32_t total = 0, done = 0;

	if (likely(off + len <= m->data_len)) {
		*sum = rte_raw_cksum(rte_pktmbuf_mtod_offset(m, const void *, off), len);
		return true;
	}
	for (; m != NULL && done < len; m = m->next) {
		uint32_t size;
		uint16_t part;

		if (off >= m->data_len) {
			off -= m->data_len;
			continue;
		}
		size = RTE_MIN(m->data_len - off, len - done);
		part = rte_raw_cksum(rte_pktmbuf_mtod_offset(m, const void *, off), size);
		total += done & 1 ? rte_bswap16(part) : part;
		done += size;
		off = 0;
	}
	*sum = (total & 0xffff) + (total >> 16);
	return done == len;
}

static uint8_t
sum_is_right(const struct rte_mbuf *m, uint32_t off, uint32_t len, uint32_t pseudo)
{
	uint32_t sum;

	if (!sum_of(m, off, len, &sum))
		return VN_CSUM_NONE;
	pseudo += sum;
	pseudo = (pseudo & 0xffff) + (pseudo >> 16);
	pseudo = (pseudo & 0xffff) + (pseudo >> 16);
	return pseudo == 0xffff ? VN_CSUM_GOOD : VN_CSUM_BAD;
}

/* rte_hash_crc() loads words from where they are not aligned. */
static uint32_t
crc32c(const uint8_t *p, uint32_t len, uint32_t crc)
{
	uint64_t word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		crc = rte_hash_crc_8byte(word, crc);
	}
	for (; len > 0; p++, len--)
		crc = rte_hash_crc_1byte(*p, crc);
	return crc;
}

/* The CRC32c of an SCTP packet, with zeros where it stands. -1: it is not all here. */
static int64_t
sctp_crc(const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	static const uint8_t zero[4];
	uint32_t crc = 0xffffffff, at = 0;

	if (len < 12)
		return -1;
	while (at < len) {
		uint8_t piece[256];
		uint32_t size = at < 8	  ? 8
				: at < 12 ? 4
					  : RTE_MIN(len - at, (uint32_t)sizeof(piece));
		const uint8_t *p = at == 8 ? zero : rte_pktmbuf_read(m, off + at, size, piece);

		if (p == NULL)
			return -1;
		crc = crc32c(p, size, crc);
		at += size;
	}
	return rte_cpu_to_le_32(~crc);
}

static uint8_t
sctp_is_right(const struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	int64_t crc = sctp_crc(m, off, len);
	uint32_t stored;
	const void *s = rte_pktmbuf_read(m, off + 8, 4, &stored);

	if (s == NULL || crc < 0)
		return VN_CSUM_NONE;
	memcpy(&stored, s, 4);
	return (uint32_t)crc == stored ? VN_CSUM_GOOD : VN_CSUM_BAD;
}

void
vn_sctp_seal(struct rte_mbuf *m, uint32_t off, uint32_t len)
{
	int64_t crc = sctp_crc(m, off, len);
	uint8_t bytes[4];

	if (crc < 0)
		return;
	memcpy(bytes, &(uint32_t){(uint32_t)crc}, 4);
	off += 8;
	for (unsigned int k = 0; k < 4; m = m->next) {
		for (; k < 4 && off < m->data_len; off++)
			rte_pktmbuf_mtod(m, uint8_t *)[off] = bytes[k++];
		off -= m->data_len;
	}
}

static bool
rerouted6(const struct rte_mbuf *m, uint32_t l3, uint32_t l4)
{
	uint8_t buf[4];
	const uint8_t *e = rte_pktmbuf_read(m, l3 + 6, 1, buf);
	uint32_t off = l3 + 40;
	uint8_t next;

	if (e == NULL)
		return true;
	for (next = *e; off < l4; next = e[0]) {
		e = rte_pktmbuf_read(m, off, 4, buf);
		if (e == NULL)
			return true;
		if (next == 43)
			return e[3] != 0;
		off += next == 44 ? 8 : next == 51 ? (e[1] + 2u) * 4 : (e[1] + 1u) * 8;
	}
	return false;
}

static bool
rerouted4(const struct rte_mbuf *m, uint32_t l3, uint32_t l4)
{
	uint8_t buf[40];
	uint32_t len = l4 - l3 - 20, at = 0;
	const uint8_t *o;

	/* The lengths may be a program's: columns are arrays that it can write. */
	if (len > sizeof(buf))
		return true;
	o = rte_pktmbuf_read(m, l3 + 20, len, buf);
	if (o == NULL)
		return true;
	while (at + 2 < len && o[at] != 0) {
		if (o[at] == 131 || o[at] == 137) /* loose and strict source route */
			return o[at + 2] <= o[at + 1];
		at += o[at] == 1 ? 1 : RTE_MAX(o[at + 1], 2);
	}
	return false;
}

bool
vn_rerouted(const struct rte_mbuf *m, uint32_t l3, uint32_t l4, bool v6)
{
	return v6 ? rerouted6(m, l3, l4) : rerouted4(m, l3, l4);
}

static uint8_t
l4_is_right(const struct vn_columns *c, uint32_t i, const struct rte_mbuf *m, uint32_t l3)
{
	uint32_t off = l3 + c->l3_len[i], end = c->payload_off[i] + (uint32_t)c->payload_len[i];
	uint8_t proto = c->ip_proto[i], error = c->error[i], addr[32], field[2];
	bool v6 = c->ip_version[i] == 6;
	const uint8_t *a, *f;
	uint32_t pseudo = 0, at;

	if (c->l4_len[i] == 0 || c->frag[i] || end <= off || end - off > UINT16_MAX ||
	    (error && error != VN_E_TRUNC_TUNNEL && error != VN_E_BAD_TUNNEL))
		return VN_CSUM_NONE;
	if (proto == 132)
		return sctp_is_right(m, off, end - off);
	at = proto == 6 ? 16 : proto == 17 ? 6 : 2;
	if (proto != 6 && proto != 17 && proto != (v6 ? 58 : 1))
		return VN_CSUM_NONE;
	f = rte_pktmbuf_read(m, off + at, 2, field);
	if (f == NULL)
		return VN_CSUM_NONE;
	if (proto == 17 && f[0] == 0 && f[1] == 0)
		return v6 ? VN_CSUM_BAD : VN_CSUM_NONE; /* RFC 8200, 8.1 */
	if (proto != 1) {
		uint32_t bytes = v6 ? 32 : 8;

		a = rte_pktmbuf_read(m, l3 + (v6 ? 8 : 12), bytes, addr);
		if (a == NULL)
			return VN_CSUM_NONE;
		if (unlikely(off - l3 != (v6 ? 40 : 20)) && vn_rerouted(m, l3, off, v6))
			return VN_CSUM_NONE;
		pseudo = rte_raw_cksum(a, bytes) + rte_cpu_to_be_16(proto);
		pseudo += rte_cpu_to_be_16((uint16_t)(end - off));
	}
	return sum_is_right(m, off, end - off, pseudo);
}

static void
checksums(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n,
	  const uint16_t *base)
{
	for (uint16_t i = 0; i < n; i++) {
		uint32_t l3 = (base ? base[i] : 0) + c->l2_len[i];

		if (i + 4 < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkts[i + 4], const void *));
		if (want & VN_F(ip_csum))
			c->ip_csum[i] = c->ip_version[i] == 4
						? sum_is_right(pkts[i], l3, c->ip_ihl[i] * 4u, 0)
						: VN_CSUM_NONE;
		if (want & VN_F(l4_csum))
			c->l4_csum[i] = l4_is_right(c, i, pkts[i], l3);
	}
}

/* -- Toeplitz ---------------------------------------------------------------------------------- */

/* What each byte value at each place adds to the hash: 36 bytes of addresses and ports. */
struct toeplitz {
	uint32_t t[36][256];
};

static struct toeplitz normal, symmetric;

static void
build(struct toeplitz *z, const uint8_t *key)
{
	for (unsigned int at = 0; at < 36; at++) {
		uint64_t window = 0;
		uint32_t bit[8];

		for (unsigned int k = 0; k < 5; k++)
			window = window << 8 | key[at + k];
		for (unsigned int k = 0; k < 8; k++)
			bit[k] = (uint32_t)(window >> (8 - k));
		for (unsigned int v = 0; v < 256; v++) {
			uint32_t h = 0;

			for (unsigned int k = 0; k < 8; k++)
				if (v & 0x80 >> k)
					h ^= bit[k];
			z->t[at][v] = h;
		}
	}
}

void
vn_hash_set_key(const uint8_t *key)
{
	build(&normal, key);
}

/* The key of the RSS specification, which DPDK's test vectors use too; and the 16 bits whose
 * repetition makes the hash symmetric (Woo and Park, 2012). */
__attribute__((constructor)) static void
default_keys(void)
{
	static const uint8_t microsoft[VN_HASH_KEY_LEN] = {
		0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3,
		0x8f, 0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3,
		0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
	};
	uint8_t repeated[VN_HASH_KEY_LEN];

	for (unsigned int k = 0; k < VN_HASH_KEY_LEN; k++)
		repeated[k] = k % 2 ? 0x5a : 0x6d;
	build(&normal, microsoft);
	build(&symmetric, repeated);
}

static inline uint32_t
mix32(const struct toeplitz *z, unsigned int at, uint32_t v)
{
	return z->t[at][v >> 24] ^ z->t[at + 1][v >> 16 & 255] ^ z->t[at + 2][v >> 8 & 255] ^
	       z->t[at + 3][v & 255];
}

static inline uint32_t
mix64(const struct toeplitz *z, unsigned int at, uint64_t v)
{
	return mix32(z, at, (uint32_t)(v >> 32)) ^ mix32(z, at + 4, (uint32_t)v);
}

static void
hash(const struct vn_columns *c, uint32_t *out, uint16_t n, const struct toeplitz *z)
{
	for (uint16_t i = 0; i < n; i++) {
		uint8_t version = c->ip_version[i], proto = c->ip_proto[i];
		unsigned int at = 8;
		uint32_t h = 0;

		if (likely(version == 4)) {
			h = mix32(z, 0, c->ip_src[i]) ^ mix32(z, 4, c->ip_dst[i]);
		} else if (version == 6) {
			h = mix64(z, 0, c->ip6_src_hi[i]) ^ mix64(z, 8, c->ip6_src_lo[i]) ^
			    mix64(z, 16, c->ip6_dst_hi[i]) ^ mix64(z, 24, c->ip6_dst_lo[i]);
			at = 32;
		} else {
			continue;
		}
		if (c->frag[i] == 0 && (proto == 6 || proto == 17 || proto == 132))
			h ^= mix32(z, at, (uint32_t)c->l4_src[i] << 16 | c->l4_dst[i]);
		out[i] = h;
	}
}

void
vn_derive(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n,
	  const uint16_t *base)
{
	if (want & VN_G_CHECKSUM)
		checksums(c, want, pkts, n, base);
	if (want & VN_F(flow_hash))
		hash(c, c->flow_hash, n, &normal);
	if (want & VN_F(flow_hash_sym))
		hash(c, c->flow_hash_sym, n, &symmetric);
}

static const struct {
	enum vn_field field;
	vn_fieldset needs;
} vn_derived_needs[] = {VN_DERIVED_NEEDS};

void
vn_fill(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n)
{
	vn_fieldset derived = want & VN_DERIVED;

	if (likely(derived == 0)) {
		vn_parse(c, want, pkts, n);
		return;
	}
	want &= ~VN_DERIVED;
	for (unsigned int k = 0; k < RTE_DIM(vn_derived_needs); k++)
		if (derived >> vn_derived_needs[k].field & 1)
			want |= vn_derived_needs[k].needs;
	vn_parse(c, want, pkts, n);
	vn_zero(c, derived, 0, n);
	vn_derive(c, derived, pkts, n, NULL);
}
