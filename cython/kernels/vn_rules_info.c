/* SPDX-License-Identifier: BSD-3-Clause
 * What a table can be asked: nothing here changes it.
 */
#include "vn_emc.h"
#include "vn_rules_own.h"

struct vn_rule_counts
vn_rules_counts(const struct vn_rules *t, int32_t id)
{
	struct vn_rule_counts sum = {0};

	for (unsigned int r = 0; r < VN_READERS; r++) {
		const struct vn_rule_counts *p = t->readers[r]
							 .counts[(uint32_t)id / VN_COUNT_CHUNK];

		if (p) {
			sum.packets += p[(uint32_t)id % VN_COUNT_CHUNK].packets;
			sum.bytes += p[(uint32_t)id % VN_COUNT_CHUNK].bytes;
		}
	}
	return sum;
}

void
vn_rules_asks(const struct vn_rules *t, uint64_t *need)
{
	need[0] = need[1] = 0;
	for (uint32_t i = 0; i < VN_COLUMNS; i++)
		if (t->uses[i])
			need[i / 64] |= UINT64_C(1) << i % 64;
}

void
vn_rules_info(const struct vn_rules *t, struct vn_rules_info *info)
{
	static const char *const names[] = {"auto", "acl", "hash", "fib", "tuple"};
	const struct vn_state *s = t->state;
	const struct vn_base *b = s->levels[VN_BASE], *middle = s->levels[VN_MIDDLE];
	size_t at = 0;

	memset(info, 0, sizeof(*info));
	info->version = s->version;
	info->rules = t->n_live;
	info->boxes = t->n_boxes;
	info->base_rules = b->n_rules;
	info->base_boxes = b->n_boxes;
	info->base_dead = b->n_dead;
	info->base_tuples = vn_tuples_count(b->tuples);
	if (middle) {
		info->middle_rules = middle->n_rules;
		info->middle_boxes = middle->n_boxes;
		info->middle_dead = middle->n_dead;
		for (uint32_t i = 1; i <= middle->n_rules; i++)
			info->middle_old += middle->rules[i]->levels & 1;
	}
	for (uint64_t i = 0; i < t->n_young; i++)
		info->young_boxes += t->young[i]->n_boxes;
	info->delta_boxes = s->delta->n_nodes;
	info->delta_tuples = vn_tuples_count(s->delta);
	info->specials = s->specials->n;
	info->garbage = t->n_garbage;
	info->merges = t->merges;
	info->minor_merges = t->minor_merges;
	info->groups = b->n_groups;
	for (uint32_t k = 0; k < b->n_groups && at < sizeof(info->engines) - 8; k++)
		at += snprintf(info->engines + at, sizeof(info->engines) - at, "%s%s", k ? "," : "",
			       names[b->groups[k].engine]);
	if (b->by_tuples)
		snprintf(info->engines, sizeof(info->engines), "tuple");
	for (unsigned int r = 0; r < VN_READERS; r++) {
		info->lookups += t->readers[r].lookups;
		info->cached += t->readers[r].emc ? t->readers[r].emc->hits : 0;
		info->fallbacks += t->readers[r].fallbacks;
	}
}

uint64_t
vn_rules_ripe(const struct vn_rules *t, uint64_t born)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < t->n_young; i++)
		if (t->young[i]->born <= born && !(t->young[i]->levels >> VN_MIDDLE & 1))
			n += t->young[i]->n_boxes;
	return n;
}
