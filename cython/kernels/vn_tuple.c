/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_tuple.h"

#include <errno.h>
#include <stdlib.h>

#define LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define ACQUIRE(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

#define FIRST_BITS 6
#define MAX_BITS 24

static void
later(struct vn_tuples *ts, void *p, void (*release)(void *))
{
	if (ts->later)
		ts->later(ts->of, p, release);
	else
		release(p);
}

static struct vn_buckets *
buckets_create(uint32_t bits)
{
	struct vn_buckets *b = calloc(1, sizeof(*b) + (sizeof(b->heads[0]) << bits) + (1u << bits));

	if (b) {
		b->bits = bits;
		b->tags = (uint8_t *)&b->heads[(size_t)1 << bits];
	}
	return b;
}

static uint32_t
slot(const struct vn_buckets *b, uint32_t hash)
{
	return hash >> (32 - b->bits);
}

/* A table that has grown was copied: its nodes go with it. */
static void
buckets_release(void *p)
{
	struct vn_buckets *b = p;

	for (size_t i = 0; i < (size_t)1 << b->bits; i++) {
		for (struct vn_node *n = b->heads[i], *next; n; n = next) {
			next = n->next;
			free(n);
		}
	}
	free(b);
}

/* -- which tuple a box belongs to ------------------------------------------------------------ */

/* The bits that all values of a test have in common. */
static uint64_t
fixed_bits(const struct vn_test *t)
{
	uint64_t differ;

	if (t->span == 0)
		return t->mask;
	differ = t->lo ^ (t->lo + t->span);
	return t->mask & ~(UINT64_MAX >> __builtin_clzll(differ));
}

/* How much of a box a tuple looks at, so that many boxes share one: addresses by whole bytes, three
 * at most of four; those and the exact values of smaller columns; everything. */
enum detail { ADDRESSES, VALUES, ALL, DETAILS };

static uint64_t
reduced_bits(const struct vn_test *t, enum detail detail)
{
	uint64_t fixed = fixed_bits(t), ones = vn_ones_of(t->size);
	unsigned int length;

	if (detail == ALL)
		return fixed;
	if (t->size < 4)
		return detail == VALUES && fixed == ones ? fixed : 0;
	/* the leading ones */
	length = __builtin_clzll(~(fixed << (64 - 8 * t->size)) | 1);
	length = RTE_MIN(length & ~7u,
			 8u * t->size - (t->size == 4 && detail == ADDRESSES ? 8 : 0));
	return length ? ones & ~(ones >> length) : 0;
}

struct shape {
	uint32_t n, bits;
	struct vn_masked fields[VN_COLUMNS];
};

static void
shape_of(const struct vn_box *box, enum detail detail, struct shape *s)
{
	s->n = s->bits = 0;
	for (uint32_t k = 0; k < box->n; k++) {
		const struct vn_test *t = &box->tests[k];
		uint64_t mask = reduced_bits(t, detail);

		if (mask == 0)
			continue;
		s->fields[s->n++] = (struct vn_masked){
			.mask = mask, .field = t->field, .size = t->size};
		s->bits += __builtin_popcountll(mask);
	}
}

/* Does the box say all bits that the tuple looks at? (Tests are sorted by column.) */
static bool
fits(const struct vn_tuple *t, const struct vn_box *box)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < t->n_fields; i++) {
		while (k < box->n && box->tests[k].field < t->fields[i].field)
			k++;
		if (k == box->n || box->tests[k].field != t->fields[i].field ||
		    t->fields[i].mask & ~fixed_bits(&box->tests[k]))
			return false;
	}
	return true;
}

static uint32_t
box_hash(const struct vn_tuple *t, const struct vn_box *box)
{
	uint32_t h = 0x1234567, k = 0;

	for (uint32_t i = 0; i < t->n_fields; i++) {
		while (box->tests[k].field != t->fields[i].field)
			k++;
		h = vn_hash_step(h ^ h >> 16, box->tests[k].lo & t->fields[i].mask);
	}
	return vn_hash_end(h);
}

static bool
crowded(const struct vn_tuple *t, uint32_t hash)
{
	unsigned int n = 0;

	for (const struct vn_node *x = t->buckets->heads[slot(t->buckets, hash)]; x; x = x->next)
		n += x->hash == hash;
	return n >= VN_CHAIN;
}

static struct vn_tuple *
tuple_create(struct vn_tuples *ts, const struct shape *s)
{
	struct vn_tuple_list *old = ts->list, *list;
	struct vn_tuple *t = calloc(1, sizeof(*t) + s->n * sizeof(t->fields[0]));

	if (t == NULL)
		return NULL;
	t->n_fields = s->n;
	t->total_bits = s->bits;
	memcpy(t->fields, s->fields, s->n * sizeof(t->fields[0]));
	for (uint32_t i = 0; i < s->n; i++)
		t->need[s->fields[i].field / 64] |= UINT64_C(1) << s->fields[i].field % 64;
	t->buckets = buckets_create(FIRST_BITS);
	list = malloc(sizeof(*list) + (old->n + 1) * sizeof(list->at[0]));
	if (t->buckets == NULL || list == NULL) {
		free(t->buckets);
		free(t);
		free(list);
		return NULL;
	}
	memcpy(list->at, old->at, old->n * sizeof(list->at[0]));
	list->at[old->n] = t;
	list->n = old->n + 1;
	RELEASE(&ts->list, list);
	later(ts, old, free);
	return t;
}

/* The tuple for a box: the one that says most of it and is not crowded there; else a new one. */
static struct vn_tuple *
choose(struct vn_tuples *ts, const struct vn_box *box)
{
	struct vn_tuple *best = NULL, *fallback = NULL;
	struct shape s;

	for (uint32_t i = 0; i < ts->list->n; i++) {
		struct vn_tuple *t = ts->list->at[i];

		if ((best && t->total_bits <= best->total_bits) || !fits(t, box))
			continue;
		if (!fallback || t->total_bits > fallback->total_bits)
			fallback = t;
		if (!crowded(t, box_hash(t, box)))
			best = t;
	}
	if (best)
		return best;
	for (enum detail detail = ADDRESSES; detail < DETAILS; detail++) {
		shape_of(box, detail, &s);
		/* (addresses alone say little of a box that has none, or wide ones) */
		if (detail == ADDRESSES && s.bits < 16)
			continue;
		if (!fallback || s.bits > fallback->total_bits)
			return tuple_create(ts, &s);
	}
	return fallback; /* no tuple tells these boxes apart */
}

/* -- changing -------------------------------------------------------------------------------- */

static void
link(struct vn_buckets *b, struct vn_node *n)
{
	uint32_t at = slot(b, n->hash);
	struct vn_node **p = &b->heads[at];

	while (*p && (*p)->order > n->order)
		p = &(*p)->next;
	n->next = *p;
	RELEASE(p, n);
	__atomic_store_n(&b->tags[at], 1, __ATOMIC_RELEASE);
}

static struct vn_node *
node_create(void)
{
	return aligned_alloc(sizeof(struct vn_lanes),
			     RTE_ALIGN_CEIL(sizeof(struct vn_node), sizeof(struct vn_lanes)));
}

/* Nodes are in two chains at once while both tables are looked at, so they are copied. */
static int
grow(struct vn_tuples *ts, struct vn_tuple *t)
{
	struct vn_buckets *old = t->buckets, *b = buckets_create(old->bits + 2);

	if (b == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < (size_t)1 << old->bits; i++) {
		for (struct vn_node *n = old->heads[i]; n; n = n->next) {
			struct vn_node *copy = node_create();

			if (copy == NULL) {
				buckets_release(b);
				return -ENOMEM;
			}
			*copy = *n;
			link(b, copy);
		}
	}
	/* Nothing can fail any more: rules stand where the copies are. */
	for (size_t i = 0; i < (size_t)1 << b->bits; i++) {
		for (struct vn_node *n = b->heads[i]; n; n = n->next)
			/* (Of a base, which is built without the lock, no rule is told.) */
			if (ts->later && n->rule->home == ts->number)
				n->rule->nodes[n->box - n->rule->boxes] = n;
	}
	RELEASE(&t->buckets, b);
	later(ts, old, buckets_release);
	return 0;
}

/* Lays a box out for vn_lanes; a column that has no lane gets one, if there is one left. */
static void
to_lanes(struct vn_tuples *ts, struct vn_node *n)
{
	for (uint32_t k = 0; k < n->box->n; k++) {
		const struct vn_test *t = &n->box->tests[k];
		uint32_t lane = 0;

		while (lane < ts->n_lanes && ts->lanes[lane].field != t->field)
			lane++;
		if (t->size > 4 || lane == VN_LANES)
			return;
		if (lane == ts->n_lanes) {
			ts->lanes[lane] = (struct vn_masked){.field = t->field, .size = t->size};
			RELEASE(&ts->n_lanes, lane + 1);
		}
		n->mask.at[lane] = (uint32_t)t->mask;
		n->lo.at[lane] = (uint32_t)t->lo;
		n->span.at[lane] = (uint32_t)t->span;
	}
	n->in_lanes = true;
}

static struct vn_node *
add_box(struct vn_tuples *ts, struct vn_rule *rule, const struct vn_box *box)
{
	struct vn_tuple *t = choose(ts, box);
	struct vn_node *n;

	if (t == NULL)
		return NULL;
	if (t->n_nodes >= (1u << t->buckets->bits) / 2 && t->buckets->bits + 2 <= MAX_BITS &&
	    grow(ts, t) < 0)
		return NULL;
	n = node_create();
	if (n == NULL)
		return NULL;
	*n = (struct vn_node){.order = rule->order,
			      .rule = rule,
			      .box = box,
			      .tuple = t,
			      .hash = box_hash(t, box)};
	to_lanes(ts, n);
	if (n->order > t->max_order)
		__atomic_store_n(&t->max_order, n->order, __ATOMIC_RELEASE);
	link(t->buckets, n);
	__atomic_store_n(&t->n_nodes, t->n_nodes + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&ts->n_nodes, ts->n_nodes + 1, __ATOMIC_RELAXED);
	return n;
}

int
vn_tuples_add(struct vn_tuples *ts, struct vn_rule *rule, struct vn_node **nodes)
{
	if (nodes) { /* before the first: a table that grows looks there */
		rule->home = ts->number;
		rule->nodes = nodes;
	}
	for (uint32_t k = 0; k < rule->n_boxes; k++) {
		struct vn_node *n = add_box(ts, rule, &rule->boxes[k]);

		if (n == NULL) {
			while (nodes && k-- > 0)
				vn_tuples_remove(ts, nodes[k]);
			return -ENOMEM;
		}
		if (nodes)
			nodes[k] = n;
	}
	return 0;
}

void
vn_tuples_remove(struct vn_tuples *ts, struct vn_node *node)
{
	struct vn_tuple *t = node->tuple;
	struct vn_buckets *b = t->buckets;
	uint32_t at = slot(b, node->hash);
	struct vn_node **p = &b->heads[at];

	while (*p != node)
		p = &(*p)->next;
	RELEASE(p, node->next);
	if (b->heads[at] == NULL)
		__atomic_store_n(&b->tags[at], 0, __ATOMIC_RELAXED);
	__atomic_store_n(&t->n_nodes, t->n_nodes - 1, __ATOMIC_RELAXED);
	__atomic_store_n(&ts->n_nodes, ts->n_nodes - 1, __ATOMIC_RELAXED);
	/* The bound is too large now, which costs time only: it is computed anew once in a while.
	 */
	if (++t->removed > 64 + t->n_nodes) {
		uint64_t most = 0;

		for (size_t i = 0; i < (size_t)1 << b->bits; i++)
			if (b->heads[i] && b->heads[i]->order > most)
				most = b->heads[i]->order;
		__atomic_store_n(&t->max_order, most, __ATOMIC_RELEASE);
		t->removed = 0;
	}
	later(ts, node, free);
}

struct vn_tuples *
vn_tuples_create(void (*after)(void *, void *, void (*)(void *)), void *of)
{
	static uint64_t numbers;
	struct vn_tuples *ts = calloc(1, sizeof(*ts));

	if (ts == NULL)
		return NULL;
	ts->number = __atomic_add_fetch(&numbers, 1, __ATOMIC_RELAXED);
	ts->list = calloc(1, sizeof(*ts->list));
	if (ts->list == NULL) {
		free(ts);
		return NULL;
	}
	ts->later = after;
	ts->of = of;
	return ts;
}

void
vn_tuples_free(struct vn_tuples *ts)
{
	if (ts == NULL)
		return;
	for (uint32_t i = 0; i < ts->list->n; i++) {
		buckets_release(ts->list->at[i]->buckets);
		free(ts->list->at[i]);
	}
	free(ts->list);
	free(ts);
}

uint32_t
vn_tuples_count(const struct vn_tuples *ts)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ts->list->n; i++)
		n += ts->list->at[i]->n_nodes != 0;
	return n;
}

/* -- looking --------------------------------------------------------------------------------- */

/* Are the tuple's columns there? */
static inline bool
answers(const struct vn_tuple *t, const uint64_t *need)
{
	return !((t->need[0] & ~need[0]) | (t->need[1] & ~need[1]));
}

static inline bool
holds(const struct vn_box *box, const struct vn_columns *c, uint32_t row)
{
	for (uint32_t k = 0; k < box->n; k++) {
		const struct vn_test *t = &box->tests[k];

		if ((vn_row_value(c, t->field, t->size, row) & t->mask) - t->lo > t->span)
			return false;
	}
	return true;
}

typedef uint32_t quad __attribute__((vector_size(16)));

/* Four lanes of a row against those of a box: all ones where it holds. */
static inline quad
compare(const uint32_t *row, const uint32_t *mask, const uint32_t *lo, const uint32_t *span)
{
	return (quad)(((*(const quad *)row & *(const quad *)mask) - *(const quad *)lo) <=
		      *(const quad *)span);
}

static inline bool
lanes_hold(const struct vn_node *n, const struct vn_lanes *row)
{
	union {
		quad q;
		uint64_t u[2];
	} r = {compare(row->at, n->mask.at, n->lo.at, n->span.at) &
	       compare(row->at + 4, n->mask.at + 4, n->lo.at + 4, n->span.at + 4)};

	return (r.u[0] & r.u[1]) == UINT64_MAX;
}

/* The first rule of a chain that holds, whose order is in above..below. */
static inline const struct vn_rule *
walk(const struct vn_buckets *b, uint32_t hash, const struct vn_columns *c, uint32_t row,
     const struct vn_lanes *lanes, uint64_t version, uint64_t above, uint64_t below)
{
	for (const struct vn_node *n = ACQUIRE(&b->heads[slot(b, hash)]); n;
	     n = ACQUIRE(&n->next)) {
		if (n->order <= above)
			return NULL;
		/* A box that is too new may ask columns that nobody parsed: it is looked at only
		 * when it is visible. Its lanes may be compared with anything. */
		if (n->hash == hash && n->order < below &&
		    (lanes && n->in_lanes
			     ? lanes_hold(n, lanes) && vn_rule_visible(n->rule, version)
			     : vn_rule_visible(n->rule, version) && holds(n->box, c, row)))
			return n->rule;
	}
	return NULL;
}

void
vn_tuples_search(const struct vn_tuples *ts, const struct vn_columns *c, uint32_t from, uint32_t n,
		 const uint64_t *need, uint64_t version, uint64_t *best, const struct vn_rule **hit)
{
	const struct vn_tuple_list *list = ACQUIRE(&ts->list);
	uint32_t h[VN_RULE_ROWS];
	uint16_t rows[VN_RULE_ROWS];
	struct vn_lanes lanes[VN_RULE_ROWS];
	bool laid_out = false;
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < n; i++)
		least = RTE_MIN(least, best[i]);
	for (uint32_t k = 0; k < list->n; k++) {
		const struct vn_tuple *t = list->at[k];
		uint64_t most = ACQUIRE(&t->max_order);
		const struct vn_buckets *b;
		uint32_t found = 0, shift;

		if (ACQUIRE(&t->n_nodes) == 0 || most <= least || !answers(t, need))
			continue;
		b = ACQUIRE(&t->buckets);
		shift = 32 - b->bits;
		vn_rows_hash(c, t->fields, t->n_fields, from, n, h);
		for (uint32_t i = 0; i < n; i++) {
			rows[found] = i;
			found += (LOAD(&b->tags[h[i] >> shift]) != 0) & (best[i] < most);
		}
		if (found && !laid_out) {
			vn_rows_lanes(c, ts->lanes, ACQUIRE(&ts->n_lanes), from, n, lanes);
			laid_out = true;
		}
		for (uint32_t i = 0; i < found; i++) {
			uint32_t row = rows[i];
			const struct vn_rule *r = walk(b, h[row], c, from + row, &lanes[row],
						       version, best[row], UINT64_MAX);

			if (r) {
				hit[row] = r;
				best[row] = r->order;
			}
		}
	}
}

const struct vn_rule *
vn_tuples_row(const struct vn_tuples *ts, const struct vn_columns *c, uint32_t row,
	      const uint64_t *need, uint64_t version, uint64_t above, uint64_t below)
{
	const struct vn_tuple_list *list = ACQUIRE(&ts->list);
	const struct vn_rule *best = NULL;

	for (uint32_t k = 0; k < list->n; k++) {
		const struct vn_tuple *t = list->at[k];
		const struct vn_rule *r;

		if (ACQUIRE(&t->n_nodes) == 0 || ACQUIRE(&t->max_order) <= above ||
		    !answers(t, need))
			continue;
		r = walk(ACQUIRE(&t->buckets), vn_row_hash(c, t->fields, t->n_fields, row), c, row,
			 NULL, version, above, below);
		if (r) {
			best = r;
			above = r->order;
		}
	}
	return best;
}
