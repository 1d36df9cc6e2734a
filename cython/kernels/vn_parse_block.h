/* SPDX-License-Identifier: BSD-3-Clause
 * The vector loop, for the shape that most packets have: Ethernet, IPv4 without options, not a
 * fragment, TCP or UDP, all of its headers in the first segment. One source for every width: a
 * file defines VN_LANES (1, 2 or 4 times 128 bits), VN_BLOCK_FN, and includes this.
 *
 * Each 128-bit lane holds four packets. Two loads fetch a packet's bytes 8..23 and 22..37; a
 * transposition makes a column of each 32-bit word. Rows that do not fit stay zero here, and are
 * the general parser's.
 */
#include <immintrin.h>

#include <rte_branch_prediction.h>
#include <rte_prefetch.h>

#include "vn_bytes.h"
#include "vn_parse.h"

#define BLOCK (4 * VN_LANES)

#if VN_LANES == 1
typedef __m128i vec;
#define OP(name) _mm_##name
#define AND _mm_and_si128
#define OR _mm_or_si128
#define LOAD_WORDS(p) _mm_loadu_si128((const void *)(p))
#define BYTES(...) _mm_setr_epi8(__VA_ARGS__)
#elif VN_LANES == 2
typedef __m256i vec;
#define OP(name) _mm256_##name
#define AND _mm256_and_si256
#define OR _mm256_or_si256
#define LOAD_WORDS(p) _mm256_loadu_si256((const void *)(p))
#define BYTES(...) _mm256_broadcastsi128_si256(_mm_setr_epi8(__VA_ARGS__))
#else
typedef __m512i vec;
#define OP(name) _mm512_##name
#define AND _mm512_and_si512
#define OR _mm512_or_si512
#define LOAD_WORDS(p) _mm512_loadu_si512((const void *)(p))
#define BYTES(...) _mm512_broadcast_i32x4(_mm_setr_epi8(__VA_ARGS__))
#endif
#define ALL(x) OP(set1_epi32)((int)(x))

/* 16 bytes from each of the packets j, j + 4, ...: one a lane. */
static inline vec
load(const uint8_t *const *p, unsigned int j, unsigned int at)
{
#define L(k) _mm_loadu_si128((const void *)(p[j + 4 * (k)] + at))
#if VN_LANES == 1
	return L(0);
#elif VN_LANES == 2
	return _mm256_inserti128_si256(_mm256_castsi128_si256(L(0)), L(1), 1);
#else
	vec v = _mm512_castsi128_si512(L(0));

	v = _mm512_inserti32x4(v, L(1), 1);
	v = _mm512_inserti32x4(v, L(2), 2);
	return _mm512_inserti32x4(v, L(3), 3);
#endif
#undef L
}

/* Four times 16 bytes -> the four columns of their 32-bit words, in the packets' order. */
static inline void
columns_of(const uint8_t *const *p, unsigned int at, vec out[4])
{
	vec r0 = load(p, 0, at), r1 = load(p, 1, at), r2 = load(p, 2, at), r3 = load(p, 3, at);
	vec lo01 = OP(unpacklo_epi32)(r0, r1), hi01 = OP(unpackhi_epi32)(r0, r1);
	vec lo23 = OP(unpacklo_epi32)(r2, r3), hi23 = OP(unpackhi_epi32)(r2, r3);

	out[0] = OP(unpacklo_epi64)(lo01, lo23);
	out[1] = OP(unpackhi_epi64)(lo01, lo23);
	out[2] = OP(unpacklo_epi64)(hi01, hi23);
	out[3] = OP(unpackhi_epi64)(hi01, hi23);
}

/* Words of all ones or zeros, as the comparisons make them. */
static inline vec
equal(vec a, vec b)
{
#if VN_LANES == 4
	return _mm512_movm_epi32(_mm512_cmpeq_epi32_mask(a, b));
#else
	return OP(cmpeq_epi32)(a, b);
#endif
}

static inline vec
greater(vec a, vec b)
{
#if VN_LANES == 4
	return _mm512_movm_epi32(_mm512_cmpgt_epi32_mask(a, b));
#else
	return OP(cmpgt_epi32)(a, b);
#endif
}

static inline uint32_t
bits(vec words)
{
#if VN_LANES == 1
	return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(words));
#elif VN_LANES == 2
	return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(words));
#else
	return (uint32_t)_mm512_movepi32_mask(words);
#endif
}

static inline void
store32(uint32_t *to, vec v)
{
#if VN_LANES == 1
	_mm_storeu_si128((void *)to, v);
#elif VN_LANES == 2
	_mm256_storeu_si256((void *)to, v);
#else
	_mm512_storeu_si512((void *)to, v);
#endif
}

/* The low halves, or bytes, of the words. Values must fit. */
static inline void
store16(uint16_t *to, vec v)
{
#if VN_LANES == 1
	_mm_storel_epi64((void *)to, _mm_packus_epi32(v, v));
#elif VN_LANES == 2
	_mm_storeu_si128((void *)to, _mm256_castsi256_si128(_mm256_permute4x64_epi64(
					     _mm256_packus_epi32(v, v), 0x08)));
#else
	_mm256_storeu_si256((void *)to, _mm512_cvtepi32_epi16(v));
#endif
}

static inline void
store8(uint8_t *to, vec v)
{
#if VN_LANES == 4
	_mm_storeu_si128((void *)to, _mm512_cvtepi32_epi8(v));
#else
	vec b = OP(shuffle_epi8)(
		v, BYTES(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
#if VN_LANES == 1
	uint32_t w = (uint32_t)_mm_cvtsi128_si32(b);

	memcpy(to, &w, 4);
#else
	uint32_t w0 = (uint32_t)_mm_cvtsi128_si32(_mm256_castsi256_si128(b));
	uint32_t w1 = (uint32_t)_mm_cvtsi128_si32(_mm256_extracti128_si256(b, 1));

	memcpy(to, &w0, 4);
	memcpy(to + 4, &w1, 4);
#endif
#endif
}

void
VN_BLOCK_FN(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts, uint16_t n)
{
	static const uint8_t nothing[64];
	const vec swap32 = BYTES(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
	/* The two 16-bit numbers of a word, each alone. */
	const vec first16 = BYTES(1, 0, -1, -1, 5, 4, -1, -1, 9, 8, -1, -1, 13, 12, -1, -1);
	const vec second16 = BYTES(3, 2, -1, -1, 7, 6, -1, -1, 11, 10, -1, -1, 15, 14, -1, -1);
	ptrdiff_t distance;
	uint16_t i;

	vn_zero(c, want & ~VN_BLOCK_STORED, 0, n);
	vn_zero(c, want & VN_BLOCK_STORED, n - n % BLOCK, n);
	if (unlikely(n == 0))
		return;
	distance = vn_header_distance(pkts[0]);
	for (i = 0; i < RTE_MIN(n, VN_AHEAD + BLOCK); i++)
		vn_prefetch(pkts[i], distance);
	for (i = 0; i + BLOCK <= n; i += BLOCK) {
		const uint8_t *p[BLOCK];
		uint32_t pkt_len[BLOCK], data_len[BLOCK];
		vec a[4], b[4], ok, total, need, proto;
		uint32_t rest;

		for (unsigned int k = 0; k < BLOCK; k++) {
			const struct rte_mbuf *m = pkts[i + k];

			pkt_len[k] = m->pkt_len;
			data_len[k] = m->data_len;
			p[k] = likely(data_len[k] >= 42) ? rte_pktmbuf_mtod(m, const uint8_t *)
							 : nothing;
		}
		if (likely(i + VN_AHEAD + 2 * BLOCK <= n))
			for (unsigned int k = 0; k < BLOCK; k++)
				vn_prefetch(pkts[i + VN_AHEAD + BLOCK + k], distance);
		else
			for (unsigned int k = i + VN_AHEAD + BLOCK; k < n; k++)
				vn_prefetch(pkts[k], distance);
		columns_of(p, 8, b);  /* source MAC; type, version, TOS; length, id; flags, proto */
		columns_of(p, 22, a); /* TTL, proto, checksum; source; destination; ports */

		total = OP(shuffle_epi8)(b[2], first16);
		proto = OP(srli_epi32)(b[3], 24);
		/* 20 bytes of IPv4, and 8 of UDP or 20 of TCP. */
		need = OP(add_epi32)(ALL(28), AND(equal(proto, ALL(6)), ALL(12)));
		ok = AND(equal(AND(b[1], ALL(0x00ffffff)), ALL(0x00450008)),
			 equal(AND(b[3], ALL(0x0000ff3f)), ALL(0)));
		ok = AND(ok, OR(equal(proto, ALL(6)), equal(proto, ALL(17))));
		ok = AND(ok, greater(total, OP(sub_epi32)(need, ALL(1))));
		ok = AND(ok, greater(OP(sub_epi32)(LOAD_WORDS(pkt_len), ALL(13)), total));
		ok = AND(ok, greater(OP(sub_epi32)(LOAD_WORDS(data_len), ALL(13)), need));

#define ASKED(name) (want & VN_F(name))
		if (ASKED(ip_src))
			store32(c->ip_src + i, AND(ok, OP(shuffle_epi8)(a[1], swap32)));
		if (ASKED(ip_dst))
			store32(c->ip_dst + i, AND(ok, OP(shuffle_epi8)(a[2], swap32)));
		if (ASKED(l4_src))
			store16(c->l4_src + i, AND(ok, OP(shuffle_epi8)(a[3], first16)));
		if (ASKED(l4_dst))
			store16(c->l4_dst + i, AND(ok, OP(shuffle_epi8)(a[3], second16)));
		if (ASKED(ip_proto))
			store8(c->ip_proto + i, AND(ok, proto));
		if (want & (VN_G_IP & ~VN_F(ip_proto))) {
			vec tos = OP(srli_epi32)(b[1], 24);

			if (ASKED(ip_version))
				store8(c->ip_version + i, AND(ok, ALL(4)));
			if (ASKED(ip_ttl))
				store8(c->ip_ttl + i, AND(ok, AND(a[0], ALL(0xff))));
			if (ASKED(ip_dscp))
				store8(c->ip_dscp + i, AND(ok, OP(srli_epi32)(tos, 2)));
			if (ASKED(ip_ecn))
				store8(c->ip_ecn + i, AND(ok, AND(tos, ALL(3))));
			if (ASKED(ip_len))
				store16(c->ip_len + i, AND(ok, total));
		}
		if (want & (VN_G_IPV4 & ~(VN_F(ip_src) | VN_F(ip_dst)))) {
			if (ASKED(ip_ihl))
				store8(c->ip_ihl + i, AND(ok, ALL(5)));
			if (ASKED(ip_id))
				store16(c->ip_id + i, AND(ok, OP(shuffle_epi8)(b[2], second16)));
			if (ASKED(ip_flags))
				store8(c->ip_flags + i,
				       AND(ok, OP(srli_epi32)(AND(b[3], ALL(0xff)), 5)));
			if (ASKED(ip_checksum))
				store16(c->ip_checksum + i,
					AND(ok, OP(shuffle_epi8)(a[0], second16)));
		}
		if (ASKED(ethertype))
			store16(c->ethertype + i, AND(ok, ALL(0x0800)));
		rest = ~bits(ok) & (uint32_t)((UINT64_C(1) << BLOCK) - 1);
		if (want & (VN_F(in_port) | VN_F(wire_len) | VN_F(eth_dst) | VN_F(eth_src))) {
			for (unsigned int k = 0; k < BLOCK; k++) {
				if (rest >> k & 1)
					continue;
				if (ASKED(in_port))
					c->in_port[i + k] = vn_in_port(pkts[i + k]);
				if (ASKED(wire_len))
					c->wire_len[i + k] = pkt_len[k];
				if (ASKED(eth_dst))
					c->eth_dst[i + k] = be48(p[k]);
				if (ASKED(eth_src))
					c->eth_src[i + k] = be48(p[k] + 6);
			}
		}
#undef ASKED
		for (; unlikely(rest); rest &= rest - 1) {
			uint32_t k = (uint32_t)__builtin_ctz(rest);

			vn_parse_mbuf(c, i + k, want, pkts[i + k]);
		}
	}
	for (; i < n; i++)
		vn_parse_mbuf(c, i, want, pkts[i]);
}
