/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_sync.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_memzone.h>
#include <rte_pause.h>

#define MAGIC UINT64_C(0x766e2d6e616d6501)

/* ---- names ------------------------------------------------------------------------------ */

struct vn_named *
vn_named_get(const char *name, bool make)
{
	const struct rte_memzone *zone = rte_memzone_lookup(name);
	struct vn_named *n;
	bool shown;

	if (zone == NULL && make)
		zone = rte_memzone_reserve_aligned(name, sizeof(*n), SOCKET_ID_ANY, 0,
						   RTE_CACHE_LINE_SIZE);
	if (zone == NULL) {
		rte_errno = make ? rte_errno : ENOENT;
		return NULL;
	}
	n = zone->addr;
	shown = __atomic_load_n(&n->magic, __ATOMIC_ACQUIRE) == MAGIC;
	if (make ? shown && !__atomic_load_n(&n->closed, __ATOMIC_ACQUIRE) : !shown) {
		rte_errno = make ? EEXIST : ENOENT;
		return NULL;
	}
	return n;
}

void
vn_named_show(struct vn_named *n, void *at, uint64_t owner)
{
	n->at = at;
	n->owner = owner;
	memset(n->members, 0, sizeof(n->members));
	__atomic_store_n(&n->closed, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&n->magic, MAGIC, __ATOMIC_RELEASE);
}

int
vn_named_join(struct vn_named *n, uint64_t process)
{
	for (int i = 0; i < VN_NAMED_MEMBERS; i++) {
		uint64_t none = 0;

		if (__atomic_compare_exchange_n(&n->members[i], &none, process, false,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return i;
	}
	return -1;
}

void
vn_named_leave(struct vn_named *n, uint64_t process)
{
	for (int i = 0; i < VN_NAMED_MEMBERS; i++) {
		uint64_t mine = process;

		if (__atomic_compare_exchange_n(&n->members[i], &mine, 0, false, __ATOMIC_SEQ_CST,
						__ATOMIC_RELAXED))
			return;
	}
}

void
vn_named_close(struct vn_named *n)
{
	__atomic_store_n(&n->closed, 1, __ATOMIC_SEQ_CST);
}

/* ---- published values ------------------------------------------------------------------- */

static void *
take(bool shared, size_t size)
{
	void *p;

	size = RTE_ALIGN_CEIL(size, RTE_CACHE_LINE_SIZE);
	if (shared)
		return rte_zmalloc("vn_rcu", size, RTE_CACHE_LINE_SIZE);
	p = aligned_alloc(RTE_CACHE_LINE_SIZE, size);
	if (p)
		memset(p, 0, size);
	return p;
}

static void
give(bool shared, void *p)
{
	if (shared)
		rte_free(p);
	else
		free(p);
}

struct vn_rcu *
vn_rcu_create(uint32_t readers, bool shared)
{
	size_t head = RTE_ALIGN_CEIL(sizeof(struct vn_rcu) + readers * sizeof(struct vn_rcu_slot),
				     RTE_CACHE_LINE_SIZE);
	struct vn_rcu *c = take(shared, head + rte_rcu_qsbr_get_memsize(readers));

	if (c == NULL)
		return NULL;
	c->qsbr = (struct rte_rcu_qsbr *)((char *)c + head);
	c->readers = readers;
	c->shared = shared;
	if (rte_rcu_qsbr_init(c->qsbr, readers) != 0) {
		give(shared, c);
		return NULL;
	}
	return c;
}

void
vn_rcu_free(struct vn_rcu *c)
{
	if (c == NULL)
		return;
	for (struct vn_rcu_version *v = c->old, *next; v; v = next) {
		next = v->next;
		give(c->shared, v);
	}
	give(c->shared, c->now);
	give(c->shared, c);
}

struct vn_rcu_version *
vn_rcu_make(struct vn_rcu *c, uint64_t nbytes)
{
	struct vn_rcu_version *v = take(c->shared, sizeof(*v) + nbytes);

	if (v)
		v->nbytes = nbytes;
	return v;
}

uint64_t
vn_rcu_show(struct vn_rcu *c, struct vn_rcu_version *v)
{
	struct vn_rcu_version *old;
	uint64_t token;

	v->number = ++c->number;
	/* Sequentially consistent: a reader that this writer does not yet see online must see v. */
	old = __atomic_exchange_n(&c->now, v, __ATOMIC_SEQ_CST);
	token = rte_rcu_qsbr_start(c->qsbr);
	if (old) {
		old->token = token;
		old->next = c->old;
		c->old = old;
	}
	return token;
}

bool
vn_rcu_wait(struct vn_rcu *c, uint64_t token, uint64_t ns)
{
	struct timespec t;
	uint64_t end = 0, now;

	for (unsigned int turn = 0; !rte_rcu_qsbr_check(c->qsbr, token, false); turn++) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		if (turn == 0)
			end = now + ns;
		if (now >= end)
			return false;
		if (turn < 200)
			rte_pause();
		else
			nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
	}
	return true;
}

uint32_t
vn_rcu_reclaim(struct vn_rcu *c)
{
	uint32_t left = 0;

	for (struct vn_rcu_version **at = &c->old, *v; (v = *at);) {
		if (rte_rcu_qsbr_check(c->qsbr, v->token, false) &&
		    __atomic_load_n(&v->pins, __ATOMIC_ACQUIRE) == 0) {
			*at = v->next;
			give(c->shared, v);
		} else {
			at = &v->next;
			left++;
		}
	}
	return left;
}

bool
vn_rcu_is_online(const struct vn_rcu *c, uint32_t slot)
{
	return __atomic_load_n(&c->qsbr->qsbr_cnt[slot].cnt, __ATOMIC_ACQUIRE) !=
	       __RTE_QSBR_CNT_THR_OFFLINE;
}

bool
vn_rcu_behind(const struct vn_rcu *c, uint32_t slot, uint64_t token)
{
	uint64_t cnt = __atomic_load_n(&c->qsbr->qsbr_cnt[slot].cnt, __ATOMIC_ACQUIRE);

	return cnt != __RTE_QSBR_CNT_THR_OFFLINE && cnt < token;
}

int
vn_rcu_register(struct vn_rcu *c, uint64_t process, uint32_t tid, const char *name)
{
	for (uint32_t i = 0; i < c->readers; i++) {
		struct vn_rcu_slot *s = &c->slots[i];
		uint64_t none = 0;

		if (!__atomic_compare_exchange_n(&s->process, &none, process, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			continue;
		__atomic_store_n(&s->tid, tid, __ATOMIC_RELAXED);
		strncpy(s->name, name, sizeof(s->name) - 1);
		rte_rcu_qsbr_thread_register(c->qsbr, i);
		return (int)i;
	}
	return -1;
}

void
vn_rcu_unregister(struct vn_rcu *c, uint32_t slot)
{
	rte_rcu_qsbr_thread_offline(c->qsbr, slot);
	rte_rcu_qsbr_thread_unregister(c->qsbr, slot);
	__atomic_store_n(&c->slots[slot].process, 0, __ATOMIC_RELEASE);
}
