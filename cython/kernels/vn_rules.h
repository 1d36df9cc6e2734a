/* SPDX-License-Identifier: BSD-3-Clause
 * The flow-rule table: which rule wins for each packet, while rules come and go.
 *
 * A rule is boxes (conjunctions of tests of columns; any box that holds makes the rule match), or a
 * program over columns and, by BPF, the packet's bytes. The larger order wins: priority
 * first, among equals the earlier place.
 *
 * The table is an immutable base (vn_base.h: rte_acl, rte_hash, rte_fib), a middle of the same kind
 * for what is younger than the base, a small delta that is searched with them (vn_tuple.h), and a
 * number, the version. A rule is in the versions born <= v < died. A commit writes any number of
 * rules with the next version's number and then that number: readers see all of it or nothing.
 * Merging builds a new middle (often, in milliseconds) or a new base (seldom) beside the old one.
 * A rule may be in more than one of the three: it wins or loses the same way in all.
 * One writer at a time (the owner's lock); readers never wait (rte_rcu_qsbr).
 */
#ifndef VN_RULES_H
#define VN_RULES_H

#include <rte_mbuf.h>
#include <rte_rcu_qsbr.h>

#include "vn_match.h"

#define VN_READERS 192 /* lcores are 0..127, calls from Python the rest */
#define VN_LCORE_READERS 128
#define VN_MAX_LEAVES (128 - VN_COLUMNS)
#define VN_RULE_ROWS 256u /* packets that are looked up in one go */
#define VN_PLACE_BITS 40
#define VN_NO_VERSION UINT64_MAX
#define VN_LEVELS 2u /* base and middle */
#define VN_COUNT_CHUNK 65536u
#define VN_COUNT_CHUNKS 64u /* ids: 4 Mi */

/* Is (column & mask) - lo <= span? */
struct vn_test {
	uint64_t mask, lo, span;
	uint16_t field;
	uint16_t size; /* of the column, bytes */
	uint32_t unused;
};

struct vn_box {
	const struct vn_test *tests;
	uint32_t n;
};

struct vn_bpf;
struct vn_emc;
struct vn_node;
struct vn_tuples;

/* One version of a rule: immutable but for died, for its readers. */
struct vn_rule {
	uint64_t order; /* 1..UINT64_MAX - 1: lookups mean none by 0, and no bound by the other */
	uint64_t born, died;
	int32_t id;
	uint32_t flags; /* its low 16 bits: vn_act_code() of its actions (vn_act.h) */
	void *actions;	/* struct vn_actions *; belongs to the owner */
	void *owner; /* what keeps actions, boxes and programs alive; whoever collects releases it
		      */
	/* What it matches: boxes, or steps. */
	const struct vn_box *boxes;
	uint32_t n_boxes;
	uint32_t n_steps;
	const struct vn_match_step *steps;
	const struct vn_bpf *const *leaves; /* what steps ask as fields VN_COLUMNS, + 1, ... */
	uint32_t n_leaves;
	uint64_t need[2]; /* columns that it reads */
	/* The writer's own. */
	struct vn_node **nodes;	      /* where it stands in the delta, n_boxes of them */
	struct vn_node **other_nodes; /* ... in the one before, while a merge ends */
	uint64_t home;		      /* that delta's number; 0: none */
	struct vn_rule *next;	      /* in a list */
	uint64_t live_at, young_at;   /* its places in the table's lists */
	uint32_t refs;		      /* levels that hold it, and the table itself */
	uint8_t levels;		      /* whether the present base (bit 0) and middle have it */
	bool young;		      /* is it in the list of those? */
	bool merging;		      /* it goes into the middle that is being published */
	bool unlinked;
};

static inline bool
vn_rule_visible(const struct vn_rule *r, uint64_t version)
{
	return r->born <= version && version < __atomic_load_n(&r->died, __ATOMIC_RELAXED);
}

struct vn_rule_counts {
	uint64_t packets, bytes;
};

struct vn_base;

/* Rules that are programs: the largest order first. Replaced as a whole. */
struct vn_specials {
	uint32_t n;
	struct vn_rule *at[];
};

/* What a burst sees. */
struct vn_state {
	struct vn_rules *table;
	struct vn_base *levels[VN_LEVELS]; /* the base; the middle, or NULL */
	struct vn_tuples *delta;
	struct vn_specials *specials;
	uint64_t need[2];
	uint64_t version;
	uint64_t number; /* no two states of a table have the same; from 1 */
};

struct vn_reader {
	const struct vn_state *state; /* between vn_rules_needs and the end of the burst */
	const struct vn_specials *specials;
	uint64_t version;
	uint64_t need[2]; /* the columns that classify may read */
	struct vn_rule_counts *counts[VN_COUNT_CHUNKS];
	uint64_t lookups;
	uint64_t fallbacks; /* packets whose winner in the base was removed */
	struct vn_keys *keys;
	struct vn_emc *emc; /* NULL: it has no cache */
} VN_CACHE_ALIGNED;

struct vn_garbage;

/* The actions (struct vn_actions *) of packets that no rule matches: those of versions before
 * `since`, and of it and all later ones. */
struct vn_none {
	uint64_t since;
	const void *before, *now;
};

struct vn_rules {
	struct vn_state *state;
	struct vn_reader readers[VN_READERS];
	struct rte_rcu_qsbr *qsbr;
	const struct vn_none *none;
	/* The writer's own. */
	struct vn_garbage *garbage, **garbage_end;
	uint64_t n_garbage;
	struct vn_rule *done;  /* nobody reads these any more: for vn_rules_collect */
	struct vn_rule **live; /* the rules that are not removed, in no order */
	uint64_t n_live, live_room, n_boxes;
	struct vn_rule **young; /* those that have boxes and are not in the base */
	uint64_t n_young, young_room;
	uint32_t uses[VN_COLUMNS]; /* live rules that read a column */
	bool merging[VN_LEVELS];
	uint64_t merges, minor_merges;
	uint32_t chunks; /* of counters that each registered reader has */
	bool registered[VN_READERS];
};

VN_EXPORT struct vn_rules *vn_rules_create(void);
/* No reader may be online. Rules that are left come back from vn_rules_collect first. */
VN_EXPORT void vn_rules_free(struct vn_rules *t);

/* -- readers ------------------------------------------------------------------------------- */

/* Gives reader r its memory: from the control plane, once. 0 or -ENOMEM. */
VN_EXPORT int vn_rules_register(struct vn_rules *t, unsigned int r);
/* Gives reader r, who is offline, a cache of flows (vn_emc.h) for vn_rules_classify, or takes it
 * away. 0 or -ENOMEM. */
VN_EXPORT int vn_rules_cache(struct vn_rules *t, unsigned int r, bool wanted);
VN_EXPORT void vn_rules_online(struct vn_rules *t, unsigned int r);
VN_EXPORT void vn_rules_offline(struct vn_rules *t, unsigned int r);

/* The reader holds no rule any more. */
static inline void
vn_rules_quiescent(struct vn_rules *t, unsigned int r)
{
	rte_rcu_qsbr_quiescent(t->qsbr, r);
}

/* Begins a burst: takes the version that it sees, and says which columns classify reads. */
static inline vn_fieldset
vn_rules_needs(struct vn_rules *t, unsigned int r)
{
	struct vn_reader *reader = &t->readers[r];
	const struct vn_state *s = __atomic_load_n(&t->state, __ATOMIC_ACQUIRE);

	reader->state = s;
	reader->version = __atomic_load_n(&s->version, __ATOMIC_ACQUIRE);
	reader->specials = __atomic_load_n(&s->specials, __ATOMIC_ACQUIRE);
	for (int k = 0; k < 2; k++)
		reader->need[k] = __atomic_load_n(&s->need[k], __ATOMIC_RELAXED);
	return (vn_fieldset)reader->need[1] << 64 | reader->need[0];
}

/* The actions of packets that no rule matches, in the version that the burst sees; NULL: none. */
static inline const void *
vn_rules_none(const struct vn_rules *t, unsigned int r)
{
	const struct vn_none *none = __atomic_load_n(&t->none, __ATOMIC_ACQUIRE);

	return t->readers[r].version >= none->since ? none->now : none->before;
}

/* hit[i]: the rule that wins for row i, or NULL. All rows see the version that vn_rules_needs
 * took. The pointers are valid until the reader is quiescent. pkts: what BPF looks at; NULL: rules
 * with such match nothing. */
VN_EXPORT void vn_rules_classify(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
				 struct rte_mbuf *const *pkts, uint32_t n,
				 const struct vn_rule **hit);
/* The same, as ids; -1: none. */
VN_EXPORT void vn_rules_ids(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
			    struct rte_mbuf *const *pkts, uint32_t n, int32_t *ids);

static inline void
vn_rules_count(struct vn_rules *t, unsigned int r, int32_t id, uint64_t packets, uint64_t bytes)
{
	struct vn_rule_counts *k = &t->readers[r].counts[(uint32_t)id / VN_COUNT_CHUNK]
							[(uint32_t)id % VN_COUNT_CHUNK];

	k->packets += packets;
	k->bytes += bytes;
}

/* -- the writer ---------------------------------------------------------------------------- */

/* Memory for counters of ids below n, for all registered readers. 0 or -ENOMEM. */
VN_EXPORT int vn_rules_room(struct vn_rules *t, uint32_t ids);
/* One step for readers: adds `n_add` rules (whose order, id, what they match and owner are set)
 * and removes `n_remove`. 0, or -ENOMEM: then nothing has changed, and the rules that were to be
 * added come back from vn_rules_collect. */
VN_EXPORT int vn_rules_commit(struct vn_rules *t, struct vn_rule **add, uint32_t n_add,
			      struct vn_rule **remove, uint32_t n_remove);
/* The actions of packets that no rule matches, from the next version on (`next`; before its
 * commit), or at once. The last change by `next` must be seen by all readers (vn_rules_wait). 0 or
 * -ENOMEM. */
VN_EXPORT int vn_rules_set_none(struct vn_rules *t, const void *actions, bool next);
/* Takes a change by `next` back whose commit has failed: in place, readers do not notice. */
VN_EXPORT void vn_rules_keep_none(struct vn_rules *t);
/* Frees what no reader can see any more, and returns the rules among it as a list (by next), whose
 * owner the caller releases before he frees each. */
VN_EXPORT struct vn_rule *vn_rules_collect(struct vn_rules *t);
/* The columns that the rules of the last version ask. What vn_rules_needs says may be more: engines
 * look at what removed rules asked, too, and any value will do there. */
VN_EXPORT void vn_rules_asks(const struct vn_rules *t, uint64_t *need);
/* Waits until all readers have seen what was committed, at most so long. 0 or -ETIMEDOUT. */
VN_EXPORT int vn_rules_wait(struct vn_rules *t, uint64_t us);
/* Sums of an id's counters. */
VN_EXPORT struct vn_rule_counts vn_rules_counts(const struct vn_rules *t, int32_t id);

enum vn_level { VN_BASE, VN_MIDDLE };

/* Merging, in three steps: begin and end under the writer's lock, build without it. One of each
 * level may be under way. A new base has all rules born until `born`; a new middle those of them
 * that are not in the base, or none if they have fewer than `least` boxes (then they stay in the
 * delta). NULL: no memory, or one of that level is under way. */
struct vn_merge;
VN_EXPORT struct vn_merge *vn_merge_begin(struct vn_rules *t, int level, uint64_t born,
					  uint64_t least);
/* engine: enum vn_engine. 0, or a negative errno with `error` saying why. */
VN_EXPORT int vn_merge_build(struct vn_merge *m, int engine, uint64_t max_bytes, char *error,
			     size_t error_size);
/* Publishes what was built; or gives it up, if building failed. What a new base has stays in middle
 * and delta, too, until the next middle. */
VN_EXPORT int vn_merge_end(struct vn_rules *t, struct vn_merge *m, bool publish);

struct vn_rules_info {
	uint64_t version, rules, boxes, base_rules, base_boxes, base_dead, base_tuples,
		middle_rules, middle_boxes, middle_dead, middle_old, delta_boxes, delta_tuples,
		young_boxes, specials, garbage, merges, minor_merges, lookups, cached, fallbacks;
	uint32_t groups;
	char engines[128];
};
VN_EXPORT void vn_rules_info(const struct vn_rules *t, struct vn_rules_info *info);
/* Boxes of live rules in the delta, born until then, that a new middle would take. */
VN_EXPORT uint64_t vn_rules_ripe(const struct vn_rules *t, uint64_t born);

#endif
