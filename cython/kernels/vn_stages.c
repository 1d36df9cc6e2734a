/* SPDX-License-Identifier: BSD-3-Clause
 * Stages that look at packets, and change them.
 */
#include "vn_stages.h"

#include "vn_worker.h"
#include "vn_write.h"

void
vn_stage_parse(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	vn_batch_parse(b, *(const vn_fieldset *)s->arg);
}

void
vn_stage_filter(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	const struct vn_filter_arg *a = s->arg;
	uint8_t mask[VN_MAX_BURST];

	vn_batch_parse(b, a->filter->need);
	vn_filter_run(a->filter, &b->columns, b->pkts, b->n, mask);
	vn_batch_keep(b, mask, &s->count, a->reason);
}

void
vn_stage_drop(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	vn_batch_drop(b, &s->count, *(const uint16_t *)s->arg);
}

/* -- writing ----------------------------------------------------------------------------------- */

/* Takes a packet out for which there was no mbuf. */
static void
take_out(struct vn_batch *b, uint16_t i, struct vn_account *a)
{
	vn_drop(a, &b->pkts[i], 1, VN_DROP_NO_MBUF);
	b->n--;
	memmove(&b->pkts[i], &b->pkts[i + 1], (b->n - i) * sizeof(b->pkts[0]));
	memmove(&b->rows[i], &b->rows[i + 1], (b->n - i) * sizeof(b->rows[0]));
}

/* Rows from..n. Those without an mbuf for a copy are dropped. */
static void
write_macs(const struct vn_macs_arg *a, struct vn_stage *s, struct vn_batch *b, uint16_t in)
{
	struct vn_sizes sizes;
	uint16_t done;

	if (!a->swap && a->which[in] == 0)
		return;
	done = a->swap ? vn_swap_macs(b->pkts, b->n, &sizes)
		       : vn_set_macs(b->pkts, b->n, a->macs[in], a->which[in], &sizes);
	b->have &= ~VN_G_ETH;
	if (likely(done == b->n)) {
		b->sized = true;
		b->sizes = sizes;
		vn_batch_settle(b);
		return;
	}
	b->sized = false;
	vn_batch_settle(b);
	vn_batch_changed(b);
	while (done < b->n) {
		take_out(b, done, &s->count);
		if (done < b->n)
			done += a->swap ? vn_swap_macs(b->pkts + done, b->n - done, &sizes)
					: vn_set_macs(b->pkts + done, b->n - done, a->macs[in],
						      a->which[in], &sizes);
	}
}

void
vn_stage_macs(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	const struct vn_macs_arg *a = s->arg;
	uint8_t mask[VN_MAX_BURST];
	bool lack = false;

	if (likely(b->in < VN_OUT_PORTS || a->swap)) {
		write_macs(a, s, b, b->in);
		return;
	}
	/* Packets of several inputs, one by one. */
	vn_batch_settle(b);
	for (uint16_t i = 0; i < b->n; i++) {
		uint16_t in = vn_worker_in(w, b->pkts[i]);
		struct vn_sizes sizes;

		mask[i] = in >= VN_OUT_PORTS || a->which[in] == 0 ||
			  vn_set_macs(&b->pkts[i], 1, a->macs[in], a->which[in], &sizes) == 1;
		lack |= !mask[i];
	}
	if (lack)
		vn_batch_keep(b, mask, &s->count, VN_DROP_NO_MBUF);
	vn_batch_changed(b);
}

/* -- rules ------------------------------------------------------------------------------------- */

static void
look(struct vn_rules_arg *a, struct vn_batch *b)
{
	struct vn_rules *t = a->act.table;

	vn_batch_parse(b, vn_rules_needs(t, a->act.reader));
	vn_rules_classify(t, a->act.reader, &b->columns, b->pkts, b->n, b->hit);
	b->looked = true;
}

void
vn_stage_classify(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	look(s->arg, b);
}

static void
act(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b, const struct vn_rule *const *hit,
    const struct vn_actions *none)
{
	struct vn_rules_arg *a = s->arg;
	struct vn_act_ctx *x = &a->act;
	uint16_t left;

	x->to = &w->outs;
	x->to->count = &s->count;
	x->whole = b->whole;
	left = vn_act_run(x, b->pkts, b->rows, b->n, hit, none);
	if (b->origin) {
		*b->origin += x->bytes;
		b->origin = NULL;
	}
	if (x->untouched) {
		b->sizes = x->sizes;
		b->sized = true;
	} else if (left == b->n) {
		vn_batch_changed_but_rules(b);
	} else {
		vn_batch_changed(b);
	}
	b->n = left;
}

void
vn_stage_apply(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	struct vn_rules_arg *a = s->arg;

	look(a, b);
	act(s, w, b, b->hit, vn_rules_none(a->act.table, a->act.reader));
}

void
vn_stage_actions(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	act(s, w, b, NULL, ((struct vn_rules_arg *)s->arg)->actions);
}

/* -- the program's own ------------------------------------------------------------------------- */

void
vn_batch_rules(const struct vn_batch *b, int32_t *out)
{
	for (uint16_t i = 0; i < b->n; i++)
		out[i] = b->looked && b->hit[i] ? b->hit[i]->id : -1;
}

void
vn_batch_verdict(struct vn_batch *b, const int16_t *verdict, struct vn_outs *to,
		 struct vn_account *a, enum vn_drop reason)
{
	uint16_t kept = 0, differ = 0;

	for (uint16_t i = 0; i < b->n; i++)
		differ |= (uint16_t)(verdict[i] ^ VN_VERDICT_PASS);
	if (differ == 0)
		return;
	vn_batch_settle(b);
	to->count = a;
	for (uint16_t i = 0; i < b->n; i++) {
		struct rte_mbuf *m = b->pkts[i];
		struct vn_out *o;

		if (verdict[i] == VN_VERDICT_PASS) {
			b->hit[kept] = b->hit[i];
			b->rows[kept] = b->rows[i];
			b->pkts[kept++] = m;
			continue;
		}
		o = verdict[i] < 0 ? NULL : vn_out_of(to, (uint16_t)verdict[i], VN_OWN_QUEUE);
		if (o)
			vn_out_push(to, o, m, b->rows[i]);
		else
			vn_out_drop(to, m, verdict[i] < 0 ? reason : VN_DROP_NO_OUTPUT);
	}
	b->n = kept;
	b->have = 0;
	b->sized = false;
}

void
vn_stage_native(struct vn_stage *s, struct vn_worker *w, struct vn_batch *b)
{
	struct vn_native_arg *a = s->arg;
	void *columns[VN_COLUMNS + 1];

	vn_batch_parse(b, a->need);
	for (uint16_t k = 0; k < a->n_columns; k++)
		columns[k] = a->columns[k] < VN_COLUMNS ? ((void **)&b->columns)[a->columns[k]]
							: a->rule;
	if (a->n_columns && a->columns[a->n_columns - 1] == VN_COLUMNS)
		vn_batch_rules(b, a->rule);
	if (a->wants_verdict)
		memset(a->verdict, 0xff, b->n * sizeof(a->verdict[0]));
	if (a->wants_keep)
		memset(a->keep, 1, b->n);
	a->run(columns, b->n, a->wants_verdict ? a->verdict : NULL, a->wants_keep ? a->keep : NULL,
	       a->state);
	if (a->writes) {
		vn_batch_settle(b);
		if (vn_own_rows(b->pkts, b->n, NULL, 0, VN_ACT_HEAD) != 0) {
			vn_batch_drop(b, &s->count, VN_DROP_NO_MBUF);
			return;
		}
		vn_write(&b->columns, a->writes, b->pkts, b->n, NULL);
		b->sized = false;
		b->have = 0; /* others follow: checksums, hashes */
	}
	if (a->wants_keep) {
		for (uint16_t i = 0; i < b->n; i++)
			a->keep[i] = a->keep[i] != 0; /* masks are 0 and 1 */
		vn_batch_keep(b, a->keep, &s->count, a->reason);
	}
	/* (verdicts are of all rows: the two exclude each other) */
	if (a->wants_verdict)
		vn_batch_verdict(b, a->verdict, &w->outs, &s->count, a->reason);
}
