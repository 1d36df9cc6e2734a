/* SPDX-License-Identifier: BSD-3-Clause */
#define VN_ROWS(name) name##_avx2
#include "vn_rows_run.h"
