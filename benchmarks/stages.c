/* SPDX-License-Identifier: BSD-3-Clause
 * Peers of pipeline.py and targets.py: a stage in C (vn_native of cython/kernels/vn_stages.h), one
 * that does nothing, and mbufs allocated and freed on an lcore.
 */
#include <stdint.h>

#include <rte_cycles.h>
#include <rte_launch.h>
#include <rte_mbuf.h>

/* keep[i] = l4_dst[i] != 23 and ip_ttl[i] > 1, and counts what it keeps by protocol. */
void
stage_filter(void *const *columns, int64_t n, int16_t *verdict, uint8_t *keep, void *const *state)
{
	const uint16_t *port = columns[0];
	const uint8_t *ttl = columns[1], *proto = columns[2];
	uint64_t *counts = state[0];

	(void)verdict;
	for (int64_t i = 0; i < n; i++) {
		keep[i] = port[i] != 23 && ttl[i] > 1;
		counts[proto[i]] += keep[i];
	}
}

void
stage_nothing(void *const *columns, int64_t n, int16_t *verdict, uint8_t *keep, void *const *state)
{
	(void)columns, (void)n, (void)verdict, (void)keep, (void)state;
}

struct alloc {
	struct rte_mempool *pool;
	unsigned int n, bulk;
	uint64_t cycles;
};

static int
turn(void *arg)
{
	struct alloc *a = arg;
	struct rte_mbuf *m[64];
	uint64_t from = rte_rdtsc();

	if (a->bulk == 1) {
		for (unsigned int i = 0; i < a->n; i++) {
			m[0] = rte_pktmbuf_alloc(a->pool);
			if (m[0] == NULL)
				return -1;
			rte_pktmbuf_free(m[0]);
		}
	} else {
		for (unsigned int i = 0; i < a->n; i += a->bulk) {
			if (rte_pktmbuf_alloc_bulk(a->pool, m, a->bulk) != 0)
				return -1;
			rte_pktmbuf_free_bulk(m, a->bulk);
		}
	}
	a->cycles = rte_rdtsc() - from;
	return 0;
}

/* Cycles that n mbufs take on an lcore, allocated and freed `bulk` (up to 64) at a time; 0: failed.
 */
uint64_t
alloc_cycles(const char *pool, unsigned int lcore, unsigned int n, unsigned int bulk)
{
	struct alloc a = {rte_mempool_lookup(pool), n, bulk, 0};

	if (a.pool == NULL || bulk < 1 || bulk > 64 || rte_eal_remote_launch(turn, &a, lcore) != 0)
		return 0;
	return rte_eal_wait_lcore(lcore) == 0 ? a.cycles : 0;
}
