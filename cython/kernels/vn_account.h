/* SPDX-License-Identifier: BSD-3-Clause
 * Where packets are counted. One invariant holds at every quiet moment:
 *
 *     rx + generated + copies + handed_in = tx + sum(drops) + held + handed_out
 *
 * Each counter has a single writer (the thread that owns the queue), so plain adds are enough;
 * readers see values that are at most one burst old.
 */
#ifndef VN_ACCOUNT_H
#define VN_ACCOUNT_H

#include <stdint.h>

#include "vn_compat.h"

/* Why a packet ended other than by transmission. Names and meanings: vn_drop_table in
 * vn_account.c, which Python reads, so that the list exists once. */
enum vn_drop {
	VN_DROP_TX_FULL,
	VN_DROP_TOO_LONG,
	VN_DROP_TOO_MANY_SEGMENTS,
	VN_DROP_RX_ONLY,
	VN_DROP_RUNT,
	VN_DROP_CUT,
	VN_DROP_NO_MBUF,
	VN_DROP_SAME_PORT,
	VN_DROP_LINK_LOCAL,
	VN_DROP_NO_OUTPUT,
	VN_DROP_FREED,
	VN_DROP_COLLECTED,
	VN_DROP_CLOSED,
	VN_DROP_FILTERED,
	VN_DROP_RULE,
	VN_DROP_METER,
	VN_DROP_RATE,
	VN_DROP_TTL,
	VN_DROP_NO_PYTHON,
	VN_DROP_RING_FULL,
	VN_DROP_STAGE_ERROR,
	VN_DROP_STOPPED,
	VN_DROP_USER, /* the program's own reasons, named when first used */
	VN_DROP_MAX = VN_DROP_USER + 48,
};

struct vn_drop_name {
	const char *name;
	const char *meaning;
};

/* The names of the program's own reasons are NULL until they are set. */
extern VN_EXPORT struct vn_drop_name vn_drop_table[VN_DROP_MAX];

struct vn_account {
	uint64_t rx_packets, rx_bytes;
	uint64_t tx_packets, tx_bytes;
	uint64_t generated; /* made by the program, not received */
	uint64_t copies;    /* made here: floods, rules; linearized frames are not copies */
	uint64_t handed_in, handed_out; /* from and to rings that processes share */
	uint64_t retries;		/* tx bursts tried again */
	uint64_t drops[VN_DROP_MAX];
} VN_CACHE_ALIGNED;

/* Set once rte_eal_init() was called. */
extern VN_EXPORT int vn_started;
/* Set in a child that was forked after that: nothing native may be used or freed there. */
extern VN_EXPORT int vn_forked;

#endif
