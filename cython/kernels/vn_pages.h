/* SPDX-License-Identifier: BSD-3-Clause
 * Where memory lies: NUMA nodes by move_pages(2) and mbind(2), without libnuma.
 */
#ifndef VN_PAGES_H
#define VN_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include <rte_mempool.h>

#include "vn_compat.h"

#define VN_NODES 1024 /* as many as Linux can be built for */

/* Pages of `bytes` at va that are touched later come from the node, if it has memory. 0 or a
 * negative errno. */
int vn_prefer_node(void *va, size_t bytes, int node);
/* Adds the bytes of the pool's buffers that lie on node k to bytes[k] (of VN_NODES), and those
 * that are nowhere (untouched, swapped out) to *absent. 0 or a negative errno. */
VN_EXPORT int vn_pool_nodes(struct rte_mempool *mp, uint64_t *bytes, uint64_t *absent);
/* Moves the pages under the pool's buffers to the node; others on the same 2 MiB move along.
 * 0; -EIO where some could not be moved; another negative errno. */
VN_EXPORT int vn_pool_move(struct rte_mempool *mp, int node);
/* The page size of the pool's memory: of hugetlb pages; else the base page. */
VN_EXPORT size_t vn_pool_page(struct rte_mempool *mp);

#endif
