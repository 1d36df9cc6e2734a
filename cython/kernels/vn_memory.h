/* SPDX-License-Identifier: BSD-3-Clause
 * Pool memory without hugepages: an anonymous mapping, aligned to 2 MiB, advised MADV_HUGEPAGE,
 * given to DPDK as an external heap (DPDK Programmer's Guide, "External memory").
 */
#ifndef VN_MEMORY_H
#define VN_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "vn_compat.h"

#define VN_HUGE_2M (UINT64_C(2) << 20)

/* Maps `bytes` (a multiple of 2 MiB), touches it so that the kernel places huge pages now, and
 * promotes what it left small (MADV_COLLAPSE, Linux 6.1). On the NUMA node, if it has room; -1:
 * where the kernel likes. NULL with errno on failure. */
VN_EXPORT void *vn_thp_map(size_t bytes, int node);
/* Maps `bytes` that take memory only when they are touched. NULL with errno on failure. */
void *vn_thp_reserve(size_t bytes);
VN_EXPORT void vn_thp_unmap(void *va, size_t bytes);
/* Makes huge pages of what is small in a mapping of vn_thp_map, 2 MiB by 2 MiB, while it is used.
 * Returns how many of these are huge now; -EINVAL before Linux 6.1. */
VN_EXPORT int64_t vn_thp_promote(void *va, size_t bytes);
/* Bytes of the mapping at va that are transparent huge pages (AnonHugePages in smaps). */
VN_EXPORT size_t vn_thp_huge_bytes(const void *va, size_t bytes);
/* Can `pages` hugepages of `page_bytes` be mapped now, without a mount? 0 or a negative errno. */
VN_EXPORT int vn_hugepages_probe(size_t pages, size_t page_bytes);

#endif
