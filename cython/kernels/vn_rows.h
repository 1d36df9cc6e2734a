/* SPDX-License-Identifier: BSD-3-Clause
 * Rows out of columns: hashes and keys of many rows at once. One source for every instruction set.
 */
#ifndef VN_ROWS_H
#define VN_ROWS_H

#include "vn_parse.h"

#define VN_ROWS_MOST 256u

/* A column and the bits of it that count. */
struct vn_masked {
	uint64_t mask;
	uint16_t field;
	uint16_t size;
};

/* Where a column goes in a key; big endian, as rte_acl reads it. A part lies within four bytes of
 * the key that begin at a multiple of four; parts are in the order of their offsets. */
struct vn_key_part {
	uint16_t field;
	uint8_t size;	/* of the column */
	uint8_t bytes;	/* of these, how many go in (4: half of a column of 8) */
	uint8_t shift;	/* by how many bits to the right */
	uint8_t offset; /* in the key */
};

/* All bits of a column of so many bytes. */
static inline uint64_t
vn_ones_of(uint32_t size)
{
	return size == 8 ? UINT64_MAX : (UINT64_C(1) << 8 * size) - 1;
}

/* How many parts a column of `size` bytes has in a key: halves of eight bytes. */
static inline uint32_t
vn_key_halves(uint16_t size)
{
	return size == 8 ? 2 : 1;
}

/* Puts a whole column at an offset of a key: one or two parts, at p. Returns the bytes that it
 * takes. Offsets must not let it cross a word: larger columns come first. */
static inline uint32_t
vn_key_put(struct vn_key_part *p, uint16_t field, uint16_t size, uint32_t offset)
{
	uint8_t bytes = size == 8 ? 4 : (uint8_t)size;
	uint32_t n = vn_key_halves(size);

	for (uint32_t k = 0; k < n; k++)
		p[k] = (struct vn_key_part){.field = field,
					    .size = (uint8_t)size,
					    .bytes = bytes,
					    .shift = k + 1 < n ? 32 : 0,
					    .offset = (uint8_t)(offset + k * bytes)};
	return n * bytes;
}

/* h[i]: hash of row from + i. */
void vn_rows_hash(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
		  uint32_t from, uint32_t n, uint32_t *h);
/* Keys of the rows that `rows` names (NULL: from, from + 1, ...), `stride` bytes apart, a multiple
 * of 4. At most VN_ROWS_MOST rows. */
void vn_rows_keys(const struct vn_columns *c, const struct vn_key_part *parts, uint32_t n_parts,
		  const uint16_t *rows, uint32_t from, uint32_t n, uint32_t stride, uint8_t *keys);

/* The first VN_LANES columns of a table as 32-bit numbers, the rows of each together: what boxes
 * are compared with in one go. */
#define VN_LANES 8u
struct vn_lanes {
	uint32_t at[VN_LANES];
} __attribute__((aligned(32)));
/* out[i]: row from + i; lanes beyond n_fields are 0. At most VN_ROWS_MOST rows. */
void vn_rows_lanes(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
		   uint32_t from, uint32_t n, struct vn_lanes *out);

#define VN_ROWS_SIGNATURES(suffix)                                                                 \
	void vn_rows_hash##suffix(const struct vn_columns *c, const struct vn_masked *fields,      \
				  uint32_t n_fields, uint32_t from, uint32_t n, uint32_t *h);      \
	void vn_rows_keys##suffix(const struct vn_columns *c, const struct vn_key_part *parts,     \
				  uint32_t n_parts, const uint16_t *rows, uint32_t from,           \
				  uint32_t n, uint32_t stride, uint8_t *keys);                     \
	void vn_rows_lanes##suffix(const struct vn_columns *c, const struct vn_masked *fields,     \
				   uint32_t n_fields, uint32_t from, uint32_t n,                   \
				   struct vn_lanes *out)
VN_ROWS_SIGNATURES(_plain);
VN_ROWS_SIGNATURES(_avx2);
VN_ROWS_SIGNATURES(_avx512);

/* The value of one row; the same hash, of one row. */
static inline uint64_t
vn_row_value(const struct vn_columns *c, uint32_t field, uint32_t size, uint32_t row)
{
	const void *column = ((const void *const *)c)[field];

	switch (size) {
	case 1:
		return ((const uint8_t *)column)[row];
	case 2:
		return ((const uint16_t *)column)[row];
	case 4:
		return ((const uint32_t *)column)[row];
	default:
		return ((const uint64_t *)column)[row];
	}
}

static inline uint32_t
vn_hash_step(uint32_t h, uint64_t masked)
{
	return (h ^ (uint32_t)masked ^ (uint32_t)(masked >> 32) * UINT32_C(0x85EBCA6B)) *
	       UINT32_C(0x9E3779B1);
}

static inline uint32_t
vn_hash_end(uint32_t h)
{
	h ^= h >> 15;
	return h * UINT32_C(0x85EBCA77);
}

static inline uint32_t
vn_row_hash(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
	    uint32_t row)
{
	uint32_t h = 0x1234567;

	for (uint32_t k = 0; k < n_fields; k++)
		h = vn_hash_step(h ^ h >> 16,
				 vn_row_value(c, fields[k].field, fields[k].size, row) &
					 fields[k].mask);
	return vn_hash_end(h);
}

#endif
