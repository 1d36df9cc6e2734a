/* SPDX-License-Identifier: BSD-3-Clause
 * How much memory a build of rte_acl may take. librte_acl calls calloc and free for the pool of a
 * build only, and a calloc that fails ends the build with -ENOMEM and frees the pool (tb_mem.c). So
 * its own entries for the two in the global offset table are replaced by counting ones.
 */
#ifndef VN_ACL_HEAP_H
#define VN_ACL_HEAP_H

#include <stdint.h>

/* Limits the builds of this thread from now on; UINT64_MAX: no limit. 0, or -ENOTSUP where
 * librte_acl is linked in another way: then there is no limit. */
int vn_acl_heap_limit(uint64_t bytes);
/* The most that a build has taken since the limit was set. */
uint64_t vn_acl_heap_peak(void);

#endif
