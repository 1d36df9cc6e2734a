/* SPDX-License-Identifier: BSD-3-Clause
 * The immutable part of a rule table: boxes in groups, each behind the engine that fits it.
 *
 * A group holds the boxes that ask the same of the shape of a packet (IPv4, IPv6, behind a tag
 * ...); that is asked once a packet, and the rest of the tests is looked up: rte_hash where all
 * boxes are exact values of the same columns, rte_fib and rte_fib6 where they are prefixes of one
 * address, rte_acl everywhere else.
 */
#ifndef VN_BASE_H
#define VN_BASE_H

#include <rte_acl.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_hash.h>

#include "vn_tuple.h"

enum vn_engine {
	VN_ENGINE_AUTO,
	VN_ENGINE_ACL,
	VN_ENGINE_HASH,
	VN_ENGINE_FIB,
	VN_ENGINE_TUPLE, /* no DPDK memory at all */
};

#define VN_MAX_GROUPS 8u /* shapes of packets; the last takes all others */
#define VN_ACL_PARTS 16u /* contexts of one group, at most */
#define VN_MAX_GUARD 8u
#define VN_KEY_BYTES 256u
#define VN_KEY_PARTS 64u
/* From how many boxes on rte_hash and rte_fib are worth their memory. */
#define VN_HASH_LEAST 64u
#define VN_FIB_LEAST 1024u

struct vn_group {
	enum vn_engine engine;
	bool six; /* rte_fib6 */
	uint32_t n_guard;
	struct vn_match_step guard[VN_MAX_GUARD];
	uint32_t n_parts, stride;
	struct vn_key_part parts[VN_KEY_PARTS];
	uint32_t n_acl;
	struct rte_acl_ctx *acl[VN_ACL_PARTS]; /* all are asked */
	struct rte_hash *hash;
	struct rte_fib *fib;
	struct rte_fib6 *fib6;
	uint64_t n_boxes;
};

struct vn_base {
	struct vn_rule **rules; /* 1..n_rules, the largest order first; rules[0] is NULL */
	uint64_t *orders;	/* theirs; 0 for 0 */
	int32_t *ids;		/* -1 for 0 */
	bool in_order;		/* all ids are their index - 1 */
	uint32_t n_rules;
	uint64_t n_dead; /* that were removed since: a hint that visibility must be looked at */
	uint64_t n_boxes;
	uint64_t need[2]; /* columns that lookups read: maybe more than the rules that are left ask
			   */
	struct vn_tuples *tuples; /* all boxes: the engine itself, or what a removed winner hid */
	bool by_tuples;
	uint32_t uses; /* states that have it: the writer's own */
	uint32_t n_groups;
	struct vn_group *groups;
};

/* What a reader needs to look up a block of rows. */
struct vn_keys {
	uint8_t bytes[VN_RULE_ROWS * VN_KEY_BYTES + 64];
	const uint8_t *at[VN_RULE_ROWS];
	uint32_t stride; /* of `at` */
};

/* rules: an array that becomes the base's (with a free first place), sorted by who calls, who has
 * taken a reference to each. quick: the build should be fast, even if lookups are not the fastest.
 * NULL with `error` set. */
struct vn_base *vn_base_create(struct vn_rule **rules, uint32_t n_rules, int engine, bool quick,
			       uint64_t max_bytes, char *error, size_t error_size);
/* Frees it, but not the rules. */
void vn_base_free(struct vn_base *b);
/* index[i]: the rule that wins for row from + i, 0: none. `index` is 0 before. `ahead` rows behind
 * these are looked up next. Rows whose `wanted` is 0 need no answer (NULL: all do). */
void vn_base_search(const struct vn_base *b, struct vn_keys *keys, const struct vn_columns *c,
		    uint32_t from, uint32_t n, uint32_t ahead, const uint8_t *wanted,
		    uint32_t *index);
/* Columns whose first row is `row` of others. */
struct vn_columns vn_columns_from(const struct vn_columns *c, uint32_t row);

#endif
