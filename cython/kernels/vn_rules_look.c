/* SPDX-License-Identifier: BSD-3-Clause
 * What readers do: the base's answer, and what is not in it.
 */
#include "vn_base.h"
#include "vn_bpf.h"
#include "vn_emc.h"

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

/* A row whose winner in a level was removed. */
struct hidden {
	const struct vn_base *level;
	uint64_t order; /* the winner's */
	uint32_t row;
};

/* What one level says of rows whose best order is below its largest (and, if `unknown` is given,
 * that are so). Returns how many it hides. */
static uint32_t
level_search(struct vn_reader *reader, const struct vn_base *b, const struct vn_columns *c,
	     uint32_t from, uint32_t n, uint32_t ahead, const uint8_t *unknown, uint64_t *best,
	     const struct vn_rule **hit, struct hidden *hidden)
{
	uint64_t most = b->n_rules ? b->orders[1] : 0;
	uint8_t wanted[VN_RULE_ROWS];
	uint32_t index[VN_RULE_ROWS];
	uint32_t some = 0, n_hidden = 0;
	bool dead;

	if (b->by_tuples) {
		vn_tuples_search(b->tuples, c, from, n, reader->need, reader->version, best, hit);
		return 0;
	}
	for (uint32_t i = 0; i < n; i++)
		some += wanted[i] = best[i] < most && (unknown == NULL || unknown[i]);
	if (some == 0)
		return 0;
	memset(index, 0, n * sizeof(index[0]));
	vn_base_search(b, reader->keys, c, from, n, ahead, some == n ? NULL : wanted, index);
	dead = __atomic_load_n(&b->n_dead, __ATOMIC_RELAXED) != 0;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t order = b->orders[index[i]];

		if (order <= best[i])
			continue;
		if (dead && !vn_rule_visible(b->rules[index[i]], reader->version)) {
			hidden[n_hidden++] = (struct hidden){b, order, i};
			continue;
		}
		best[i] = order;
		hit[i] = b->rules[index[i]];
	}
	return n_hidden;
}

/* What base and middle say. Returns how many rows they hide. */
static uint32_t
levels_search(struct vn_reader *reader, const struct vn_columns *c, uint32_t from, uint32_t n,
	      uint32_t ahead, const uint8_t *unknown, uint64_t *best, const struct vn_rule **hit,
	      struct hidden *hidden)
{
	const struct vn_base *first = reader->state->levels[VN_BASE],
			     *second = reader->state->levels[VN_MIDDLE];
	uint32_t n_hidden;

	/* What the stronger level decides, the other need not look up. */
	if (second && second->n_rules &&
	    (first->n_rules == 0 || second->orders[1] > first->orders[1])) {
		first = second;
		second = reader->state->levels[VN_BASE];
	}
	n_hidden = level_search(reader, first, c, from, n, ahead, unknown, best, hit, hidden);
	if (second)
		n_hidden += level_search(reader, second, c, from, n, 0, unknown, best, hit,
					 hidden + n_hidden);
	return n_hidden;
}

/* Rows of which the cache knows what base and middle say. Returns how many it does not. */
static uint32_t
known_search(struct vn_reader *reader, const struct vn_columns *c, uint32_t from, uint32_t n,
	     uint8_t *unknown, const struct vn_rule **hit)
{
	uint32_t missing = vn_emc_look(reader->emc, c, from, n, unknown, hit);
	bool dead = false;

	for (uint32_t k = 0; k < VN_LEVELS; k++) {
		const struct vn_base *b = reader->state->levels[k];

		dead |= b && __atomic_load_n(&b->n_dead, __ATOMIC_RELAXED);
	}
	for (uint32_t i = 0; dead && i < n; i++) {
		if (hit[i] && !vn_rule_visible(hit[i], reader->version)) {
			hit[i] = NULL;
			unknown[i] = 1;
			missing++;
		}
	}
	return missing;
}

/* The whole answer: of base, middle, delta and programs. */
static void
search_all(struct vn_reader *reader, const struct vn_columns *c, struct rte_mbuf *const *pkts,
	   uint32_t from, uint32_t n, uint32_t ahead, bool cached, const struct vn_rule **hit)
{
	const struct vn_state *s = reader->state;
	struct hidden hidden[VN_LEVELS * VN_RULE_ROWS];
	uint64_t best[VN_RULE_ROWS];
	uint8_t unknown[VN_RULE_ROWS];
	uint32_t n_hidden = 0, missing = n;

	if (cached)
		missing = known_search(reader, c, from, n, unknown, hit);
	else
		memset(hit, 0, n * sizeof(hit[0]));
	for (uint32_t i = 0; i < n; i++)
		best[i] = hit[i] ? hit[i]->order : 0;
	if (missing)
		n_hidden = levels_search(reader, c, from, n, ahead, cached ? unknown : NULL, best,
					 hit, hidden);
	if (missing && cached) {
		for (uint32_t i = 0; i < n_hidden; i++)
			unknown[hidden[i].row] = 0; /* not to be learned */
		vn_emc_learn(reader->emc, n, unknown, hit);
	}
	if (__atomic_load_n(&s->delta->n_nodes, __ATOMIC_RELAXED))
		vn_tuples_search(s->delta, c, from, n, reader->need, reader->version, best, hit);
	for (uint32_t i = 0; i < n_hidden; i++) {
		uint32_t row = hidden[i].row;
		const struct vn_rule *r;

		if (hidden[i].order <= best[row])
			continue;
		r = vn_tuples_row(hidden[i].level->tuples, c, from + row, reader->need,
				  reader->version, best[row], hidden[i].order);
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

	return !s->levels[VN_BASE]->by_tuples && s->levels[VN_MIDDLE] == NULL &&
	       reader->specials->n == 0 &&
	       __atomic_load_n(&s->delta->n_nodes, __ATOMIC_RELAXED) == 0 &&
	       __atomic_load_n(&s->levels[VN_BASE]->n_dead, __ATOMIC_RELAXED) == 0;
}

/* The base's plain answer: its rules by their places. */
static inline void
search_base(struct vn_reader *reader, const struct vn_columns *c, uint32_t from, uint32_t n,
	    uint32_t ahead, const uint8_t *wanted, uint32_t *index)
{
	memset(index, 0, n * sizeof(index[0]));
	vn_base_search(reader->state->levels[VN_BASE], reader->keys, c, from, n, ahead, wanted,
		       index);
}

void
vn_rules_classify(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
		  struct rte_mbuf *const *pkts, uint32_t n, const struct vn_rule **hit)
{
	struct vn_reader *reader = &t->readers[r];
	const struct vn_base *b = reader->state->levels[VN_BASE];
	bool plain = only_base(reader);
	bool cached = reader->emc && vn_emc_usable(reader->emc, reader->state, n);
	uint32_t index[VN_RULE_ROWS];
	uint8_t unknown[VN_RULE_ROWS];

	for (uint32_t from = 0; from < n; from += VN_RULE_ROWS) {
		uint32_t some = RTE_MIN(n - from, VN_RULE_ROWS), missing = some;
		uint32_t ahead = RTE_MIN(n - from - some, VN_RULE_ROWS);

		if (!plain) {
			search_all(reader, c, pkts, from, some, ahead, cached, hit + from);
			continue;
		}
		if (cached)
			missing = vn_emc_look(reader->emc, c, from, some, unknown, hit + from);
		if (missing == 0)
			continue;
		search_base(reader, c, from, some, ahead, missing < some ? unknown : NULL, index);
		for (uint32_t i = 0; i < some; i++)
			if (missing == some || unknown[i])
				hit[from + i] = b->rules[index[i]];
		if (cached)
			vn_emc_learn(reader->emc, some, unknown, hit + from);
	}
	reader->lookups += n;
}

void
vn_rules_ids(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
	     struct rte_mbuf *const *pkts, uint32_t n, int32_t *ids)
{
	struct vn_reader *reader = &t->readers[r];
	const struct vn_base *b = reader->state->levels[VN_BASE];
	bool plain = only_base(reader);
	uint32_t index[VN_RULE_ROWS];
	const struct vn_rule *hit[VN_RULE_ROWS];

	for (uint32_t from = 0; from < n; from += VN_RULE_ROWS) {
		uint32_t some = RTE_MIN(n - from, VN_RULE_ROWS);
		uint32_t ahead = RTE_MIN(n - from - some, VN_RULE_ROWS);

		if (!plain) {
			search_all(reader, c, pkts, from, some, ahead, false, hit);
			for (uint32_t i = 0; i < some; i++)
				ids[from + i] = hit[i] ? hit[i]->id : -1;
			continue;
		}
		search_base(reader, c, from, some, ahead, NULL, index);
		if (b->in_order)
			for (uint32_t i = 0; i < some; i++)
				ids[from + i] = (int32_t)index[i] - 1;
		else
			for (uint32_t i = 0; i < some; i++)
				ids[from + i] = b->ids[index[i]];
	}
	reader->lookups += n;
}
