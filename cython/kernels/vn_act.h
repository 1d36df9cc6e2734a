/* SPDX-License-Identifier: BSD-3-Clause
 * What becomes of packets by the rules that they hit. A rule's actions run one after the other, on
 * one packet at a time; what a packet is sent to is collected in outputs (vn_outs.h), whose
 * owner sends it once a burst. Nothing is allocated.
 *
 * A burst whose packets all go to one port, or are all dropped, runs no actions at all: those are
 * in the rule's flags (vn_act_code).
 */
#ifndef VN_ACT_H
#define VN_ACT_H

#include "vn_meter.h"
#include "vn_nat.h"
#include "vn_outs.h"
#include "vn_rules.h"

#define VN_ACT_PORTS VN_OUT_PORTS

enum vn_act_op {
	VN_ACT_DROP,	/* arg: enum vn_drop */
	VN_ACT_FORWARD, /* to arg ports: copies to all but the last */
	VN_ACT_QUEUE,	/* of what is sent after it: arg */
	VN_ACT_SET,
	VN_ACT_NAT,
	VN_ACT_PUSH, /* arg: TCI */
	VN_ACT_POP,
	VN_ACT_TTL,
	VN_ACT_MIRROR, /* a copy to port arg */
	VN_ACT_MARK,   /* value */
	VN_ACT_METER,
	VN_ACT_LIMIT,
	VN_ACT_SAMPLE, /* 1 in arg... packets runs the next action, the others skip it */
	VN_ACT_CALL,   /* set aside for Python */
};

/* Counts the packets that met a sample action: all workers' together. */
struct vn_sample {
	uint32_t n;
	uint64_t seen;
};

struct vn_act {
	uint8_t op;
	uint16_t arg;
	union {
		uint8_t *ports;
		struct vn_set *set;
		struct vn_nat *nat;
		struct vn_meter *meter;
		struct vn_limit *limit;
		struct vn_sample *sample;
		uint32_t value;
	};
};

/* What a rule does: immutable but for the buckets and the counters that it points to. */
struct vn_actions {
	uint16_t n;
	uint16_t code; /* vn_act_code() */
	void *owner;
	struct vn_act acts[];
};

/* Actions in 16 bits, for the flags of a rule. */
#define VN_CODE_RUN 0u	     /* look into the actions */
#define VN_CODE_KEEP 1u	     /* there are none */
#define VN_CODE_PORT 2u	     /* + port: forward there, that is all */
#define VN_CODE_DROP 0x8000u /* + reason: drop */
#define VN_CODE_MASK 0xffffu

static inline uint32_t
vn_act_code(const struct vn_actions *a)
{
	return a ? a->code : VN_CODE_KEEP;
}

/* A packet that was set aside, and where its actions go on. */
struct vn_call {
	struct rte_mbuf *m;
	const struct vn_actions *actions;
	uint16_t at, queue;
};

/* What one thread runs actions with. */
struct vn_act_ctx {
	struct vn_rules *table; /* NULL: no rules, all packets run the same actions */
	unsigned int reader;
	struct vn_outs *to;
	/* May a burst that goes to one port as a whole be sent at once? Only if no packets that
	 * came with it are elsewhere. */
	bool whole;
	/* Packets for Python; NULL: there is no Python here, and they are dropped. */
	struct vn_call *calls;
	uint32_t n_calls, room_calls;
	uint64_t bytes;		      /* that the last run's packets had when they came */
	struct vn_sizes sizes;	      /* ... and the sizes of those that are left, ... */
	bool untouched;		      /* ... if it left all of them as they were */
	struct vn_rule_counts missed; /* packets that no rule matched */
	uint64_t now;		      /* TSC of this burst; 0: not read yet */
};

/* Counts the hits of up to VN_MAX_BURST packets and does what they say: what is sent waits in
 * x->to. hit[i] NULL (or no hit: none for all): no rule matched, `none` are the actions. rows: the
 * packets' rows in their burst. Returns how many packets no action has ended; these are
 * pkts[0..left) and rows[0..left), in order. */
VN_EXPORT uint16_t vn_act_run(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t *rows,
			      uint16_t n, const struct vn_rule *const *hit,
			      const struct vn_actions *none);
/* The same for any number of packets, and sends what waits. */
VN_EXPORT uint16_t vn_act_burst(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n,
				const struct vn_rule *const *hit, const struct vn_actions *none);
/* Runs the rest of the actions of packets that were set aside. As vn_act_burst. */
VN_EXPORT uint16_t vn_act_resume(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n,
				 const struct vn_actions *a, uint16_t at, uint16_t queue);

#endif
