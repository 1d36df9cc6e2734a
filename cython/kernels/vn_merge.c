/* SPDX-License-Identifier: BSD-3-Clause
 * Merging: a new base of all rules, or a new middle of those that are not in the base.
 */
#include <errno.h>
#include <stdlib.h>

#include "vn_rules_own.h"

#define RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

struct vn_merge {
	int level;
	struct vn_rule **rules; /* the first place is free */
	uint32_t n;
	struct vn_base *base;
};

static int
larger_first(const void *a, const void *b)
{
	const struct vn_rule *x = *(struct vn_rule *const *)a, *y = *(struct vn_rule *const *)b;

	return (x->order < y->order) - (x->order > y->order);
}

struct vn_merge *
vn_merge_begin(struct vn_rules *t, int level, uint64_t born, uint64_t least)
{
	struct vn_rule **from = level == VN_BASE ? t->live : t->young;
	uint64_t n = level == VN_BASE ? t->n_live : t->n_young, boxes = 0;
	struct vn_merge *m = t->merging[level] ? NULL : calloc(1, sizeof(*m));

	if (m == NULL)
		return NULL;
	m->level = level;
	m->rules = calloc(n + 1, sizeof(m->rules[0]));
	if (m->rules == NULL) {
		free(m);
		return NULL;
	}
	for (uint64_t i = 0; i < n; i++) {
		if (from[i]->n_boxes && from[i]->born <= born) {
			m->rules[++m->n] = from[i];
			boxes += from[i]->n_boxes;
		}
	}
	if (level == VN_MIDDLE && boxes < least)
		m->n = 0;
	for (uint32_t i = 1; i <= m->n; i++)
		m->rules[i]->refs++;
	t->merging[level] = true;
	return m;
}

int
vn_merge_build(struct vn_merge *m, int engine, uint64_t max_bytes, char *error, size_t error_size)
{
	if (m->level == VN_MIDDLE && m->n == 0)
		return 0;
	qsort(m->rules + 1, m->n, sizeof(m->rules[0]), larger_first);
	m->base = vn_base_create(m->rules, m->n, engine, m->level == VN_MIDDLE, max_bytes, error,
				 error_size);
	return m->base ? 0 : -ENOMEM;
}

static void
state_release(void *p)
{
	struct vn_state *s = p;

	for (uint32_t k = 0; k < VN_LEVELS; k++) {
		struct vn_base *b = s->levels[k];

		if (b == NULL || --b->uses)
			continue;
		for (uint32_t i = 1; i <= b->n_rules; i++)
			vn_rules_unref(s->table, b->rules[i]);
		vn_base_free(b);
	}
	if (--s->delta->uses == 0)
		vn_tuples_free(s->delta);
	free(s);
}

/* A delta of the young that the new middle does not have. NULL: no memory, and all stand where they
 * stood. */
static struct vn_tuples *
new_delta(struct vn_rules *t)
{
	struct vn_tuples *delta = vn_tuples_create(vn_rules_later, t);
	uint64_t i, done;

	for (i = 0; delta && i < t->n_young; i++) {
		struct vn_rule *r = t->young[i];
		struct vn_node **old = r->nodes;
		uint64_t home = r->home;

		if (r->merging)
			continue;
		r->nodes = malloc(r->n_boxes * sizeof(*r->nodes));
		if (r->nodes && vn_tuples_add(delta, r, r->nodes) == 0) {
			r->other_nodes = old;
			continue;
		}
		free(r->nodes);
		r->nodes = old;
		r->home = home;
		break;
	}
	done = i;
	if (delta && done == t->n_young) {
		for (i = 0; i < done; i++) {
			if (t->young[i]->merging)
				continue;
			free(t->young[i]->other_nodes);
			t->young[i]->other_nodes = NULL;
		}
		return delta;
	}
	for (i = 0; delta && i < done; i++) { /* back to where they were */
		struct vn_rule *r = t->young[i];

		if (r->merging)
			continue;
		free(r->nodes);
		r->nodes = r->other_nodes;
		r->other_nodes = NULL;
		r->home = t->state->delta->number;
	}
	vn_tuples_free(delta);
	return NULL;
}

/* Readers get what was built, and the rest as it was. */
static void
publish(struct vn_rules *t, struct vn_state *s, struct vn_merge *m, struct vn_tuples *delta)
{
	struct vn_state *old = t->state;
	uint8_t bit = 1 << m->level;

	s->table = t;
	for (uint32_t k = 0; k < VN_LEVELS; k++)
		s->levels[k] = old->levels[k];
	if (s->levels[m->level])
		for (uint32_t i = 1; i <= s->levels[m->level]->n_rules; i++)
			s->levels[m->level]->rules[i]->levels &= ~bit;
	for (uint32_t i = 1; i <= m->n; i++) {
		m->rules[i]->levels |= bit;
		m->base->n_dead += m->rules[i]->died != VN_NO_VERSION;
		if (m->level == VN_BASE)
			vn_rules_grown_up(t, m->rules[i]);
	}
	s->levels[m->level] = m->base;
	s->delta = delta;
	s->specials = old->specials;
	s->version = old->version;
	s->number = old->number + 1;
	vn_rules_asks(t, s->need);
	for (uint32_t k = 0; k < VN_LEVELS; k++) {
		if (s->levels[k] == NULL)
			continue;
		s->levels[k]->uses++;
		for (int w = 0; w < 2; w++)
			s->need[w] |= s->levels[k]->need[w];
	}
	s->delta->uses++;
	RELEASE(&t->state, s);
	vn_rules_later(t, old, state_release);
	if (m->level == VN_BASE)
		t->merges++;
	else
		t->minor_merges++;
}

int
vn_merge_end(struct vn_rules *t, struct vn_merge *m, bool built)
{
	struct vn_state *s = built ? calloc(1, sizeof(*s)) : NULL;
	struct vn_tuples *delta = NULL;

	if (s && m->level == VN_BASE) {
		delta = t->state->delta;
	} else if (s) {
		for (uint32_t i = 1; i <= m->n; i++)
			m->rules[i]->merging = true;
		delta = new_delta(t);
		for (uint32_t i = 1; i <= m->n; i++)
			m->rules[i]->merging = false;
	}
	t->merging[m->level] = false;
	if (delta) {
		publish(t, s, m, delta);
		if (m->base == NULL)
			free(m->rules);
	} else {
		free(s);
		for (uint32_t i = 1; i <= m->n; i++)
			vn_rules_unref(t, m->rules[i]);
		if (m->base)
			vn_base_free(m->base);
		else
			free(m->rules);
	}
	free(m);
	return built && delta == NULL ? -ENOMEM : 0;
}
