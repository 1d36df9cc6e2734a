/* SPDX-License-Identifier: BSD-3-Clause
 * libFuzzer target: vn_act_burst() on packets, programs and hits of the input: whole and cut, in
 * one segment or several, in external memory, shared. After each run every packet is accounted for,
 * and no mbuf is left. The tailroom of each segment is poisoned for AddressSanitizer. Run by
 * scripts/fuzz.
 */
#include <rte_eal.h>
#include <rte_eth_ring.h>
#include <sanitizer/asan_interface.h>

#include "fuzz.h"
#include "vn_act.h"

#define N_PORTS 3
#define RING 64
#define MAX_PACKETS 40
#define MAX_ACTS 8
#define N_RULES 6
#define POOL 511

static struct rte_ring *rings[N_PORTS];
static struct rte_mempool *frames, *copies;
static struct vn_rules *table;
static unsigned int external_alive;

int LLVMFuzzerInitialize(int *argc, char ***argv);

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char *args[] = {"fuzz",	    "--no-huge",      "--no-shconf",   "-m", "64",
			"--no-pci", "--no-telemetry", "--log-level=4", "-l", "0"};
	char name[16];

	CHECK(rte_eal_init(RTE_DIM(args), args) >= 0);
	frames = rte_pktmbuf_pool_create("frames", POOL, 0, 0, 512, SOCKET_ID_ANY);
	copies = rte_pktmbuf_pool_create("copies", 63, 0, 0, 512, SOCKET_ID_ANY);
	CHECK(frames && copies);
	for (int i = 0; i < N_PORTS; i++) {
		struct rte_eth_conf conf = {0};

		snprintf(name, sizeof(name), "ring%d", i);
		rings[i] = rte_ring_create(name, RING, SOCKET_ID_ANY, 0);
		CHECK(rings[i]);
		CHECK(rte_eth_from_rings(name, &rings[i], 1, &rings[i], 1, 0) == i);
		CHECK(rte_eth_dev_configure((uint16_t)i, 1, 1, &conf) == 0);
		CHECK(rte_eth_rx_queue_setup((uint16_t)i, 0, RING, 0, NULL, frames) == 0);
		CHECK(rte_eth_tx_queue_setup((uint16_t)i, 0, RING, 0, NULL) == 0);
		CHECK(rte_eth_dev_start((uint16_t)i) == 0);
	}
	table = vn_rules_create();
	CHECK(table && vn_rules_register(table, 0) == 0 && vn_rules_room(table, N_RULES) == 0);
	return 0;
}

static void
external_free(void *addr, void *opaque)
{
	free(addr);
	free(opaque);
	external_alive--;
}

static struct rte_mbuf *
segment(uint16_t len, bool external)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(frames);
	uint8_t *p;

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
	}
	m->data_len = len;
	m->pkt_len = len;
	p = rte_pktmbuf_mtod(m, uint8_t *);
	for (uint16_t i = 0; i < len; i++)
		p[i] = (uint8_t)byte();
	if (!external)
		ASAN_POISON_MEMORY_REGION(p + RTE_ALIGN_CEIL(len, 8),
					  m->buf_len - m->data_off - RTE_ALIGN_CEIL(len, 8));
	return m;
}

static void
unpoison(struct rte_mempool *mp, void *opaque, void *obj, unsigned int i)
{
	struct rte_mbuf *m = obj;

	(void)mp, (void)opaque, (void)i;
	ASAN_UNPOISON_MEMORY_REGION((uint8_t *)(m + 1) + m->priv_size, 512);
}

/* A packet: its beginning may be made to look like tags, IPv4 or IPv6 with TCP or UDP. */
static struct rte_mbuf *
packet(void)
{
	unsigned int kind = byte(), len = 1 + byte() % 160;
	struct rte_mbuf *m = segment((uint16_t)len, (kind & 3) == 3), *tail = m;
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);
	unsigned int at = 12;

	if ((kind & 4) && len > at + 6) {
		memcpy(p + at, "\x81\x00", 2);
		at += 4;
	}
	if ((kind & 8) && len > at + 24) {
		memcpy(p + at, "\x08\x00\x45", 3);
		p[at + 4] = 0;
		p[at + 5] = (uint8_t)(len - at - 2);
		p[at + 8] = p[at + 9] = 0;
		p[at + 11] = kind & 16 ? 6 : 17;
	} else if ((kind & 32) && len > at + 44) {
		memcpy(p + at, "\x86\xdd\x60", 3);
		p[at + 6] = 0;
		p[at + 7] = (uint8_t)(len - at - 42);
		p[at + 8] = kind & 16 ? 6 : 17;
	}
	for (unsigned int k = kind >> 6; k > 0; k--) {
		struct rte_mbuf *next = segment((uint16_t)(byte() % 60), byte() & 1);

		tail->next = next;
		tail = next;
		m->nb_segs++;
		m->pkt_len += next->data_len;
	}
	return m;
}

static void
fill(struct vn_act *a, struct vn_set *set, struct vn_nat *nat, struct vn_meter *meter,
     struct vn_limit *limit, struct vn_sample *sample, uint8_t *ports)
{
	static const enum vn_field writable[] = {VN_WRITABLE};
	uint8_t address[16];

	a->op = (uint8_t)(byte() % (VN_ACT_CALL + 1));
	a->arg = (uint16_t)(byte() % 5);
	switch ((enum vn_act_op)a->op) {
	case VN_ACT_DROP:
		a->arg = VN_DROP_RULE;
		break;
	case VN_ACT_FORWARD:
		a->arg = (uint16_t)(1 + byte() % 3);
		a->ports = ports;
		for (int i = 0; i < 3; i++)
			ports[i] = (uint8_t)(byte() % 5);
		break;
	case VN_ACT_SET:
		a->set = set;
		vn_set_init(set);
		for (unsigned int k = byte() % 4 + 1; k > 0; k--)
			vn_set_add(set, writable[byte() % RTE_DIM(writable)],
				   byte() * UINT64_C(0x0101010101010101));
		break;
	case VN_ACT_NAT:
		a->nat = nat;
		for (int i = 0; i < 16; i++)
			address[i] = (uint8_t)byte();
		vn_nat_init(nat, byte() & 1, byte() & 1 ? 4 : 6, address, byte() & 1,
			    (uint16_t)(byte() << 8 | 1));
		break;
	case VN_ACT_METER:
		a->meter = meter;
		CHECK(vn_meter_srtcm(meter, 1 + byte(), byte() * 8, 1, rte_rdtsc()) == 0);
		break;
	case VN_ACT_LIMIT:
		a->limit = limit;
		vn_limit_init(limit, byte() & 1, 1 + byte(), byte() * 8, rte_rdtsc());
		break;
	case VN_ACT_SAMPLE:
		a->sample = sample;
		*sample = (struct vn_sample){.n = 1 + byte() % 4};
		break;
	case VN_ACT_MARK:
		a->value = byte();
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct vn_act_ctx x;
	static struct vn_outs outs;
	static struct vn_call calls[2 * MAX_PACKETS];
	static struct vn_txq txqs[N_PORTS];
	static struct vn_set sets[N_RULES][MAX_ACTS];
	static struct vn_nat nats[N_RULES][MAX_ACTS];
	static struct vn_meter meters[N_RULES][MAX_ACTS];
	static struct vn_limit limits[N_RULES][MAX_ACTS];
	static struct vn_sample samples[N_RULES][MAX_ACTS];
	static uint8_t ports[N_RULES][MAX_ACTS][3];
	struct vn_account count;
	struct vn_actions *programs[N_RULES];
	struct vn_rule rules[N_RULES];
	const struct vn_rule *hit[MAX_PACKETS];
	struct rte_mbuf *pkts[MAX_PACKETS];
	struct vn_txq *queues[N_PORTS];
	uint16_t n_queues[N_PORTS] = {1, 1, 1}, own[N_PORTS] = {0, 0, 0}, n, left, options;
	uint64_t ended = 0, counted = 0, out = 0;

	input = data;
	input_end = data + size;
	memset(&count, 0, sizeof(count));
	memset(&x, 0, sizeof(x));
	memset(rules, 0, sizeof(rules));
	options = (uint16_t)byte();
	for (uint16_t i = 0; i < N_PORTS; i++) {
		txqs[i] = (struct vn_txq){.port_id = i, .max_len = 1500, .max_segs = 4};
		queues[i] = &txqs[i];
	}
	memset(&outs, 0, sizeof(outs));
	CHECK(vn_outs_init(&outs, queues, n_queues, own, N_PORTS, 0) == 0);
	outs.policy = VN_TX_DROP;
	outs.count = &count;
	outs.copy_pool = options & 1 ? copies : NULL;
	x.table = table;
	x.to = &outs;
	x.whole = options & 2;
	x.calls = calls;
	x.room_calls = options & 4 ? RTE_DIM(calls) : 0;
	for (int r = 0; r < N_RULES; r++) {
		struct vn_actions *p = calloc(1, sizeof(*p) + MAX_ACTS * sizeof(p->acts[0]));

		CHECK(p);
		p->n = (uint16_t)(byte() % (MAX_ACTS + 1));
		for (int k = 0; k < p->n; k++)
			fill(&p->acts[k], &sets[r][k], &nats[r][k], &meters[r][k], &limits[r][k],
			     &samples[r][k], ports[r][k]);
		p->code = p->n ? VN_CODE_RUN : VN_CODE_KEEP;
		if (p->n == 1 && p->acts[0].op == VN_ACT_DROP)
			p->code = VN_CODE_DROP + p->acts[0].arg;
		else if (p->n == 1 && p->acts[0].op == VN_ACT_FORWARD && p->acts[0].arg == 1)
			p->code = VN_CODE_PORT + ports[r][0][0];
		programs[r] = p;
		rules[r].id = r;
		rules[r].actions = p;
		rules[r].flags = vn_act_code(p);
	}
	n = (uint16_t)(byte() % (MAX_PACKETS + 1));
	for (uint16_t i = 0; i < n; i++) {
		pkts[i] = packet();
		hit[i] = byte() % (N_RULES + 1) == N_RULES ? NULL : &rules[byte() % N_RULES];
	}
	if ((options & 8) && n > 1) { /* one is another's clone */
		rte_pktmbuf_free(pkts[0]);
		pkts[0] = rte_pktmbuf_clone(pkts[1], frames);
		CHECK(pkts[0]);
	}
	left = vn_act_burst(&x, pkts, n, hit, options & 16 ? programs[0] : NULL);
	rte_pktmbuf_free_bulk(pkts, left);
	ended = left;
	while (x.n_calls) {
		struct vn_call c = x.calls[--x.n_calls];

		left = vn_act_resume(&x, &c.m, 1, c.actions, c.at + 1, c.queue);
		if (left)
			rte_pktmbuf_free(c.m);
		ended += left;
	}
	for (int i = 0; i < N_PORTS; i++) {
		struct rte_mbuf *m;

		out += txqs[i].count.tx_packets;
		for (int r = 0; r < VN_DROP_MAX; r++)
			ended += txqs[i].count.drops[r];
		ended += txqs[i].count.tx_packets;
		while (rte_ring_dequeue(rings[i], (void **)&m) == 0) {
			rte_mbuf_sanity_check(m, 1);
			rte_pktmbuf_free(m);
			counted++;
		}
	}
	for (int r = 0; r < VN_DROP_MAX; r++)
		ended += count.drops[r];
	CHECK(out == counted);
	CHECK(n + count.copies == ended);
	vn_outs_fini(&outs);
	for (int r = 0; r < N_RULES; r++)
		free(programs[r]);
	rte_mempool_obj_iter(frames, unpoison, NULL);
	rte_mempool_obj_iter(copies, unpoison, NULL);
	CHECK(rte_mempool_in_use_count(frames) == 0);
	CHECK(rte_mempool_in_use_count(copies) == 0);
	CHECK(external_alive == 0);
	return 0;
}
