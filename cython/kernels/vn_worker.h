/* SPDX-License-Identifier: BSD-3-Clause
 * The lcore loop: a worker runs its lanes' bursts through its program, until it is told to park.
 * Parking is how everything changes: who stops lets no packet behind (what reads from a ring parks
 * after those who write to it, and when the ring is empty), and who swaps a program or moves a
 * queue to another worker does it while all are parked, so that nothing is lost or overtaken.
 */
#ifndef VN_WORKER_H
#define VN_WORKER_H

#include "vn_stages.h"
#include "vn_trace.h"

#define VN_GATHER 128u	/* packets that rules look up together, where bursts are full */
#define VN_HISTOGRAM 11 /* bursts of 0, 1, 2-3, 4-7, ... 256-511, 512 packets */
#define VN_TIMED                                                                                   \
	17 /* one burst in so many is timed: a prime, so that no lane of several is left out */

/* How a worker runs stages. */
enum vn_watch { VN_WATCH_NOT, VN_WATCH_TIMED, VN_WATCH_TRACED, VN_WATCH_BARE };

enum vn_idle { VN_IDLE_BUSY, VN_IDLE_ADAPTIVE, VN_IDLE_SLEEP };

/* Where packets come from: a receive queue, or a ring. */
struct vn_lane {
	struct vn_rxq *rxq;
	struct rte_ring *ring;
	uint16_t in;
	bool marks; /* the driver does not say which port packets came from */
	bool intr;  /* its queue can wake a sleeper */
	bool ended;
	uint16_t n_producers; /* of a ring between workers; 0: the program's, which never ends */
	struct vn_worker **producers;
	uint64_t packets;
	uint64_t timed, cycles; /* packets and cycles of the bursts that were timed */
	uint64_t bursts[VN_HISTOGRAM];
};

/* What a worker runs. It is built while nobody runs it. */
struct vn_program {
	struct vn_lane *lanes;
	uint16_t n_lanes;
	uint16_t n_tables;
	bool ordered; /* packets may take different ways to one output */
	bool gather;
	bool copies; /* rules or stages may send copies to outputs that have the packets, too */
	bool python;
	struct vn_chain chain;
	struct vn_stage end; /* what is left after the chain, is dropped (no_output) */
	struct vn_rules **tables;
	struct vn_bridge *bridge;
	uint16_t in_of[RTE_MAX_ETHPORTS]; /* DPDK's port -> input */
	struct vn_outs outs;
	uint16_t n_sinks;
	struct vn_sink *sinks;
};

/* What the workers of one pipeline share. */
struct vn_engine {
	volatile uint32_t epoch; /* raised: park */
	volatile uint32_t go;	 /* = epoch: go on, with the next program */
	volatile int failed;	 /* a stage has raised: all end, and drop what comes */
	volatile int closing;	 /* set with epoch, until go: nobody waits for the program */
	volatile int64_t budget; /* packets still to receive; negative: no limit */
	bool limited;
	bool bare; /* no statistics of stages and lanes: to measure what those cost */
	uint16_t burst;
	enum vn_idle idle;
	struct vn_trace *trace; /* NULL: none */
	/* Python's: takes what a worker needs to call it, and gives it back. */
	void (*py_enter)(struct vn_worker *w);
	void (*py_leave)(struct vn_worker *w);
} VN_CACHE_ALIGNED;

struct vn_worker {
	struct vn_engine *engine;
	struct vn_program *program, *next; /* next NULL: that was it */
	unsigned int reader;		   /* of rule tables */
	struct vn_outs outs;		   /* the program's, here */
	uint8_t watch;			   /* enum vn_watch */
	bool in_python;			   /* has it entered? */
	uint16_t until_timed;
	uint16_t number;
	uint32_t epoch;
	uint32_t idle_passes;
	uint32_t traced; /* the packet's number */
	void *python;
	int python_state;
	volatile uint32_t parked;   /* the epoch for which it has parked */
	volatile uint32_t at_stage; /* 1 + the number of the Python stage that it is in */
	volatile bool done;	    /* all its lanes have ended */
	volatile uint64_t passes;
	volatile uint64_t busy_passes; /* those that received something */
	volatile uint64_t sleeps;
	struct vn_batch *single; /* with a trace: of one packet */
	struct vn_batch batch;
} VN_CACHE_ALIGNED;

/* The input that a packet came by, by its mbuf. */
static inline uint16_t
vn_worker_in(const struct vn_worker *w, const struct rte_mbuf *m)
{
	return m->port < RTE_MAX_ETHPORTS ? w->program->in_of[m->port] : UINT16_MAX;
}

/* lcore_function_t; arg: struct vn_worker, whose program is its first. Returns when it has parked
 * and has no next one. */
VN_EXPORT int vn_worker_loop(void *arg);
/* Runs a worker in this thread until its lanes have ended: for who has no lcore. */
VN_EXPORT void vn_worker_to_end(struct vn_worker *w);
/* A stage has raised: the batch is dropped, and the pipeline ends. */
VN_EXPORT void vn_worker_fail(struct vn_worker *w, struct vn_stage *s, struct vn_batch *b);

#endif
