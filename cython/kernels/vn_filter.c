/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_filter.h"

#include "vn_bpf.h"

/* What leaves say comes behind the columns. */
struct seen {
	void *columns[128];
	uint8_t said[VN_FILTER_LEAVES][VN_FILTER_ROWS];
};

static __rte_noinline void
with_leaves(const struct vn_filter *f, const struct vn_columns *c, struct rte_mbuf *const *pkts,
	    uint32_t n, uint8_t *out)
{
	struct seen s;

	memcpy(s.columns, c, sizeof(*c));
	for (uint32_t k = 0; k < f->n_leaves; k++) {
		vn_bpf_run(f->leaves[k], pkts, n, s.said[k]);
		s.columns[VN_COLUMNS + k] = s.said[k];
	}
	vn_match((const struct vn_columns *)s.columns, f->steps, f->n_steps, out, n);
}

static inline void
decided(const struct vn_filter *f, const struct vn_columns *c, struct rte_mbuf *const *pkts,
	uint32_t n, uint8_t *out)
{
	if (likely(f->n_leaves == 0))
		vn_match(c, f->steps, f->n_steps, out, n);
	else
		with_leaves(f, c, pkts, n, out);
}

void
vn_filter_run(const struct vn_filter *f, const struct vn_columns *c, struct rte_mbuf *const *pkts,
	      uint32_t n, uint8_t *out)
{
	uint8_t doubtful[VN_FILTER_ROWS], answer[VN_FILTER_ROWS];

	decided(f, c, pkts, n, out);
	if (f->doubt == NULL)
		return;
	vn_match(c, f->doubt->steps, f->doubt->n_steps, doubtful, n);
	if (likely(memchr(doubtful, 1, n) == NULL))
		return;
	decided(f->raw, c, pkts, n, answer);
	for (uint32_t i = 0; i < n; i++)
		out[i] = doubtful[i] ? answer[i] : out[i];
}
