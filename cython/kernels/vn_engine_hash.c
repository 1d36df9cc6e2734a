/* SPDX-License-Identifier: BSD-3-Clause
 * Exact values: rte_hash.
 */
#include "vn_acl_heap.h"
#include "vn_engine.h"

void
vn_hash_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n, uint32_t *result)
{
	for (uint32_t at = 0; at < n; at += RTE_HASH_LOOKUP_BULK_MAX) {
		uint32_t some = RTE_MIN(n - at, (uint32_t)RTE_HASH_LOOKUP_BULK_MAX);
		void *data[RTE_HASH_LOOKUP_BULK_MAX];
		uint64_t hits = 0;

		rte_hash_lookup_bulk_data(g->hash, (const void **)(uintptr_t)&keys->at[at], some,
					  &hits, data);
		for (uint32_t i = 0; i < some; i++)
			result[at + i] = hits >> i & 1 ? (uint32_t)(uintptr_t)data[i] : 0;
	}
}

/* Do all boxes give values for exactly the same columns? */
bool
vn_hash_fits(const struct vn_build *w)
{
	uint16_t fields[VN_COLUMNS];
	uint32_t n_fields = 0, bytes = 0;

	for (uint64_t i = 0; i < w->n; i++) {
		uint32_t at = 0;

		for (uint32_t k = 0; k < w->items[i].box->n; k++) {
			const struct vn_test *t = &w->items[i].box->tests[k];

			if (vn_guards(w, t))
				continue;
			if (t->span || t->mask != vn_ones_of(t->size))
				return false;
			if (i == 0) {
				fields[n_fields++] = t->field;
				bytes += t->size;
			} else if (at >= n_fields || fields[at] != t->field) {
				return false;
			}
			at++;
		}
		if (at != n_fields)
			return false;
	}
	return n_fields && bytes <= VN_KEY_BYTES - 8;
}

/* A key of the values of a box, laid out as the keys of rows are. */
static void
box_key(const struct vn_group *g, const struct vn_box *box, uint8_t *key)
{
	memset(key, 0, g->stride);
	for (uint32_t p = 0; p < g->n_parts; p++) {
		const struct vn_key_part *part = &g->parts[p];

		for (uint32_t k = 0; k < box->n; k++) {
			if (box->tests[k].field != part->field)
				continue;
			for (uint32_t i = 0; i < part->bytes; i++)
				key[part->offset + i] = box->tests[k].lo >> part->shift >>
							8 * (part->bytes - 1 - i);
		}
	}
}

int
vn_hash_build(const struct vn_build *w, struct vn_group *g)
{
	char name[RTE_HASH_NAMESIZE];
	struct rte_hash_parameters param = {0};
	uint8_t key[VN_KEY_BYTES];
	int socket;

	vn_plain_layout(w, g);
	param.name = vn_engine_name(name, sizeof(name));
	param.entries = RTE_MAX(w->n + w->n / 4, (uint64_t)64);
	param.key_len = g->stride;
	socket = vn_rules_heap((uint64_t)param.entries * (256 + g->stride) + (4u << 20));
	if (socket < 0)
		return vn_engine_fail(w, -ENOMEM, "no memory for a hash table of the rules");
	param.socket_id = socket;
	param.extra_flag = RTE_HASH_EXTRA_FLAGS_EXT_TABLE | RTE_HASH_EXTRA_FLAGS_NO_FREE_ON_DEL;
	g->hash = rte_hash_create(&param);
	if (g->hash == NULL)
		return vn_engine_fail(w, -ENOMEM, "no DPDK memory for a hash table of the rules");
	for (uint64_t i = 0; i < w->n; i++) {
		int rc;

		box_key(g, w->items[i].box, key);
		if (rte_hash_lookup(g->hash, key) >= 0)
			continue; /* the same values, and a larger order */
		rc = rte_hash_add_key_data(g->hash, key, (void *)(uintptr_t)w->items[i].index);
		if (rc < 0)
			return vn_engine_fail(w, rc, "rte_hash takes no more rules");
	}
	g->engine = VN_ENGINE_HASH;
	return 0;
}
