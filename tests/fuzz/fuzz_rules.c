/* SPDX-License-Identifier: BSD-3-Clause
 * libFuzzer target: a rule table (vn_rules.h) under commits, merges and readers of the input, which
 * must agree with a naive scan of the rules. One reader looks at once; another takes a version,
 * and looks up later in it, whatever came and went meanwhile. Columns that no rule asks are NULL.
 * At the end nothing may be left. Run by scripts/fuzz.
 */
#include "fuzz.h"
#include "vn_base.h"

#define ROWS 37
#define FIELDS 6
#define MAX_RULES 200
#define MAX_BATCH 6

static const uint16_t fields[FIELDS] = {VN_I_ip_version, VN_I_ip_src,	  VN_I_l4_dst,
					VN_I_tcp_flags,	 VN_I_ip6_src_hi, VN_I_eth_src};
/* Columns with room behind them: kernels may read whole vectors. */
static uint64_t values[FIELDS][ROWS + 8];
static uint8_t columns[FIELDS][(ROWS + 8) * 8];

/* A value of few, so that rules and rows meet. */
static uint64_t
value(uint64_t ones)
{
	static const uint64_t some[] = {
		0, 1, 4, 6, 7, 0x80, 0xFF, 0x1234, 0xA5A5A5A5A5A5A5A5, UINT64_MAX};
	unsigned int k = byte();

	return (k < 200 ? some[k % RTE_DIM(some)] : (uint64_t)byte() << 8 * (k % 8)) & ones;
}

static uint64_t
ones_of(uint16_t field)
{
	return UINT64_MAX >> (64 - 8 * vn_field_size[field]);
}

/* What the tests know of a rule; its owner. */
struct known {
	struct vn_rule *rule;
	struct vn_box boxes[3];
	struct vn_test tests[3][FIELDS];
	struct vn_match_step steps[4];
	bool live;
};

static struct known *rules[MAX_RULES];
static uint32_t n_rules, n_alive;
static uint64_t places;

static bool
test_holds(uint64_t mask, uint64_t lo, uint64_t span, uint16_t field, uint32_t row)
{
	for (uint32_t k = 0; k < FIELDS; k++)
		if (fields[k] == field) {
			uint64_t x = values[k][row] & mask;

			return x >= lo && x - lo <= span;
		}
	abort();
}

static bool
matches(const struct known *k, uint32_t row)
{
	const struct vn_rule *r = k->rule;
	bool top = false;

	for (uint32_t b = 0; b < r->n_boxes; b++) {
		bool all = true;

		for (uint32_t i = 0; i < k->boxes[b].n; i++) {
			const struct vn_test *t = &k->tests[b][i];

			all &= test_holds(t->mask, t->lo, t->span, t->field, row);
		}
		if (all)
			return true;
	}
	for (uint32_t i = 0; i < r->n_steps; i++) {
		const struct vn_match_step *s = &k->steps[i];
		bool holds = test_holds(s->mask, s->lo, s->span, s->field, row) != s->negated;

		top = s->op == VN_MATCH_PUSH  ? holds
		      : s->op == VN_MATCH_AND ? top && holds
					      : top || holds;
	}
	return top;
}

static void
naive(int32_t *ids)
{
	for (uint32_t row = 0; row < ROWS; row++) {
		uint64_t best = 0;

		ids[row] = -1;
		for (uint32_t k = 0; k < n_rules; k++)
			if (rules[k] && rules[k]->live && rules[k]->rule->order > best &&
			    matches(rules[k], row)) {
				best = rules[k]->rule->order;
				ids[row] = rules[k]->rule->id;
			}
	}
}

static void
any_test(uint16_t field, uint64_t *mask, uint64_t *lo, uint64_t *span)
{
	uint64_t ones = ones_of(field), a = value(ones), b = value(ones);

	*mask = ones;
	*span = 0;
	switch (byte() % 4) {
	case 0:
		*lo = a;
		break;
	case 1:
		*lo = RTE_MIN(a, b);
		*span = RTE_MAX(a, b) - *lo;
		break;
	case 2: /* a prefix, as a range */
		*span = ones >> byte() % (8 * vn_field_size[field]);
		*lo = a & ~*span;
		break;
	default:
		*mask = b;
		*lo = a & b;
	}
}

static struct known *
make_rule(void)
{
	struct known *k = calloc(1, sizeof(*k));
	struct vn_rule *r = calloc(1, sizeof(*r));
	unsigned int kind = byte();

	CHECK(k && r);
	k->rule = r;
	r->owner = k;
	r->id = (int32_t)n_rules;
	r->order = (uint64_t)(byte() % 4) << VN_PLACE_BITS |
		   (((uint64_t)1 << VN_PLACE_BITS) - 2 - places++);
	if (kind % 8 == 7) {
		r->steps = k->steps;
		r->n_steps = 1 + byte() % 4;
		for (uint32_t i = 0; i < r->n_steps; i++) {
			struct vn_match_step *s = &k->steps[i];

			s->field = fields[byte() % FIELDS];
			any_test(s->field, &s->mask, &s->lo, &s->span);
			s->op = i ? (byte() & 1 ? VN_MATCH_AND : VN_MATCH_OR) : VN_MATCH_PUSH;
			s->negated = byte() & 1;
			r->need[s->field / 64] |= UINT64_C(1) << s->field % 64;
		}
	} else {
		r->boxes = k->boxes;
		r->n_boxes = kind % 4;
		for (uint32_t b = 0; b < r->n_boxes; b++) {
			unsigned int which = byte();

			k->boxes[b].tests = k->tests[b];
			for (uint16_t field = 0; field < VN_COLUMNS; field++) { /* in their order */
				for (uint32_t i = 0; i < FIELDS; i++) {
					struct vn_test *t = &k->tests[b][k->boxes[b].n];

					if (fields[i] != field || !(which >> i & 1))
						continue;
					t->field = field;
					t->size = vn_field_size[field];
					any_test(field, &t->mask, &t->lo, &t->span);
					r->need[field / 64] |= UINT64_C(1) << field % 64;
					k->boxes[b].n++;
				}
			}
		}
	}
	n_alive++;
	return k;
}

static void
collect(struct vn_rules *t)
{
	for (struct vn_rule *r = vn_rules_collect(t), *next; r; r = next) {
		next = r->next;
		rules[r->id] = NULL;
		free(r->nodes);
		free(r->owner);
		free(r); /* whoever still looks at it is seen by AddressSanitizer */
		n_alive--;
	}
}

static void
commit(struct vn_rules *t)
{
	struct vn_rule *add[MAX_BATCH], *gone[MAX_BATCH];
	uint32_t n_add = byte() % MAX_BATCH, n_gone = 0, wanted = byte() % MAX_BATCH;

	for (uint32_t i = 0; i < wanted && n_rules; i++) {
		struct known *k = rules[byte() % n_rules];

		if (k && k->live) {
			gone[n_gone++] = k->rule;
			k->live = false;
		}
	}
	n_add = RTE_MIN(n_add, MAX_RULES - n_rules);
	for (uint32_t i = 0; i < n_add; i++) {
		struct known *k = make_rule();

		k->live = true;
		add[i] = k->rule;
		rules[n_rules++] = k;
	}
	CHECK(vn_rules_commit(t, add, n_add, gone, n_gone) == 0);
}

static struct vn_columns
columns_for(vn_fieldset need)
{
	union {
		struct vn_columns c;
		const void *at[VN_COLUMNS];
	} u;

	memset(&u, 0, sizeof(u));
	for (uint32_t i = 0; i < FIELDS; i++)
		if (need >> fields[i] & 1)
			u.at[fields[i]] = columns[i];
	return u.c;
}

static void
look(struct vn_rules *t, unsigned int reader, vn_fieldset need, const int32_t *want)
{
	struct vn_columns c = columns_for(need);
	const struct vn_rule *hit[ROWS];
	int32_t ids[ROWS];

	vn_rules_ids(t, reader, &c, NULL, ROWS, ids);
	vn_rules_classify(t, reader, &c, NULL, ROWS, hit);
	for (uint32_t row = 0; row < ROWS; row++) {
		CHECK(ids[row] == want[row]);
		CHECK((hit[row] ? hit[row]->id : -1) == want[row]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vn_rules *t = vn_rules_create();
	struct vn_merge *merge[VN_LEVELS] = {NULL};
	bool built[VN_LEVELS] = {false}, taken = false;
	uint32_t level;
	int32_t want[ROWS], then[ROWS];
	vn_fieldset need, then_need = 0;
	struct vn_rules_info info;
	char error[100];

	input = data;
	input_end = data + size;
	n_rules = n_alive = 0;
	places = 0;
	CHECK(t);
	for (uint32_t i = 0; i < FIELDS; i++) {
		for (uint32_t row = 0; row < ROWS; row++) {
			values[i][row] = value(ones_of(fields[i]));
			memcpy(columns[i] + row * vn_field_size[fields[i]], &values[i][row],
			       vn_field_size[fields[i]]);
		}
	}
	for (unsigned int r = 0; r < 2; r++) {
		CHECK(vn_rules_register(t, r) == 0);
		vn_rules_online(t, r);
	}
	CHECK(vn_rules_cache(t, 0, true) == 0);
	while (input < input_end) {
		switch (byte() % 8) {
		case 0:
		case 1:
		case 2:
			commit(t);
			break;
		case 3:
			level = byte() % VN_LEVELS;
			if (merge[level] == NULL) {
				uint64_t born = t->state->version - byte() % 3;

				merge[level] = vn_merge_begin(t, level, born, byte() % 4);
				CHECK(merge[level]);
				built[level] = false;
			} else if (!built[level]) {
				CHECK(vn_merge_build(merge[level], VN_ENGINE_TUPLE, 0, error,
						     sizeof(error)) == 0);
				built[level] = true;
			} else {
				CHECK(vn_merge_end(t, merge[level], byte() % 8 != 0) == 0);
				merge[level] = NULL;
			}
			break;
		case 4:
			if (taken) {
				look(t, 1, then_need, then);
				vn_rules_quiescent(t, 1);
				taken = false;
			} else {
				then_need = vn_rules_needs(t, 1);
				naive(then);
				taken = true;
			}
			break;
		case 5:
			if (!taken)
				vn_rules_quiescent(t, 1);
			vn_rules_quiescent(t, 0);
			break;
		case 6:
			collect(t);
			break;
		default:
			need = vn_rules_needs(t, 0);
			naive(want);
			look(t, 0, need, want);
		}
	}
	if (taken)
		look(t, 1, then_need, then);
	need = vn_rules_needs(t, 0);
	naive(want);
	look(t, 0, need, want);
	for (unsigned int r = 0; r < 2; r++)
		vn_rules_offline(t, r);
	for (uint32_t i = 0; i < n_rules; i++) {
		struct vn_rule *r;

		if (!rules[i] || !rules[i]->live)
			continue;
		r = rules[i]->rule;
		rules[i]->live = false;
		CHECK(vn_rules_commit(t, NULL, 0, &r, 1) == 0);
	}
	for (level = 0; level < VN_LEVELS; level++)
		if (merge[level])
			CHECK(vn_merge_end(t, merge[level], built[level]) == 0);
	for (level = 0; level < VN_LEVELS; level++) {
		merge[level] = vn_merge_begin(t, level, UINT64_MAX, 0);
		CHECK(merge[level] &&
		      vn_merge_build(merge[level], VN_ENGINE_TUPLE, 0, error, sizeof(error)) == 0);
		CHECK(vn_merge_end(t, merge[level], true) == 0);
	}
	do {
		collect(t);
		vn_rules_info(t, &info);
	} while (info.garbage);
	collect(t);
	vn_rules_info(t, &info);
	CHECK(n_alive == 0);
	CHECK(info.rules == 0 && info.boxes == 0 && info.base_boxes == 0 && info.delta_boxes == 0 &&
	      info.middle_boxes == 0);
	CHECK(info.specials == 0);
	vn_rules_free(t);
	return 0;
}
