/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_MATCH_FN vn_match_plain
#include "vn_match_run.h"

void
vn_match(const struct vn_columns *c, const struct vn_match_step *steps, uint32_t n_steps,
	 uint8_t *out, uint32_t n)
{
#ifdef VN_X86
	switch (vn_simd_get()) {
	case VN_SIMD_AVX512:
		vn_match_avx512(c, steps, n_steps, out, n);
		return;
	case VN_SIMD_AVX2:
		vn_match_avx2(c, steps, n_steps, out, n);
		return;
	}
#endif
	vn_match_plain(c, steps, n_steps, out, n);
}
