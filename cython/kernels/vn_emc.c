/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_base.h"
#include "vn_emc.h"

#include <stdlib.h>
#include <sys/mman.h>

#include <rte_prefetch.h>

#define ENTRIES ((size_t)1 << VN_EMC_BITS)
#define HUGE ((size_t)2 << 20)

struct vn_emc *
vn_emc_create(void)
{
	struct vn_emc *e = calloc(1, sizeof(*e));

	if (e == NULL)
		return NULL;
	e->entries = aligned_alloc(HUGE, RTE_ALIGN_CEIL(ENTRIES * sizeof(*e->entries), HUGE));
	if (e->entries == NULL) {
		free(e);
		return NULL;
	}
	madvise(e->entries, ENTRIES * sizeof(*e->entries), MADV_HUGEPAGE); /* only a wish */
	memset(e->entries, 0, ENTRIES * sizeof(*e->entries));
	return e;
}

void
vn_emc_free(struct vn_emc *e)
{
	if (e)
		free(e->entries);
	free(e);
}

/* Lays keys out: the larger columns first, so that none crosses a word. */
static void
plan(struct vn_emc *e, const struct vn_state *s)
{
	uint64_t need[2] = {0};
	uint32_t offset = 0;

	for (uint32_t k = 0; k < VN_LEVELS; k++)
		for (int w = 0; s->levels[k] && w < 2; w++)
			need[w] |= s->levels[k]->need[w];
	e->state = s->number;
	e->n_parts = e->n_fields = 0;
	e->fits = false;
	for (uint16_t size = 8; size; size /= 2) {
		for (uint16_t f = 0; f < VN_COLUMNS; f++) {
			if (!(need[f / 64] >> f % 64 & 1) || vn_field_size[f] != size)
				continue;
			if (e->n_parts + vn_key_halves(size) > VN_EMC_PARTS ||
			    offset + size > VN_EMC_KEY)
				return;
			offset += vn_key_put(&e->parts[e->n_parts], f, size, offset);
			e->n_parts += vn_key_halves(size);
			e->fields[e->n_fields++] = (struct vn_masked){
				.mask = vn_ones_of(size), .field = f, .size = size};
		}
	}
	e->stride = RTE_ALIGN_CEIL(offset, 16u);
	memset(e->keys, 0, sizeof(e->keys));
	e->fits = offset != 0;
}

bool
vn_emc_usable(struct vn_emc *e, const struct vn_state *s, uint32_t n)
{
	if (unlikely(s->number != e->state))
		plan(e, s);
	if (e->resting) {
		e->resting -= RTE_MIN(e->resting, (uint64_t)n);
		return false;
	}
	if (e->looked >= VN_EMC_WINDOW) {
		e->resting = e->found < e->looked / 2 ? VN_EMC_REST * VN_EMC_WINDOW : 0;
		e->looked = e->found = 0;
	}
	return e->fits;
}

typedef uint64_t pair __attribute__((vector_size(16), aligned(16)));
typedef uint64_t loose __attribute__((vector_size(16), aligned(1)));

static inline bool
same(const uint8_t *a, const uint8_t *b, uint32_t bytes)
{
	pair differ = {0};

	for (uint32_t k = 0; k < bytes; k += 16)
		differ |= *(const pair *)(a + k) ^ *(const loose *)(b + k);
	return (differ[0] | differ[1]) == 0;
}

static __rte_always_inline uint32_t
compare(struct vn_emc *e, uint32_t n, uint32_t stride, uint8_t *unknown, const struct vn_rule **hit)
{
	uint32_t missing = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct vn_emc_entry *x = &e->entries[e->slots[i]];
		bool known = (x->state == e->state) &
			     same(x->key, e->keys + (size_t)i * stride, stride);

		hit[i] = known ? x->rule : NULL;
		unknown[i] = !known;
		missing += !known;
	}
	return missing;
}

uint32_t
vn_emc_look(struct vn_emc *e, const struct vn_columns *c, uint32_t from, uint32_t n,
	    uint8_t *unknown, const struct vn_rule **hit)
{
	uint32_t missing;

	vn_rows_hash(c, e->fields, e->n_fields, from, n, e->slots);
	for (uint32_t i = 0; i < n; i++) {
		e->slots[i] >>= 32 - VN_EMC_BITS;
		rte_prefetch0(&e->entries[e->slots[i]]);
	}
	vn_rows_keys(c, e->parts, e->n_parts, NULL, from, n, e->stride, e->keys);
	switch (e->stride) {
	case 16:
		missing = compare(e, n, 16, unknown, hit);
		break;
	case 32:
		missing = compare(e, n, 32, unknown, hit);
		break;
	default:
		missing = compare(e, n, 48, unknown, hit);
	}
	e->looked += n;
	e->found += n - missing;
	e->hits += n - missing;
	return missing;
}

void
vn_emc_learn(struct vn_emc *e, uint32_t n, const uint8_t *learn, const struct vn_rule *const *hit)
{
	for (uint32_t i = 0; i < n; i++) {
		struct vn_emc_entry *x = &e->entries[e->slots[i]];

		if (!learn[i])
			continue;
		x->state = e->state;
		x->rule = hit[i];
		memcpy(x->key, e->keys + (size_t)i * e->stride, e->stride);
	}
}
