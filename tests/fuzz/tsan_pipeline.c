/* SPDX-License-Identifier: BSD-3-Clause
 * Workers of a pipeline under ThreadSanitizer, while programs are swapped: packets circulate
 * through a net_ring port, by one worker alone or dealt out to two others. Each flow keeps its
 * order, no packet is lost, and a stop leaves none behind. Run by scripts/tsan.
 */
#include <pthread.h>
#include <time.h>

#include <rte_eal.h>
#include <rte_eth_ring.h>

#include "fuzz.h"
#include "vn_worker.h"

#define WORKERS 3
#define PACKETS 256
#define FLOWS 16
#define RING 1024

static struct vn_engine engine;
static struct vn_worker workers[WORKERS];
static struct vn_program programs[2][WORKERS];
static struct vn_stage stages[2][WORKERS][1];
static struct vn_lane lanes[2][WORKERS];
static struct vn_sink sinks[WORKERS - 1];
static struct vn_handoff_arg handoff = {0, WORKERS - 1};
static struct vn_forward_arg forward;
static struct vn_rxq rxq;
static struct vn_txq txq;

/* kind 0: worker 0 does it alone; 1: it deals out to the others. */
static void
make(int kind, struct rte_ring **between)
{
	static struct vn_worker *first[1] = {&workers[0]};
	struct vn_txq *txqs[1] = {&txq};
	const uint16_t one[1] = {1}, own[1] = {0};

	for (int k = 0; k < WORKERS; k++) {
		struct vn_program *p = &programs[kind][k];
		bool deals = kind == 1 && k == 0;

		memset(p->in_of, 0, sizeof(p->in_of));
		CHECK(vn_outs_init(&p->outs, txqs, one, own, 1, deals ? WORKERS - 1 : 0) == 0);
		p->outs.policy = VN_TX_RETRY;
		p->outs.count = &p->end.count;
		p->ordered = true;
		for (int i = 0; deals && i < WORKERS - 1; i++) {
			sinks[i] = (struct vn_sink){.ring = between[i],
						    .wait = true,
						    .given_up = &engine.failed,
						    .count = &p->end.count};
			p->outs.outs[i].sink = &sinks[i];
		}
		p->sinks = sinks;
		stages[kind][k][0].run = deals ? vn_stage_handoff : vn_stage_forward;
		stages[kind][k][0].arg = deals ? (void *)&handoff : (void *)&forward;
		p->chain = (struct vn_chain){stages[kind][k], 1};
		p->lanes = &lanes[kind][k];
		if (k == 0)
			lanes[kind][k] = (struct vn_lane){.rxq = &rxq, .in = 0, .marks = true};
		else if (kind == 1)
			lanes[kind][k] = (struct vn_lane){.ring = between[k - 1],
							  .in = VN_IN_MIXED,
							  .producers = first,
							  .n_producers = 1};
		p->n_lanes = k == 0 || kind == 1;
	}
}

static void *
run(void *arg)
{
	vn_worker_loop(arg);
	return NULL;
}

static void
switch_to(int kind)
{
	for (int k = 0; k < WORKERS; k++)
		workers[k].next = kind < 0 ? NULL : &programs[kind][k];
	__atomic_store_n(&engine.closing, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&engine.epoch, engine.epoch + 1, __ATOMIC_RELEASE);
	for (int k = 0; k < WORKERS; k++)
		while (__atomic_load_n(&workers[k].parked, __ATOMIC_ACQUIRE) != engine.epoch)
			sched_yield();
	__atomic_store_n(&engine.closing, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&engine.go, engine.epoch, __ATOMIC_RELEASE);
	for (int k = 0; k < WORKERS; k++)
		while (__atomic_load_n(&workers[k].epoch, __ATOMIC_ACQUIRE) != engine.epoch)
			sched_yield();
}

/* A UDP packet of a flow, with its number in the flow behind the header. */
static struct rte_mbuf *
packet(struct rte_mempool *pool, uint32_t n)
{
	static const uint8_t head[42] = {2,  0, 0, 0, 0, 1,  2,	 0, 0, 0,  0, 2, 8, 0,	0x45, 0, 0,
					 50, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0,    0, 2};
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);
	uint8_t *p;

	CHECK(m);
	p = (uint8_t *)rte_pktmbuf_append(m, 64);
	memset(p, 0, 64);
	memcpy(p, head, sizeof(head));
	p[29] = (uint8_t)(n % FLOWS);
	p[35] = (uint8_t)(n % FLOWS);
	p[37] = 9;
	n /= FLOWS;
	memcpy(p + 50, &n, sizeof(n));
	return m;
}

int
main(int argc, char **argv)
{
	char *args[] = {"tsan",	    "--no-huge",      "--no-shconf",   "-m", "64",
			"--no-pci", "--no-telemetry", "--log-level=4", "-l", "0"};
	struct rte_eth_conf conf = {0};
	struct rte_mempool *pool;
	struct rte_ring *loop, *between[WORKERS - 1];
	pthread_t threads[WORKERS];
	struct timespec pause = {0, 2000000};
	time_t end = time(NULL) + (argc > 1 ? atoi(argv[1]) : 10);
	uint32_t next[FLOWS], seen = 0, swaps = 0;
	struct rte_mbuf *m;
	int id;

	CHECK(rte_eal_init(RTE_DIM(args), args) >= 0);
	pool = rte_pktmbuf_pool_create("pool", 1023, 0, 0, 2048, SOCKET_ID_ANY);
	loop = rte_ring_create("loop", RING, SOCKET_ID_ANY, 0);
	CHECK(pool && loop);
	for (int i = 0; i < WORKERS - 1; i++) {
		char name[16];

		snprintf(name, sizeof(name), "between%d", i);
		between[i] = rte_ring_create(name, 64, SOCKET_ID_ANY,
					     RING_F_SP_ENQ | RING_F_SC_DEQ);
		CHECK(between[i]);
	}
	id = rte_eth_from_ring(loop);
	CHECK(id >= 0 && rte_eth_dev_configure((uint16_t)id, 1, 1, &conf) == 0);
	CHECK(rte_eth_rx_queue_setup((uint16_t)id, 0, RING, 0, NULL, pool) == 0);
	CHECK(rte_eth_tx_queue_setup((uint16_t)id, 0, RING, 0, NULL) == 0);
	CHECK(rte_eth_dev_start((uint16_t)id) == 0);
	rxq = (struct vn_rxq){.port_id = (uint16_t)id};
	txq = (struct vn_txq){.port_id = (uint16_t)id,
			      .flags = VN_TXF_SHARED,
			      .max_len = 1518,
			      .max_segs = 8,
			      .retry_cycles = UINT64_C(1) << 40};
	rte_spinlock_init(&txq.lock);
	memset(forward.to, 0, sizeof(forward.to));
	for (uint32_t n = 0; n < PACKETS; n++)
		CHECK(rte_ring_enqueue(loop, packet(pool, n)) == 0);
	engine.budget = -1;
	engine.burst = 16;
	engine.idle = VN_IDLE_ADAPTIVE;
	make(0, between);
	make(1, between);
	for (int k = 0; k < WORKERS; k++) {
		workers[k].engine = &engine;
		workers[k].program = &programs[0][k];
		workers[k].number = (uint16_t)k;
		CHECK(vn_batch_init(&workers[k].batch) == 0);
		CHECK(pthread_create(&threads[k], NULL, run, &workers[k]) == 0);
	}
	while (time(NULL) < end) {
		switch_to((int)(++swaps % 2));
		nanosleep(&pause, NULL);
	}
	switch_to(-1);
	for (int k = 0; k < WORKERS; k++)
		CHECK(pthread_join(threads[k], NULL) == 0);
	for (int i = 0; i < WORKERS - 1; i++)
		CHECK(rte_ring_empty(between[i]));
	memset(next, 0xff, sizeof(next));
	while (rte_ring_dequeue(loop, (void **)&m) == 0) {
		const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
		uint32_t n, flow = p[29];

		memcpy(&n, p + 50, sizeof(n));
		/* What circulates in order is the first order, turned. */
		CHECK(next[flow] == UINT32_MAX || next[flow] == n);
		next[flow] = (n + 1) % (PACKETS / FLOWS);
		rte_pktmbuf_free(m);
		seen++;
	}
	CHECK(seen == PACKETS && rte_mempool_in_use_count(pool) == 0);
	CHECK(rxq.count.rx_packets == txq.count.tx_packets && rxq.count.rx_packets > PACKETS);
	printf("pipeline: %u swaps, %llu packets, in order\n", swaps,
	       (unsigned long long)rxq.count.rx_packets);
	return 0;
}
