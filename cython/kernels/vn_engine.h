/* SPDX-License-Identifier: BSD-3-Clause
 * How a group of boxes gets its engine: what vn_base.c and the files of the engines share.
 */
#ifndef VN_ENGINE_H
#define VN_ENGINE_H

#include "vn_base.h"

/* Which packets a group is for is asked by these columns, once a packet. */
#define VN_SHAPE (VN_F(ethertype) | VN_F(ip_version) | VN_F(vlan_depth) | VN_F(mpls_depth))

/* A box on its way into a group. */
struct vn_item {
	const struct vn_box *box;
	uint32_t index; /* of its rule */
};

struct vn_build {
	const struct vn_item *items;
	uint64_t n;
	bool quick;   /* one way of building is enough */
	bool guarded; /* the tests of VN_SHAPE are the group's guard, and not looked up */
	uint32_t n_rules;
	uint64_t max_bytes;
	char *error;
	size_t error_size;
};

/* Writes what failed; returns rc. */
int vn_engine_fail(const struct vn_build *w, int rc, const char *what);
const char *vn_engine_name(char *name, size_t size);
/* The length of a prefix; -1 if the test is none. */
int vn_prefix_of(const struct vn_test *t);
/* Parts in the order of their offsets. */
void vn_sort_parts(struct vn_group *g);
/* Keys with the columns of the first box, one after the other. */
void vn_plain_layout(const struct vn_build *w, struct vn_group *g);

/* Is it a test that the group's guard has done? */
static inline bool
vn_guards(const struct vn_build *w, const struct vn_test *t)
{
	return w->guarded && VN_SHAPE >> t->field & 1;
}

/* Does the engine fit all boxes? */
bool vn_hash_fits(const struct vn_build *w);
bool vn_fib_fits(const struct vn_build *w, bool *six);
/* Builds it; 0 or a negative errno with the error written. */
int vn_hash_build(const struct vn_build *w, struct vn_group *g);
int vn_fib_build(const struct vn_build *w, struct vn_group *g, bool six);
int vn_acl_build(const struct vn_build *w, struct vn_group *g);
/* result[i]: the index that wins for key i of n, 0: none. */
void vn_acl_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n,
		    uint32_t *result);
void vn_hash_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n,
		     uint32_t *result);
void vn_fib_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n,
		    uint32_t *result);

#endif
