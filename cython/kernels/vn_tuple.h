/* SPDX-License-Identifier: BSD-3-Clause
 * Tuple space search (Srinivasan, Suri, Varghese, SIGCOMM 1999; which tuples are kept apart follows
 * TupleMerge, Daly et al., 2019): boxes whose tests can be reduced to the same masks share a hash
 * table. Boxes come and go while readers look; nothing is rebuilt.
 */
#ifndef VN_TUPLE_H
#define VN_TUPLE_H

#include "vn_rules.h"
#include "vn_rows.h"

#define VN_CHAIN 12 /* boxes of one masked value before a finer tuple is tried */

struct vn_node {
	struct vn_node *next;
	uint64_t order;
	struct vn_rule *rule;
	const struct vn_box *box;
	struct vn_tuple *tuple;
	uint32_t hash;
	bool in_lanes; /* the box as it is compared with struct vn_lanes: (lane & mask) - lo <= span
			*/
	struct vn_lanes mask, lo, span;
};

/* The hash table of a tuple: replaced as a whole when it grows. */
struct vn_buckets {
	uint32_t bits;
	uint8_t *tags; /* 0: the chain is empty */
	struct vn_node *heads[];
};

struct vn_tuple {
	uint64_t max_order; /* no box has a larger one */
	struct vn_buckets *buckets;
	uint32_t n_nodes;
	uint32_t removed; /* since max_order was computed */
	uint32_t total_bits;
	uint64_t need[2]; /* its columns */
	uint32_t n_fields;
	struct vn_masked fields[];
};

struct vn_tuple_list {
	uint32_t n;
	struct vn_tuple *at[];
};

struct vn_tuples {
	uint64_t number; /* no two have the same */
	uint32_t uses;	 /* states that have it: the writer's own */
	struct vn_tuple_list *list;
	uint64_t n_nodes;
	/* Columns of four bytes or fewer that boxes test, as they came. */
	uint32_t n_lanes;
	struct vn_masked lanes[VN_LANES];
	/* Frees something when no reader can see it any more; NULL: there are no readers yet. */
	void (*later)(void *of, void *p, void (*release)(void *));
	void *of;
};

struct vn_tuples *vn_tuples_create(void (*later)(void *, void *, void (*)(void *)), void *of);
/* Frees all of it at once: nobody may be looking. */
void vn_tuples_free(struct vn_tuples *ts);
/* Puts the boxes of a rule in. nodes: n_boxes pointers, which become rule->nodes and follow the
 * boxes when a table grows (NULL: the rule is not told). 0 or -ENOMEM, and then none is in. */
int vn_tuples_add(struct vn_tuples *ts, struct vn_rule *rule, struct vn_node **nodes);
/* Takes a node out. Readers may still stand on it: it is freed later. */
void vn_tuples_remove(struct vn_tuples *ts, struct vn_node *node);
/* For rows from..from + n: a rule whose order is larger than best[i] replaces hit[i]. need: the
 * columns that are there. Tuples that ask others came after the version, or have no rule of it
 * left. */
void vn_tuples_search(const struct vn_tuples *ts, const struct vn_columns *c, uint32_t from,
		      uint32_t n, const uint64_t *need, uint64_t version, uint64_t *best,
		      const struct vn_rule **hit);
/* One row: the best rule whose order is in above..below, both excluded, or NULL. */
const struct vn_rule *vn_tuples_row(const struct vn_tuples *ts, const struct vn_columns *c,
				    uint32_t row, const uint64_t *need, uint64_t version,
				    uint64_t above, uint64_t below);
uint32_t vn_tuples_count(const struct vn_tuples *ts);

#endif
