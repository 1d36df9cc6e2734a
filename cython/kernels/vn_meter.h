/* SPDX-License-Identifier: BSD-3-Clause
 * Meters (rte_meter: srTCM of RFC 2697, trTCM of RFC 2698, colour blind) and rate limits. Their
 * buckets are one for all workers: each has a lock. Times are TSC cycles, and may come a little out
 * of order from several workers: then no time has passed.
 */
#ifndef VN_METER_H
#define VN_METER_H

#include <stdbool.h>

#include <rte_meter.h>
#include <rte_spinlock.h>

#include "vn_compat.h"

struct vn_meter {
	rte_spinlock_t lock;
	bool two_rate;
	uint64_t last; /* the latest time that it was told */
	union {
		struct rte_meter_srtcm_profile sr_profile;
		struct rte_meter_trtcm_profile tr_profile;
	};
	union {
		struct rte_meter_srtcm sr;
		struct rte_meter_trtcm tr;
	};
	uint64_t packets[RTE_COLORS], bytes[RTE_COLORS];
} VN_CACHE_ALIGNED;

/* Rates in bytes a second, bursts in bytes; full buckets at time `now`. 0 or -EINVAL. */
VN_EXPORT int vn_meter_srtcm(struct vn_meter *m, uint64_t cir, uint64_t cbs, uint64_t ebs,
			     uint64_t now);
VN_EXPORT int vn_meter_trtcm(struct vn_meter *m, uint64_t cir, uint64_t pir, uint64_t cbs,
			     uint64_t pbs, uint64_t now);
/* Colours a packet, and takes its length out of the buckets. */
VN_EXPORT enum rte_color vn_meter_color(struct vn_meter *m, uint64_t now, uint32_t len);

/* A token bucket, of bytes or packets. Tokens are counted in units of 1/hz: exactly. */
struct vn_limit {
	rte_spinlock_t lock;
	bool packets;
	uint64_t rate, hz, full;
	uint64_t tokens, last;
} VN_CACHE_ALIGNED;

#define VN_LIMIT_MAX_BURST UINT64_C(1000000000)

/* rate: bytes (or packets) a second; burst: as many at once, at most VN_LIMIT_MAX_BURST. */
VN_EXPORT void vn_limit_init(struct vn_limit *l, bool packets, uint64_t rate, uint64_t burst,
			     uint64_t now);
/* Is there room for a packet of so many bytes? Then its tokens are taken. */
VN_EXPORT bool vn_limit_take(struct vn_limit *l, uint64_t now, uint32_t len);

#endif
