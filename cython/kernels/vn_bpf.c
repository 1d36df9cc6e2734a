/* SPDX-License-Identifier: BSD-3-Clause */
#include <pcap/pcap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vn_bpf.h"

struct vn_bpf {
	struct bpf_program program; /* no instructions: nothing matches */
};

struct vn_bpf *
vn_bpf_compile(const char *text, char *err, size_t errlen)
{
	struct vn_bpf *b = calloc(1, sizeof(*b));
	pcap_t *dead = pcap_open_dead(DLT_EN10MB, 262144);

	if (b == NULL || dead == NULL) {
		snprintf(err, errlen, "out of memory");
		goto fail;
	}
	if (pcap_compile(dead, &b->program, text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
		memset(&b->program, 0, sizeof(b->program));
		/* That is an answer, not an error. */
		if (strstr(pcap_geterr(dead), "rejects all packets") == NULL) {
			snprintf(err, errlen, "%s", pcap_geterr(dead));
			goto fail;
		}
	}
	pcap_close(dead);
	return b;
fail:
	if (dead != NULL)
		pcap_close(dead);
	free(b);
	return NULL;
}

void
vn_bpf_free(struct vn_bpf *b)
{
	if (b == NULL)
		return;
	pcap_freecode(&b->program);
	free(b);
}

int
vn_bpf_bytes(const struct vn_bpf *b, const uint8_t *p, uint32_t caplen, uint32_t wirelen)
{
	struct pcap_pkthdr h = {.caplen = caplen, .len = wirelen};

	return b->program.bf_len != 0 && pcap_offline_filter(&b->program, &h, p) != 0;
}

/* A packet in segments: its bytes in one piece first. */
static __attribute__((noinline)) int
gathered(const struct vn_bpf *b, const struct rte_mbuf *m)
{
	uint32_t there = RTE_MIN(m->pkt_len, VN_BPF_BYTES);
	uint8_t scratch[VN_BPF_BYTES];
	const uint8_t *p = rte_pktmbuf_read(m, 0, there, scratch);

	return p != NULL && vn_bpf_bytes(b, p, there, m->pkt_len);
}

void
vn_bpf_run(const struct vn_bpf *b, struct rte_mbuf *const *pkts, uint32_t n, uint8_t *out)
{
	for (uint32_t i = 0; i < n; i++) {
		const struct rte_mbuf *m = pkts[i];

		if (i + 4 < n)
			rte_prefetch0(rte_pktmbuf_mtod(pkts[i + 4], const void *));
		out[i] = likely(m->nb_segs == 1)
				 ? vn_bpf_bytes(b, rte_pktmbuf_mtod(m, const uint8_t *),
						m->data_len, m->pkt_len)
				 : gathered(b, m);
	}
}
