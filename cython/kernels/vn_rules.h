/* SPDX-License-Identifier: BSD-3-Clause
 * A STAND-IN for the flow-rule table, for the tests of vn_act.h: the part of the interface that
 * readers use, over a linear scan. The founder's vn_rules.h replaces it.
 */
#ifndef VN_RULES_H
#define VN_RULES_H

#include <rte_mbuf.h>

#include "vn_match.h"

#define VN_READERS 192
#define VN_LCORE_READERS 128
#define VN_COUNT_CHUNK 65536u
#define VN_COUNT_CHUNKS 64u

struct vn_rule {
	uint64_t order;
	uint64_t born, died;
	int32_t id;
	uint32_t flags; /* its low 16 bits: vn_act_code() of its actions (vn_act.h) */
	void *actions;	/* struct vn_actions * */
	const struct vn_match_step *steps;
	uint32_t n_steps;
};

struct vn_rule_counts {
	uint64_t packets, bytes;
};

struct vn_reader {
	struct vn_rule_counts *counts[VN_COUNT_CHUNKS];
	uint64_t online, quiescent; /* how often each was called */
} VN_CACHE_ALIGNED;

struct vn_rules {
	struct vn_rule *rules; /* in order of winning */
	uint32_t n_rules;
	uint64_t need[2];
	void *none; /* struct vn_actions *: of packets that no rule matches */
	struct vn_reader readers[VN_READERS];
};

VN_EXPORT int vn_rules_register(struct vn_rules *t, unsigned int r);
VN_EXPORT void vn_rules_online(struct vn_rules *t, unsigned int r);
VN_EXPORT void vn_rules_offline(struct vn_rules *t, unsigned int r);

static inline void
vn_rules_quiescent(struct vn_rules *t, unsigned int r)
{
	t->readers[r].quiescent++;
}

static inline vn_fieldset
vn_rules_needs(struct vn_rules *t, unsigned int r)
{
	return (vn_fieldset)t->need[1] << 64 | t->need[0];
}

/* The actions of packets that no rule matches; NULL: none. Of the version that vn_rules_needs took;
 * valid until the reader is quiescent. */
static inline const void *
vn_rules_none(struct vn_rules *t, unsigned int r)
{
	return t->none;
}

VN_EXPORT void vn_rules_classify(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
				 struct rte_mbuf *const *pkts, uint32_t n,
				 const struct vn_rule **hit);

static inline void
vn_rules_count(struct vn_rules *t, unsigned int r, int32_t id, uint64_t packets, uint64_t bytes)
{
	struct vn_rule_counts *k = &t->readers[r].counts[(uint32_t)id / VN_COUNT_CHUNK]
							[(uint32_t)id % VN_COUNT_CHUNK];

	k->packets += packets;
	k->bytes += bytes;
}

VN_EXPORT struct vn_rule_counts vn_rules_counts(const struct vn_rules *t, int32_t id);

#endif
