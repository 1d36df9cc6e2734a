/* SPDX-License-Identifier: BSD-3-Clause
 * libFuzzer target: a worker's program (and with it vn_rx, vn_tx, the rewriting, splits, tees,
 * traces and the bridge) between net_ring ports whose frames, limits, free room and options come
 * from the input. After each run: every packet is accounted for, its bytes are what they must be,
 * in order, and no mbuf is left. Frames of pool memory have their surroundings poisoned for
 * AddressSanitizer. EAL runs without hugepages, devices or files. Run by scripts/fuzz.
 */
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <sanitizer/asan_interface.h>

#include "fuzz.h"
#include "vn_worker.h"

#define N_PORTS 4
#define RING 256
#define MAX_PACKETS 200
#define MAX_FRAME 1600
#define POOL 1023

static struct rte_ring *rx_ring[N_PORTS], *tx_ring[N_PORTS];
static uint16_t port_id[N_PORTS];
static struct rte_mempool *frames, *copies, *fillers;

/* What came in, in order. Frames of 15 bytes and more carry a number behind their Ethernet header;
 * a clone has its original's. */
static struct frame {
	uint8_t port;
	uint16_t len;
	uint8_t bytes[MAX_FRAME];
	struct rte_mbuf *m;
} sent[MAX_PACKETS];
static unsigned int n_sent, external_alive;

static void
external_free(void *addr, void *opaque)
{
	free(addr);
	free(opaque);
	external_alive--;
}

/* One segment of len bytes at `bytes`, in pool memory or in memory of its own. */
static struct rte_mbuf *
segment(const uint8_t *bytes, uint16_t len, bool external)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(frames);

	CHECK(m);
	if (external) {
		struct rte_mbuf_ext_shared_info *info = calloc(1, sizeof(*info));
		void *buf = malloc(RTE_MAX(len, 1));

		CHECK(info && buf);
		info->free_cb = external_free;
		info->fcb_opaque = info;
		rte_mbuf_ext_refcnt_set(info, 1);
		rte_pktmbuf_attach_extbuf(m, buf, (uintptr_t)buf, RTE_MAX(len, 1), info);
		external_alive++;
	} else {
		m->data_off = RTE_PKTMBUF_HEADROOM;
	}
	m->data_len = len;
	m->pkt_len = len;
	memcpy(rte_pktmbuf_mtod(m, void *), bytes, len);
	if (!external) {
		uint8_t *buf = m->buf_addr;

		/* Only the bytes of the frame may be touched (8 is ASan's grain). */
		ASAN_POISON_MEMORY_REGION(buf, m->data_off);
		ASAN_POISON_MEMORY_REGION(buf + m->data_off + RTE_ALIGN_CEIL(len, 8),
					  m->buf_len - m->data_off - RTE_ALIGN_CEIL(len, 8));
	}
	return m;
}

static void
unpoison(struct rte_mempool *mp, void *opaque, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;

	(void)mp, (void)opaque, (void)i;
	ASAN_UNPOISON_MEMORY_REGION((uint8_t *)(m + 1) + m->priv_size, 2048);
}

/* Adds a frame of the input: plain, in several segments, in external memory, or a clone. */
static struct rte_mbuf *
next_frame(uint8_t port)
{
	struct frame *f = &sent[n_sent];
	unsigned int kind = byte(), len = byte() | (byte() & 7) << 8, at = 0;
	struct rte_mbuf *m = NULL;

	if ((kind & 7) == 7 && n_sent > 0) {
		*f = sent[byte() % n_sent];
		m = rte_pktmbuf_clone(f->m, frames);
		CHECK(m);
	} else {
		f->len = RTE_MIN(len, MAX_FRAME);
		for (unsigned int i = 0; i < f->len; i++)
			f->bytes[i] = (uint8_t)(i * 7 + n_sent);
		if (f->len >= 15) {
			/* Few stations; group addresses, 01:80:c2:00:00:0x and zeros among them. */
			memset(f->bytes, 0, 12);
			f->bytes[0] = byte() & 3;
			f->bytes[5] = byte() & 7;
			f->bytes[6] = byte() & 3;
			f->bytes[11] = byte() & 7;
			if (kind & 8)
				memcpy(f->bytes, "\x01\x80\xc2\x00\x00", 5);
			memcpy(f->bytes + 12, kind & 16 ? "\x81\x00" : "\x08\x00", 2);
			f->bytes[14] = (uint8_t)n_sent;
		}
		do {
			unsigned int cut = kind & 1 && at < 256 ? 1 + byte() % 32 : f->len;
			uint16_t part = (uint16_t)RTE_MIN(cut, f->len - at);
			struct rte_mbuf *s = segment(f->bytes + at, part, kind & 2);

			if (m == NULL)
				m = s;
			else
				CHECK(rte_pktmbuf_chain(m, s) == 0);
			at += part;
		} while (at < f->len);
	}
	f->port = port;
	f->m = m;
	n_sent++;
	return m;
}

/* -- one run ----------------------------------------------------------------------------------- */

enum mode { STATIC, STATIC_KEEP_MACS, BRIDGE, SWAP, SET, MODES };

static struct vn_rxq rxq[N_PORTS];
static struct vn_txq txq[N_PORTS], *txqs[N_PORTS];
static struct vn_lane lanes[N_PORTS];
static uint64_t cut[MAX_PACKETS];
static struct vn_engine engine;
static struct vn_worker worker;
static struct vn_batch single;
static struct vn_program program;
static struct vn_stage stages[8], branch_stages[8];
static struct vn_macs_arg macs_arg;
static struct vn_forward_arg forward_arg;
static struct vn_bridge_arg bridge_arg;
static struct vn_branch branches[4];
static struct vn_trace *trace;
static struct vn_account spare;
static enum vn_tx_policy policy;
static uint16_t drop_reason = VN_DROP_FILTERED;
static int which;

static void
expected_macs(enum mode mode, const struct frame *f, uint8_t *macs)
{
	memcpy(macs, f->bytes, 12);
	if (f->len < RTE_ETHER_HDR_LEN)
		return;
	if (mode == STATIC || (mode == SET && which & 1))
		memcpy(macs, macs_arg.macs[f->port], 6);
	if (mode == STATIC || (mode == SET && which & 2))
		memcpy(macs + 6, macs_arg.macs[f->port] + 6, 6);
	if (mode == SWAP) {
		memcpy(macs, f->bytes + 6, 6);
		memcpy(macs + 6, f->bytes, 6);
	}
}

static bool
is_that(enum mode mode, const struct frame *f, const uint8_t *bytes, uint32_t len)
{
	uint8_t macs[12];

	expected_macs(mode, f, macs);
	return f->len == len && memcmp(bytes, macs, 12) == 0 &&
	       memcmp(bytes + 12, f->bytes + 12, len - 12) == 0;
}

/* What a port sent: frames that it may send, unharmed, and in order. */
static void
check_output(enum mode mode, uint8_t port, struct rte_mbuf *m, unsigned int *next)
{
	const struct vn_txq *q = &txq[port];
	uint8_t room[MAX_FRAME];
	const uint8_t *bytes = rte_pktmbuf_read(m, 0, m->pkt_len, room);
	uint32_t len = m->pkt_len, limit = q->max_len;
	unsigned int i;

	rte_mbuf_sanity_check(m, 1);
	CHECK(bytes && len >= RTE_ETHER_HDR_LEN);
	CHECK(!(q->flags & VN_TXF_RX_ONLY));
	if (q->flags & VN_TXF_VLAN4 && bytes[12] == 0x81 && bytes[13] == 0)
		limit += 4;
	CHECK(len <= limit);
	if (q->flags & VN_TXF_DIRECT)
		CHECK(m->nb_segs == 1 && (m->ol_flags & VN_FOREIGN) == 0);
	else
		CHECK(m->nb_segs <= q->max_segs);
	if (mode == BRIDGE) { /* in order for each input port; by number is enough */
		for (i = 0; i < n_sent; i++)
			if (sent[i].port != port && is_that(mode, &sent[i], bytes, len))
				break;
		CHECK(i < n_sent);
		return;
	}
	while (*next < n_sent &&
	       !((sent[*next].port ^ 1) == port && is_that(mode, &sent[*next], bytes, len)))
		++*next;
	CHECK(*next < n_sent);
	++*next;
}

/* The Python loop: rx, rewrite, tx that keeps what is not taken, clear. */
static void
direct_calls(enum mode mode, uint8_t port)
{
	struct rte_mbuf *pkts[VN_MAX_BURST];
	const uint8_t *macs = macs_arg.macs[port];
	struct vn_txq *out = &txq[port ^ 1];

	while (!rxq[port].exhausted) {
		uint16_t n = vn_rx(&rxq[port], pkts, engine.burst), done, left;
		struct vn_sizes s;

		vn_rx_bytes(&rxq[port], vn_sizes_of(pkts, n).bytes);
		done = mode == SWAP ? vn_swap_macs(pkts, n, &s)
				    : vn_set_macs(pkts, n, macs, which, &s);
		CHECK(done == n); /* the frames' own pools have room */
		left = vn_tx_sized(out, pkts, n, s, policy);
		CHECK(left <= n && (left == 0 || policy == VN_TX_KEEP));
		vn_drop(&spare, pkts, left, VN_DROP_FREED);
	}
}

static struct vn_stage *
add(struct vn_stage *to, uint16_t *n, vn_stage_run run, void *arg)
{
	struct vn_stage *st = &to[(*n)++];

	memset(st, 0, sizeof(*st));
	st->run = run;
	st->arg = arg;
	st->number = (uint16_t)(st - to);
	return st;
}

/* A test of a column, as a filter. */
static struct vn_filter *
some_filter(void)
{
	static struct vn_match_step steps[4];
	static struct vn_filter filters[4];
	static int turn;
	int k = turn++ % 4;

	steps[k] = (struct vn_match_step){.mask = byte(),
					  .lo = 0,
					  .span = byte(),
					  .field = VN_I_wire_len,
					  .op = VN_MATCH_PUSH,
					  .negated = byte() & 1};
	filters[k] = (struct vn_filter){.need = VN_F(wire_len), .steps = &steps[k], .n_steps = 1};
	return &filters[k];
}

/* Stages that leave every packet on the way that it has: branches that send it where it would go
 * anyway, or hand it back; copies that are dropped. */
static void
detours(uint16_t *n)
{
	static struct vn_split_arg *split;
	unsigned int kinds = byte();
	uint16_t used = 0;

	if (split == NULL)
		split = calloc(1, sizeof(*split) + 2 * sizeof(split->branches[0]));
	CHECK(split);
	if (kinds & 1) {
		split->n = 1 + (kinds >> 1 & 1);
		for (int k = 0; k < split->n; k++) {
			struct vn_branch *r = &branches[k];
			uint16_t inner = 0;

			r->filter = some_filter();
			r->chain.stages = &branch_stages[used];
			if (byte() & 1)
				add(r->chain.stages, &inner, vn_stage_forward, &forward_arg);
			r->chain.n = inner;
			used += inner;
			split->branches[k] = r;
		}
		add(stages, n, vn_stage_split, split);
	}
	if (kinds & 8) {
		struct vn_branch *r = &branches[3];
		uint16_t inner = 0;

		r->chain.stages = &branch_stages[used];
		add(r->chain.stages, &inner, vn_stage_drop, &drop_reason);
		r->chain.n = inner;
		add(stages, n, vn_stage_tee, r);
	}
}

static void
set_up(enum mode mode)
{
	static const uint16_t one[N_PORTS] = {1, 1, 1, 1}, own[N_PORTS];
	unsigned int flags, limit, segs;
	uint16_t n = 0;

	memset(rxq, 0, sizeof(rxq));
	memset(txq, 0, sizeof(txq));
	memset(&worker, 0, offsetof(struct vn_worker, batch));
	memset(&engine, 0, sizeof(engine));
	memset(&program, 0, sizeof(program));
	memset(branch_stages, 0, sizeof(branch_stages));
	memset(program.in_of, 0xff, sizeof(program.in_of));
	engine.budget = -1;
	engine.burst = 1 + byte() % 64;
	policy = byte() % (mode >= SWAP ? 3 : 2);
	which = 1 + byte() % 3;
	for (uint8_t i = 0; i < N_PORTS; i++) {
		flags = byte(), limit = byte() | (byte() & 7) << 8, segs = byte();
		rxq[i] = (struct vn_rxq){.port_id = port_id[i], .finite = 1};
		txq[i] = (struct vn_txq){
			.port_id = port_id[i],
			.flags = flags & 15,
			.max_len = limit < RTE_ETHER_HDR_LEN ? 1518 : limit,
			.max_segs = 1 + (segs & 7),
			.retry_cycles = 100,
			.copy_pool = flags & 32 ? NULL : copies,
		};
		rte_spinlock_init(&txq[i].lock);
		/* Some inputs are known by their packets only. */
		lanes[i] = (struct vn_lane){
			.rxq = &rxq[i], .marks = true, .in = flags & 64 ? VN_IN_MIXED : i};
		memset(macs_arg.macs[i], 0xa0 + i, 12);
		macs_arg.which[i] = 3;
		txqs[i] = &txq[i];
		forward_arg.to[i] = i ^ 1;
		program.in_of[port_id[i]] = i;
		bridge_arg.ports[i] = i;
	}
	CHECK(vn_outs_init(&program.outs, txqs, one, own, N_PORTS, 0) == 0);
	program.outs.copy_pool = copies;
	program.outs.policy = policy;
	program.outs.count = &program.end.count;
	program.ordered = true;
	program.lanes = lanes;
	program.n_lanes = N_PORTS;
	if (mode == BRIDGE) {
		bridge_arg.bridge = vn_bridge_create("bridge", 8, 300, SOCKET_ID_ANY);
		CHECK(bridge_arg.bridge);
		bridge_arg.n = N_PORTS;
		program.bridge = bridge_arg.bridge;
		add(stages, &n, vn_stage_bridge, &bridge_arg);
	} else {
		if (mode == STATIC)
			add(stages, &n, vn_stage_macs, &macs_arg);
		detours(&n);
		add(stages, &n, vn_stage_forward, &forward_arg);
	}
	program.chain = (struct vn_chain){stages, n};
	worker.engine = &engine;
	worker.program = &program;
	if (byte() & 1) {
		memset(trace, 0, sizeof(*trace));
		trace->left = (int32_t)(byte() % 64);
		trace->room = 256;
		engine.trace = trace;
		worker.single = &single;
	}
}

static void
sum_up(const struct vn_account *a, struct vn_account *sum)
{
	sum->rx_packets += a->rx_packets;
	sum->rx_bytes += a->rx_bytes;
	sum->tx_packets += a->tx_packets;
	sum->tx_bytes += a->tx_bytes;
	sum->copies += a->copies;
	for (int i = 0; i < VN_DROP_MAX; i++)
		sum->drops[0] += a->drops[i];
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char *args[] = {"fuzz",	    "--no-huge",      "--no-shconf",   "-m", "64",
			"--no-pci", "--no-telemetry", "--log-level=4", "-l", "0"};
	char name[16];

	CHECK(rte_eal_init(RTE_DIM(args), args) >= 0);
	frames = rte_pktmbuf_pool_create("frames", POOL, 0, 0, 2048, SOCKET_ID_ANY);
	copies = rte_pktmbuf_pool_create("copies", POOL, 0, 0, 1024 + 128, SOCKET_ID_ANY);
	fillers = rte_pktmbuf_pool_create("fillers", 2 * POOL + 1, 0, 0, 0, SOCKET_ID_ANY);
	CHECK(frames && copies && fillers);
	trace = calloc(1, sizeof(*trace) + 256 * sizeof(trace->events[0]));
	CHECK(trace && vn_batch_init(&worker.batch) == 0 && vn_batch_init(&single) == 0);
	for (unsigned int k = 0; k < RTE_DIM(branches); k++)
		CHECK(vn_batch_init(&branches[k].batch) == 0);
	for (int i = 0; i < N_PORTS; i++) {
		struct rte_eth_conf conf = {0};
		int id;

		snprintf(name, sizeof(name), "rx%d", i);
		rx_ring[i] = rte_ring_create(name, RING, SOCKET_ID_ANY, 0);
		snprintf(name, sizeof(name), "tx%d", i);
		tx_ring[i] = rte_ring_create(name, RING, SOCKET_ID_ANY, 0);
		CHECK(rx_ring[i] && tx_ring[i]);
		id = rte_eth_from_rings(name, &rx_ring[i], 1, &tx_ring[i], 1, 0);
		CHECK(id >= 0);
		port_id[i] = (uint16_t)id;
		CHECK(rte_eth_dev_configure(port_id[i], 1, 1, &conf) == 0);
		CHECK(rte_eth_rx_queue_setup(port_id[i], 0, RING, 0, NULL, frames) == 0);
		CHECK(rte_eth_tx_queue_setup(port_id[i], 0, RING, 0, NULL) == 0);
		CHECK(rte_eth_dev_start(port_id[i]) == 0);
	}
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rte_mbuf *taken[POOL];
	struct vn_account sum = {0};
	uint64_t bytes = 0, out_bytes = 0, out_packets = 0;
	unsigned int n_taken, n_cut = 0, fill[N_PORTS];
	struct rte_mbuf *m;
	enum mode mode;

	input = data;
	input_end = data + size;
	n_sent = 0;
	mode = byte() % MODES;
	memset(stages, 0, sizeof(stages));
	memset(&spare, 0, sizeof(spare));
	set_up(mode);
	/* Little room: in the pool for copies, and in the output ports. */
	n_taken = byte() & 1 ? POOL - byte() % 32 : 0;
	CHECK(n_taken == 0 || rte_pktmbuf_alloc_bulk(copies, taken, n_taken) == 0);
	for (uint8_t i = 0; i < N_PORTS; i++) {
		fill[i] = byte() & 1 ? RING - 1 - byte() % 32 : 0;
		for (unsigned int k = 0; k < fill[i]; k++)
			CHECK((m = rte_pktmbuf_alloc(fillers)) &&
			      rte_ring_enqueue(tx_ring[i], m) == 0);
	}
	while (input < input_end && n_sent < MAX_PACKETS && rte_mempool_avail_count(frames) > 600) {
		uint8_t port = byte() % N_PORTS;

		CHECK(rte_ring_enqueue(rx_ring[port], next_frame(port)) == 0);
		bytes += sent[n_sent - 1].len;
		rxq[port].records++;
	}
	for (uint64_t i = 0; i < rxq[0].records; i++)
		if (byte() & 1)
			cut[n_cut++] = i;
	rxq[0].cut = cut;
	rxq[0].n_cut = n_cut;

	if (mode < SWAP)
		vn_worker_to_end(&worker);
	else
		for (uint8_t i = 0; i < N_PORTS; i++)
			direct_calls(mode, i);

	rte_mempool_obj_iter(frames, unpoison, NULL);
	for (uint8_t i = 0; i < N_PORTS; i++) {
		unsigned int next = 0;

		CHECK(rte_ring_empty(rx_ring[i]));
		while (rte_ring_dequeue(tx_ring[i], (void **)&m) == 0) {
			if (fill[i])
				fill[i]--;
			else {
				check_output(mode, i, m, &next);
				out_packets++;
				out_bytes += m->pkt_len;
			}
			rte_pktmbuf_free(m);
		}
		sum_up(&rxq[i].count, &sum);
		sum_up(&txq[i].count, &sum);
	}
	sum_up(&spare, &sum);
	sum_up(&program.end.count, &sum);
	for (uint16_t k = 0; k < RTE_DIM(stages); k++) {
		sum_up(&stages[k].count, &sum);
		sum_up(&branch_stages[k].count, &sum);
	}
	rte_pktmbuf_free_bulk(taken, n_taken);
	vn_bridge_free(program.bridge);
	vn_outs_fini(&program.outs);
	CHECK(sum.rx_packets == n_sent);
	CHECK(mode >= SWAP || sum.rx_bytes == bytes);
	CHECK(sum.tx_packets == out_packets && sum.tx_bytes == out_bytes);
	CHECK(sum.rx_packets + sum.copies == sum.tx_packets + sum.drops[0]);
	CHECK(rte_mempool_in_use_count(frames) == 0 && external_alive == 0);
	CHECK(rte_mempool_in_use_count(copies) == 0 && rte_mempool_in_use_count(fillers) == 0);
	return 0;
}
