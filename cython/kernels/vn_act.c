/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_act.h"

#include "vn_bytes.h"

/* -- where packets end ------------------------------------------------------------------------- */

static inline void
emit(struct vn_act_ctx *x, struct rte_mbuf *m, uint16_t row, uint16_t port, uint16_t queue)
{
	struct vn_out *o = vn_out_of(x->to, port, queue);

	if (unlikely(o == NULL))
		vn_out_drop(x->to, m, VN_DROP_NO_OUTPUT);
	else
		vn_out_push(x->to, o, m, row);
}

static void
emit_copy(struct vn_act_ctx *x, struct rte_mbuf *m, uint16_t row, uint16_t port, uint16_t queue)
{
	struct rte_mbuf *c = rte_pktmbuf_clone(m, x->to->copy_pool ? x->to->copy_pool : m->pool);

	x->to->count->copies++;
	if (c == NULL)
		x->to->count->drops[VN_DROP_NO_MBUF]++;
	else
		emit(x, c, row, port, queue);
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
run(struct vn_act_ctx *x, struct rte_mbuf **pkt, uint16_t row, const struct vn_actions *p,
    uint16_t at, uint16_t queue)
{
	for (; at < p->n; at++) {
		const struct vn_act *a = &p->acts[at];
		uint16_t reason = VN_DROP_NO_MBUF; /* of what fails */

		switch ((enum vn_act_op)a->op) {
		case VN_ACT_DROP:
			vn_out_drop(x->to, *pkt, a->arg);
			return true;
		case VN_ACT_FORWARD:
			for (uint16_t i = 0; i + 1 < a->arg; i++)
				emit_copy(x, *pkt, row, a->ports[i], queue);
			emit(x, *pkt, row, a->ports[a->arg - 1], queue);
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
			emit_copy(x, *pkt, row, a->arg, queue);
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
		vn_out_drop(x->to, *pkt, reason);
		return true;
	}
	return false;
}

/* -- bursts ------------------------------------------------------------------------------------ */

/* Packets that are all dropped or forwarded, here and there: without branches, which nothing could
 * predict. Every output is empty and has room. */
static void
act_plain(struct vn_outs *x, struct rte_mbuf **pkts, const uint16_t *rows, uint16_t n,
	  const uint16_t *code)
{
	for (uint16_t i = 0; i < n; i++) {
		bool dead = code[i] >= VN_CODE_DROP;
		const struct vn_out_port *p = &x->ports[(code[i] - VN_CODE_PORT) % VN_ACT_PORTS];
		bool nowhere = !dead & (p->n == 0);
		uint16_t at = (dead | nowhere) ? x->n_outs : p->first + p->own;
		uint16_t reason = dead ? code[i] - VN_CODE_DROP : VN_DROP_NO_OUTPUT;
		struct vn_out *o = &x->outs[at];

		x->count->drops[reason] += dead | nowhere;
		x->touched[x->n_touched] = at;
		x->n_touched += !o->listed;
		o->listed = true;
		o->last = o->rows[o->n] = rows[i];
		o->pkts[o->n++] = pkts[i];
	}
}

/* Packets of different fates. */
static uint16_t
act_each(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t *rows, uint16_t n,
	 const uint16_t *code, const struct vn_rule *const *hit, const struct vn_actions *none)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];
		const struct vn_actions *a;
		uint16_t row = rows[i];

		if (code[i] >= VN_CODE_DROP) {
			vn_out_drop(x->to, m, code[i] - VN_CODE_DROP);
			continue;
		}
		if (code[i] >= VN_CODE_PORT) {
			emit(x, m, row, code[i] - VN_CODE_PORT, VN_OWN_QUEUE);
			continue;
		}
		a = hit && hit[i] ? hit[i]->actions : none;
		if (code[i] == VN_CODE_KEEP || a == NULL || !run(x, &m, row, a, 0, VN_OWN_QUEUE)) {
			rows[kept] = row;
			pkts[kept++] = m;
		}
	}
	return kept;
}

uint16_t
vn_act_run(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t *rows, uint16_t n,
	   const struct vn_rule *const *hit, const struct vn_actions *none)
{
	uint16_t code[VN_MAX_BURST], differ = 0, none_code = (uint16_t)vn_act_code(none);
	bool plain = true;
	struct vn_sizes s = VN_SIZES_NONE;
	struct vn_out *o;

	x->now = 0;
	x->bytes = 0;
	x->untouched = false;
	if (unlikely(n == 0))
		return 0;
	for (uint16_t i = 0; hit && i < n; i++)
		rte_prefetch0(hit[i]);
	for (uint16_t i = 0; i < n; i++) {
		const struct vn_rule *r = hit ? hit[i] : NULL;

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
	x->bytes = s.bytes;
	if (differ && plain && x->to->n_touched == 0) {
		act_plain(x->to, pkts, rows, n, code);
		return 0;
	}
	if (differ || code[0] == VN_CODE_RUN)
		return act_each(x, pkts, rows, n, code, hit, none);
	if (code[0] == VN_CODE_KEEP) {
		x->sizes = s;
		x->untouched = true;
		return n;
	}
	if (code[0] >= VN_CODE_DROP) {
		vn_drop(x->to->count, pkts, n, code[0] - VN_CODE_DROP);
		return 0;
	}
	o = vn_out_of(x->to, code[0] - VN_CODE_PORT, VN_OWN_QUEUE);
	if (o == NULL)
		vn_drop(x->to->count, pkts, n, VN_DROP_NO_OUTPUT);
	else if (x->whole && x->to->n_touched == 0 && o->txq)
		vn_tx_sized(o->txq, pkts, n, s, x->to->policy);
	else
		for (uint16_t i = 0; i < n; i++)
			vn_out_push(x->to, o, pkts[i], rows[i]);
	return 0;
}

uint16_t
vn_act_burst(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n,
	     const struct vn_rule *const *hit, const struct vn_actions *none)
{
	uint16_t rows[VN_MAX_BURST], left = 0;

	for (uint16_t at = 0, step; at < n; at += step) {
		uint16_t more;

		step = RTE_MIN((uint16_t)(n - at), (uint16_t)VN_MAX_BURST);
		for (uint16_t i = 0; i < step; i++)
			rows[i] = i;
		more = vn_act_run(x, pkts + at, rows, step, hit + at, none);
		vn_outs_flush(x->to);
		if (left != at)
			memmove(pkts + left, pkts + at, more * sizeof(*pkts));
		left += more;
	}
	return left;
}

uint16_t
vn_act_resume(struct vn_act_ctx *x, struct rte_mbuf **pkts, uint16_t n, const struct vn_actions *a,
	      uint16_t at, uint16_t queue)
{
	uint16_t left = 0;

	x->now = 0;
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (!run(x, &m, i, a, at, queue))
			pkts[left++] = m;
	}
	vn_outs_flush(x->to);
	return left;
}
