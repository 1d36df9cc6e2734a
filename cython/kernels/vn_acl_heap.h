/* SPDX-License-Identifier: BSD-3-Clause
 * The memory of rte_acl, and of the other engines.
 *
 * librte_acl calls calloc and free for the pool of a build only, and a calloc that fails ends the
 * build with -ENOMEM and frees the pool (tb_mem.c). What it keeps comes from rte_zmalloc_socket,
 * whose heaps must be as large as needed beforehand, which nobody knows. So its own entries for
 * these in the global offset table are replaced: by ones that count, and by ones that map
 * transparent huge pages and give them back to the system.
 */
#ifndef VN_ACL_HEAP_H
#define VN_ACL_HEAP_H

#include <stdint.h>

/* Limits the builds of this thread from now on; UINT64_MAX: no limit. 0, or -ENOTSUP where
 * librte_acl is linked in another way: then there is no limit. */
int vn_acl_heap_limit(uint64_t bytes);
/* A socket id with `bytes` of free memory in one piece, for what goes through DPDK's own heaps;
 * -ENOMEM: there are none. */
int vn_rules_heap(uint64_t bytes);

#endif
