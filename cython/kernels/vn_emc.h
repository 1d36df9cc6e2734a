/* SPDX-License-Identifier: BSD-3-Clause
 * An exact-match cache before the engines, as Open vSwitch has one: packets of one flow find what
 * the flow's last packet found in base and middle. It belongs to one reader and is exact: an answer
 * is used for the same values of all columns that those two read, and as long as they are the same
 * two. What came since is in the delta, which is searched as ever. Traffic whose flows do not come
 * again turns it off for a while.
 */
#ifndef VN_EMC_H
#define VN_EMC_H

#include "vn_rows.h"
#include "vn_rules.h"

#ifndef VN_EMC_BITS
#define VN_EMC_BITS 15 /* 2 MiB: one huge page */
#endif
#define VN_EMC_KEY 48u /* bytes: the columns of an IPv6 five-tuple, and those of the shape */
#define VN_EMC_PARTS 24u
#define VN_EMC_WINDOW 8192u /* lookups after which the cache is judged ... */
#define VN_EMC_REST 16u	    /* ... and for how many windows it rests if fewer than half hit */

struct vn_emc_entry {
	uint64_t state;		    /* its number; 0: empty */
	const struct vn_rule *rule; /* valid as long as readers see that state; may be NULL */
	uint8_t key[VN_EMC_KEY];
};

struct vn_emc {
	struct vn_emc_entry *entries;
	uint64_t state; /* which its keys are for */
	bool fits;	/* do they? */
	uint32_t stride, n_parts, n_fields;
	struct vn_key_part parts[VN_EMC_PARTS];
	struct vn_masked fields[VN_EMC_PARTS];
	uint32_t looked, found;
	uint64_t resting; /* lookups left until it is tried again */
	uint64_t hits;
	uint32_t slots[VN_RULE_ROWS];
	uint8_t keys[VN_RULE_ROWS * VN_EMC_KEY + 64];
};

struct vn_emc *vn_emc_create(void);
void vn_emc_free(struct vn_emc *e);
/* May the next n lookups be asked for here? */
bool vn_emc_usable(struct vn_emc *e, const struct vn_state *s, uint32_t n);
/* hit[i]: what base and middle have for row from + i, as far as that is known; unknown[i]: 1 where
 * it is not. Returns how many those are. */
uint32_t vn_emc_look(struct vn_emc *e, const struct vn_columns *c, uint32_t from, uint32_t n,
		     uint8_t *unknown, const struct vn_rule **hit);
/* Learns the rows where learn[i]. */
void vn_emc_learn(struct vn_emc *e, uint32_t n, const uint8_t *learn,
		  const struct vn_rule *const *hit);

#endif
