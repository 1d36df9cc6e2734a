/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_rules.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "vn_emc.h"
#include "vn_rules_own.h"

#define ACQUIRE(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define RELEASE(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* What is freed when the readers of today have gone on. */
struct vn_garbage {
	struct vn_garbage *next;
	uint64_t token;
	void *p;
	void (*release)(void *); /* NULL: a rule ... */
	bool unlinked;		 /* ... that no new reader can come upon */
};

/* -- garbage --------------------------------------------------------------------------------- */

/* Where there is no memory to remember something, it is waited for. */
static struct vn_garbage *
put_by(struct vn_rules *t, void *p, void (*release)(void *), bool unlinked)
{
	struct vn_garbage *g = malloc(sizeof(*g));

	if (g == NULL) {
		rte_rcu_qsbr_synchronize(t->qsbr, RTE_QSBR_THRID_INVALID);
		return NULL;
	}
	*g = (struct vn_garbage){.p = p,
				 .release = release,
				 .unlinked = unlinked,
				 .token = rte_rcu_qsbr_start(t->qsbr)};
	*t->garbage_end = g;
	t->garbage_end = &g->next;
	t->n_garbage++;
	return g;
}

void
vn_rules_later(void *of, void *p, void (*release)(void *))
{
	if (put_by(of, p, release, false) == NULL)
		release(p);
}

void
vn_rules_unref(struct vn_rules *t, struct vn_rule *r)
{
	if (--r->refs)
		return;
	r->next = t->done;
	t->done = r;
}

static struct vn_specials *
specials_create(const struct vn_specials *old, struct vn_rule **add, uint32_t n_add)
{
	struct vn_specials *s = malloc(sizeof(*s) +
				       ((old ? old->n : 0) + n_add) * sizeof(s->at[0]));

	if (s == NULL)
		return NULL;
	s->n = 0;
	for (uint32_t i = 0; old && i < old->n; i++)
		if (!old->at[i]->unlinked)
			s->at[s->n++] = old->at[i];
	for (uint32_t i = 0; i < n_add; i++) {
		uint32_t k;

		if (add[i]->steps == NULL)
			continue;
		for (k = s->n++; k && s->at[k - 1]->order < add[i]->order; k--)
			s->at[k] = s->at[k - 1];
		s->at[k] = add[i];
	}
	return s;
}

/* Where readers come upon it. */
static void
unlink_rule(struct vn_rules *t, struct vn_rule *r)
{
	/* Its nodes may have gone with an older delta. */
	if (r->home == t->state->delta->number)
		for (uint32_t k = 0; k < r->n_boxes; k++)
			vn_tuples_remove(t->state->delta, r->nodes[k]);
	r->home = 0;
	if (r->steps) {
		struct vn_specials *s, *old = t->state->specials;

		r->unlinked = true;
		s = specials_create(old, NULL, 0);
		if (s == NULL)
			return; /* the next change takes it out */
		RELEASE(&t->state->specials, s);
		/* Readers that are quiescent from here on have the new ones. */
		vn_rules_later(t, old, free);
	}
}

/* A rule that is in no version any more is first made unreachable, and then, when nobody can stand
 * on it, given back. */
static void
retire(struct vn_rules *t, struct vn_rule *r)
{
	if (put_by(t, r, NULL, false))
		return;
	unlink_rule(t, r);
	rte_rcu_qsbr_synchronize(t->qsbr, RTE_QSBR_THRID_INVALID);
	vn_rules_unref(t, r);
}

struct vn_rule *
vn_rules_collect(struct vn_rules *t)
{
	struct vn_garbage *g;
	struct vn_rule *done;

	while ((g = t->garbage) && rte_rcu_qsbr_check(t->qsbr, g->token, false)) {
		t->garbage = g->next;
		if (t->garbage == NULL)
			t->garbage_end = &t->garbage;
		t->n_garbage--;
		if (g->release) {
			g->release(g->p);
		} else if (g->unlinked) {
			vn_rules_unref(t, g->p);
		} else {
			unlink_rule(t, g->p);
			if (put_by(t, g->p, NULL, true) == NULL)
				vn_rules_unref(t, g->p);
		}
		free(g);
	}
	done = t->done;
	t->done = NULL;
	return done;
}

int
vn_rules_wait(struct vn_rules *t, uint64_t us)
{
	uint64_t token = rte_rcu_qsbr_start(t->qsbr), waited = 0;

	while (!rte_rcu_qsbr_check(t->qsbr, token, false)) {
		struct timespec pause = {.tv_nsec = 10000};

		if (waited >= us)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
		waited += 60;
	}
	return 0;
}

/* -- readers --------------------------------------------------------------------------------- */

int
vn_rules_register(struct vn_rules *t, unsigned int r)
{
	struct vn_reader *reader = &t->readers[r];

	if (t->registered[r])
		return 0;
	if (reader->keys == NULL)
		reader->keys = aligned_alloc(64, RTE_ALIGN_CEIL(sizeof(*reader->keys), (size_t)64));
	if (reader->keys == NULL)
		return -ENOMEM;
	memset(reader->keys, 0, sizeof(*reader->keys));
	t->registered[r] = true;
	if (vn_rules_room(t, t->chunks * VN_COUNT_CHUNK) < 0 ||
	    rte_rcu_qsbr_thread_register(t->qsbr, r) != 0) {
		t->registered[r] = false;
		return -ENOMEM;
	}
	return 0;
}

int
vn_rules_cache(struct vn_rules *t, unsigned int r, bool wanted)
{
	struct vn_reader *reader = &t->readers[r];

	if (!wanted) {
		vn_emc_free(reader->emc);
		reader->emc = NULL;
	} else if (reader->emc == NULL) {
		reader->emc = vn_emc_create();
	}
	return wanted && reader->emc == NULL ? -ENOMEM : 0;
}

void
vn_rules_online(struct vn_rules *t, unsigned int r)
{
	rte_rcu_qsbr_thread_online(t->qsbr, r);
}

void
vn_rules_offline(struct vn_rules *t, unsigned int r)
{
	rte_rcu_qsbr_thread_offline(t->qsbr, r);
}

/* -- the writer ------------------------------------------------------------------------------ */

int
vn_rules_room(struct vn_rules *t, uint32_t ids)
{
	uint32_t chunks = (ids + VN_COUNT_CHUNK - 1) / VN_COUNT_CHUNK;

	if (chunks > VN_COUNT_CHUNKS)
		return -ENOMEM;
	for (unsigned int r = 0; r < VN_READERS; r++) {
		for (uint32_t k = 0; t->registered[r] && k < chunks; k++) {
			struct vn_rule_counts *p = t->readers[r].counts[k];

			if (p == NULL)
				p = calloc(VN_COUNT_CHUNK, sizeof(*p));
			if (p == NULL)
				return -ENOMEM;
			t->readers[r].counts[k] = p;
		}
	}
	t->chunks = RTE_MAX(t->chunks, chunks);
	return 0;
}

/* Counts a rule's columns in or out. */
static void
count_uses(struct vn_rules *t, const struct vn_rule *r, int by)
{
	for (uint32_t k = 0; k < 2; k++)
		for (uint64_t rest = r->need[k]; rest; rest &= rest - 1)
			t->uses[64 * k + (uint32_t)__builtin_ctzll(rest)] += (uint32_t)by;
}

static int
reserve(struct vn_rule ***array, uint64_t *room, uint64_t need)
{
	struct vn_rule **more;
	uint64_t n = RTE_MAX(need, 2 * *room);

	if (need <= *room)
		return 0;
	more = realloc(*array, n * sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	*array = more;
	*room = n;
	return 0;
}

static int
place(struct vn_rules *t, struct vn_rule *r)
{
	if (r->n_boxes == 0)
		return 0;
	r->nodes = malloc(r->n_boxes * sizeof(*r->nodes));
	return r->nodes ? vn_tuples_add(t->state->delta, r, r->nodes) : -ENOMEM;
}

/* Rules that are in no version: the first `placed` go as removed ones do, as readers can come upon
 * them; readers may still stand on the next, some of whose boxes were there; the others never were.
 */
static int
refuse(struct vn_rules *t, struct vn_rule **add, uint32_t n_add, uint32_t placed)
{
	for (uint32_t i = 0; i < n_add; i++) {
		__atomic_store_n(&add[i]->died, add[i]->born, __ATOMIC_RELAXED);
		if (i < placed) {
			retire(t, add[i]);
			continue;
		}
		add[i]->home = 0;
		if (i > placed || put_by(t, add[i], NULL, true) == NULL)
			vn_rules_unref(t, add[i]);
	}
	return -ENOMEM;
}

void
vn_rules_grown_up(struct vn_rules *t, struct vn_rule *r)
{
	if (!r->young)
		return;
	r->young = false;
	t->young[r->young_at] = t->young[--t->n_young];
	t->young[r->young_at]->young_at = r->young_at;
}

int
vn_rules_commit(struct vn_rules *t, struct vn_rule **add, uint32_t n_add, struct vn_rule **remove,
		uint32_t n_remove)
{
	struct vn_state *s = t->state;
	struct vn_specials *specials = NULL;
	uint64_t next = s->version + 1;
	bool special = false;

	for (uint32_t i = 0; i < n_add; i++) {
		add[i]->born = next;
		add[i]->died = VN_NO_VERSION;
		add[i]->refs = 1;
		special |= add[i]->steps != NULL;
	}
	if (reserve(&t->live, &t->live_room, t->n_live + n_add) < 0 ||
	    reserve(&t->young, &t->young_room, t->n_young + n_add) < 0)
		return refuse(t, add, n_add, 0);
	if (special) {
		specials = specials_create(s->specials, add, n_add);
		if (specials == NULL)
			return refuse(t, add, n_add, 0);
	}
	for (uint32_t i = 0; i < n_add; i++) {
		if (place(t, add[i]) < 0) {
			free(specials);
			return refuse(t, add, n_add, i);
		}
	}
	for (uint32_t i = 0; i < n_add; i++) {
		struct vn_rule *r = add[i];

		for (int k = 0; k < 2; k++)
			__atomic_store_n(&s->need[k], s->need[k] | r->need[k], __ATOMIC_RELAXED);
		r->live_at = t->n_live;
		t->live[t->n_live++] = r;
		t->n_boxes += r->n_boxes;
		count_uses(t, r, 1);
		if (r->n_boxes) {
			r->young = true;
			r->young_at = t->n_young;
			t->young[t->n_young++] = r;
		}
	}
	if (specials) {
		struct vn_specials *old = s->specials;

		RELEASE(&s->specials, specials);
		vn_rules_later(t, old, free);
	}
	for (uint32_t i = 0; i < n_remove; i++) {
		struct vn_rule *r = remove[i];

		__atomic_store_n(&r->died, next, __ATOMIC_RELAXED);
		for (uint32_t k = 0; k < VN_LEVELS; k++)
			if (r->levels >> k & 1)
				__atomic_store_n(&s->levels[k]->n_dead, s->levels[k]->n_dead + 1,
						 __ATOMIC_RELAXED);
		vn_rules_grown_up(t, r);
		t->live[r->live_at] = t->live[--t->n_live];
		t->live[r->live_at]->live_at = r->live_at;
		t->n_boxes -= r->n_boxes;
		count_uses(t, r, -1);
	}
	RELEASE(&s->version, next);
	for (uint32_t i = 0; i < n_remove; i++)
		retire(t, remove[i]);
	return 0;
}

int
vn_rules_set_none(struct vn_rules *t, const void *actions, bool next)
{
	struct vn_none *fresh = malloc(sizeof(*fresh));
	struct vn_none *old = (void *)(uintptr_t)t->none;

	if (fresh == NULL)
		return -ENOMEM;
	fresh->since = next ? t->state->version + 1 : 0;
	fresh->before = old->now;
	fresh->now = actions;
	RELEASE(&t->none, fresh);
	vn_rules_later(t, old, free);
	return 0;
}

void
vn_rules_keep_none(struct vn_rules *t)
{
	struct vn_none *none = (void *)(uintptr_t)t->none;

	/* No reader is in a version from `since` on. */
	none->now = none->before;
}

/* -- life ------------------------------------------------------------------------------------ */

struct vn_rules *
vn_rules_create(void)
{
	struct vn_rules *t = aligned_alloc(RTE_CACHE_LINE_SIZE,
					   RTE_ALIGN_CEIL(sizeof(*t), (size_t)RTE_CACHE_LINE_SIZE));
	size_t size = RTE_ALIGN_CEIL(rte_rcu_qsbr_get_memsize(VN_READERS),
				     (size_t)RTE_CACHE_LINE_SIZE);
	struct vn_rule **none;
	char error[64];

	if (t == NULL)
		return NULL;
	memset(t, 0, sizeof(*t));
	t->garbage_end = &t->garbage;
	t->qsbr = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	t->state = calloc(1, sizeof(*t->state));
	t->none = calloc(1, sizeof(*t->none));
	if (t->qsbr == NULL || t->state == NULL || t->none == NULL ||
	    rte_rcu_qsbr_init(t->qsbr, VN_READERS) != 0)
		goto failed;
	none = calloc(1, sizeof(*none));
	t->state->table = t;
	t->state->number = 1;
	t->state->specials = specials_create(NULL, NULL, 0);
	t->state->delta = vn_tuples_create(vn_rules_later, t);
	t->state->levels[VN_BASE] = none ? vn_base_create(none, 0, VN_ENGINE_TUPLE, false, 0, error,
							  sizeof(error))
					 : NULL;
	if (t->state->levels[VN_BASE] && t->state->delta && t->state->specials) {
		t->state->levels[VN_BASE]->by_tuples = false;
		t->state->levels[VN_BASE]->uses = t->state->delta->uses = 1;
		return t;
	}
	vn_base_free(t->state->levels[VN_BASE]);
	vn_tuples_free(t->state->delta);
	free(t->state->specials);
failed:
	free((void *)(uintptr_t)t->none);
	free(t->state);
	free(t->qsbr);
	free(t);
	return NULL;
}

void
vn_rules_free(struct vn_rules *t)
{
	if (t == NULL)
		return;
	for (struct vn_garbage *g = t->garbage, *next; g; g = next) {
		next = g->next;
		free(g);
	}
	for (uint32_t k = 0; k < VN_LEVELS; k++)
		vn_base_free(t->state->levels[k]);
	vn_tuples_free(t->state->delta);
	free(t->state->specials);
	free((void *)(uintptr_t)t->none);
	free(t->state);
	for (unsigned int r = 0; r < VN_READERS; r++) {
		free(t->readers[r].keys);
		vn_emc_free(t->readers[r].emc);
		for (uint32_t k = 0; k < VN_COUNT_CHUNKS; k++)
			free(t->readers[r].counts[k]);
	}
	free(t->live);
	free(t->young);
	free(t->qsbr);
	free(t);
}
