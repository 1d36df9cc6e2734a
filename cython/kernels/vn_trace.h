/* SPDX-License-Identifier: BSD-3-Clause
 * What happened to single packets, stage by stage: for people who ask why.
 */
#ifndef VN_TRACE_H
#define VN_TRACE_H

#include <stdint.h>

#include <rte_mbuf.h>

#include "vn_compat.h"

#define VN_TRACE_BYTES 128
#define VN_TRACE_FOLLOWED 4096

struct vn_worker;
struct vn_batch;
struct vn_chain;

enum vn_trace_kind {
	VN_TRACE_RX,	/* it came: port is its input */
	VN_TRACE_STAGE, /* it went through a stage, and goes on */
	VN_TRACE_ENDED, /* it ended in a stage: reason, or 0xffff: it is in outputs now */
	VN_TRACE_OUT,	/* it waits for output `port` */
	VN_TRACE_RING,	/* it was put in the ring to other workers, or the program's */
	VN_TRACE_FROM_RING,
};

struct vn_trace_event {
	uint64_t tsc;
	uint32_t packet; /* 1, 2, ... */
	uint32_t len;
	uint16_t kind, stage, port, reason;
	uint16_t worker, captured;
	uint8_t bytes[VN_TRACE_BYTES]; /* the packet's first, after the stage */
};

struct vn_trace {
	volatile int32_t left;	   /* packets still to be chosen */
	volatile uint32_t packets; /* that were */
	volatile uint32_t n, lost; /* events; those for which there was no room */
	uint32_t room;
	volatile uint32_t n_followed;
	struct rte_mbuf *volatile followed[VN_TRACE_FOLLOWED]; /* those in rings */
	uint32_t followed_packet[VN_TRACE_FOLLOWED];
	struct vn_trace_event events[];
};

/* Runs a batch packet by packet, and writes down what happens to those that are chosen. */
VN_EXPORT void vn_trace_run(struct vn_trace *t, struct vn_worker *w, struct vn_batch *b,
			    const struct vn_chain *c);

/* A chain with the one packet that is traced: vn_chain_run's way of it. */
void vn_trace_chain(struct vn_trace *t, struct vn_worker *w, struct vn_batch *b,
		    const struct vn_chain *c);

#endif
