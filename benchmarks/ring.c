/* SPDX-License-Identifier: BSD-3-Clause
 * The peer of `veridnet ring bench`: the same round trips written against rte_ring alone, in the
 * process where our own loop runs. ring.py builds this file into a shared library and calls it
 * with ctypes.
 */
#include <errno.h>
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_pause.h>
#include <rte_ring.h>

#define BURST_MAX 256

struct hop {
	struct rte_ring *there, *back;
	unsigned int burst, rounds, done;
	uint32_t *ticks;
	uint64_t end; /* of patience, in ticks */
	volatile int stop;
};

static int
answer(void *arg)
{
	struct hop *h = arg;
	void *burst[BURST_MAX];

	while (!h->stop) {
		if (rte_ring_dequeue_bulk(h->there, burst, h->burst, NULL))
			while (!rte_ring_enqueue_bulk(h->back, burst, h->burst, NULL) && !h->stop)
				;
		else
			rte_pause();
	}
	return 0;
}

static int
ask(void *arg)
{
	struct hop *h = arg;
	void *burst[BURST_MAX] = {NULL};

	while (h->done < h->rounds && rte_rdtsc() < h->end) {
		uint64_t began = rte_rdtsc();

		while (!rte_ring_enqueue_bulk(h->there, burst, h->burst, NULL))
			;
		while (!rte_ring_dequeue_bulk(h->back, burst, h->burst, NULL))
			rte_pause();
		h->ticks[h->done++] = (uint32_t)(rte_rdtsc() - began);
	}
	h->stop = 1;
	return 0;
}

/* How many round trips were stamped; negative: an error number. */
int
ring_hop(unsigned int first, unsigned int second, unsigned int burst, unsigned int rounds,
	 unsigned int size, int socket, uint32_t *ticks)
{
	struct hop h = {.burst = burst, .rounds = rounds, .ticks = ticks};
	unsigned int flags = RING_F_SP_ENQ | RING_F_SC_DEQ;

	h.end = rte_rdtsc() + 20 * rte_get_tsc_hz();
	h.there = rte_ring_create("peer_there", size, socket, flags);
	h.back = rte_ring_create("peer_back", size, socket, flags);
	if (!h.there || !h.back || burst > BURST_MAX)
		return -ENOMEM;
	if (rte_eal_remote_launch(answer, &h, second) || rte_eal_remote_launch(ask, &h, first))
		return -EBUSY;
	rte_eal_wait_lcore(first);
	rte_eal_wait_lcore(second);
	rte_ring_free(h.there);
	rte_ring_free(h.back);
	return (int)h.done;
}
