/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_stage.h"

#include <errno.h>
#include <stdlib.h>

#include "vn_worker.h"

int
vn_batch_init(struct vn_batch *b)
{
	/* Columns begin at different places of a page: what stands 4 KiB apart is slow. */
	const size_t gap = 3 * RTE_CACHE_LINE_SIZE;
	size_t at = 0;
	uint8_t *memory = calloc(VN_COLUMNS, VN_MAX_BURST * sizeof(uint64_t) + gap);

	b->column_memory = memory;
	if (memory == NULL)
		return -ENOMEM;
	for (unsigned int k = 0; k < VN_COLUMNS; k++) {
		((uint8_t **)&b->columns)[k] = memory + at;
		at += VN_MAX_BURST * vn_field_size[k] + gap;
	}
	return 0;
}

void
vn_batch_fini(struct vn_batch *b)
{
	free(b->column_memory);
	b->column_memory = NULL;
}

static void
timed(const struct vn_chain *c, struct vn_worker *w, struct vn_batch *b)
{
	for (uint16_t i = 0; i < c->n && b->n; i++) {
		struct vn_stage *s = &c->stages[i];
		uint64_t from;

		s->stat.in += b->n;
		s->stat.timed += b->n;
		s->stat.bursts++;
		from = rte_rdtsc();
		s->run(s, w, b);
		s->stat.cycles += rte_rdtsc() - from;
		s->stat.out += b->n;
	}
}

void
vn_chain_run(const struct vn_chain *c, struct vn_worker *w, struct vn_batch *b)
{
	if (unlikely(w->watch)) {
		if (w->watch == VN_WATCH_TIMED)
			timed(c, w, b);
		else if (w->watch == VN_WATCH_BARE)
			for (uint16_t i = 0; i < c->n && b->n; i++)
				c->stages[i].run(&c->stages[i], w, b);
		else
			vn_trace_chain(w->engine->trace, w, b, c);
		return;
	}
	for (uint16_t i = 0; i < c->n && b->n; i++) {
		struct vn_stage *s = &c->stages[i];

		s->stat.in += b->n;
		s->stat.bursts++;
		s->run(s, w, b);
		s->stat.out += b->n;
	}
}

void
vn_batch_keep(struct vn_batch *b, const uint8_t *mask, struct vn_account *a, enum vn_drop reason)
{
	struct rte_mbuf *gone[VN_MAX_BURST];
	uint16_t kept = 0, n_gone = 0;

	if (memchr(mask, 0, b->n) == NULL)
		return;
	vn_batch_settle(b);
	for (uint16_t i = 0; i < b->n; i++) {
		struct rte_mbuf *m = b->pkts[i];

		gone[n_gone] = m;
		n_gone += !mask[i];
		b->pkts[kept] = m;
		b->rows[kept] = b->rows[i];
		b->hit[kept] = b->hit[i];
		kept += mask[i];
	}
	b->n = kept;
	b->have = 0;
	b->sized = false;
	vn_drop(a, gone, n_gone, reason);
}

void
vn_batch_drop(struct vn_batch *b, struct vn_account *a, enum vn_drop reason)
{
	if (b->n == 0)
		return;
	vn_batch_settle(b);
	vn_drop(a, b->pkts, b->n, reason);
	b->n = 0;
}
