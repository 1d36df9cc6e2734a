/* SPDX-License-Identifier: BSD-3-Clause
 * The station table of a learning bridge (IEEE 802.1D clause 7.8): MAC address -> port, with
 * ageing, shared by all lcores. rte_hash finds the slot; the slot itself is one 64-bit word,
 * so that refreshing a known station is a plain store and takes no lock.
 */
#ifndef VN_BRIDGE_H
#define VN_BRIDGE_H

#include <rte_hash.h>

#include "vn_port.h"

#define VN_MAX_PORTS 128
#define VN_BRIDGE_FLOOD 0xffu /* vn_bridge_find(): unknown station */

struct vn_bridge {
	struct rte_hash *hash;
	uint64_t *slots; /* TSC of the last frame, its low 8 bits replaced by the port */
	uint64_t age_cycles;
	uint64_t refresh_cycles;
	uint64_t learned, moved, aged, full; /* full: stations not learned for want of a slot */
	uint32_t sweep_next;
	uint32_t sweeping; /* a lock: one lcore sweeps, the others pass by */
	uint64_t sweep_at;
};

VN_EXPORT struct vn_bridge *vn_bridge_create(const char *name, uint32_t stations, double age_s,
					     int socket);
VN_EXPORT void vn_bridge_free(struct vn_bridge *b);
/* Learns that each of n source addresses (48 bits in a uint64_t, as loaded) is behind port. */
VN_EXPORT void vn_bridge_learn(struct vn_bridge *b, const uint64_t *src, unsigned int n,
			       uint8_t port, uint64_t now);
/* Port of each destination, or VN_BRIDGE_FLOOD. n <= 64. */
VN_EXPORT void vn_bridge_find(struct vn_bridge *b, const uint64_t *dst, unsigned int n,
			      uint8_t *port, uint64_t now);
/* Forgets aged stations, a few a call. Every lcore calls it, so that whoever runs does it. */
VN_EXPORT void vn_bridge_sweep(struct vn_bridge *b, uint64_t now);
VN_EXPORT uint32_t vn_bridge_stations(const struct vn_bridge *b);
/* Reads stations for people: up to max of them; returns how many. */
VN_EXPORT uint32_t vn_bridge_dump(const struct vn_bridge *b, uint64_t *mac, uint8_t *port,
				  double *age_s, uint32_t max);

#endif
