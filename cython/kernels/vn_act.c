/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_act.h"

#include <errno.h>
#include <stdlib.h>

#include "vn_bytes.h"

int
vn_act_init(struct vn_act_ctx *x, struct vn_txq *const *txqs, const uint16_t *n_queues,
	    const uint16_t *own, uint16_t n)
{
	uint32_t total = 0;

	for (uint16_t i = 0; i < n; i++) {
		x->ports[i] = (struct vn_act_port){(uint16_t)total, n_queues[i], own[i]};
		total += n_queues[i];
	}
	x->n_outs = (uint16_t)total;
	x->outs = calloc(total + 1, sizeof(*x->outs));
	x->touched = calloc(total + 2, sizeof(*x->touched)); /* one is written in vain */
	if (x->outs == NULL || x->touched == NULL)
		return -ENOMEM; /* the caller calls vn_act_fini() */
	for (uint16_t i = 0; i < n; i++)
		for (uint16_t q = 0; q < n_queues[i]; q++)
			x->outs[x->ports[i].first + q].txq = &txqs[i][q];
	return 0;
}

void
vn_act_fini(struct vn_act_ctx *x)
{
	free(x->outs);
	free(x->touched);
	x->outs = NULL;
	x->touched = NULL;
}

/* -- where packets end ------------------------------------------------------------------------- */

void
vn_out_flush(struct vn_act_ctx *x, struct vn_out *o)
{
	if (o->n && o->txq)
		vn_tx(o->txq, o->pkts, o->n, x->policy);
	else if (o->n)
		rte_pktmbuf_free_bulk(o->pkts, o->n);
	o->n = 0;
}

static inline void
drop(struct vn_act_ctx *x, struct rte_mbuf *m, uint16_t reason)
{
	x->count->drops[reason]++;
	vn_out_push(x, &x->outs[x->n_outs], m);
}

void
vn_act_flush(struct vn_act_ctx *x)
{
	for (uint16_t k = 0; k < x->n_touched; k++) {
		struct vn_out *o = &x->outs[x->touched[k]];

		vn_out_flush(x, o);
		o->listed = false;
	}
	x->n_touched = 0;
}

/* The output of a port's queue; NULL: there is no such port to send on. Queues that a port lacks
 * are those that it has, over and over. */
static inline struct vn_out *
out_of(struct vn_act_ctx *x, uint16_t port, uint16_t queue)
{
	const struct vn_act_port *p;

	if (unlikely(port >= VN_ACT_PORTS || x->ports[port].n == 0))
		return NULL;
	p = &x->ports[port];
	if (likely(queue == VN_ACT_OWN_QUEUE))
		queue = p->own;
	else if (queue >= p->n)
		queue %= p->n;
	return &x->outs[p->first + queue];
}

/* The packets before this one that go their own way, and are to leave before it. */
struct kept {
	struct rte_mbuf **pkts;
	uint16_t n;
};

static inline void
emit(struct vn_act_ctx *x, struct kept *k, struct rte_mbuf *m, uint16_t port, uint16_t queue)
{
	struct vn_out *o = out_of(x, port, queue);

	if (unlikely(o == NULL)) {
		drop(x, m, VN_DROP_NO_OUTPUT);
		return;
	}
	if (k->n && x->own_way) {
		x->own_way(x->own_arg, k->pkts, k->n);
		k->n = 0;
	}
	vn_out_push(x, o, m);
}

static void
emit_copy(struct vn_act_ctx *x, struct kept *k, struct rte_mbuf *m, uint16_t port, uint16_t queue)
{
	struct rte_mbuf *c = rte_pktmbuf_clone(m, x->copy_pool ? x->copy_pool : m->pool);

	x->count->copies++;
	if (c == NULL)
		x->count->drops[VN_DROP_NO_MBUF]++;
	else
		emit(x, k, c, port, queue);
}

/* -- actions ----------------------------------------------------------------------------------- */

static inline bool
own(struct rte_mbuf **m, uint16_t headroom, uint16_t head)
{
	return vn_own_rows(m, 1, NULL, headroom, head) == 0;
}

/* Bytes of the packet after its Ethernet header and tags: what RFC 2697 and RFC 2698 meter. */
static uint32_t
bytes_of_ip(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint32_t l2 = RTE_ETHER_HDR_LEN;

	for (int tags = 0; tags < VN_MAX_VLAN && l2 <= m->data_len; tags++, l2 += 4) {
		uint16_t type = be16(p + l2 - 2);

		if (type != 0x8100 && type != 0x88a8 && type != 0x9100)
			break;
	}
	return m->pkt_len > l2 ? m->pkt_len - l2 : 0;
}

static inline uint64_t
now(struct vn_act_ctx *x)
{
	if (x->now == 0)
		x->now = rte_rdtsc();
	return x->now;
}

static bool
sampled(struct vn_sample *s)
{
	uint64_t seen = __atomic_add_fetch(&s->seen, 1, __ATOMIC_RELAXED);

	return seen % s->n == 0;
}

/* Runs actions at.. on *pkt. True: the packet has ended. */
static bool
run(struct vn_act_ctx *x, struct kept *k, struct rte_mbuf **pkt, const struct vn_actions *p,
    uint16_t at, uint16_t queue)
{
	for (; at < p->n; at++) {
		const struct vn_act *a = &p->acts[at];
		uint16_t reason = VN_DROP_NO_MBUF; /* of what fails */

		switch ((enum vn_act_op)a->op) {
		case VN_ACT_DROP:
			drop(x, *pkt, a->arg);
			return true;
		case VN_ACT_FORWARD:
			for (uint16_t i = 0; i + 1 < a->arg; i++)
				emit_copy(x, k, *pkt, a->ports[i], queue);
			emit(x, k, *pkt, a->ports[a->arg - 1], queue);
			return true;
		case VN_ACT_QUEUE:
			queue = a->arg;
			continue;
		case VN_ACT_SET:
			if (!own(pkt, 0, RTE_ETHER_HDR_LEN))
				break;
			vn_set_run(a->set, *pkt);
			continue;
		case VN_ACT_NAT:
			if (!own(pkt, 0, VN_ACT_HEAD))
				break;
			vn_nat_run(a->nat, *pkt);
			continue;
		case VN_ACT_PUSH:
			if (!own(pkt, 4, RTE_ETHER_HDR_LEN))
				break;
			vn_vlan_push(pkt, 1, NULL, RTE_ETHER_TYPE_VLAN, a->arg);
			continue;
		case VN_ACT_POP:
			if (!own(pkt, 0, RTE_ETHER_HDR_LEN + 4))
				break;
			vn_vlan_pop(pkt, 1, NULL);
			continue;
		case VN_ACT_TTL:
			if (!own(pkt, 0, VN_ACT_HEAD))
				break;
			reason = VN_DROP_TTL;
			if (!vn_ttl_run(*pkt))
				break;
			continue;
		case VN_ACT_MIRROR:
			emit_copy(x, k, *pkt, a->arg, queue);
			continue;
		case VN_ACT_MARK:
			(*pkt)->hash.fdir.hi = a->value;
			(*pkt)->ol_flags |= RTE_MBUF_F_RX_FDIR | RTE_MBUF_F_RX_FDIR_ID;
			continue;
		case VN_ACT_METER:
			reason = VN_DROP_METER;
			if (vn_meter_color(a->meter, now(x), bytes_of_ip(*pkt)) == RTE_COLOR_RED)
				break;
			continue;
		case VN_ACT_LIMIT:
			reason = VN_DROP_RATE;
			if (!vn_limit_take(a->limit, now(x), (*pkt)->pkt_len))
				break;
			continue;
		case VN_ACT_SAMPLE:
			at += !sampled(a->sample);
			continue;
		case VN_ACT_CALL:
			reason = VN_DROP_NO_PYTHON;
			if (x->n_calls == x->room_calls)
				break;
			x->calls[x->n_calls++] = (struct vn_call){*pkt, p, at, queue};
			return true;
		}
		drop(x, *pkt, reason);
		return true;
	}
	return false;
}

/* -- bursts ------------------------------------------------------------------------------------ */

/* Packets that are all dropped or forwarded, here and there: without branches, which nothing could
 * predict. Every output is empty and has room. */
static void
act_plain(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n, const uint16_t *code)
{
	for (uint16_t i = 0; i < n; i++) {
		bool dead = code[i] >= VN_CODE_DROP;
		const struct vn_act_port *p = &x->ports[(code[i] - VN_CODE_PORT) % VN_ACT_PORTS];
		bool nowhere = !dead & (p->n == 0);
		uint16_t at = (dead | nowhere) ? x->n_outs : p->first + p->own;
		uint16_t reason = dead ? code[i] - VN_CODE_DROP : VN_DROP_NO_OUTPUT;
		struct vn_out *o = &x->outs[at];

		x->count->drops[reason] += dead | nowhere;
		x->touched[x->n_touched] = at;
		x->n_touched += !o->listed;
		o->listed = true;
		o->pkts[o->n++] = pkts[i];
	}
	vn_act_flush(x);
}

/* Packets of different fates. */
static uint16_t
act_each(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n, const uint16_t *code,
	 const struct vn_rule *const *hit, const struct vn_actions *none)
{
	struct kept k = {pkts, 0};

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];
		const struct vn_actions *a;

		if (code[i] >= VN_CODE_DROP) {
			drop(x, m, code[i] - VN_CODE_DROP);
			continue;
		}
		if (code[i] >= VN_CODE_PORT) {
			emit(x, &k, m, code[i] - VN_CODE_PORT, VN_ACT_OWN_QUEUE);
			continue;
		}
		a = hit[i] ? hit[i]->actions : none;
		if (code[i] == VN_CODE_KEEP || a == NULL || !run(x, &k, &m, a, 0, VN_ACT_OWN_QUEUE))
			pkts[k.n++] = m;
	}
	if (k.n && x->own_way && x->n_touched) {
		x->own_way(x->own_arg, pkts, k.n);
		k.n = 0;
	}
	vn_act_flush(x);
	return k.n;
}

static uint16_t
act_some(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n, const struct vn_rule *const *hit,
	 const struct vn_actions *none)
{
	uint16_t code[VN_ACT_ROOM], differ = 0, none_code = (uint16_t)vn_act_code(none);
	bool plain = true;
	struct vn_sizes s = VN_SIZES_NONE;
	struct vn_out *o;

	x->now = 0;
	for (uint16_t i = 0; i < n; i++)
		rte_prefetch0(hit[i]);
	for (uint16_t i = 0; i < n; i++) {
		const struct vn_rule *r = hit[i];

		vn_sizes_add(&s, pkts[i]);
		if (likely(r != NULL)) {
			code[i] = r->flags & VN_CODE_MASK;
			vn_rules_count(x->table, x->reader, r->id, 1, pkts[i]->pkt_len);
		} else {
			code[i] = none_code;
			x->missed.packets++;
			x->missed.bytes += pkts[i]->pkt_len;
		}
		differ |= code[i] ^ code[0];
		plain &= code[i] >= VN_CODE_PORT;
	}
	x->bytes += s.bytes;
	if (differ && plain) {
		act_plain(x, pkts, n, code);
		return 0;
	}
	if (differ || code[0] == VN_CODE_RUN)
		return act_each(x, pkts, n, code, hit, none);
	if (code[0] == VN_CODE_KEEP) {
		x->sizes = s;
		x->untouched = true;
		return n;
	}
	o = code[0] >= VN_CODE_DROP ? NULL : out_of(x, code[0] - VN_CODE_PORT, VN_ACT_OWN_QUEUE);
	if (o)
		vn_tx_sized(o->txq, pkts, n, s, x->policy);
	else
		vn_drop(x->count, pkts, n,
			code[0] >= VN_CODE_DROP ? code[0] - VN_CODE_DROP : VN_DROP_NO_OUTPUT);
	return 0;
}

uint16_t
vn_act_run(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n,
	   const struct vn_rule *const *hit, const struct vn_actions *none)
{
	uint16_t left = 0;

	x->bytes = 0;
	x->untouched = false;
	for (uint16_t at = 0, step; at < n; at += step) {
		uint16_t more;

		step = RTE_MIN((uint16_t)(n - at), (uint16_t)VN_ACT_ROOM);
		more = act_some(x, pkts + at, step, hit + at, none);
		if (left != at)
			memmove(pkts + left, pkts + at, more * sizeof(*pkts));
		left += more;
	}
	x->untouched &= n <= VN_ACT_ROOM;
	return left;
}

uint16_t
vn_act_resume(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n, const struct vn_actions *a,
	      uint16_t at, uint16_t queue)
{
	struct kept k = {pkts, 0};

	x->now = 0;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (!run(x, &k, &m, a, at, queue))
			pkts[k.n++] = m;
	}
	vn_act_flush(x);
	return k.n;
}
