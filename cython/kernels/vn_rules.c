/* SPDX-License-Identifier: BSD-3-Clause
 * The stand-in of vn_rules.h.
 */
#include "vn_rules.h"

#include <errno.h>
#include <stdlib.h>

int
vn_rules_register(struct vn_rules *t, unsigned int r)
{
	struct vn_reader *reader = &t->readers[r];

	if (reader->counts[0] == NULL)
		reader->counts[0] = calloc(VN_COUNT_CHUNK, sizeof(struct vn_rule_counts));
	return reader->counts[0] ? 0 : -ENOMEM;
}

void
vn_rules_online(struct vn_rules *t, unsigned int r)
{
	t->readers[r].online++;
}

void
vn_rules_offline(struct vn_rules *t, unsigned int r)
{
	t->readers[r].online--;
}

void
vn_rules_classify(struct vn_rules *t, unsigned int r, const struct vn_columns *c,
		  struct rte_mbuf *const *pkts, uint32_t n, const struct vn_rule **hit)
{
	uint8_t out[VN_MATCH_ROWS];
	const void *rows[VN_COLUMNS];

	for (uint32_t from = 0; from < n; from += VN_MATCH_ROWS) {
		uint32_t k = RTE_MIN(n - from, (uint32_t)VN_MATCH_ROWS);

		for (uint32_t f = 0; f < VN_COLUMNS; f++) {
			const uint8_t *column = ((const uint8_t *const *)c)[f];

			rows[f] = column ? column + (size_t)from * vn_field_size[f] : NULL;
		}
		memset(hit + from, 0, k * sizeof(*hit));
		for (uint32_t i = t->n_rules; i-- > 0;) {
			const struct vn_rule *rule = &t->rules[i];

			if (rule->n_steps)
				vn_match((const struct vn_columns *)rows, rule->steps,
					 rule->n_steps, out, k);
			else
				memset(out, 1, k);
			for (uint32_t row = 0; row < k; row++)
				if (out[row])
					hit[from + row] = rule;
		}
	}
}

struct vn_rule_counts
vn_rules_counts(const struct vn_rules *t, int32_t id)
{
	struct vn_rule_counts sum = {0, 0};

	for (unsigned int r = 0; r < VN_READERS; r++) {
		const struct vn_rule_counts *chunk = t->readers[r]
							     .counts[(uint32_t)id / VN_COUNT_CHUNK];

		if (chunk) {
			sum.packets += chunk[(uint32_t)id % VN_COUNT_CHUNK].packets;
			sum.bytes += chunk[(uint32_t)id % VN_COUNT_CHUNK].bytes;
		}
	}
	return sum;
}
