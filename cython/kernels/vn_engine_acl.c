/* SPDX-License-Identifier: BSD-3-Clause
 * Everything else: rte_acl.
 *
 * What a lookup costs is how many tries rte_acl makes and how large they are, and both explode
 * where wide addresses are crossed with narrow ones. So several ways of building are tried within a
 * budget (vn_acl_heap.h): all boxes in one context, with large and with small tries; or apart, by
 * how wide their addresses are. The way that looks up its own rules the fastest is kept.
 */
#define ALLOW_EXPERIMENTAL_API /* rte_vect_*, whose symbols are not stable in 22.11 */
#include <errno.h>
#include <pthread.h>

#include <rte_cycles.h>
#include <rte_vect.h>

#include "vn_acl_heap.h"
#include "vn_engine.h"

#define LARGE_TRIES ((size_t)1 << 40) /* rte_acl_config.max_size for the larger node limit */
#define LARGE_TRIES_BYTES (UINT64_C(128) << 20)
#define MANY 4096u /* boxes from which on not every way is tried */
#define SAMPLES 2048u

void
vn_acl_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n, uint32_t *result)
{
	const uint8_t **at = (const uint8_t **)(uintptr_t)keys->at;
	uint32_t other[VN_RULE_ROWS];

	rte_acl_classify(g->acl[0], at, result, n, 1);
	for (uint32_t k = 1; k < g->n_acl; k++) {
		rte_acl_classify(g->acl[k], at, other, n, 1);
		for (uint32_t i = 0; i < n; i++)
			if (other[i] - 1 < result[i] - 1) /* 0 is the largest here */
				result[i] = other[i];
	}
}

struct acl_column {
	uint16_t field, size;
	bool ranges, ternaries;
	uint8_t first; /* its first ACL field; a column of 8 bytes has two */
	int type;
};

struct acl_layout {
	uint32_t n_columns, n_fields;
	struct acl_column columns[VN_COLUMNS];
	struct rte_acl_field_def defs[RTE_ACL_MAX_FIELDS];
};

static int
compare_columns(const void *a, const void *b)
{
	const struct acl_column *x = a, *y = b;

	/* words first, then halves, then bytes: no gaps inside a group of four bytes */
	return x->size != y->size ? (int)y->size - (int)x->size : (int)x->field - (int)y->field;
}

/* Which columns a group's boxes test, and where they stand in its keys. */
static int
acl_plan(const struct vn_build *w, struct vn_group *g, struct acl_layout *l)
{
	struct acl_column seen[VN_COLUMNS] = {0};
	uint32_t offset = 4, bytes = 0, first = UINT32_MAX;

	for (uint64_t i = 0; i < w->n; i++) {
		for (uint32_t k = 0; k < w->items[i].box->n; k++) {
			const struct vn_test *t = &w->items[i].box->tests[k];
			struct acl_column *s = &seen[t->field];

			if (vn_guards(w, t))
				continue;
			s->field = t->field;
			s->size = t->size;
			if (vn_prefix_of(t) < 0) {
				s->ranges |= t->span != 0;
				s->ternaries |= t->span == 0;
			}
		}
	}
	l->n_columns = 0;
	for (uint32_t i = 0; i < VN_COLUMNS; i++)
		if (seen[i].size)
			l->columns[l->n_columns++] = seen[i];
	qsort(l->columns, l->n_columns, sizeof(l->columns[0]), compare_columns);
	for (uint32_t i = 0; i < l->n_columns; i++) {
		struct acl_column *s = &l->columns[i];

		bytes += s->size;
		if (s->size == 1 && first == UINT32_MAX)
			first = i;
		if (s->ternaries || (s->size == 1 && !s->ranges))
			s->type = RTE_ACL_FIELD_TYPE_BITMASK;
		else if (s->size == 8)
			s->type = RTE_ACL_FIELD_TYPE_MASK;
		else if (s->ranges || s->size == 2)
			s->type = RTE_ACL_FIELD_TYPE_RANGE;
		else
			s->type = RTE_ACL_FIELD_TYPE_MASK;
	}
	if (bytes + 16 > VN_KEY_BYTES || l->n_columns * 2 + 2 > VN_KEY_PARTS)
		return vn_engine_fail(w, -E2BIG, "the rules test too many columns for one key");
	/* rte_acl wants one byte first, alone. */
	l->n_fields = 1;
	l->defs[0] = (struct rte_acl_field_def){
		.type = RTE_ACL_FIELD_TYPE_BITMASK, .size = 1, .field_index = 0};
	g->n_parts = 0;
	for (uint32_t i = 0; i < l->n_columns; i++) {
		struct acl_column *s = &l->columns[i];
		unsigned int pieces = s->size == 8 ? 2 : 1, size = s->size == 8 ? 4 : s->size;

		if (i == first) {
			s->first = 0;
			l->defs[0].type = s->type;
			g->parts[g->n_parts++] = (struct vn_key_part){
				.field = s->field, .size = 1, .bytes = 1, .offset = 0};
			continue;
		}
		s->first = l->n_fields;
		for (unsigned int k = 0; k < pieces; k++) {
			l->defs[l->n_fields] = (struct rte_acl_field_def){
				.type = s->type,
				.size = size,
				.field_index = l->n_fields,
				.input_index = offset / 4,
				.offset = offset};
			g->parts[g->n_parts++] = (struct vn_key_part){
				.field = s->field,
				.size = s->size,
				.bytes = size,
				.shift = pieces == 2 && k == 0 ? 32 : 0,
				.offset = offset};
			l->n_fields++;
			offset += size;
		}
	}
	while (offset % 4) { /* rte_acl reads four bytes at a time: the rest may be anything */
		unsigned int size = offset % 2 ? 1 : 2;

		l->defs[l->n_fields] = (struct rte_acl_field_def){
			.type = RTE_ACL_FIELD_TYPE_BITMASK,
			.size = size,
			.field_index = l->n_fields,
			.input_index = offset / 4,
			.offset = offset};
		l->n_fields++;
		offset += size;
	}
	g->stride = RTE_ALIGN_CEIL(offset, 4u);
	vn_sort_parts(g);
	return 0;
}

static void
acl_set(struct rte_acl_field *f, const struct acl_column *s, unsigned int piece, uint64_t value,
	uint64_t mask, uint64_t lo, uint64_t hi)
{
	unsigned int size = s->size == 8 ? 4 : s->size;
	unsigned int shift = s->size == 8 && piece == 0 ? 32 : 0;
	uint64_t ones = vn_ones_of(size);

	value = value >> shift & ones;
	mask = mask >> shift & ones;
	switch (s->type) {
	case RTE_ACL_FIELD_TYPE_MASK:
		f->value.u64 = value;
		f->mask_range.u64 = __builtin_popcountll(mask);
		break;
	case RTE_ACL_FIELD_TYPE_RANGE:
		f->value.u64 = lo;
		f->mask_range.u64 = hi;
		break;
	default:
		f->value.u64 = value;
		f->mask_range.u64 = mask;
	}
}

/* The rules of one box: more than one where a range must become prefixes. */
static int
acl_add(const struct vn_build *w, struct rte_acl_ctx *acl, const struct acl_layout *l,
	const struct vn_box *box, uint32_t k, struct rte_acl_rule *rule, uint64_t *n, uint64_t most)
{
	const struct acl_column *s = NULL;
	const struct vn_test *t;
	uint64_t ones, lo, hi;
	unsigned int pieces;

	for (; k < box->n; k++) {
		if (vn_guards(w, &box->tests[k]))
			continue;
		for (uint32_t i = 0; i < l->n_columns; i++)
			if (l->columns[i].field == box->tests[k].field)
				s = &l->columns[i];
		break;
	}
	if (s == NULL) {
		if (++*n > most)
			return -ENOSPC;
		return acl ? rte_acl_add_rules(acl, rule, 1) : 0;
	}
	t = &box->tests[k];
	ones = vn_ones_of(t->size);
	pieces = t->size == 8 ? 2 : 1;
	lo = t->lo;
	hi = t->lo + t->span;
	if (s->type == RTE_ACL_FIELD_TYPE_RANGE &&
	    t->span == 0) /* (a prefix, as there are no ternaries) */
		hi = t->lo | (ones & ~t->mask);
	if (t->span == 0 || vn_prefix_of(t) >= 0 || s->type == RTE_ACL_FIELD_TYPE_RANGE) {
		uint64_t mask = t->span == 0 ? t->mask : ones & ~t->span;

		for (unsigned int p = 0; p < pieces; p++)
			acl_set(&rule->field[s->first + p], s, p, t->lo, mask, lo, hi);
		return acl_add(w, acl, l, box, k + 1, rule, n, most);
	}
	for (;;) { /* the largest aligned block that begins at lo and ends before hi */
		uint64_t rest = lo ? (lo & -lo) - 1 : ones;
		int rc;

		while (lo + rest > hi || lo + rest < lo)
			rest >>= 1;
		for (unsigned int p = 0; p < pieces; p++)
			acl_set(&rule->field[s->first + p], s, p, lo, ones & ~rest, 0, 0);
		rc = acl_add(w, acl, l, box, k + 1, rule, n, most);
		if (rc < 0 || lo + rest >= hi)
			return rc;
		lo += rest + 1;
	}
}

static void
acl_blank(const struct acl_layout *l, struct rte_acl_rule *rule)
{
	for (uint32_t i = 0; i < l->n_fields; i++) {
		rule->field[i].value.u64 = 0;
		rule->field[i].mask_range.u64 = l->defs[i].type == RTE_ACL_FIELD_TYPE_RANGE
							? vn_ones_of(l->defs[i].size)
							: 0;
	}
}

/* -- ways of building ------------------------------------------------------------------------ */

struct way {
	uint32_t n_acl;
	struct rte_acl_ctx *acl[VN_ACL_PARTS];
};

struct acl_task {
	const struct vn_build *w;
	const struct acl_layout *l;
	struct rte_acl_rule *rule; /* scratch */
	struct rte_acl_config cfg;
};

static void
way_free(struct way *way)
{
	for (uint32_t i = 0; i < way->n_acl; i++)
		rte_acl_free(way->acl[i]);
	way->n_acl = 0;
}

/* AVX-512 is only used by programs that allow it: all of the process, so one build at a time asks.
 */
static void
best_algorithm(struct rte_acl_ctx *acl)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint16_t before;

	pthread_mutex_lock(&lock);
	before = rte_vect_get_max_simd_bitwidth();
	if (rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512) == 0) {
		if (rte_acl_set_ctx_classify(acl, RTE_ACL_CLASSIFY_AVX512X32) != 0)
			rte_acl_set_ctx_classify(acl, RTE_ACL_CLASSIFY_AVX512X16);
		rte_vect_set_max_simd_bitwidth(before);
	} /* else the user said how wide (--force-max-simd-bitwidth) */
	pthread_mutex_unlock(&lock);
}

/* One more context, of the boxes whose class is `which`. Adds nothing where there are none. */
static int
add_context(struct acl_task *task, struct way *way, const uint8_t *class, unsigned int which,
	    uint64_t from, uint64_t to, size_t max_size, uint64_t budget)
{
	const struct vn_build *w = task->w;
	struct rte_acl_param param = {.socket_id = SOCKET_ID_ANY,
				      .rule_size = RTE_ACL_RULE_SZ(task->l->n_fields)};
	char name[RTE_ACL_NAMESIZE];
	struct rte_acl_ctx *acl;
	uint64_t total = 0;
	int rc = 0;

	for (uint64_t i = from; i < to && rc == 0; i++) /* how many will there be? */
		if (class[i] == which)
			rc = acl_add(w, NULL, task->l, w->items[i].box, 0, task->rule, &total,
				     1u << 24);
	if (rc < 0)
		return vn_engine_fail(w, -E2BIG, "ranges of bits become more than 16777216 rules");
	if (total == 0)
		return 0;
	if (way->n_acl == VN_ACL_PARTS)
		return vn_engine_fail(w, -ENOMEM, "the rules need more memory than is allowed");
	vn_acl_heap_limit(UINT64_MAX); /* its allocators are ours before its first context is */
	param.name = vn_engine_name(name, sizeof(name));
	param.max_rule_num = total;
	acl = rte_acl_create(&param);
	if (acl == NULL)
		return vn_engine_fail(w, -ENOMEM, "no DPDK memory for the rules");
	total = 0;
	for (uint64_t i = from; i < to && rc == 0; i++) {
		if (class[i] != which)
			continue;
		acl_blank(task->l, task->rule);
		task->rule->data.category_mask = 1;
		task->rule->data.priority = w->n_rules + 1 - w->items[i].index;
		task->rule->data.userdata = w->items[i].index;
		rc = acl_add(w, acl, task->l, w->items[i].box, 0, task->rule, &total, UINT64_MAX);
	}
	if (rc == 0) {
		task->cfg.max_size = max_size;
		vn_acl_heap_limit(budget);
		rc = rte_acl_build(acl, &task->cfg);
		vn_acl_heap_limit(UINT64_MAX);
	}
	if (rc < 0) {
		rte_acl_free(acl);
		return vn_engine_fail(
			w, rc,
			rc == -ENOMEM ? "building the rules needs more memory than is allowed"
				      : "rte_acl cannot build the rules");
	}
	best_algorithm(acl);
	way->acl[way->n_acl++] = acl;
	return 0;
}

static int
make_way(struct acl_task *task, struct way *way, const uint8_t *class, unsigned int classes,
	 size_t max_size, uint64_t budget)
{
	int rc = 0;

	for (unsigned int k = 0; k < classes && rc == 0; k++)
		rc = add_context(task, way, class, k, 0, task->w->n, max_size, budget);
	if (rc < 0)
		way_free(way);
	return rc;
}

/* Halves until each part can be built. */
static int
bisect(struct acl_task *task, struct way *way, const uint8_t *class, uint64_t from, uint64_t to,
       uint64_t budget)
{
	int rc = add_context(task, way, class, 0, from, to, 0, budget);

	if (rc != -ENOMEM || to - from < 2 || way->n_acl == VN_ACL_PARTS)
		return rc;
	rc = bisect(task, way, class, from, from + (to - from) / 2, budget);
	return rc < 0 ? rc : bisect(task, way, class, from + (to - from) / 2, to, budget);
}

/* Cycles for keys that the rules themselves say: corners of boxes, with any bits where all go. */
static uint64_t
measure(const struct acl_task *task, const struct vn_group *g, const struct way *way)
{
	const struct vn_build *w = task->w;
	struct vn_group trial = {.n_acl = way->n_acl};
	struct vn_keys *keys = malloc(sizeof(*keys));
	uint8_t *all = calloc(SAMPLES, g->stride + 8);
	uint32_t result[VN_RULE_ROWS];
	uint64_t best = UINT64_MAX, random = 0x9E3779B97F4A7C15ull;

	if (keys == NULL || all == NULL) {
		free(keys);
		free(all);
		return UINT64_MAX;
	}
	memcpy(trial.acl, way->acl, sizeof(trial.acl));
	for (uint32_t i = 0; i < SAMPLES; i++) {
		const struct vn_box *box = w->items[w->n * i / SAMPLES].box;
		uint8_t *key = all + (size_t)i * g->stride;

		for (uint32_t p = 0; p < g->n_parts; p++) {
			const struct vn_key_part *part = &g->parts[p];
			uint64_t value;

			random = random * 6364136223846793005ull + 1442695040888963407ull;
			value = random >> 16;
			for (uint32_t k = 0; k < box->n; k++) {
				const struct vn_test *t = &box->tests[k];

				if (t->field == part->field)
					value = t->span ? t->lo + value % (t->span +
									   !!(t->span + 1))
							: t->lo | (value & ~t->mask);
			}
			for (uint32_t k = 0; k < part->bytes; k++)
				key[part->offset + k] = value >> part->shift >>
							8 * (part->bytes - 1 - k);
		}
	}
	for (unsigned int round = 0; round < 7; round++) {
		uint64_t from = rte_rdtsc();

		for (uint32_t at = 0; at < SAMPLES; at += VN_RULE_ROWS) {
			for (uint32_t i = 0; i < VN_RULE_ROWS; i++)
				keys->at[i] = all + (size_t)(at + i) * g->stride;
			vn_acl_look_up(&trial, keys, VN_RULE_ROWS, result);
		}
		best = RTE_MIN(best, rte_rdtsc() - from);
	}
	free(keys);
	free(all);
	return best;
}

/* Keeps the faster of two ways. */
static void
prefer(const struct acl_task *task, const struct vn_group *g, struct way *kept, uint64_t *cycles,
       struct way *other)
{
	uint64_t took = measure(task, g, other);

	if (kept->n_acl == 0 || took < *cycles) {
		way_free(kept);
		*kept = *other;
		other->n_acl = 0;
		*cycles = took;
	} else {
		way_free(other);
	}
}

/* class[i]: does box i leave a column (of the two most telling of four bytes or more) wide open?
 * Returns for how many columns both kinds are there. */
static unsigned int
classify_widths(const struct vn_build *w, const struct acl_layout *l, uint8_t *class)
{
	unsigned int found = 0;

	memset(class, 0, w->n);
	for (uint32_t c = 0; c < l->n_columns && found < 2; c++) {
		uint64_t wide = 0;

		if (l->columns[c].size < 4)
			continue;
		for (uint64_t i = 0; i < w->n; i++) {
			const struct vn_box *box = w->items[i].box;
			unsigned int fixed = 0;

			for (uint32_t k = 0; k < box->n; k++)
				if (box->tests[k].field == l->columns[c].field)
					fixed = box->tests[k].span
							? 8 * box->tests[k].size - 64 +
								  __builtin_clzll(
									  box->tests[k].span)
							: __builtin_popcountll(box->tests[k].mask);
			if (fixed < 8) {
				class[i] |= 1 << found;
				wide++;
			}
		}
		if (wide > w->n / 64 && wide < w->n - w->n / 64)
			found++;
		else
			for (uint64_t i = 0; i < w->n; i++)
				class[i] &= (1 << found) - 1;
	}
	return found;
}

int
vn_acl_build(const struct vn_build *w, struct vn_group *g)
{
	struct acl_layout *l = calloc(1, sizeof(*l));
	struct acl_task *task = calloc(1, sizeof(*task));
	uint8_t *class = calloc(2, w->n + 1), *one = class + w->n + 1;
	struct way kept = {0}, way = {0};
	uint64_t cycles = UINT64_MAX;
	unsigned int columns;
	int rc = -ENOMEM;

	if (l == NULL || task == NULL || class == NULL) {
		vn_engine_fail(w, rc, "no memory for the rules");
		goto out;
	}
	rc = acl_plan(w, g, l);
	if (rc < 0)
		goto out;
	task->w = w;
	task->l = l;
	task->cfg.num_categories = 1;
	task->cfg.num_fields = l->n_fields;
	memcpy(task->cfg.defs, l->defs, l->n_fields * sizeof(l->defs[0]));
	task->rule = calloc(1, RTE_ACL_RULE_SZ(l->n_fields));
	if (task->rule == NULL) {
		rc = vn_engine_fail(w, -ENOMEM, "no memory for the rules");
		goto out;
	}
	columns = w->quick ? 0 : classify_widths(w, l, class);
	rc = make_way(task, &way, one, 1, LARGE_TRIES, RTE_MIN(w->max_bytes, LARGE_TRIES_BYTES));
	if (rc == 0 && w->quick)
		kept = way;
	else if (rc == 0)
		prefer(task, g, &kept, &cycles, &way);
	else if (rc != -ENOMEM)
		goto out;
	for (unsigned int k = 0; k < columns; k++) {
		for (uint64_t i = 0; i < w->n; i++)
			one[i] = class[i] >> k & 1;
		if (make_way(task, &way, one, 2, 0, w->max_bytes) == 0)
			prefer(task, g, &kept, &cycles, &way);
	}
	if (columns == 2 && (kept.n_acl == 0 || w->n <= MANY) &&
	    make_way(task, &way, class, 4, 0, w->max_bytes) == 0)
		prefer(task, g, &kept, &cycles, &way);
	memset(one, 0, w->n);
	if ((kept.n_acl == 0 || !w->quick) && make_way(task, &way, one, 1, 0, w->max_bytes) == 0)
		prefer(task, g, &kept, &cycles, &way);
	rc = 0;
	if (kept.n_acl == 0) {
		rc = bisect(task, &kept, one, 0, w->n, w->max_bytes);
		if (rc < 0)
			way_free(&kept);
	}
	g->n_acl = kept.n_acl;
	memcpy(g->acl, kept.acl, sizeof(kept.acl));
	g->engine = VN_ENGINE_ACL;
out:
	if (task)
		free(task->rule);
	free(l);
	free(task);
	free(class);
	return rc;
}
