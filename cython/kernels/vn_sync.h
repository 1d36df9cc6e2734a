/* SPDX-License-Identifier: BSD-3-Clause
 * What processes share besides packets: names for objects, and values that one publishes and others
 * read without waiting (rte_rcu_qsbr).
 */
#ifndef VN_SYNC_H
#define VN_SYNC_H

#include <stdbool.h>
#include <stdint.h>

#include <rte_rcu_qsbr.h>

#include "vn_compat.h"

/* ---- names ------------------------------------------------------------------------------ */

#define VN_NAMED_MEMBERS 15
#define VN_NAMED_ABOUT 1024

/* An object that other processes find by its name: a memzone that is never freed, only used
 * again. A process is a number that no other has while either lives. */
struct vn_named {
	uint64_t magic; /* set last */
	uint32_t closed;
	uint32_t esize;
	void *at;			    /* the object, at the same address in all processes */
	uint64_t owner;			    /* the process that made it */
	uint64_t members[VN_NAMED_MEMBERS]; /* the processes that found it; 0: a free place */
	char about[VN_NAMED_ABOUT];	    /* the type of its elements, as text */
};

/* The named object, made if `make`; NULL with rte_errno: EEXIST if it is there and not closed,
 * ENOENT if it is not there. One that is closed is found, too, if `make` is false. */
VN_EXPORT struct vn_named *vn_named_get(const char *name, bool make);
/* What is found from here on. */
VN_EXPORT void vn_named_show(struct vn_named *n, void *at, uint64_t owner);
/* A place for `process`; -1: all are taken. */
VN_EXPORT int vn_named_join(struct vn_named *n, uint64_t process);
VN_EXPORT void vn_named_leave(struct vn_named *n, uint64_t process);
VN_EXPORT void vn_named_close(struct vn_named *n);

/* ---- published values ------------------------------------------------------------------- */

#define VN_RCU_DIMS 8
#define VN_RCU_NAME 32
#define VN_RCU_READERS_MAX 1024

struct vn_rcu_version {
	struct vn_rcu_version *next; /* of those that wait for their readers */
	uint64_t token;		     /* when every reader has passed it, none stands on this one */
	uint64_t number;	     /* 1, 2, ... */
	uint64_t nbytes;
	uint32_t pins; /* arrays that outlive the read */
	uint32_t ndim;
	int64_t shape[VN_RCU_DIMS];
	uint8_t data[] VN_CACHE_ALIGNED;
};

/* Who reads: a thread of a process. */
struct vn_rcu_slot {
	uint64_t process; /* 0: free */
	uint32_t tid;
	char name[VN_RCU_NAME];
} VN_CACHE_ALIGNED;

struct vn_rcu {
	struct vn_rcu_version *now;
	struct vn_rcu_version *old; /* the writer's: replaced, perhaps still read */
	struct rte_rcu_qsbr *qsbr;
	uint64_t number;
	uint32_t readers; /* slots */
	uint32_t shared;
	struct vn_rcu_slot slots[];
};

/* Memory: DPDK's if `shared`, so that other processes see it, else the C library's. */
VN_EXPORT struct vn_rcu *vn_rcu_create(uint32_t readers, bool shared);
VN_EXPORT void vn_rcu_free(struct vn_rcu *c);

/* Writer: one at a time. A version is made, filled, and shown; the one before it waits in `old`. */
VN_EXPORT struct vn_rcu_version *vn_rcu_make(struct vn_rcu *c, uint64_t nbytes);
VN_EXPORT uint64_t vn_rcu_show(struct vn_rcu *c, struct vn_rcu_version *v);
/* Waits until all readers have passed `token`, for `ns` at most. */
VN_EXPORT bool vn_rcu_wait(struct vn_rcu *c, uint64_t token, uint64_t ns);
/* Frees what nobody reads any more; returns how many versions still wait. */
VN_EXPORT uint32_t vn_rcu_reclaim(struct vn_rcu *c);
/* Does that reader still stand where it may see what was replaced at `token`? */
VN_EXPORT bool vn_rcu_behind(const struct vn_rcu *c, uint32_t slot, uint64_t token);
VN_EXPORT bool vn_rcu_is_online(const struct vn_rcu *c, uint32_t slot);

/* Reader: a slot for a thread (-1: none is free), and back. A slot has one thread. */
VN_EXPORT int vn_rcu_register(struct vn_rcu *c, uint64_t process, uint32_t tid, const char *name);
VN_EXPORT void vn_rcu_unregister(struct vn_rcu *c, uint32_t slot);

/* What is read between online and offline stays as it is. An lcore that stays online says
 * vn_rcu_quiescent() where it holds nothing that it has read, once a burst. */
static inline void
vn_rcu_online(struct vn_rcu *c, uint32_t slot)
{
	rte_rcu_qsbr_thread_online(c->qsbr, slot);
}

static inline void
vn_rcu_offline(struct vn_rcu *c, uint32_t slot)
{
	rte_rcu_qsbr_thread_offline(c->qsbr, slot);
}

static inline void
vn_rcu_quiescent(struct vn_rcu *c, uint32_t slot)
{
	rte_rcu_qsbr_quiescent(c->qsbr, slot);
}

static inline struct vn_rcu_version *
vn_rcu_read(const struct vn_rcu *c)
{
	return __atomic_load_n(&c->now, __ATOMIC_ACQUIRE);
}

/* Keeps a version that is being read beyond the read, until it is unpinned. */
static inline void
vn_rcu_pin(struct vn_rcu_version *v)
{
	__atomic_add_fetch(&v->pins, 1, __ATOMIC_RELAXED);
}

static inline void
vn_rcu_unpin(struct vn_rcu_version *v)
{
	__atomic_sub_fetch(&v->pins, 1, __ATOMIC_RELEASE);
}

#endif
