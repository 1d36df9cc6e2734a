/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_hop.h"

#include <rte_cycles.h>
#include <rte_pause.h>

static inline int
stopped(const struct vn_hop *h)
{
	return __atomic_load_n(&h->stop, __ATOMIC_RELAXED);
}

int
vn_hop_ping(void *hop)
{
	struct vn_hop *h = hop;
	void *out[VN_HOP_BURST_MAX], *in[VN_HOP_BURST_MAX];
	uintptr_t next = 1;

	for (uint32_t round = 0; round < h->rounds && !stopped(h); round++) {
		uint64_t began, ended;

		for (uint32_t i = 0; i < h->burst; i++)
			out[i] = (void *)(next + i);
		began = rte_rdtsc();
		while (rte_ring_enqueue_bulk(h->to, out, h->burst, NULL) == 0)
			if (stopped(h))
				return 0;
		while (rte_ring_dequeue_bulk(h->back, in, h->burst, NULL) == 0) {
			if (stopped(h))
				return 0;
			rte_pause();
		}
		ended = rte_rdtsc();
		h->ticks[round] = (uint32_t)RTE_MIN(ended - began, (uint64_t)UINT32_MAX);
		for (uint32_t i = 0; i < h->burst; i++)
			h->wrong += in[i] != (void *)(next + i);
		next += h->burst;
		__atomic_store_n(&h->done, round + 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&h->stop, 1, __ATOMIC_RELEASE);
	return 0;
}

int
vn_hop_pong(void *hop)
{
	struct vn_hop *h = hop;
	void *burst[VN_HOP_BURST_MAX];

	while (!stopped(h)) {
		if (rte_ring_dequeue_bulk(h->to, burst, h->burst, NULL) == 0) {
			rte_pause();
			continue;
		}
		while (rte_ring_enqueue_bulk(h->back, burst, h->burst, NULL) == 0)
			if (stopped(h))
				return 0;
	}
	return 0;
}
