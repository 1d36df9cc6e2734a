/* SPDX-License-Identifier: BSD-3-Clause
 * A match expression over a batch: columns, the packets' bytes (BPF) where it needs them, and for
 * rows of which columns do not say enough (malformed packets, mostly) the bytes alone.
 */
#ifndef VN_FILTER_H
#define VN_FILTER_H

#include "vn_match.h"

#define VN_FILTER_LEAVES (128 - VN_COLUMNS)
#define VN_FILTER_ROWS 512u

struct vn_bpf;

struct vn_filter {
	vn_fieldset need; /* columns to parse */
	const struct vn_match_step *steps;
	uint32_t n_steps;
	uint32_t n_leaves;
	const struct vn_bpf *leaves[VN_FILTER_LEAVES];
	/* The rows that only bytes decide, and what does; NULL: no row. */
	const struct vn_filter *doubt, *raw;
};

/* out[i]: 1 where row i matches, else 0; n <= VN_FILTER_ROWS. The columns of `need` are parsed. */
VN_EXPORT void vn_filter_run(const struct vn_filter *f, const struct vn_columns *c,
			     struct rte_mbuf *const *pkts, uint32_t n, uint8_t *out);

#endif
