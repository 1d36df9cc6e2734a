/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <unistd.h>

#include <rte_prefetch.h>

#include "vn_engine.h"

struct vn_columns
vn_columns_from(const struct vn_columns *c, uint32_t row)
{
	union {
		struct vn_columns c;
		const char *at[VN_COLUMNS];
	} to = {.c = *c};

	for (uint32_t i = 0; i < VN_COLUMNS; i++)
		if (to.at[i])
			to.at[i] += (size_t)row * vn_field_size[i];
	return to.c;
}

static void
look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n, uint32_t *result)
{
	if (g->engine == VN_ENGINE_HASH)
		vn_hash_look_up(g, keys, n, result);
	else if (g->engine == VN_ENGINE_FIB)
		vn_fib_look_up(g, keys, n, result);
	else
		vn_acl_look_up(g, keys, n, result);
}

static void
make_keys(const struct vn_group *g, struct vn_keys *keys, const struct vn_columns *c,
	  const uint16_t *rows, uint32_t from, uint32_t n)
{
	vn_rows_keys(c, g->parts, g->n_parts, rows, from, n, g->stride, keys->bytes);
	if (keys->stride != g->stride) {
		for (uint32_t i = 0; i < VN_RULE_ROWS; i++)
			keys->at[i] = keys->bytes + i * g->stride;
		keys->stride = g->stride;
	}
}

/* in[i]: is row from + i of the shape that the group is for? */
static void
guarded_rows(const struct vn_group *g, const struct vn_columns *c, uint32_t from, uint32_t n,
	     uint8_t *in)
{
	const char *at[VN_COLUMNS]; /* only what the guard looks at */

	for (uint32_t k = 0; k < g->n_guard; k++) {
		uint16_t f = g->guard[k].field;

		at[f] = ((const char *const *)c)[f] + (size_t)from * vn_field_size[f];
	}
	vn_match((const struct vn_columns *)at, g->guard, g->n_guard, in, n);
}

/* The next rows' columns: they come from memory while the engines are at work on these. */
static void
fetch(const struct vn_group *g, const struct vn_columns *c, uint32_t from, uint32_t n)
{
	for (uint32_t k = 0; k < g->n_parts; k++) {
		const struct vn_key_part *p = &g->parts[k];
		const char *x = ((const char *const *)c)[p->field] + (size_t)from * p->size;

		for (uint32_t at = 0; at < n * p->size; at += RTE_CACHE_LINE_SIZE)
			rte_prefetch0(x + at);
	}
}

void
vn_base_search(const struct vn_base *b, struct vn_keys *keys, const struct vn_columns *c,
	       uint32_t from, uint32_t n, uint32_t ahead, const uint8_t *wanted, uint32_t *index)
{
	uint8_t guarded[VN_RULE_ROWS];
	uint16_t rows[VN_RULE_ROWS];
	uint32_t result[VN_RULE_ROWS];

	for (uint32_t k = 0; k < b->n_groups; k++) {
		const struct vn_group *g = &b->groups[k];
		const uint8_t *in = wanted;
		uint32_t some = n;

		if (g->n_guard) {
			guarded_rows(g, c, from, n, guarded);
			for (uint32_t i = 0; wanted && i < n; i++)
				guarded[i] &= wanted[i];
			in = guarded;
		}
		if (in) {
			some = 0;
			for (uint32_t i = 0; i < n; i++)
				some += in[i];
			if (some == 0)
				continue;
		}
		if (some == n) {
			make_keys(g, keys, c, NULL, from, n);
			fetch(g, c, from + n, ahead);
			if (k == 0) { /* nothing was found yet */
				look_up(g, keys, n, index);
				continue;
			}
			look_up(g, keys, n, result);
			for (uint32_t i = 0; i < n; i++)
				if (result[i] - 1 < index[i] - 1) /* 0 is the largest here */
					index[i] = result[i];
			continue;
		}
		some = 0;
		for (uint32_t i = 0; i < n; i++) {
			rows[some] = i;
			some += in[i];
		}
		make_keys(g, keys, c, rows, from, some);
		look_up(g, keys, some, result);
		for (uint32_t i = 0; i < some; i++)
			if (result[i] - 1 < index[rows[i]] - 1)
				index[rows[i]] = result[i];
	}
}

/* -- building -------------------------------------------------------------------------------- */

int
vn_engine_fail(const struct vn_build *w, int rc, const char *what)
{
	snprintf(w->error, w->error_size, "%s: %s", what, strerror(-rc));
	return rc;
}

/* The length of a prefix; -1 if the test is none. */
int
vn_prefix_of(const struct vn_test *t)
{
	uint64_t ones = vn_ones_of(t->size), fixed;

	if (t->span == 0) {
		fixed = t->mask;
	} else {
		if (t->mask != ones || t->span & (t->span + 1) || t->lo & t->span)
			return -1;
		fixed = ones & ~t->span;
	}
	/* ones, then zeros? */
	if ((ones & ~fixed) & ((ones & ~fixed) + 1))
		return -1;
	return __builtin_popcountll(fixed);
}

const char *
vn_engine_name(char *name, size_t size)
{
	static uint32_t serial;

	/* Processes that share memory share these names. */
	snprintf(name, size, "vn_rules%x_%u", (unsigned int)getpid(),
		 __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED));
	return name;
}

static int
by_offset(const void *a, const void *b)
{
	return (int)((const struct vn_key_part *)a)->offset -
	       ((const struct vn_key_part *)b)->offset;
}

void
vn_sort_parts(struct vn_group *g)
{
	qsort(g->parts, g->n_parts, sizeof(g->parts[0]), by_offset);
}

void
vn_plain_layout(const struct vn_build *w, struct vn_group *g)
{
	const struct vn_box *box = w->items[0].box;
	uint32_t offset = 0;

	g->n_parts = 0;
	for (uint16_t size = 8; size; size /= 2) { /* the larger first: none crosses a word */
		for (uint32_t k = 0; k < box->n; k++) {
			const struct vn_test *t = &box->tests[k];

			if (t->size != size || vn_guards(w, t))
				continue;
			offset += vn_key_put(&g->parts[g->n_parts], t->field, size, offset);
			g->n_parts += vn_key_halves(size);
		}
	}
	g->stride = RTE_ALIGN_CEIL(offset, 4u);
}

/* -- groups ---------------------------------------------------------------------------------- */

static void
group_free(struct vn_group *g)
{
	for (uint32_t i = 0; i < g->n_acl; i++)
		rte_acl_free(g->acl[i]);
	rte_hash_free(g->hash);
	rte_fib_free(g->fib);
	rte_fib6_free(g->fib6);
	g->n_acl = 0;
	g->hash = NULL;
	g->fib = NULL;
	g->fib6 = NULL;
}

static int
group_build(struct vn_build *w, struct vn_group *g, int engine)
{
	bool six = false, fib = vn_fib_fits(w, &six), exact = vn_hash_fits(w), automatic;
	int rc = -1;

	automatic = engine == VN_ENGINE_AUTO;
	g->n_boxes = w->n;
	if (fib && (engine == VN_ENGINE_FIB || (automatic && !w->quick && w->n >= VN_FIB_LEAST)))
		rc = vn_fib_build(w, g, six);
	if (rc < 0 && exact && (engine == VN_ENGINE_HASH || (automatic && w->n >= VN_HASH_LEAST))) {
		group_free(g);
		g->six = false;
		rc = vn_hash_build(w, g);
	}
	if (rc < 0) { /* nothing else fits, or there was no memory for it */
		group_free(g);
		g->six = false;
		rc = vn_acl_build(w, g);
	}
	return rc;
}

static inline bool
is_shape(const struct vn_test *t)
{
	return VN_SHAPE >> t->field & 1;
}

static bool
same_shape(const struct vn_box *a, const struct vn_box *b)
{
	uint32_t i = 0, k = 0;

	for (;;) {
		while (i < a->n && !is_shape(&a->tests[i]))
			i++;
		while (k < b->n && !is_shape(&b->tests[k]))
			k++;
		if (i == a->n || k == b->n)
			return i == a->n && k == b->n;
		if (a->tests[i].field != b->tests[k].field ||
		    a->tests[i].mask != b->tests[k].mask || a->tests[i].lo != b->tests[k].lo ||
		    a->tests[i].span != b->tests[k].span)
			return false;
		i++;
		k++;
	}
}

static uint32_t
shape_guard(const struct vn_box *box, struct vn_match_step *guard)
{
	uint32_t n = 0;

	for (uint32_t k = 0; k < box->n && n < VN_MAX_GUARD; k++) {
		const struct vn_test *t = &box->tests[k];

		if (is_shape(t))
			guard[n] = (struct vn_match_step){.mask = t->mask,
							  .lo = t->lo,
							  .span = t->span,
							  .field = t->field,
							  .op = n ? VN_MATCH_AND : VN_MATCH_PUSH},
			n++;
	}
	return n;
}

static int
build_groups(struct vn_base *b, struct vn_build *w, int engine)
{
	struct vn_item *items = malloc((b->n_boxes + 1) * sizeof(*items));
	uint8_t *shape = malloc(b->n_boxes + 1);
	const struct vn_box *first[VN_MAX_GROUPS];
	uint64_t at = 0;
	uint32_t n_shapes = 0;
	int rc = 0;

	b->groups = calloc(VN_MAX_GROUPS, sizeof(*b->groups));
	if (items == NULL || shape == NULL || b->groups == NULL) {
		rc = vn_engine_fail(w, -ENOMEM, "no memory for the rules");
		goto out;
	}
	for (uint32_t r = 1; r <= b->n_rules; r++) {
		for (uint32_t k = 0; k < b->rules[r]->n_boxes; k++, at++) {
			const struct vn_box *box = &b->rules[r]->boxes[k];
			uint32_t s = 0;

			/* The last takes what has no place of its own. */
			while (s < n_shapes &&
			       !(s < VN_MAX_GROUPS - 1 && same_shape(box, first[s])))
				s++;
			s = RTE_MIN(s, VN_MAX_GROUPS - 1);
			if (s == n_shapes)
				first[n_shapes++] = box;
			shape[at] = s;
		}
	}
	for (uint32_t s = 0; s < n_shapes && rc == 0; s++) {
		struct vn_group *g = &b->groups[b->n_groups++];

		w->items = items;
		w->n = 0;
		w->guarded = s < VN_MAX_GROUPS - 1;
		at = 0;
		for (uint32_t r = 1; r <= b->n_rules; r++)
			for (uint32_t k = 0; k < b->rules[r]->n_boxes; k++, at++)
				if (shape[at] == s)
					items[w->n++] = (struct vn_item){&b->rules[r]->boxes[k], r};
		if (w->guarded)
			g->n_guard = shape_guard(first[s], g->guard);
		rc = group_build(w, g, engine);
	}
out:
	free(items);
	free(shape);
	return rc;
}

struct vn_base *
vn_base_create(struct vn_rule **rules, uint32_t n_rules, int engine, bool quick, uint64_t max_bytes,
	       char *error, size_t error_size)
{
	struct vn_build w = {.n_rules = n_rules,
			     .quick = quick,
			     .max_bytes = max_bytes,
			     .error = error,
			     .error_size = error_size};
	struct vn_base *b = calloc(1, sizeof(*b));

	if (b) {
		b->n_rules = n_rules;
		b->orders = calloc(n_rules + 1, sizeof(*b->orders));
		b->ids = calloc(n_rules + 1, sizeof(*b->ids));
		b->tuples = vn_tuples_create(NULL, NULL);
	}
	if (b == NULL || b->orders == NULL || b->ids == NULL || b->tuples == NULL) {
		vn_engine_fail(&w, -ENOMEM, "no memory for the rules");
		vn_base_free(b);
		return NULL;
	}
	b->rules = rules;
	b->ids[0] = -1;
	b->in_order = true;
	for (uint32_t i = 1; i <= n_rules; i++) {
		b->orders[i] = rules[i]->order;
		b->ids[i] = rules[i]->id;
		b->in_order &= b->ids[i] == (int32_t)i - 1;
		b->n_boxes += rules[i]->n_boxes;
		for (int k = 0; k < 2; k++)
			b->need[k] |= rules[i]->need[k];
		if (vn_tuples_add(b->tuples, rules[i], NULL) < 0) {
			vn_engine_fail(&w, -ENOMEM, "no memory for the rules");
			goto failed;
		}
	}
	b->by_tuples = engine == VN_ENGINE_TUPLE;
	if (!b->by_tuples && build_groups(b, &w, engine) < 0)
		goto failed;
	/* A FIB's keys are whole addresses, whatever halves its rules test. */
	for (uint32_t k = 0; k < b->n_groups; k++)
		for (uint32_t p = 0; p < b->groups[k].n_parts; p++)
			b->need[b->groups[k].parts[p].field / 64] |=
				UINT64_C(1) << b->groups[k].parts[p].field % 64;
	return b;
failed:
	b->rules = NULL;
	vn_base_free(b);
	return NULL;
}

void
vn_base_free(struct vn_base *b)
{
	if (b == NULL)
		return;
	for (uint32_t k = 0; k < b->n_groups; k++)
		group_free(&b->groups[k]);
	free(b->groups);
	free(b->rules);
	free(b->orders);
	free(b->ids);
	vn_tuples_free(b->tuples);
	free(b);
}
