/* SPDX-License-Identifier: BSD-3-Clause
 * The stages that there are: a function, and what its `arg` points to.
 */
#ifndef VN_STAGES_H
#define VN_STAGES_H

#include "vn_stage.h"

/* What a stage says of a packet: an output port's number, or one of these. */
#define VN_VERDICT_PASS (-1)
#define VN_VERDICT_DROP (-2)

/* Parses columns, so that what comes after finds them. arg: vn_fieldset */
VN_EXPORT void vn_stage_parse(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_filter_arg {
	const struct vn_filter *filter;
	uint16_t reason;
};
/* Keeps what matches. */
VN_EXPORT void vn_stage_filter(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_macs_arg {
	bool swap;			/* or set: */
	uint8_t which[VN_OUT_PORTS];	/* by input: 1 destination, 2 source, 3 both, 0 neither */
	uint8_t macs[VN_OUT_PORTS][12]; /* destination, source */
};
/* Writes MAC addresses. */
VN_EXPORT void vn_stage_macs(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_rules_arg {
	struct vn_act_ctx act;
	const struct vn_actions *actions; /* vn_stage_actions: what all packets run */
};
/* Looks up which rules win, for stages after it; or does what they say, too. */
VN_EXPORT void vn_stage_classify(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);
VN_EXPORT void vn_stage_apply(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);
/* Runs the same actions on all packets. */
VN_EXPORT void vn_stage_actions(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_forward_arg {
	uint16_t to[VN_OUT_PORTS]; /* by input; UINT16_MAX: nowhere */
	uint16_t other;		   /* of packets whose input is not known */
};
/* Sends everything by the port that belongs to the input. */
VN_EXPORT void vn_stage_forward(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_bridge_arg {
	struct vn_bridge *bridge;
	uint16_t n; /* ports that a flood reaches */
	uint8_t ports[VN_MAX_PORTS];
};
/* A learning bridge over the ports. */
VN_EXPORT void vn_stage_bridge(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_branch {
	const struct vn_filter *filter; /* what matches goes here; NULL: by rule, or all */
	int32_t rule; /* ... what this rule (its id) has won; -1: what no rule has */
	struct vn_chain chain;
	struct vn_batch batch;
};
struct vn_split_arg {
	bool by_rule;
	uint16_t n;
	struct vn_branch *branches[];
};
/* Packets go through the first branch that takes them. What a branch leaves goes on after it. */
VN_EXPORT void vn_stage_split(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);
/* Copies of all packets go through a branch, too. arg: struct vn_branch */
VN_EXPORT void vn_stage_tee(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

struct vn_handoff_arg {
	uint16_t first, n; /* the worker's outputs by rings: more than one share the flows */
};
/* To other workers, or to the program's ring. */
VN_EXPORT void vn_stage_handoff(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

/* columns: pointers to the columns that were asked for, n rows each. verdict: PASS everywhere;
 * keep: 1 everywhere; NULL where they were not asked for. state: as it was given. */
typedef void (*vn_native)(void *const *columns, int64_t n, int16_t *verdict, uint8_t *keep,
			  void *const *state);
struct vn_native_arg {
	vn_native run;
	vn_fieldset need, writes;
	uint16_t n_columns;
	uint16_t columns[VN_COLUMNS + 1]; /* VN_COLUMNS: ids of the rules that won */
	void **state;
	uint16_t reason;
	bool wants_verdict, wants_keep;
	int16_t verdict[VN_MAX_BURST];
	uint8_t keep[VN_MAX_BURST];
	int32_t rule[VN_MAX_BURST];
};
/* A function of the program's own, compiled. */
VN_EXPORT void vn_stage_native(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

/* arg: uint16_t, the reason */
VN_EXPORT void vn_stage_drop(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b);

/* Does what verdicts say, of all rows. */
VN_EXPORT void vn_batch_verdict(struct vn_batch *b, const int16_t *verdict, struct vn_outs *to,
				struct vn_account *a, enum vn_drop reason);
/* Ids of the rules that have won, -1 for none. */
VN_EXPORT void vn_batch_rules(const struct vn_batch *b, int32_t *out);

#endif
