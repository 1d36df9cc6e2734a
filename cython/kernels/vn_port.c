/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_port.h"

/* How many empty polls in a row end a trace whose record count was never reached (the file
 * shrank after it was read through). */
#define VN_END_OF_TRACE_POLLS 64

void
vn_rx_short(struct vn_rxq *q, uint16_t got)
{
	struct rte_eth_stats st;

	if (q->exhausted)
		return;
	q->zero_polls = got ? 0 : q->zero_polls + 1;
	/* net_pcap returns less both at the end and when it had no mbuf; in the second case it has
	 * read a record and lost it, and only its counters tell. */
	if (q->count.rx_packets + q->lost < q->records && rte_eth_stats_get(q->port_id, &st) == 0) {
		uint64_t failed = st.rx_nombuf + st.ierrors;
		uint64_t more = failed - q->failed;

		q->failed = failed;
		if (more) {
			q->lost = RTE_MIN(q->lost + more, q->records - q->count.rx_packets);
			q->zero_polls = 0;
		}
	}
	if (q->count.rx_packets + q->lost >= q->records || q->zero_polls >= VN_END_OF_TRACE_POLLS)
		q->exhausted = 1;
}

uint16_t
vn_rx_drop_cut(struct vn_rxq *q, struct rte_mbuf **pkts, uint16_t n)
{
	/* net_pcap hands the records in file order, so a packet's record number is its place in
	 * the sequence (after those that it lost for want of an mbuf). */
	uint64_t record = q->count.rx_packets - n + q->lost;
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++, record++) {
		while (q->next_cut < q->n_cut && q->cut[q->next_cut] < record)
			q->next_cut++;
		if (q->next_cut < q->n_cut && q->cut[q->next_cut] == record) {
			q->count.rx_bytes += pkts[i]->pkt_len;
			vn_drop(&q->count, &pkts[i], 1, VN_DROP_CUT);
		} else {
			pkts[kept++] = pkts[i];
		}
	}
	return kept;
}

void
vn_drop(struct vn_account *a, struct rte_mbuf **pkts, uint16_t n, enum vn_drop reason)
{
	a->drops[reason] += n;
	rte_pktmbuf_free_bulk(pkts, n);
}

/* Makes pkts[i] one direct segment (a fresh copy), or leaves it and returns the reason. */
static int
vn_linearize(struct vn_txq *q, struct rte_mbuf **pkt)
{
	struct rte_mbuf *m = *pkt, *c;

	if (m->nb_segs == 1 && (m->ol_flags & VN_FOREIGN) == 0)
		return -1;
	if (q->copy_pool == NULL || m->pkt_len > UINT16_MAX)
		return VN_DROP_TOO_MANY_SEGMENTS;
	c = rte_pktmbuf_copy(m, q->copy_pool, 0, UINT32_MAX);
	if (c == NULL)
		return VN_DROP_NO_MBUF;
	if (c->nb_segs != 1) {
		rte_pktmbuf_free(c);
		return VN_DROP_TOO_LONG;
	}
	rte_pktmbuf_free(m);
	*pkt = c;
	return -1;
}

static bool
vn_too_long(const struct vn_txq *q, const struct rte_mbuf *m)
{
	const uint8_t *eth = rte_pktmbuf_mtod(m, const uint8_t *);

	if (m->pkt_len <= q->max_len)
		return false;
	return !((q->flags & VN_TXF_VLAN4) && m->pkt_len <= q->max_len + 4 &&
		 m->data_len >= RTE_ETHER_HDR_LEN && eth[12] == 0x81 && eth[13] == 0x00);
}

/* Takes out what this port cannot send. Returns the packets left; *s describes those. */
static uint16_t
vn_tx_screen(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n, struct vn_sizes *s)
{
	struct vn_sizes left = VN_SIZES_NONE;
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		int reason = -1;

		if (pkts[i]->pkt_len < RTE_ETHER_HDR_LEN)
			reason = VN_DROP_RUNT;
		else if (vn_too_long(q, pkts[i]))
			reason = VN_DROP_TOO_LONG;
		else if (q->flags & VN_TXF_DIRECT)
			reason = vn_linearize(q, &pkts[i]);
		else if (pkts[i]->nb_segs > q->max_segs)
			reason = VN_DROP_TOO_MANY_SEGMENTS;
		if (reason >= 0) {
			vn_drop(&q->count, &pkts[i], 1, (enum vn_drop)reason);
			continue;
		}
		vn_sizes_add(&left, pkts[i]);
		pkts[kept++] = pkts[i];
	}
	*s = left;
	return kept;
}

static uint16_t
vn_tx_some(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t bytes = 0;
	uint16_t sent;

	/* Lengths must be read before the PMD owns the mbufs. */
	for (uint16_t i = 0; i < n; i++)
		bytes += pkts[i]->pkt_len;
	sent = vn_tx_burst(q, pkts, n);
	for (uint16_t i = sent; i < n; i++)
		bytes -= pkts[i]->pkt_len;
	q->count.tx_packets += sent;
	q->count.tx_bytes += bytes;
	return sent;
}

uint16_t
vn_tx_slow(struct vn_txq *q, struct rte_mbuf **pkts, uint16_t n, struct vn_sizes s,
	   enum vn_tx_policy policy)
{
	uint16_t done = 0;
	uint64_t deadline = 0;
	bool shared = q->flags & VN_TXF_SHARED;

	if (shared)
		rte_spinlock_lock(&q->lock);
	if (q->flags & VN_TXF_RX_ONLY) {
		vn_drop(&q->count, pkts, n, VN_DROP_RX_ONLY);
		n = 0;
	} else if (s.max_len > q->max_len || s.odd) {
		n = vn_tx_screen(q, pkts, n, &s);
	}
	while (done < n) {
		uint16_t sent = vn_tx_some(q, pkts + done, n - done);

		done += sent;
		if (sent)
			q->stuck = 0;
		if (done == n || policy != VN_TX_RETRY || q->stuck)
			break;
		if (deadline == 0)
			deadline = rte_rdtsc() + q->retry_cycles;
		else if (rte_rdtsc() > deadline)
			break;
		q->count.retries++;
		rte_pause();
	}
	if (done < n) {
		if (policy == VN_TX_KEEP) {
			memmove(pkts, pkts + done, (n - done) * sizeof(*pkts));
			n -= done;
		} else {
			q->stuck = 1;
			vn_drop(&q->count, pkts + done, n - done, VN_DROP_TX_FULL);
			n = 0;
		}
	} else {
		n = 0;
	}
	if (shared)
		rte_spinlock_unlock(&q->lock);
	return n;
}
