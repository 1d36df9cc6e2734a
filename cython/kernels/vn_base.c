/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_base.h"

#include <errno.h>

/* Which packets a group is for is asked by these columns, once a packet. */
#define SHAPE (VN_F(ethertype) | VN_F(ip_version) | VN_F(vlan_depth) | VN_F(mpls_depth))

struct vn_columns
vn_columns_from(const struct vn_columns *c, uint32_t row)
{
	struct vn_columns to;
	const char *const *from = (const char *const *)c;
	const char **out = (const char **)&to;

	for (uint32_t i = 0; i < VN_COLUMNS; i++)
		out[i] = from[i] ? from[i] + (size_t)row * vn_field_size[i] : NULL;
	return to;
}

static void
look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n, uint32_t *result)
{
	switch (g->engine) {
	case VN_ENGINE_HASH:
		for (uint32_t at = 0; at < n; at += RTE_HASH_LOOKUP_BULK_MAX) {
			uint32_t some = RTE_MIN(n - at, (uint32_t)RTE_HASH_LOOKUP_BULK_MAX);
			void *data[RTE_HASH_LOOKUP_BULK_MAX];
			uint64_t hits = 0;

			rte_hash_lookup_bulk_data(g->hash, (const void **)(uintptr_t)&keys->at[at],
						  some, &hits, data);
			for (uint32_t i = 0; i < some; i++)
				result[at + i] = hits >> i & 1 ? (uint32_t)(uintptr_t)data[i] : 0;
		}
		break;
	case VN_ENGINE_FIB: {
		uint64_t next[VN_RULE_ROWS];

		if (g->six) {
			rte_fib6_lookup_bulk(g->fib6, (void *)(uintptr_t)keys->bytes, next, n);
		} else {
			uint32_t ips[VN_RULE_ROWS];

			for (uint32_t i = 0; i < n; i++)
				ips[i] = rte_be_to_cpu_32(
					((const unaligned_uint32_t *)keys->bytes)[i]);
			rte_fib_lookup_bulk(g->fib, ips, next, n);
		}
		for (uint32_t i = 0; i < n; i++)
			result[i] = next[i];
		break;
	}
	default:
		rte_acl_classify(g->acl, (const uint8_t **)(uintptr_t)keys->at, result, n, 1);
	}
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

void
vn_base_search(const struct vn_base *b, struct vn_keys *keys, const struct vn_columns *c,
	       uint32_t from, uint32_t n, uint32_t *index)
{
	uint8_t in[VN_RULE_ROWS];
	uint16_t rows[VN_RULE_ROWS];
	uint32_t result[VN_RULE_ROWS];
	struct vn_columns moved;

	if (from)
		moved = vn_columns_from(c, from);
	for (uint32_t k = 0; k < b->n_groups; k++) {
		const struct vn_group *g = &b->groups[k];
		uint32_t some = n;

		if (g->n_guard || k) {
			if (g->n_guard)
				vn_match(from ? &moved : c, g->guard, g->n_guard, in, n);
			else
				memset(in, 1, n);
			some = 0;
			for (uint32_t i = 0; i < n; i++) {
				rows[some] = i;
				some += in[i] & !(g->next_part & (index[i] != 0));
			}
			if (some == 0)
				continue;
		}
		if (some == n) {
			make_keys(g, keys, c, NULL, from, n);
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
		make_keys(g, keys, c, rows, from, some);
		look_up(g, keys, some, result);
		for (uint32_t i = 0; i < some; i++)
			if (result[i] - 1 < index[rows[i]] - 1)
				index[rows[i]] = result[i];
	}
}

/* -- building -------------------------------------------------------------------------------------- */

/* A box on its way into a group. */
struct item {
	const struct vn_box *box;
	uint32_t index; /* of its rule */
};

struct build {
	struct vn_base *base;
	int socket;
	uint64_t max_bytes;
	char *error;
	size_t error_size;
};

static int
fail(struct build *w, int rc, const char *what)
{
	snprintf(w->error, w->error_size, "%s: %s", what, strerror(-rc));
	return rc;
}

static uint64_t
ones_of(uint32_t size)
{
	return size == 8 ? UINT64_MAX : (1ULL << 8 * size) - 1;
}

static bool
is_shape(const struct vn_test *t)
{
	return SHAPE >> t->field & 1;
}

/* The length of a prefix; -1 if the test is none. */
static int
prefix_of(const struct vn_test *t)
{
	uint64_t ones = ones_of(t->size), fixed;

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

static const char *
unique_name(char *name, size_t size)
{
	static uint32_t serial;

	snprintf(name, size, "vn_rules%u", __atomic_add_fetch(&serial, 1, __ATOMIC_RELAXED));
	return name;
}

/* -- rte_acl */

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
acl_plan(struct build *w, struct vn_group *g, const struct item *items, uint64_t n,
	 struct acl_layout *l, bool guarded)
{
	struct acl_column seen[VN_COLUMNS] = {0};
	uint32_t offset = 4, bytes = 0, first = UINT32_MAX;

	for (uint64_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < items[i].box->n; k++) {
			const struct vn_test *t = &items[i].box->tests[k];
			struct acl_column *s = &seen[t->field];

			if (guarded && is_shape(t))
				continue;
			s->field = t->field;
			s->size = t->size;
			if (prefix_of(t) < 0) {
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
		return fail(w, -E2BIG, "the rules test too many columns for one key");
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
				.type = s->type, .size = size, .field_index = l->n_fields,
				.input_index = offset / 4, .offset = offset};
			g->parts[g->n_parts++] = (struct vn_key_part){
				.field = s->field, .size = s->size, .bytes = size,
				.shift = pieces == 2 && k == 0 ? 32 : 0, .offset = offset};
			l->n_fields++;
			offset += size;
		}
	}
	while (offset % 4) { /* rte_acl reads four bytes at a time: the rest may be anything */
		unsigned int size = offset % 2 ? 1 : 2;

		l->defs[l->n_fields] = (struct rte_acl_field_def){
			.type = RTE_ACL_FIELD_TYPE_BITMASK, .size = size,
			.field_index = l->n_fields, .input_index = offset / 4, .offset = offset};
		l->n_fields++;
		offset += size;
	}
	g->stride = RTE_ALIGN_CEIL(offset, 4u);
	return 0;
}

static void
acl_set(struct rte_acl_field *f, const struct acl_column *s, unsigned int piece, uint64_t value,
	uint64_t mask, uint64_t lo, uint64_t hi)
{
	unsigned int size = s->size == 8 ? 4 : s->size;
	unsigned int shift = s->size == 8 && piece == 0 ? 32 : 0;
	uint64_t ones = ones_of(size);

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
acl_add(struct rte_acl_ctx *acl, const struct acl_layout *l, const struct vn_box *box, bool guarded,
	uint32_t k, struct rte_acl_rule *rule, uint64_t *n, uint64_t most)
{
	const struct acl_column *s = NULL;
	const struct vn_test *t;
	uint64_t ones, lo, hi;
	unsigned int pieces;

	for (; k < box->n; k++) {
		if (guarded && is_shape(&box->tests[k]))
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
	ones = ones_of(t->size);
	pieces = t->size == 8 ? 2 : 1;
	lo = t->lo;
	hi = t->lo + t->span;
	if (s->type == RTE_ACL_FIELD_TYPE_RANGE && t->span == 0) /* (a prefix, as there are no ternaries) */
		hi = t->lo | (ones & ~t->mask);
	if (t->span == 0 || prefix_of(t) >= 0 || s->type == RTE_ACL_FIELD_TYPE_RANGE) {
		uint64_t mask = t->span == 0 ? t->mask : ones & ~t->span;

		for (unsigned int p = 0; p < pieces; p++)
			acl_set(&rule->field[s->first + p], s, p, t->lo, mask, lo, hi);
		return acl_add(acl, l, box, guarded, k + 1, rule, n, most);
	}
	for (;;) { /* the largest aligned block that begins at lo and ends before hi */
		uint64_t rest = lo ? (lo & -lo) - 1 : ones;
		int rc;

		while (lo + rest > hi || lo + rest < lo)
			rest >>= 1;
		for (unsigned int p = 0; p < pieces; p++)
			acl_set(&rule->field[s->first + p], s, p, lo, ones & ~rest, 0, 0);
		rc = acl_add(acl, l, box, guarded, k + 1, rule, n, most);
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
		rule->field[i].mask_range.u64 =
			l->defs[i].type == RTE_ACL_FIELD_TYPE_RANGE ? ones_of(l->defs[i].size) : 0;
	}
}

static int
acl_build(struct build *w, struct vn_group *g, const struct item *items, uint64_t n, bool guarded)
{
	struct acl_layout *l = calloc(1, sizeof(*l));
	struct rte_acl_config *cfg = calloc(1, sizeof(*cfg));
	struct rte_acl_rule *rule = NULL;
	struct rte_acl_param param = {0};
	char name[RTE_ACL_NAMESIZE];
	uint64_t total = 0;
	int rc;

	if (l == NULL || cfg == NULL) {
		rc = fail(w, -ENOMEM, "no memory for the rules");
		goto out;
	}
	rc = acl_plan(w, g, items, n, l, guarded);
	if (rc < 0)
		goto out;
	rule = calloc(1, RTE_ACL_RULE_SZ(l->n_fields));
	if (rule == NULL) {
		rc = fail(w, -ENOMEM, "no memory for the rules");
		goto out;
	}
	for (uint64_t i = 0; i < n && rc == 0; i++) /* how many will there be? */
		rc = acl_add(NULL, l, items[i].box, guarded, 0, rule, &total, 1u << 24);
	if (rc < 0) {
		fail(w, -E2BIG, "ranges of bits become more than 16777216 rules");
		goto out;
	}
	param.name = unique_name(name, sizeof(name));
	param.socket_id = w->socket;
	param.rule_size = RTE_ACL_RULE_SZ(l->n_fields);
	param.max_rule_num = total;
	g->acl = rte_acl_create(&param);
	if (g->acl == NULL) {
		rc = fail(w, -ENOMEM, "no DPDK memory for the rules");
		goto out;
	}
	total = 0;
	for (uint64_t i = 0; i < n && rc == 0; i++) {
		acl_blank(l, rule);
		rule->data.category_mask = 1;
		rule->data.priority = w->base->n_rules + 1 - items[i].index;
		rule->data.userdata = items[i].index;
		rc = acl_add(g->acl, l, items[i].box, guarded, 0, rule, &total, UINT64_MAX);
	}
	if (rc < 0) {
		fail(w, rc, "rte_acl refuses a rule");
		goto out;
	}
	cfg->num_categories = 1;
	cfg->num_fields = l->n_fields;
	memcpy(cfg->defs, l->defs, l->n_fields * sizeof(cfg->defs[0]));
	cfg->max_size = w->max_bytes;
	rc = rte_acl_build(g->acl, cfg);
	if (rc < 0)
		fail(w, rc, rc == -ERANGE ? "the rules need more memory than the limit" :
					    "rte_acl cannot build the rules");
	g->engine = VN_ENGINE_ACL;
out:
	free(l);
	free(cfg);
	free(rule);
	return rc;
}

/* -- rte_hash */

/* Do all boxes give values for exactly the same columns? */
static bool
all_exact(const struct item *items, uint64_t n, bool guarded)
{
	uint16_t fields[VN_COLUMNS];
	uint32_t n_fields = 0, bytes = 0;

	for (uint64_t i = 0; i < n; i++) {
		uint32_t at = 0;

		for (uint32_t k = 0; k < items[i].box->n; k++) {
			const struct vn_test *t = &items[i].box->tests[k];

			if (guarded && is_shape(t))
				continue;
			if (t->span || t->mask != ones_of(t->size))
				return false;
			if (i == 0) {
				fields[n_fields++] = t->field;
				bytes += t->size;
			} else if (at >= n_fields || fields[at] != t->field) {
				return false;
			}
			at++;
		}
		if (at != n_fields)
			return false;
	}
	return n_fields && bytes <= VN_KEY_BYTES - 8;
}

/* A key of the values of a box, laid out as the keys of rows are. */
static void
box_key(const struct vn_group *g, const struct vn_box *box, uint8_t *key)
{
	memset(key, 0, g->stride);
	for (uint32_t p = 0; p < g->n_parts; p++) {
		const struct vn_key_part *part = &g->parts[p];

		for (uint32_t k = 0; k < box->n; k++) {
			if (box->tests[k].field != part->field)
				continue;
			for (uint32_t i = 0; i < part->bytes; i++)
				key[part->offset + i] = box->tests[k].lo >> part->shift >>
							8 * (part->bytes - 1 - i);
		}
	}
}

static void
plain_layout(struct vn_group *g, const struct vn_box *box, bool guarded)
{
	uint32_t offset = 0;

	g->n_parts = 0;
	for (uint32_t k = 0; k < box->n; k++) {
		const struct vn_test *t = &box->tests[k];

		if (guarded && is_shape(t))
			continue;
		for (uint32_t p = 0; p < (t->size == 8 ? 2 : 1); p++) {
			uint32_t bytes = RTE_MIN(t->size, 4);

			g->parts[g->n_parts++] = (struct vn_key_part){
				.field = t->field, .size = t->size, .bytes = bytes,
				.shift = t->size == 8 && p == 0 ? 32 : 0, .offset = offset};
			offset += bytes;
		}
	}
	g->stride = offset;
}

static int
hash_build(struct build *w, struct vn_group *g, const struct item *items, uint64_t n, bool guarded)
{
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters param = {0};
	uint8_t key[VN_KEY_BYTES];

	plain_layout(g, items[0].box, guarded);
	param.name = unique_name(name, sizeof(name));
	param.entries = RTE_MAX(n + n / 4, (uint64_t)64);
	param.key_len = g->stride;
	param.socket_id = w->socket;
	param.extra_flag = RTE_HASH_EXTRA_FLAGS_EXT_TABLE | RTE_HASH_EXTRA_FLAGS_NO_FREE_ON_DEL;
	g->hash = rte_hash_create(&param);
	if (g->hash == NULL)
		return fail(w, -ENOMEM, "no DPDK memory for a hash table of the rules");
	for (uint64_t i = 0; i < n; i++) {
		int rc;

		box_key(g, items[i].box, key);
		if (rte_hash_lookup(g->hash, key) >= 0)
			continue; /* the same values, and a larger order */
		rc = rte_hash_add_key_data(g->hash, key, (void *)(uintptr_t)items[i].index);
		if (rc < 0)
			return fail(w, rc, "rte_hash takes no more rules");
	}
	g->engine = VN_ENGINE_HASH;
	return 0;
}

/* -- rte_fib */

struct prefix {
	uint8_t bytes[16]; /* the address, from the first byte on */
	uint8_t length;
	uint32_t index;
};

/* The one address whose prefixes all boxes are: its first column, or -1. */
static int
all_prefixes(const struct item *items, uint64_t n, bool guarded, bool *six)
{
	int column = -1;

	for (uint64_t i = 0; i < n; i++) {
		const struct vn_test *t[2];
		uint32_t found = 0;
		int field;

		for (uint32_t k = 0; k < items[i].box->n; k++) {
			if (guarded && is_shape(&items[i].box->tests[k]))
				continue;
			if (found == 2)
				return -1;
			t[found++] = &items[i].box->tests[k];
		}
		if (found == 0 || prefix_of(t[0]) < 1)
			return -1;
		field = t[0]->field;
		if (field == VN_I_ip_src || field == VN_I_ip_dst) {
			if (found != 1)
				return -1;
			*six = false;
		} else if (field == VN_I_ip6_src_hi || field == VN_I_ip6_dst_hi) {
			if (found == 2 && (t[1]->field != field + 1 || prefix_of(t[0]) != 64 ||
					   prefix_of(t[1]) < 1))
				return -1;
			*six = true;
		} else {
			return -1;
		}
		if (column >= 0 && column != field)
			return -1;
		column = field;
	}
	return column;
}

static int
compare_prefixes(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int c = memcmp(x->bytes, y->bytes, 16);

	if (c == 0)
		c = (int)x->length - (int)y->length;
	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static bool
covers(const struct prefix *a, const struct prefix *b)
{
	unsigned int whole = a->length / 8, rest = a->length % 8;

	return a->length <= b->length && memcmp(a->bytes, b->bytes, whole) == 0 &&
	       (rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0);
}

/* The longest prefix wins in a FIB. A rule whose prefix lies in that of a rule that wins against it
 * never wins anywhere: without such rules, the longest prefix is the winner. */
static uint64_t
reachable(struct prefix *p, uint64_t n)
{
	uint64_t kept = 0, depth = 0;
	uint64_t *open = malloc((n + 1) * sizeof(*open)); /* places of the prefixes around the next */

	if (open == NULL)
		return 0;
	qsort(p, n, sizeof(*p), compare_prefixes);
	for (uint64_t i = 0; i < n; i++) {
		while (depth && !covers(&p[open[depth - 1]], &p[i]))
			depth--;
		if (depth && p[open[depth - 1]].index < p[i].index)
			continue;
		/* What is around has a larger index each, so that the innermost is the one to beat. */
		p[kept] = p[i];
		open[depth++] = kept++;
	}
	free(open);
	return kept;
}

/* Tables of 256 that a trie of bytes has below its first 24 bits. */
static uint64_t
tables_below_24(const struct prefix *p, uint64_t n)
{
	uint64_t count = 1;

	for (uint64_t i = 0; i < n; i++) {
		unsigned int same = 0, levels = (p[i].length + 7) / 8;

		while (i && same < 16 && p[i].bytes[same] == p[i - 1].bytes[same])
			same++;
		for (unsigned int at = 3; at < levels; at++)
			count += i == 0 || same < at || (p[i - 1].length + 7u) / 8 <= at;
	}
	return count;
}

static int
fib_build(struct build *w, struct vn_group *g, const struct item *items, uint64_t n, bool guarded,
	  bool six)
{
	struct prefix *p = calloc(n, sizeof(*p));
	char name[32];
	uint64_t kept;
	int rc = 0;

	if (p == NULL)
		return fail(w, -ENOMEM, "no memory for the rules");
	for (uint64_t i = 0; i < n; i++) {
		uint32_t at = 0;

		p[i].index = items[i].index;
		for (uint32_t k = 0; k < items[i].box->n; k++) {
			const struct vn_test *t = &items[i].box->tests[k];

			if (guarded && is_shape(t))
				continue;
			for (uint32_t j = 0; j < t->size; j++)
				p[i].bytes[at++] = t->lo >> 8 * (t->size - 1 - j);
			p[i].length += prefix_of(t);
		}
	}
	kept = reachable(p, n);
	if (kept == 0) {
		free(p);
		return fail(w, -ENOMEM, "no memory for the rules");
	}
	plain_layout(g, items[0].box, guarded);
	g->six = six;
	unique_name(name, sizeof(name));
	if (six) {
		const struct vn_test *t = items[0].box->tests;
		struct rte_fib6_conf conf = {.type = RTE_FIB6_TRIE, .default_nh = 0,
					     .max_routes = kept + 1};

		while (guarded && is_shape(t))
			t++;
		conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
		conf.trie.num_tbl8 = tables_below_24(p, kept) + 1;
		g->n_parts = 0; /* all 16 bytes, where the first box has the upper half only, too */
		for (uint32_t k = 0; k < 4; k++)
			g->parts[g->n_parts++] = (struct vn_key_part){
				.field = t->field + k / 2, .size = 8, .bytes = 4,
				.shift = k % 2 ? 0 : 32, .offset = 4 * k};
		g->stride = 16;
		g->fib6 = rte_fib6_create(name, w->socket, &conf);
		rc = g->fib6 ? 0 : -ENOMEM;
		for (uint64_t i = 0; i < kept && rc == 0; i++)
			rc = rte_fib6_add(g->fib6, (void *)p[i].bytes, p[i].length, p[i].index);
	} else {
		struct rte_fib_conf conf = {.type = RTE_FIB_DIR24_8, .default_nh = 0,
					    .max_routes = kept + 1};

		conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
		conf.dir24_8.num_tbl8 = tables_below_24(p, kept) + 1;
		g->fib = rte_fib_create(name, w->socket, &conf);
		rc = g->fib ? 0 : -ENOMEM;
		for (uint64_t i = 0; i < kept && rc == 0; i++) {
			uint32_t ip;

			memcpy(&ip, p[i].bytes, 4);
			rc = rte_fib_add(g->fib, rte_be_to_cpu_32(ip), p[i].length, p[i].index);
		}
	}
	free(p);
	if (rc < 0)
		return fail(w, rc, "rte_fib cannot hold the rules");
	g->engine = VN_ENGINE_FIB;
	return 0;
}

/* -- groups */

static void
group_free(struct vn_group *g)
{
	rte_acl_free(g->acl);
	rte_hash_free(g->hash);
	rte_fib_free(g->fib);
	rte_fib6_free(g->fib6);
	g->acl = NULL;
	g->hash = NULL;
	g->fib = NULL;
	g->fib6 = NULL;
}

static int
group_build(struct build *w, struct vn_group *g, const struct item *items, uint64_t n, int engine,
	    bool guarded)
{
	bool six = false, fib = all_prefixes(items, n, guarded, &six) >= 0;
	bool exact = all_exact(items, n, guarded);
	int rc = -1;

	g->n_boxes = n;
	if (engine == VN_ENGINE_FIB ? fib : engine == VN_ENGINE_AUTO && fib && n >= VN_FIB_LEAST)
		rc = fib_build(w, g, items, n, guarded, six);
	else if (engine == VN_ENGINE_HASH ? exact :
					    engine == VN_ENGINE_AUTO && exact && n >= VN_HASH_LEAST)
		rc = hash_build(w, g, items, n, guarded);
	if (rc < 0) { /* nothing else fits, or there was no memory for it */
		group_free(g);
		g->six = false;
		rc = acl_build(w, g, items, n, guarded);
	}
	return rc;
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
		if (a->tests[i].field != b->tests[k].field || a->tests[i].mask != b->tests[k].mask ||
		    a->tests[i].lo != b->tests[k].lo || a->tests[i].span != b->tests[k].span)
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
			guard[n] = (struct vn_match_step){
				.mask = t->mask, .lo = t->lo, .span = t->span, .field = t->field,
				.op = n ? VN_MATCH_AND : VN_MATCH_PUSH},
			n++;
	}
	return n;
}

static int
build_groups(struct build *w, int engine)
{
	struct vn_base *b = w->base;
	struct item *items = malloc((b->n_boxes + 1) * sizeof(*items));
	uint8_t *shape = malloc(b->n_boxes + 1);
	const struct vn_box *first[VN_MAX_GROUPS];
	uint64_t at = 0;
	uint32_t n_shapes = 0;
	int rc = 0;

	b->groups = calloc(VN_MAX_GROUPS, sizeof(*b->groups));
	if (items == NULL || shape == NULL || b->groups == NULL) {
		rc = fail(w, -ENOMEM, "no memory for the rules");
		goto out;
	}
	for (uint32_t r = 1; r <= b->n_rules; r++) {
		for (uint32_t k = 0; k < b->rules[r]->n_boxes; k++, at++) {
			const struct vn_box *box = &b->rules[r]->boxes[k];
			uint32_t s = 0;

			while (s < n_shapes && !(s < VN_MAX_GROUPS - 1 && same_shape(box, first[s])))
				s++;
			if (s == n_shapes && n_shapes < VN_MAX_GROUPS) {
				first[n_shapes++] = box;
			} else if (s == n_shapes) {
				s = VN_MAX_GROUPS - 1;
			}
			shape[at] = s;
		}
	}
	for (uint32_t s = 0; s < n_shapes && rc == 0; s++) {
		struct vn_group *g = &b->groups[b->n_groups];
		bool guarded = s < VN_MAX_GROUPS - 1;
		uint64_t n = 0;

		at = 0;
		for (uint32_t r = 1; r <= b->n_rules; r++)
			for (uint32_t k = 0; k < b->rules[r]->n_boxes; k++, at++)
				if (shape[at] == s)
					items[n++] = (struct item){&b->rules[r]->boxes[k], r};
		if (guarded)
			g->n_guard = shape_guard(first[s], g->guard);
		b->n_groups++;
		rc = group_build(w, g, items, n, engine, guarded);
	}
out:
	free(items);
	free(shape);
	return rc;
}

struct vn_base *
vn_base_create(struct vn_rule **rules, uint32_t n_rules, int engine, int socket, uint64_t max_bytes,
	       char *error, size_t error_size)
{
	struct build w = {.socket = socket, .max_bytes = max_bytes, .error = error,
			  .error_size = error_size};
	struct vn_base *b = calloc(1, sizeof(*b));

	if (b) {
		w.base = b;
		b->n_rules = n_rules;
		b->orders = calloc(n_rules + 1, sizeof(*b->orders));
		b->ids = calloc(n_rules + 1, sizeof(*b->ids));
		b->tuples = vn_tuples_create(NULL, NULL);
	}
	if (b == NULL || b->orders == NULL || b->ids == NULL || b->tuples == NULL) {
		fail(&w, -ENOMEM, "no memory for the rules");
		vn_base_free(b);
		return NULL;
	}
	b->rules = rules;
	b->ids[0] = -1;
	for (uint32_t i = 1; i <= n_rules; i++) {
		b->orders[i] = rules[i]->order;
		b->ids[i] = rules[i]->id;
		b->n_boxes += rules[i]->n_boxes;
		if (vn_tuples_add(b->tuples, rules[i], NULL) < 0) {
			fail(&w, -ENOMEM, "no memory for the rules");
			goto failed;
		}
	}
	b->by_tuples = engine == VN_ENGINE_TUPLE;
	if (!b->by_tuples && build_groups(&w, engine) < 0)
		goto failed;
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
