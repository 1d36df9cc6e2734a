/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_MATCH_FN vn_match_avx2
#include "vn_match_run.h"
