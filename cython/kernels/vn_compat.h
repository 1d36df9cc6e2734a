/* SPDX-License-Identifier: BSD-3-Clause
 * One header over DPDK 22.11 (Debian 12) to 24.11 (Debian 13): every difference between the
 * two that veridnet meets stands here and nowhere else.
 */
#ifndef VN_COMPAT_H
#define VN_COMPAT_H

#include <rte_branch_prediction.h>
#include <rte_common.h>
#include <rte_version.h>

#if RTE_VERSION < RTE_VERSION_NUM(22, 11, 0, 0)
#error "veridnet needs DPDK 22.11 or newer"
#endif

/* 24.11 made alignment an attribute before the name (__rte_cache_aligned after `struct`). */
#define VN_CACHE_ALIGNED __attribute__((aligned(RTE_CACHE_LINE_SIZE)))

/* Until 23.03, rte_flow's ARP item had padding where the header on the wire has none. */
#if RTE_VERSION < RTE_VERSION_NUM(23, 3, 0, 0)
#define VN_FLOW_ARP(item_member, hdr_member) item_member
#else
#define VN_FLOW_ARP(item_member, hdr_member) hdr.hdr_member
#endif

#define VN_EXPORT __attribute__((visibility("default")))

#endif
