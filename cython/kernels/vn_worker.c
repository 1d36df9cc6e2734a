/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_worker.h"

#include <errno.h>
#include <sys/prctl.h>
#include <time.h>

#include <rte_cycles.h>
#include <rte_interrupts.h>

static const uint16_t rows_of_burst[VN_MAX_BURST] = {
#define R8(n) n, n + 1, n + 2, n + 3, n + 4, n + 5, n + 6, n + 7
#define R64(n)                                                                                     \
	R8(n), R8(n + 8), R8(n + 16), R8(n + 24), R8(n + 32), R8(n + 40), R8(n + 48), R8(n + 56)
	R64(0),	  R64(64),  R64(128), R64(192), R64(256),
	R64(320), R64(384), R64(448)
#undef R64
#undef R8
};

/* -- receiving --------------------------------------------------------------------------------- */

/* Takes up to `want` packets from the budget. */
static uint16_t
budget_take(struct vn_engine *e, uint16_t want)
{
	int64_t left = __atomic_load_n(&e->budget, __ATOMIC_RELAXED), take;

	do {
		take = RTE_MIN(left, (int64_t)want);
		if (take <= 0)
			return 0;
	} while (!__atomic_compare_exchange_n(&e->budget, &left, left - take, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return (uint16_t)take;
}

static uint16_t
rx_limited(struct vn_engine *e, struct vn_lane *l, struct rte_mbuf **pkts)
{
	uint16_t want = budget_take(e, e->burst), n;
	uint64_t before = l->rxq->count.rx_packets;

	if (want == 0)
		return 0;
	n = vn_rx(l->rxq, pkts, want);
	want -= (uint16_t)(l->rxq->count.rx_packets - before);
	if (want)
		__atomic_fetch_add(&e->budget, want, __ATOMIC_RELAXED);
	return n;
}

/* Lookups are faster for many packets at once: what fills bursts is taken together. */
static uint16_t
more(uint16_t burst, struct vn_lane *l, struct rte_mbuf **pkts)
{
	uint16_t n = 0, got;

	while (n + 2u * burst <= VN_GATHER) {
		got = vn_rx(l->rxq, pkts + n, burst);
		n += got;
		if (got < burst)
			break;
	}
	return n;
}

/* Have all that write to the ring ended, or parked for this epoch (0: nobody is to park)? */
static bool
producers_ended(const struct vn_lane *l, uint32_t epoch)
{
	for (uint16_t k = 0; k < l->n_producers; k++) {
		const struct vn_worker *p = l->producers[k];

		if (!__atomic_load_n(&p->done, __ATOMIC_ACQUIRE) &&
		    (epoch == 0 || __atomic_load_n(&p->parked, __ATOMIC_ACQUIRE) != epoch))
			return false;
	}
	return true;
}

/* Receives on a lane. *over: nothing will ever come (while closing: before all go on). */
static inline uint16_t
lane_rx(struct vn_worker *w, struct vn_lane *l, bool closing, uint32_t epoch, bool *over)
{
	struct vn_engine *e = w->engine;
	const struct vn_program *p = w->program;
	struct rte_mbuf **pkts = w->batch.pkts;
	uint16_t n;

	*over = false;
	if (likely(l->rxq != NULL)) {
		if (unlikely(closing || l->rxq->exhausted)) {
			*over = true;
			return 0;
		}
		if (unlikely(e->limited))
			return rx_limited(e, l, pkts);
		n = vn_rx(l->rxq, pkts, e->burst);
		if (p->gather && n == e->burst)
			n += more(e->burst, l, pkts + n);
		return n;
	}
	if (unlikely(l->n_producers == 0)) { /* the program's: it keeps what it has */
		*over = closing;
		return closing ? 0
			       : (uint16_t)rte_ring_dequeue_burst(l->ring, (void **)pkts, e->burst,
								  NULL);
	}
	/* Asked before: what they put last is then seen. */
	*over = producers_ended(l, epoch);
	n = (uint16_t)rte_ring_dequeue_burst(l->ring, (void **)pkts, e->burst, NULL);
	*over &= n == 0;
	return n;
}

/* -- a burst ----------------------------------------------------------------------------------- */

static inline void
finish(struct vn_worker *w, struct vn_batch *b)
{
	if (unlikely(b->n))
		vn_batch_drop(b, &w->program->end.count, VN_DROP_NO_OUTPUT);
	if (w->outs.n_touched)
		vn_outs_flush(&w->outs);
}

void
vn_worker_fail(struct vn_worker *w, struct vn_stage *s, struct vn_batch *b)
{
	w->engine->failed = 1;
	vn_batch_drop(b, &s->count, VN_DROP_STAGE_ERROR);
}

static inline void
slice(struct vn_worker *w, struct vn_lane *l, uint16_t n)
{
	struct vn_program *p = w->program;
	struct vn_batch *b = &w->batch;
	struct vn_trace *t = w->engine->trace;

	if (likely(!w->engine->bare)) {
		l->packets += n;
		l->bursts[32 - __builtin_clz(n)]++;
	}
	b->n = n;
	b->in = l->in;
	b->whole = true;
	b->sized = false;
	b->looked = false;
	b->have = 0;
	b->origin = l->rxq ? &l->rxq->count.rx_bytes : NULL;
	if (p->ordered)
		memcpy(b->rows, rows_of_burst, n * sizeof(b->rows[0]));
	if (unlikely(l->marks))
		for (uint16_t i = 0; i < n; i++)
			b->pkts[i]->port = l->rxq->port_id;
	if (unlikely(w->engine->failed)) {
		vn_batch_drop(b, &p->end.count, VN_DROP_STAGE_ERROR);
		return;
	}
	if (unlikely(t != NULL && (t->left > 0 || t->n_followed))) {
		vn_trace_run(t, w, b, &p->chain);
		return;
	}
	if (unlikely(--w->until_timed == 0 && !w->engine->bare)) {
		uint64_t from = rte_rdtsc();

		w->until_timed = VN_TIMED;
		w->watch = VN_WATCH_TIMED;
		vn_chain_run(&p->chain, w, b);
		w->watch = VN_WATCH_NOT;
		finish(w, b);
		l->timed += n;
		l->cycles += rte_rdtsc() - from;
		return;
	}
	vn_chain_run(&p->chain, w, b);
	finish(w, b);
}

static inline void
burst(struct vn_worker *w, struct vn_lane *l, uint16_t n)
{
	struct rte_mbuf *all[VN_MAX_BURST];

	if (likely(n <= VN_SLICE || !w->program->copies)) {
		slice(w, l, n);
		return;
	}
	memcpy(all, w->batch.pkts, n * sizeof(all[0]));
	for (uint16_t at = 0, k; at < n; at += k) {
		k = RTE_MIN((uint16_t)(n - at), (uint16_t)VN_SLICE);
		memcpy(w->batch.pkts, all + at, k * sizeof(all[0]));
		slice(w, l, k);
	}
}

/* -- nothing to do ----------------------------------------------------------------------------- */

#define VN_SPINS 2000 /* empty passes before a worker sleeps */
#define VN_SLEEP_MIN_NS 2000u
#define VN_SLEEP_MAX_NS 200000u
#define VN_WAIT_MS                                                                                 \
	5 /* for interrupts: so long until it looks whether it is to park. (net_tap reads only     \
	   * what a signal has told it of, which may come after its descriptor is readable.) */

static void
nap(uint32_t ns)
{
	struct timespec t = {0, ns};

	nanosleep(&t, NULL);
}

/* Arms the queues' interrupts and waits. False: some queue has none. */
static bool
wait_for_interrupts(struct vn_worker *w)
{
	struct vn_program *p = w->program;
	struct rte_epoll_event events[16];
	struct rte_mbuf **pkts = w->batch.pkts;
	bool can = p->n_lanes > 0;

	for (uint16_t i = 0; i < p->n_lanes && can; i++) {
		struct vn_lane *l = &p->lanes[i];

		int rc;

		if (l->ended)
			continue;
		if (!l->intr || l->rxq == NULL)
			return false;
		/* net_tap has nothing to enable: its descriptor is readable while packets wait. */
		rc = rte_eth_dev_rx_intr_enable(l->rxq->port_id, l->rxq->queue_id);
		can = rc == 0 || rc == -ENOTSUP;
	}
	/* What came before they were armed wakes nobody. */
	for (uint16_t i = 0; i < p->n_lanes && can; i++) {
		struct vn_lane *l = &p->lanes[i];
		uint16_t n = l->ended ? 0 : vn_rx(l->rxq, pkts, w->engine->burst);

		if (n) {
			w->busy_passes++;
			burst(w, l, n);
			goto disarm;
		}
	}
	if (can) {
		for (uint16_t i = 0; i < p->n_tables; i++)
			vn_rules_offline(p->tables[i], w->reader);
		rte_epoll_wait(RTE_EPOLL_PER_THREAD, events, RTE_DIM(events), VN_WAIT_MS);
		for (uint16_t i = 0; i < p->n_tables; i++)
			vn_rules_online(p->tables[i], w->reader);
	}
disarm:
	for (uint16_t i = 0; i < p->n_lanes; i++)
		if (p->lanes[i].intr && p->lanes[i].rxq)
			rte_eth_dev_rx_intr_disable(p->lanes[i].rxq->port_id,
						    p->lanes[i].rxq->queue_id);
	return can;
}

static void
rest(struct vn_worker *w)
{
	struct vn_engine *e = w->engine;
	uint32_t spins = e->idle == VN_IDLE_ADAPTIVE ? VN_SPINS : VN_SPINS / 8, over, ns;

	rte_pause();
	if (e->idle == VN_IDLE_BUSY || ++w->idle_passes < spins)
		return;
	w->sleeps++;
	if (e->idle == VN_IDLE_SLEEP && !e->limited && wait_for_interrupts(w)) {
		w->idle_passes = 0;
		return;
	}
	over = (w->idle_passes - spins) / 4;
	ns = VN_SLEEP_MIN_NS << RTE_MIN(over, 7u);
	nap(RTE_MIN(ns, VN_SLEEP_MAX_NS));
}

/* -- the loop ---------------------------------------------------------------------------------- */

static void
arm(struct vn_program *p, bool on)
{
	for (uint16_t i = 0; i < p->n_lanes; i++) {
		struct vn_lane *l = &p->lanes[i];

		if (l->intr && rte_eth_dev_rx_intr_ctl_q(
				       l->rxq->port_id, l->rxq->queue_id, RTE_EPOLL_PER_THREAD,
				       on ? RTE_INTR_EVENT_ADD : RTE_INTR_EVENT_DEL, NULL) != 0)
			l->intr = false;
	}
}

static void
enter(struct vn_worker *w)
{
	struct vn_program *p = w->program;

	w->outs = p->outs;
	w->until_timed = VN_TIMED;
	w->watch = w->engine->bare ? VN_WATCH_BARE : VN_WATCH_NOT;
	w->idle_passes = 0;
	/* The last program's rows are in no order, and this one does not write them. */
	if (!p->ordered)
		memset(w->batch.rows, 0, sizeof(w->batch.rows));
	for (uint16_t i = 0; i < p->n_lanes; i++)
		p->lanes[i].ended = false;
	if (w->engine->idle == VN_IDLE_SLEEP)
		arm(p, true);
	for (uint16_t i = 0; i < p->n_tables; i++)
		vn_rules_online(p->tables[i], w->reader);
	if (p->python && !w->in_python) {
		w->engine->py_enter(w);
		w->in_python = true;
	}
}

static void
leave(struct vn_worker *w)
{
	struct vn_program *p = w->program;

	for (uint16_t i = 0; i < p->n_tables; i++)
		vn_rules_offline(p->tables[i], w->reader);
	if (w->engine->idle == VN_IDLE_SLEEP)
		arm(p, false);
}

/* Over all lanes once. Returns whether anything may come yet. */
static inline bool
pass(struct vn_worker *w, bool closing, uint32_t epoch)
{
	struct vn_program *p = w->program;
	uint32_t got = 0;
	bool live = false, over;

	for (uint16_t i = 0; i < p->n_lanes; i++) {
		struct vn_lane *l = &p->lanes[i];
		uint16_t n;

		if (unlikely(l->ended))
			continue;
		n = lane_rx(w, l, closing, epoch, &over);
		if (unlikely(over)) {
			l->ended = true;
			continue;
		}
		live = true;
		if (n == 0)
			continue;
		got += n;
		burst(w, l, n);
	}
	for (uint16_t i = 0; i < p->n_tables; i++)
		vn_rules_quiescent(p->tables[i], w->reader);
	if (p->bridge)
		vn_bridge_sweep(p->bridge, rte_rdtsc());
	/* Passes, not cycles: two TSC reads a pass would cost 4 % at 64 packets. */
	w->passes++;
	if (got) {
		w->busy_passes++;
		w->idle_passes = 0;
	} else if (live) {
		rest(w);
	}
	return live;
}

/* Runs the program until it is to park and all that came is through. Returns for which epoch. */
static uint32_t
run(struct vn_worker *w)
{
	struct vn_engine *e = w->engine;
	uint32_t epoch;

	for (;;) {
		epoch = __atomic_load_n(&e->epoch, __ATOMIC_ACQUIRE);
		if (pass(w, epoch != w->epoch || e->failed, epoch != w->epoch ? epoch : 0))
			continue;
		if (epoch != w->epoch)
			return epoch;
		/* All its lanes have ended: it waits to be told to park. */
		for (uint16_t i = 0; i < w->program->n_tables; i++)
			vn_rules_offline(w->program->tables[i], w->reader);
		__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
		while ((epoch = __atomic_load_n(&e->epoch, __ATOMIC_ACQUIRE)) == w->epoch)
			nap(VN_SLEEP_MAX_NS);
		for (uint16_t i = 0; i < w->program->n_tables; i++)
			vn_rules_online(w->program->tables[i], w->reader);
		return epoch;
	}
}

/* Parks for an epoch, and takes the program that comes then. */
static void
park(struct vn_worker *w, uint32_t epoch)
{
	struct vn_engine *e = w->engine;
	struct vn_program *next;
	uint32_t spins = 0;

	__atomic_store_n(&w->parked, epoch, __ATOMIC_RELEASE);
	__atomic_store_n(&w->done, false, __ATOMIC_RELEASE); /* (after: one of them holds) */
	while (__atomic_load_n(&e->go, __ATOMIC_ACQUIRE) != epoch &&
	       __atomic_load_n(&e->epoch, __ATOMIC_ACQUIRE) == epoch) {
		if (++spins < 20000)
			rte_pause();
		else
			nap(VN_SLEEP_MIN_NS); /* others share this CPU, perhaps */
	}
	/* Another epoch has begun already: this one was given up, since this worker came too late.
	 * The old program goes on, and parks for that one when what others have put in its rings
	 * meanwhile is through. */
	next = __atomic_load_n(&w->next, __ATOMIC_ACQUIRE);
	if (__atomic_load_n(&e->epoch, __ATOMIC_ACQUIRE) == epoch)
		w->program = next;
	/* Who sees this may write `next` again. */
	__atomic_store_n(&w->epoch, epoch, __ATOMIC_RELEASE);
}

int
vn_worker_loop(void *arg)
{
	struct vn_worker *w = arg;
	struct vn_engine *e = w->engine;
	uint32_t epoch;

	/* Linux rounds a thread's sleeps up by 50 us otherwise. */
	if (e->idle != VN_IDLE_BUSY)
		prctl(PR_SET_TIMERSLACK, 1UL);
	while (w->program) {
		enter(w);
		epoch = run(w);
		leave(w);
		park(w, epoch);
	}
	if (w->in_python) {
		e->py_leave(w);
		w->in_python = false;
	}
	return 0;
}

void
vn_worker_to_end(struct vn_worker *w)
{
	enter(w);
	while (pass(w, false, 0))
		;
	leave(w);
}
