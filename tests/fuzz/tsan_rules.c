/* SPDX-License-Identifier: BSD-3-Clause
 * A rule table's readers against its writer, for ThreadSanitizer: rules come and go, in commits and
 * merges, while two threads look. All rows match a rule that stays. Run by scripts/tsan.
 */
#include <pthread.h>
#include <time.h>

#include "fuzz.h"
#include "vn_base.h"

#define ROWS 96
#define READERS 2
#define IDS 4096u

static uint16_t l4_dst[ROWS + 32];
static uint32_t ip_src[ROWS + 8];
static struct vn_rules *table;
static bool stop;
static uint64_t looked[READERS];

/* A rule and what it matches, in one piece. */
struct rule {
	struct vn_rule r; /* the first */
	struct vn_box box;
	struct vn_test tests[2];
	struct vn_match_step step;
};

static struct vn_rule *
make(uint32_t id, uint64_t priority, uint16_t lo, uint16_t span, unsigned int kind)
{
	struct rule *k = calloc(1, sizeof(*k));

	CHECK(k);
	k->r.owner = k;
	k->r.id = (int32_t)id;
	k->r.order = priority << VN_PLACE_BITS | (id + 1);
	k->r.need[VN_I_l4_dst / 64] |= UINT64_C(1) << VN_I_l4_dst % 64;
	k->tests[1] = (struct vn_test){
		.mask = 0xffff, .lo = lo, .span = span, .field = VN_I_l4_dst, .size = 2};
	if (kind == 0) { /* a program */
		k->step = (struct vn_match_step){.mask = 0xffff,
						 .lo = lo,
						 .span = span,
						 .field = VN_I_l4_dst,
						 .op = VN_MATCH_PUSH};
		k->r.steps = &k->step;
		k->r.n_steps = 1;
		return &k->r;
	}
	k->box = (struct vn_box){.tests = &k->tests[1], .n = 1};
	if (kind == 1) { /* of two columns */
		k->tests[0] = (struct vn_test){
			.mask = 0xffffff00, .lo = 0, .field = VN_I_ip_src, .size = 4};
		k->box = (struct vn_box){.tests = k->tests, .n = 2};
		k->r.need[VN_I_ip_src / 64] |= UINT64_C(1) << VN_I_ip_src % 64;
	}
	k->r.boxes = &k->box;
	k->r.n_boxes = 1;
	return &k->r;
}

static void
collect(void)
{
	for (struct vn_rule *r = vn_rules_collect(table), *next; r; r = next) {
		next = r->next;
		free(r->nodes);
		free(r->owner);
	}
}

static void *
reads(void *arg)
{
	unsigned int reader = (unsigned int)(uintptr_t)arg;
	union {
		struct vn_columns c;
		const void *at[VN_COLUMNS];
	} u;
	const struct vn_rule *hit[ROWS];

	memset(&u, 0, sizeof(u));
	u.at[VN_I_l4_dst] = l4_dst;
	u.at[VN_I_ip_src] = ip_src;
	vn_rules_online(table, reader);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		vn_rules_needs(table, reader);
		vn_rules_classify(table, reader, &u.c, NULL, ROWS, hit);
		for (uint32_t i = 0; i < ROWS; i++) {
			const struct rule *k = (const struct rule *)hit[i];

			CHECK(k && l4_dst[i] - k->tests[1].lo <= k->tests[1].span);
			vn_rules_count(table, reader, hit[i]->id, 1, 64);
		}
		vn_rules_quiescent(table, reader);
		__atomic_fetch_add(&looked[reader], 1, __ATOMIC_RELAXED);
	}
	vn_rules_offline(table, reader);
	return NULL;
}

/* usage: tsan_rules SECONDS */
int
main(int argc, char **argv)
{
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 5);
	struct vn_rule *live[64] = {NULL}, *all = make(0, 0, 0, 0xffff, 2);
	struct vn_merge *merge[VN_LEVELS] = {NULL};
	struct vn_rules_info info;
	pthread_t threads[READERS];
	uint64_t commits = 0;
	uint32_t id = 1, level;
	char error[100];

	for (uint32_t i = 0; i < ROWS; i++)
		l4_dst[i] = (uint16_t)(i * 37);
	table = vn_rules_create();
	CHECK(table && vn_rules_room(table, IDS) == 0);
	for (unsigned int r = 0; r < READERS; r++)
		CHECK(vn_rules_register(table, r) == 0);
	CHECK(vn_rules_cache(table, 0, true) == 0);
	CHECK(vn_rules_commit(table, &all, 1, NULL, 0) == 0);
	for (unsigned int r = 0; r < READERS; r++)
		CHECK(pthread_create(&threads[r], NULL, reads, (void *)(uintptr_t)r) == 0);
	while (time(NULL) < end) {
		struct vn_rule *add[3], *gone[3];
		uint32_t n_gone = 0;

		for (uint32_t k = 0; k < 3; k++) {
			uint32_t at = (uint32_t)(commits * 7 + k) % RTE_DIM(live);

			if (live[at])
				gone[n_gone++] = live[at];
			add[k] = live[at] = make(id, 1 + id % 3, (uint16_t)(id % 3000), 40, id % 4);
			id = 1 + id % (IDS - 1);
		}
		CHECK(vn_rules_commit(table, add, 3, gone, n_gone) == 0);
		switch (++commits % 16) {
		case 3:
		case 5:
			level = commits % 16 == 5;
			merge[level] = vn_merge_begin(table, level, table->state->version - 1, 0);
			CHECK(merge[level]);
			break;
		case 8:
		case 9:
			level = commits % 2;
			CHECK(vn_merge_build(merge[level], VN_ENGINE_TUPLE, 0, error,
					     sizeof(error)) == 0);
			break;
		case 12:
		case 13:
			level = commits % 2;
			CHECK(vn_merge_end(table, merge[level], commits % 64 < 48) == 0);
			break;
		default:
			collect();
			vn_rules_counts(table, (int32_t)id);
			vn_rules_info(table, &info);
		}
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned int r = 0; r < READERS; r++) {
		CHECK(pthread_join(threads[r], NULL) == 0);
		printf("reader %u: %llu bursts\n", r, (unsigned long long)looked[r]);
		CHECK(looked[r]);
	}
	printf("%llu commits\n", (unsigned long long)commits);
	return 0;
}
