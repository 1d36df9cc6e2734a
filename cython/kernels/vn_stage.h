/* SPDX-License-Identifier: BSD-3-Clause
 * What a pipeline is made of: stages, each a function over a batch, in chains that one worker runs
 * to the end for each batch. Nothing is shared between workers but what says so (meters, rule
 * tables, bridges), so stages neither lock nor allocate.
 */
#ifndef VN_STAGE_H
#define VN_STAGE_H

#include "vn_act.h"
#include "vn_bridge.h"
#include "vn_derive.h"
#include "vn_filter.h"
#include "vn_rewrite.h"

struct vn_worker;

/* A burst on its way: rows 0..n of everything. */
struct vn_batch {
	uint16_t n;
	uint16_t in; /* the input that it came by; VN_IN_MIXED: each mbuf's port says */
	bool whole;  /* no other packets that came with these are elsewhere */
	bool sized;  /* sizes are those of the packets */
	bool looked; /* hit is theirs, too */
	struct vn_sizes sizes;
	uint64_t *origin; /* where their bytes are to be counted as received; NULL: they are */
	vn_fieldset have; /* columns that are parsed, and say what the packets' bytes say */
	struct vn_columns columns;
	struct rte_mbuf *pkts[VN_MAX_BURST];
	uint16_t rows[VN_MAX_BURST]; /* their places when they came */
	const struct vn_rule *hit[VN_MAX_BURST];
	void *column_memory;
};

#define VN_IN_MIXED UINT16_MAX

struct vn_stage_count {
	uint64_t in, out;
	uint64_t timed, cycles; /* packets and TSC cycles of the bursts that were timed */
	uint64_t bursts;
};

struct vn_stage;
typedef void (*vn_stage_run)(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_stage {
	vn_stage_run run;
	void *arg; /* its own (vn_stages.h), allocated with vn_stage_alloc or not its to free */
	struct vn_stage_count stat;
	struct vn_account count; /* its drops and copies */
	uint16_t number;	 /* in the pipeline, the same in all workers */
} VN_CACHE_ALIGNED;

struct vn_chain {
	struct vn_stage *stages;
	uint16_t n;
};

/* Memory for a batch's columns. 0 or -ENOMEM. */
VN_EXPORT int vn_batch_init(struct vn_batch *b);
VN_EXPORT void vn_batch_fini(struct vn_batch *b);
/* Runs a chain on a batch. What no stage has ended is left in it. */
VN_EXPORT void vn_chain_run(const struct vn_chain *c, struct vn_worker *w, struct vn_batch *b);
/* Keeps the rows of mask (0 or 1 each), drops the others under `reason`. */
VN_EXPORT void vn_batch_keep(struct vn_batch *b, const uint8_t *mask, struct vn_account *a,
			     enum vn_drop reason);
/* Drops all. */
VN_EXPORT void vn_batch_drop(struct vn_batch *b, struct vn_account *a, enum vn_drop reason);

/* Measures the packets, and counts their bytes where they came from: before any of them is changed
 * or gone. */
static inline void
vn_batch_settle(struct vn_batch *b)
{
	if (!b->sized) {
		b->sizes = vn_sizes_of(b->pkts, b->n);
		b->sized = true;
	}
	if (b->origin) {
		*b->origin += b->sizes.bytes;
		b->origin = NULL;
	}
}

/* Their bytes have changed. */
static inline void
vn_batch_changed_but_rules(struct vn_batch *b)
{
	b->have = 0;
	b->sized = false;
}

/* Their bytes, or which they are, have changed. */
static inline void
vn_batch_changed(struct vn_batch *b)
{
	vn_batch_changed_but_rules(b);
	b->looked = false;
}

/* Parses what is not parsed yet. */
static inline void
vn_batch_parse(struct vn_batch *b, vn_fieldset want)
{
	if (want & ~b->have) {
		vn_fill(&b->columns, want & ~b->have, b->pkts, b->n);
		b->have |= want;
	}
}

#endif
