/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_ROWS(name) name##_plain
#include "vn_rows_run.h"

#ifdef VN_X86
#define AT_BEST(name, ...)                                                                         \
	do {                                                                                       \
		switch (vn_simd_get()) {                                                           \
		case VN_SIMD_AVX512:                                                               \
			name##_avx512(__VA_ARGS__);                                                \
			return;                                                                    \
		case VN_SIMD_AVX2:                                                                 \
			name##_avx2(__VA_ARGS__);                                                  \
			return;                                                                    \
		}                                                                                  \
		name##_plain(__VA_ARGS__);                                                         \
	} while (0)
#else
#define AT_BEST(name, ...) name##_plain(__VA_ARGS__)
#endif

void
vn_rows_hash(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
	     uint32_t from, uint32_t n, uint32_t *h)
{
	AT_BEST(vn_rows_hash, c, fields, n_fields, from, n, h);
}

void
vn_rows_keys(const struct vn_columns *c, const struct vn_key_part *parts, uint32_t n_parts,
	     const uint16_t *rows, uint32_t from, uint32_t n, uint32_t stride, uint8_t *keys)
{
	AT_BEST(vn_rows_keys, c, parts, n_parts, rows, from, n, stride, keys);
}

void
vn_rows_lanes(const struct vn_columns *c, const struct vn_masked *fields, uint32_t n_fields,
	      uint32_t from, uint32_t n, struct vn_lanes *out)
{
	AT_BEST(vn_rows_lanes, c, fields, n_fields, from, n, out);
}
