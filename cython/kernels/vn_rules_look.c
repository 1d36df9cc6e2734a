/* SPDX-License-Identifier: BSD-3-Clause
 * What readers do: the base's answer, and what is not in it.
 */
#include "vn_base.h"
#include "vn_bpf.h"

static void
specials_search(const struct vn_specials *s, const struct vn_columns *c,
		struct rte_mbuf *const *pkts, uint32_t from, uint32_t n, uint64_t version,
		uint64_t *best, const struct vn_rule **hit)
{
	/* The columns from that row on, and behind them what leaves say. */
	union {
		struct vn_columns c;
		const void *at[VN_COLUMNS + VN_MAX_LEAVES];
	} moved;
	uint8_t in[VN_RULE_ROWS], leaves[VN_MAX_LEAVES][VN_RULE_ROWS];
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++)
		least = RTE_MIN(least, best[i]);
	moved.c = vn_columns_from(c, from);
	for (uint32_t k = 0; k < s->n && s->at[k]->order > least; k++) {
		const struct vn_rule *r = s->at[k];

		if (!vn_rule_visible(r, version) || (r->n_leaves && pkts == NULL))
			continue;
		for (uint32_t j = 0; j < r->n_leaves; j++) {
			vn_bpf_run(r->leaves[j], pkts + from, n, leaves[j]);
			moved.at[VN_COLUMNS + j] = leaves[j];
		}
		vn_match(&moved.c, r->steps, r->n_steps, in, n);
		least = UINT64_MAX;
		for (uint32_t i = 0; i < n; i++) {
			if (in[i] && r->order > best[i]) {
				best[i] = r->order;
				hit[i] = r;
			}
			least = RTE_MIN(least, best[i]);
		}
	}
}

/* Everything but the base's plain answer: what it hides, and what came since. */
static void
search_more(struct vn_reader *reader, const struct vn_columns *c, struct rte_mbuf *const *pkts,
	    uint32_t from, uint32_t n, const uint32_t *index, const struct vn_rule **hit)
{
	const struct vn_state *s = reader->state;
	const struct vn_base *b = s->base;
	uint64_t best[VN_RULE_ROWS];
	uint16_t hidden[VN_RULE_ROWS];
	uint32_t n_hidden = 0;

	for (uint32_t i = 0; i < n; i++) {
		hit[i] = b->rules[index[i]];
		best[i] = b->orders[index[i]];
	}
	if (b->by_tuples) {
		vn_tuples_search(b->tuples, c, from, n, reader->need, reader->version, best, hit);
	} else if (__atomic_load_n(&b->n_dead, __ATOMIC_RELAXED)) {
		for (uint32_t i = 0; i < n; i++) {
			if (hit[i] && !vn_rule_visible(hit[i], reader->version)) {
				hidden[n_hidden++] = i;
				hit[i] = NULL;
				best[i] = 0;
			}
		}
	}
	if (__atomic_load_n(&s->delta->n_nodes, __ATOMIC_RELAXED))
		vn_tuples_search(s->delta, c, from, n, reader->need, reader->version, best, hit);
	for (uint32_t i = 0; i < n_hidden; i++) {
		uint32_t row = hidden[i];
		const struct vn_rule *r = vn_tuples_row(b->tuples, c, from + row, reader->need,
							reader->version, best[row],
							b->orders[index[row]]);

		if (r) {
			hit[row] = r;
			best[row] = r->order;
		}
	}
	reader->fallbacks += n_hidden;
	if (reader->specials->n)
		specials_search(reader->specials, c, pkts, from, n, reader->version, best, hit);
}

static inline bool
only_base(const struct vn_reader *reader)
{
	const struct vn_state *s = reader->state;

	return !s->base->by_tuples && reader->specials->n == 0 &&
	       __atomic_load_n(&s->delta->n_nodes, __ATOMIC_RELAXED) == 0 &&
	       __atomic_load_n(&s->base->n_dead, __ATOMIC_RELAXED) == 0;
}

void
vn_rules_classify(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
		  struct rte_mbuf *const *pkts, uint32_t n, const struct vn_rule **hit)
{
	struct vn_reader *reader = &t->readers[r];
	const struct vn_base *b = reader->state->base;
	bool plain = only_base(reader);
	uint32_t index[VN_RULE_ROWS];

	for (uint32_t from = 0; from < n; from += VN_RULE_ROWS) {
		uint32_t some = RTE_MIN(n - from, VN_RULE_ROWS);

		memset(index, 0, some * sizeof(index[0]));
		vn_base_search(b, reader->keys, c, from, some,
			       RTE_MIN(n - from - some, VN_RULE_ROWS), index);
		if (plain)
			for (uint32_t i = 0; i < some; i++)
				hit[from + i] = b->rules[index[i]];
		else
			search_more(reader, c, pkts, from, some, index, hit + from);
	}
	reader->lookups += n;
}

void
vn_rules_ids(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
	     struct rte_mbuf *const *pkts, uint32_t n, int32_t *ids)
{
	struct vn_reader *reader = &t->readers[r];
	const struct vn_base *b = reader->state->base;
	bool plain = only_base(reader);
	uint32_t index[VN_RULE_ROWS];
	const struct vn_rule *hit[VN_RULE_ROWS];

	for (uint32_t from = 0; from < n; from += VN_RULE_ROWS) {
		uint32_t some = RTE_MIN(n - from, VN_RULE_ROWS);

		memset(index, 0, some * sizeof(index[0]));
		vn_base_search(b, reader->keys, c, from, some,
			       RTE_MIN(n - from - some, VN_RULE_ROWS), index);
		if (plain) {
			if (b->in_order)
				for (uint32_t i = 0; i < some; i++)
					ids[from + i] = (int32_t)index[i] - 1;
			else
				for (uint32_t i = 0; i < some; i++)
					ids[from + i] = b->ids[index[i]];
			continue;
		}
		search_more(reader, c, pkts, from, some, index, hit);
		for (uint32_t i = 0; i < some; i++)
			ids[from + i] = hit[i] ? hit[i]->id : -1;
	}
	reader->lookups += n;
}
