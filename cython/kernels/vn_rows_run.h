/* SPDX-License-Identifier: BSD-3-Clause
 * The loops of vn_rows.h, which the compiler makes vectors of. A file defines VN_ROWS(name).
 */
#include <rte_vect.h>

#include "vn_rows.h"

#define HASH(bits)                                                                                 \
	static inline void hash##bits(const uint##bits##_t *restrict x, uint64_t mask64,           \
				      uint32_t *restrict h, uint32_t n)                            \
	{                                                                                          \
		const uint##bits##_t mask = (uint##bits##_t)mask64;                                \
                                                                                                   \
		for (uint32_t i = 0; i < n; i++)                                                   \
			h[i] = vn_hash_step(h[i] ^ h[i] >> 16, x[i] & mask);                       \
	}
HASH(8)
HASH(16)
HASH(32)
HASH(64)

void
VN_ROWS(vn_rows_hash)(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
		      uint32_t from, uint32_t n, uint32_t *h)
{
	const void *const *column = (const void *const *)c;

	for (uint32_t i = 0; i < n; i++)
		h[i] = 0x1234567;
	for (uint32_t k = 0; k < n_fields; k++) {
		const void *x = column[fields[k].field];

		switch (fields[k].size) {
		case 1:
			hash8((const uint8_t *)x + from, fields[k].mask, h, n);
			break;
		case 2:
			hash16((const uint16_t *)x + from, fields[k].mask, h, n);
			break;
		case 4:
			hash32((const uint32_t *)x + from, fields[k].mask, h, n);
			break;
		default:
			hash64((const uint64_t *)x + from, fields[k].mask, h, n);
		}
	}
	for (uint32_t i = 0; i < n; i++)
		h[i] = vn_hash_end(h[i]);
}

/* Keys are made in two steps: each four bytes of all keys, as a column of words, which are vector
 * operations; then words into keys, four of four rows at once. */
#define BE8(x) (uint32_t)(uint8_t)(x)
#define BE16(x) (uint32_t)__builtin_bswap16((uint16_t)(x))
#define BE32(x) __builtin_bswap32((uint32_t)(x))

/* The part of a column in its word: written where the word is new, else added. */
#define WORD(bits, to)                                                                             \
	static inline void word##bits##_##to(                                                      \
		const uint##bits##_t *restrict x, unsigned int right, unsigned int left,           \
		bool fresh, const uint16_t *restrict rows, uint32_t n, uint32_t *restrict w)       \
	{                                                                                          \
		if (rows && fresh)                                                                 \
			for (uint32_t i = 0; i < n; i++)                                           \
				w[i] = BE##to(x[rows[i]] >> right) << left;                        \
		else if (rows)                                                                     \
			for (uint32_t i = 0; i < n; i++)                                           \
				w[i] |= BE##to(x[rows[i]] >> right) << left;                       \
		else if (fresh)                                                                    \
			for (uint32_t i = 0; i < n; i++)                                           \
				w[i] = BE##to(x[i] >> right) << left;                              \
		else                                                                               \
			for (uint32_t i = 0; i < n; i++)                                           \
				w[i] |= BE##to(x[i] >> right) << left;                             \
	}
WORD(8, 8)
WORD(16, 16)
WORD(32, 32)
WORD(64, 32)

/* Up to four words of n rows into their keys. */
static inline void
spread(uint32_t w[4][VN_ROWS_MOST], uint32_t words, uint32_t n, uint32_t stride, uint8_t *out)
{
	uint32_t i = 0;

#ifdef __SSE2__
	if (words == 4) {
		for (; i + 4 <= n; i += 4, out += 4 * stride) {
			__m128i a = _mm_loadu_si128((const __m128i *)&w[0][i]);
			__m128i b = _mm_loadu_si128((const __m128i *)&w[1][i]);
			__m128i c = _mm_loadu_si128((const __m128i *)&w[2][i]);
			__m128i d = _mm_loadu_si128((const __m128i *)&w[3][i]);
			__m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d);
			__m128i AB = _mm_unpackhi_epi32(a, b), CD = _mm_unpackhi_epi32(c, d);

			_mm_storeu_si128((__m128i *)out, _mm_unpacklo_epi64(ab, cd));
			_mm_storeu_si128((__m128i *)(out + stride), _mm_unpackhi_epi64(ab, cd));
			_mm_storeu_si128((__m128i *)(out + 2 * stride), _mm_unpacklo_epi64(AB, CD));
			_mm_storeu_si128((__m128i *)(out + 3 * stride), _mm_unpackhi_epi64(AB, CD));
		}
	}
#endif
	for (; i < n; i++, out += stride)
		for (uint32_t k = 0; k < words; k++)
			memcpy(out + 4 * k, &w[k][i], 4);
}

void
VN_ROWS(vn_rows_keys)(const struct vn_columns *c, const struct vn_key_part *parts, uint32_t n_parts,
		      const uint16_t *rows, uint32_t from, uint32_t n, uint32_t stride,
		      uint8_t *keys)
{
	const void *const *column = (const void *const *)c;
	uint32_t w[4][VN_ROWS_MOST];
	uint32_t first = 0; /* the word in w[0] */
	uint32_t last = UINT32_MAX;

	for (uint32_t k = 0; k < n_parts; k++) {
		const struct vn_key_part *p = &parts[k];
		const void *x = column[p->field];
		uint32_t word = p->offset / 4, left = 8 * (p->offset % 4);
		bool fresh = word != last;

		if (word >= first + 4) {
			spread(w, 4, n, stride, keys + 4 * first);
			first = word;
		}
		last = word;
		switch (p->size) {
		case 1:
			word8_8((const uint8_t *)x + from, 0, left, fresh, rows, n,
				w[word - first]);
			break;
		case 2:
			word16_16((const uint16_t *)x + from, 0, left, fresh, rows, n,
				  w[word - first]);
			break;
		case 4:
			word32_32((const uint32_t *)x + from, 0, left, fresh, rows, n,
				  w[word - first]);
			break;
		default:
			word64_32((const uint64_t *)x + from, p->shift, left, fresh, rows, n,
				  w[word - first]);
		}
	}
	if (last != UINT32_MAX)
		spread(w, last - first + 1, n, stride, keys + 4 * first);
}

void
VN_ROWS(vn_rows_lanes)(const struct vn_columns *c, const struct vn_masked *fields,
		       uint32_t n_fields, uint32_t from, uint32_t n, struct vn_lanes *out)
{
	const void *const *column = (const void *const *)c;
	uint32_t w[4][VN_ROWS_MOST];

	for (uint32_t first = 0; first < VN_LANES; first += 4) {
		for (uint32_t k = first; k < first + 4; k++) {
			const void *x = k < n_fields ? column[fields[k].field] : NULL;
			uint32_t *to = w[k - first];

			/* A column that is not there is tested by boxes that are too new, or gone.
			 */
			switch (x ? fields[k].size : 0) {
			case 1:
				for (uint32_t i = 0; i < n; i++)
					to[i] = ((const uint8_t *)x)[from + i];
				break;
			case 2:
				for (uint32_t i = 0; i < n; i++)
					to[i] = ((const uint16_t *)x)[from + i];
				break;
			case 4:
				memcpy(to, (const uint32_t *)x + from, n * sizeof(*to));
				break;
			default:
				memset(to, 0, n * sizeof(*to));
			}
		}
		spread(w, 4, n, sizeof(*out), (uint8_t *)&out->at[first]);
	}
}
