/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_LANES 4
#define VN_BLOCK_FN vn_parse_avx512
#include "vn_parse_block.h"
