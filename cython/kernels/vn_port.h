/* SPDX-License-Identifier: BSD-3-Clause
 * The two calls that every packet passes, from Python's Port.rx/tx and from the lcore loops
 * alike: vn_rx() and vn_tx() over one queue each. What they add to rte_eth_rx_burst and
 * rte_eth_tx_burst is what makes the accounting hold: they count, they name each drop, they
 * never send a frame that the port would cut or garble, and they bound their retries.
 */
#ifndef VN_PORT_H
#define VN_PORT_H

#include <stdbool.h>
#include <string.h>

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_spinlock.h>

#include "vn_account.h"
#include "vn_guard.h"

/* What to do with packets that the port did not take. */
enum vn_tx_policy {
	VN_TX_RETRY, /* try again for at most retry_cycles, then drop (tx_full) */
	VN_TX_DROP,  /* drop at once (tx_full), as DPDK's l2fwd does */
	VN_TX_KEEP,  /* leave them with the caller */
};

enum vn_tx_flags {
	VN_TXF_RX_ONLY = 1 << 0, /* nothing leaves this port: drop by name */
	VN_TXF_DIRECT = 1 << 1,	 /* the PMD reads one direct segment only: linearize the rest */
	VN_TXF_SHARED = 1 << 2,	 /* several lcores send on this queue: take the lock */
	VN_TXF_VLAN4 = 1 << 3,	 /* a frame tagged 0x8100 may be 4 bytes longer than max_len */
	VN_TXF_GUARDED = 1 << 4, /* bursts go through vn_guard_tx() */
};

struct vn_rxq {
	uint16_t port_id;
	uint16_t queue_id;
	uint16_t finite;	     /* reads a trace that ends */
	uint16_t guarded;	     /* bursts go through vn_guard_rx() */
	volatile uint16_t exhausted; /* ... and has ended */
	uint16_t zero_polls;	     /* rx calls without a packet, in a row (finite ports) */
	uint64_t records;	     /* records of the trace */
	uint64_t failed;	     /* rx_nombuf + ierrors when last looked at */
	uint64_t lost;		     /* records that the PMD read and lost: no mbuf */
	const uint64_t *cut;	     /* ascending record numbers to drop as capture_cut */
	uint64_t n_cut, next_cut;
	struct vn_account count;
} VN_CACHE_ALIGNED;

struct vn_txq {
	uint16_t port_id;
	uint16_t queue_id;
	uint16_t flags;
	uint16_t max_segs;
	uint32_t max_len;      /* longest frame, without FCS, that leaves whole */
	uint16_t stuck;	       /* took nothing last time: no retries until it takes again */
	uint64_t retry_cycles; /* TSC cycles that one burst may be retried */
	struct rte_mempool *copy_pool;
	rte_spinlock_t lock;
	struct vn_account count;
} VN_CACHE_ALIGNED;

/* A poll of a trace brought less than it was asked for: has the trace ended, or has the PMD read
 * records and lost them? Cold path of vn_rx(). */
VN_EXPORT void vn_rx_short(struct vn_rxq *q, uint16_t got);
/* Drops the records that the capture holds in part. Returns the packets left. */
VN_EXPORT uint16_t vn_rx_drop_cut(struct vn_rxq *q, struct rte_mbuf **pkts, uint16_t n);

/* The burst calls themselves: nothing is counted. */
static inline uint16_t
vn_rx_burst(struct vn_rxq *q, struct rte_mbuf **pkts, uint16_t n)
{
	if (unlikely(q->guarded))
		return vn_guard_rx(q->port_id, q->queue_id, pkts, n);
	return rte_eth_rx_burst(q->port_id, q->queue_id, pkts, n);
}

static inline uint16_t
vn_tx_burst(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n)
{
	if (unlikely(q->flags & VN_TXF_GUARDED))
		return vn_guard_tx(q->port_id, q->queue_id, pkts, n);
	return rte_eth_tx_burst(q->port_id, q->queue_id, pkts, n);
}

/* Receives up to n packets into pkts. The caller owns what it gets. */
static inline uint16_t
vn_rx(struct vn_rxq *q, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t got = vn_rx_burst(q, pkts, n);

	if (got == 0) {
		if (unlikely(q->finite))
			vn_rx_short(q, 0);
		return 0;
	}
	q->count.rx_packets += got;
	if (unlikely(q->finite)) {
		uint16_t kept = q->n_cut ? vn_rx_drop_cut(q, pkts, got) : got;

		if (got < n || q->count.rx_packets + q->lost >= q->records)
			vn_rx_short(q, got);
		return kept;
	}
	return got;
}

/* What vn_tx() must know of a burst: sum and maximum of pkt_len, and whether any packet is out of
 * the ordinary (vn_sizes_add). */
struct vn_sizes {
	uint64_t bytes;
	uint64_t odd;
	uint32_t max_len;
};

#define VN_FOREIGN (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)

/* Adds one packet. Not 0 unless it is one segment of pool memory that nobody else holds, and as
 * long as an Ethernet header: such a packet may be written in place, and every port can send it.
 * Field by field: one wide load over fields that the driver has just written singly would stall.
 * And with branches: gcc otherwise finds the maximum through a vector register and the stack. */
static inline uint64_t
vn_sizes_add(struct vn_sizes *s, const struct rte_mbuf *m)
{
	uint64_t odd = (uint64_t)(rte_mbuf_refcnt_read(m) ^ 1) | (uint64_t)(m->nb_segs ^ 1) |
		       (m->ol_flags & VN_FOREIGN);
	uint32_t len = m->pkt_len;

	s->bytes += len;
	/* Both bounds in one comparison: a runt's difference wraps. */
	if (unlikely(len - RTE_ETHER_HDR_LEN > s->max_len - RTE_ETHER_HDR_LEN)) {
		if (len < RTE_ETHER_HDR_LEN)
			odd = 1;
		else
			s->max_len = len;
	}
	s->odd |= odd;
	return odd;
}

#define VN_SIZES_NONE ((struct vn_sizes){0, 0, RTE_ETHER_HDR_LEN})

static inline struct vn_sizes
vn_sizes_of(struct rte_mbuf *const *pkts, uint16_t n)
{
	struct vn_sizes s = VN_SIZES_NONE;

	for (uint16_t i = 0; i < n; i++)
		vn_sizes_add(&s, pkts[i]);
	return s;
}

/* The part of vn_tx() that a well-behaved burst on a port with room never reaches. */
VN_EXPORT uint16_t vn_tx_slow(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n,
			      struct vn_sizes s, enum vn_tx_policy policy);
/* Frees n packets and counts them under `reason`. */
VN_EXPORT void vn_drop(struct vn_account *a, struct rte_mbuf **pkts, uint16_t n,
		       enum vn_drop reason);

/* Sends n packets whose sizes are s. Returns how many are left with the caller, moved to
 * pkts[0..left); always 0 unless policy is VN_TX_KEEP. */
static inline uint16_t
vn_tx_sized(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n, struct vn_sizes s,
	    enum vn_tx_policy policy)
{
	uint16_t sent;

	/* Nothing is odd in a burst of direct segments: VN_TXF_DIRECT has nothing to do for it. */
	if (unlikely((q->flags & (VN_TXF_RX_ONLY | VN_TXF_SHARED)) || s.max_len > q->max_len ||
		     s.odd))
		return vn_tx_slow(q, pkts, n, s, policy);
	sent = vn_tx_burst(q, pkts, n);
	if (likely(sent == n)) {
		q->stuck = 0;
		q->count.tx_packets += n;
		q->count.tx_bytes += s.bytes;
		return 0;
	}
	if (sent) {
		struct vn_sizes rest = vn_sizes_of(pkts + sent, n - sent);

		q->stuck = 0;
		q->count.tx_packets += sent;
		q->count.tx_bytes += s.bytes - rest.bytes;
		s = rest;
		memmove(pkts, pkts + sent, (n - sent) * sizeof(*pkts));
		n -= sent;
	}
	return vn_tx_slow(q, pkts, n, s, policy);
}

static inline uint16_t
vn_tx(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n, enum vn_tx_policy policy)
{
	return vn_tx_sized(q, pkts, n, vn_sizes_of(pkts, n), policy);
}

/* Received bytes are counted by the caller, which reads the lengths anyway. */
static inline void
vn_rx_bytes(struct vn_rxq *q, uint64_t bytes)
{
	q->count.rx_bytes += bytes;
}

#endif
