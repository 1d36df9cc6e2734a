/* SPDX-License-Identifier: BSD-3-Clause
 * Rings between threads, in every mode, and published values for
 * ThreadSanitizer. Order and loss are checked as well. Run by scripts/tsan.
 */
#include <pthread.h>
#include <time.h>

#include "fuzz.h"
#include "vn_ring.h"
#include "vn_sync.h"

#define READERS 3
#define WORDS 64

struct item {
	uint64_t from, number;
};

static bool stop;

/* ---- rings ------------------------------------------------------------------------------ */

struct flow {
	struct rte_ring *ring;
	uint64_t from;
	bool zero_copy;
	uint64_t sent, got;
	uint64_t next[2]; /* the consumer's: from each producer */
};

static void *
puts_items(void *arg)
{
	struct flow *f = arg;
	struct item items[7];
	int never = 0;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		struct rte_ring_zc_data at;
		unsigned int n;

		if (f->zero_copy && f->sent % 3 == 0) {
			n = vn_ring_zc_start(f->ring, true, sizeof(*items), 5, false, &at);
			for (unsigned int i = 0; i < n; i++) {
				struct item *to = i < at.n1 ? (struct item *)at.ptr1 + i
							    : (struct item *)at.ptr2 + i - at.n1;

				*to = (struct item){f->from, f->sent + i};
			}
			if (n)
				vn_ring_zc_finish(f->ring, true, n);
		} else {
			for (unsigned int i = 0; i < RTE_DIM(items); i++)
				items[i] = (struct item){f->from, f->sent + i};
			n = vn_ring_put(f->ring, items, sizeof(*items), RTE_DIM(items),
					f->sent % 2);
		}
		f->sent += n;
		if (n == 0)
			vn_ring_wait(f->ring, true, 1, 1000000, &never);
	}
	return NULL;
}

static void *
gets_items(void *arg)
{
	struct flow *f = arg;
	struct item items[9];
	int never = 0;

	for (;;) {
		bool last = __atomic_load_n(&stop, __ATOMIC_ACQUIRE);
		unsigned int n = vn_ring_get(f->ring, items, sizeof(*items), RTE_DIM(items), false);

		for (unsigned int i = 0; i < n; i++) {
			/* In order from each producer; another consumer may have what is missing.
			 */
			CHECK(items[i].from < 2 && items[i].number >= f->next[items[i].from]);
			f->next[items[i].from] = items[i].number + 1;
		}
		f->got += n;
		if (n == 0) {
			if (last)
				return NULL;
			vn_ring_wait(f->ring, false, 1, 1000000, &never);
		}
	}
}

static void
ring_of(unsigned int flags, bool many, bool zero_copy, int seconds)
{
	char memory[1 << 16] __rte_cache_aligned;
	struct rte_ring *r = (struct rte_ring *)memory;
	struct flow put[2] = {{.from = 0}, {.from = 1}}, get[2] = {{.from = 0}, {.from = 1}};
	unsigned int n = many ? 2 : 1;
	uint64_t sent = 0, got = 0;
	pthread_t threads[4];

	/* Elements of 16 bytes: twice the memory that rte_ring_init() counts with. */
	CHECK(rte_ring_get_memsize_elem(sizeof(struct item), 256) <= (ssize_t)sizeof(memory));
	CHECK(rte_ring_init(r, "tsan", 256, flags) == 0);
	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < n; i++) {
		put[i].ring = get[i].ring = r;
		put[i].zero_copy = zero_copy;
		CHECK(pthread_create(&threads[i], NULL, puts_items, &put[i]) == 0);
		CHECK(pthread_create(&threads[2 + i], NULL, gets_items, &get[i]) == 0);
	}
	nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < n; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(pthread_join(threads[2 + i], NULL) == 0);
	}
	for (unsigned int i = 0; i < n; i++) {
		sent += put[i].sent;
		got += get[i].got;
	}
	got += rte_ring_count(r); /* put after the last look */
	printf("ring %#x: %llu sent\n", flags, (unsigned long long)sent);
	CHECK(sent && sent == got);
}

/* ---- published values ------------------------------------------------------------------- */

static struct vn_rcu *rcu;
static uint64_t reads[READERS];

static void *
reads_values(void *arg)
{
	unsigned int me = (unsigned int)(uintptr_t)arg;
	uint64_t last = 0;

	/* Once: the library's function, which is not instrumented, orders what is read before a
	 * reader unregisters. */
	int slot = vn_rcu_register(rcu, 1 + me, me, "reader");

	CHECK(slot >= 0);
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		for (unsigned int turn = 0; turn < 50; turn++) {
			struct vn_rcu_version *kept = NULL;

			vn_rcu_online(rcu, (uint32_t)slot);
			for (unsigned int burst = 0; burst < 4; burst++) {
				struct vn_rcu_version *v = vn_rcu_read(rcu);
				const uint64_t *words = (const uint64_t *)v->data;

				CHECK(words[0] >= last);
				last = words[0];
				for (unsigned int i = 1; i < WORDS; i++)
					CHECK(words[i] == words[0]);
				if (burst == 3 && turn % 8 == 0)
					vn_rcu_pin(kept = v);
				else
					vn_rcu_quiescent(rcu, (uint32_t)slot);
			}
			vn_rcu_offline(rcu, (uint32_t)slot);
			if (kept) {
				CHECK(((const uint64_t *)kept->data)[WORDS - 1] == last);
				vn_rcu_unpin(kept);
			}
			reads[me]++;
		}
	}
	vn_rcu_unregister(rcu, (uint32_t)slot);
	return NULL;
}

static void
publish(uint64_t number)
{
	struct vn_rcu_version *v = vn_rcu_make(rcu, WORDS * sizeof(uint64_t));
	uint64_t token;

	CHECK(v);
	for (unsigned int i = 0; i < WORDS; i++)
		((uint64_t *)v->data)[i] = number;
	token = vn_rcu_show(rcu, v);
	if (number % 3 == 0)
		CHECK(vn_rcu_wait(rcu, token, UINT64_C(10000000000)));
	vn_rcu_reclaim(rcu);
}

static void
values(int seconds)
{
	time_t end = time(NULL) + seconds;
	pthread_t threads[READERS];
	uint64_t number = 0;

	__atomic_store_n(&stop, false, __ATOMIC_RELAXED);
	rcu = vn_rcu_create(READERS, false);
	CHECK(rcu);
	publish(++number);
	for (unsigned int i = 0; i < READERS; i++)
		CHECK(pthread_create(&threads[i], NULL, reads_values, (void *)(uintptr_t)i) == 0);
	while (time(NULL) < end)
		publish(++number);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < READERS; i++) {
		CHECK(pthread_join(threads[i], NULL) == 0);
		CHECK(reads[i]);
	}
	CHECK(vn_rcu_reclaim(rcu) == 0);
	printf("%llu versions\n", (unsigned long long)number);
	vn_rcu_free(rcu);
}

/* usage: tsan_ring SECONDS [many]
 *
 * many: the modes of many producers and consumers, whose order rte_ring (22.11) has not from the
 * C11 model: in MP and RTS mode one producer's elements become visible by another's store of the
 * tail, which that one has only seen by a relaxed load, and RTS and HTS read the other end's tail
 * as a volatile. What tsan_ring.txt suppresses is that; order and loss are checked all the same.
 */
int
main(int argc, char **argv)
{
	int each = RTE_MAX((argc > 1 ? atoi(argv[1]) : 5) / 5, 1);

	if (argc > 2) {
		ring_of(0, true, false, each);
		ring_of(RING_F_MP_RTS_ENQ | RING_F_MC_RTS_DEQ, true, false, each);
		ring_of(RING_F_MP_HTS_ENQ | RING_F_MC_HTS_DEQ, true, false, each);
		return 0;
	}
	ring_of(RING_F_SP_ENQ | RING_F_SC_DEQ, false, true, each);
	values(each);
	return 0;
}
