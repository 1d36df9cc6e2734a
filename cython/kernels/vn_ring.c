/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_ring.h"

#include <time.h>

#include <rte_pause.h>

/* Loops that spin before a wait sleeps: some microseconds. */
#define SPINS 200
#define NAP_MIN_NS 2000
#define NAP_MAX_NS 200000

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* One step of a wait: a pause of the CPU at first, naps later. */
static void
step(unsigned int *spun, uint64_t left)
{
	uint64_t nap;

	if (++*spun < SPINS) {
		rte_pause();
		return;
	}
	nap = NAP_MIN_NS * (uint64_t)(*spun - SPINS + 1);
	nap = RTE_MIN(RTE_MIN(nap, left), (uint64_t)NAP_MAX_NS);
	nanosleep(&(struct timespec){.tv_nsec = (long)nap}, NULL);
}

bool
vn_ring_busy(const struct rte_ring *r, bool put)
{
	const struct rte_ring_headtail *ht = put ? &r->prod : &r->cons;

	switch (ht->sync_type) {
	case RTE_RING_SYNC_ST:
		return false;
	case RTE_RING_SYNC_MT_HTS: {
		const struct rte_ring_hts_headtail *hts = put ? &r->hts_prod : &r->hts_cons;
		union __rte_ring_hts_pos p = {
			.raw = __atomic_load_n(&hts->ht.raw, __ATOMIC_ACQUIRE)};

		return p.pos.head != p.pos.tail;
	}
	case RTE_RING_SYNC_MT_RTS: {
		const struct rte_ring_rts_headtail *rts = put ? &r->rts_prod : &r->rts_cons;
		/* The tail first: a head that is read later is never behind it. */
		union __rte_ring_rts_poscnt tail = {
			.raw = __atomic_load_n(&rts->tail.raw, __ATOMIC_ACQUIRE)};
		union __rte_ring_rts_poscnt head = {
			.raw = __atomic_load_n(&rts->head.raw, __ATOMIC_ACQUIRE)};

		return head.val.pos - tail.val.pos > rts->htd_max;
	}
	case RTE_RING_SYNC_MT:
	default:
		return __atomic_load_n(&ht->tail, __ATOMIC_ACQUIRE) !=
		       __atomic_load_n(&ht->head, __ATOMIC_ACQUIRE);
	}
}

static bool
hts_held(const struct rte_ring *r, bool put)
{
	return (put ? r->prod.sync_type : r->cons.sync_type) == RTE_RING_SYNC_MT_HTS &&
	       vn_ring_busy(r, put);
}

unsigned int
vn_ring_put(struct rte_ring *r, const void *table, unsigned int esize, unsigned int n, bool bulk)
{
	if (hts_held(r, true))
		return 0;
	return bulk ? rte_ring_enqueue_bulk_elem(r, table, esize, n, NULL)
		    : rte_ring_enqueue_burst_elem(r, table, esize, n, NULL);
}

unsigned int
vn_ring_get(struct rte_ring *r, void *table, unsigned int esize, unsigned int n, bool bulk)
{
	if (hts_held(r, false))
		return 0;
	return bulk ? rte_ring_dequeue_bulk_elem(r, table, esize, n, NULL)
		    : rte_ring_dequeue_burst_elem(r, table, esize, n, NULL);
}

/* rte_ring_count(), rte_ring_free_count(): those read without atomics. */
static uint32_t
available(const struct rte_ring *r, bool put)
{
	uint32_t tail = __atomic_load_n(&r->prod.tail, __ATOMIC_ACQUIRE);
	uint32_t count = (tail - __atomic_load_n(&r->cons.tail, __ATOMIC_ACQUIRE)) & r->mask;

	count = RTE_MIN(count, r->capacity);
	return put ? r->capacity - count : count;
}

bool
vn_ring_wait(const struct rte_ring *r, bool put, unsigned int n, uint64_t ns, const int *stop)
{
	uint64_t end = now_ns() + ns, now;
	unsigned int spun = 0;

	while (available(r, put) < n || hts_held(r, put)) {
		now = now_ns();
		if (now >= end || __atomic_load_n(stop, __ATOMIC_RELAXED))
			return false;
		step(&spun, end - now);
	}
	return true;
}

bool
vn_ring_settle(const struct rte_ring *r, bool put, uint64_t ns)
{
	uint64_t end, now;
	unsigned int spun = 0;

	if (!vn_ring_busy(r, put))
		return true;
	end = now_ns() + ns;
	while (vn_ring_busy(r, put)) {
		now = now_ns();
		if (now >= end)
			return false;
		step(&spun, end - now);
	}
	return true;
}

unsigned int
vn_ring_zc_start(struct rte_ring *r, bool put, unsigned int esize, unsigned int n, bool bulk,
		 struct rte_ring_zc_data *at)
{
	if (hts_held(r, put))
		return 0;
	if (put)
		return bulk ? rte_ring_enqueue_zc_bulk_elem_start(r, esize, n, at, NULL)
			    : rte_ring_enqueue_zc_burst_elem_start(r, esize, n, at, NULL);
	return bulk ? rte_ring_dequeue_zc_bulk_elem_start(r, esize, n, at, NULL)
		    : rte_ring_dequeue_zc_burst_elem_start(r, esize, n, at, NULL);
}

void
vn_ring_zc_finish(struct rte_ring *r, bool put, unsigned int n)
{
	if (put)
		rte_ring_enqueue_zc_elem_finish(r, n);
	else
		rte_ring_dequeue_zc_elem_finish(r, n);
}
