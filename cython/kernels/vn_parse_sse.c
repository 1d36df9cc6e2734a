/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_LANES 1
#define VN_BLOCK_FN vn_parse_sse
#include "vn_parse_block.h"
