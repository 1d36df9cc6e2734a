/* SPDX-License-Identifier: BSD-3-Clause
 * The loops of vn_rows.h, which the compiler makes vectors of. A file defines VN_ROWS(name).
 */
#include <rte_byteorder.h>

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
VN_ROWS(vn_rows_hash)(const struct vn_columns *c, const struct vn_masked *fields,
		      uint32_t n_fields, uint32_t from, uint32_t n, uint32_t *h)
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

#define PUT8(x) (uint8_t)(x)
#define PUT16(x) rte_cpu_to_be_16((uint16_t)(x))
#define PUT32(x) rte_cpu_to_be_32((uint32_t)(x))

/* A column of `bits` into `to` bits of each key. */
#define KEYS(bits, to)                                                                             \
	static inline void keys##bits##_##to(const uint##bits##_t *restrict x, unsigned int shift, \
					     const uint16_t *restrict rows, uint32_t n,            \
					     uint32_t stride, uint8_t *restrict out)               \
	{                                                                                          \
		for (uint32_t i = 0; i < n; i++, out += stride) {                                  \
			uint##to##_t v = PUT##to(x[rows ? rows[i] : i] >> shift);                  \
                                                                                                   \
			memcpy(out, &v, sizeof(v));                                                \
		}                                                                                  \
	}
KEYS(8, 8)
KEYS(16, 16)
KEYS(32, 32)
KEYS(64, 32)

void
VN_ROWS(vn_rows_keys)(const struct vn_columns *c, const struct vn_key_part *parts,
		      uint32_t n_parts, const uint16_t *rows, uint32_t from, uint32_t n,
		      uint32_t stride, uint8_t *keys)
{
	const void *const *column = (const void *const *)c;

	for (uint32_t k = 0; k < n_parts; k++) {
		const struct vn_key_part *p = &parts[k];
		const void *x = column[p->field];
		uint8_t *out = keys + p->offset;

		/* (rows is constant in each call, so that the loops have no test in them) */
		switch (p->size) {
		case 1:
			if (rows)
				keys8_8((const uint8_t *)x + from, 0, rows, n, stride, out);
			else
				keys8_8((const uint8_t *)x + from, 0, NULL, n, stride, out);
			break;
		case 2:
			if (rows)
				keys16_16((const uint16_t *)x + from, 0, rows, n, stride, out);
			else
				keys16_16((const uint16_t *)x + from, 0, NULL, n, stride, out);
			break;
		case 4:
			if (rows)
				keys32_32((const uint32_t *)x + from, 0, rows, n, stride, out);
			else
				keys32_32((const uint32_t *)x + from, 0, NULL, n, stride, out);
			break;
		default:
			if (rows)
				keys64_32((const uint64_t *)x + from, p->shift, rows, n, stride, out);
			else
				keys64_32((const uint64_t *)x + from, p->shift, NULL, n, stride, out);
		}
	}
}
