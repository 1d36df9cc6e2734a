/* SPDX-License-Identifier: BSD-3-Clause
 * What a parse costs, in one process: the five-tuple columns by each SIMD level, and the peer,
 * which is rte_net_get_ptype and reading the same five fields one packet at a time. In turn, round
 * by round: over 256 packets that stay in cache, and over a shuffled set that no cache holds. IMIX
 * differs from 64 bytes only in what stands in the lengths: no more bytes are touched.
 *
 *     parse ROUNDS COLD_PACKETS     prints one JSON object: case -> [ns a packet, one a round]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <rte_ether.h>
#include <rte_ip.h>
#include <rte_mbuf.h>
#include <rte_net.h>
#include <rte_tcp.h>
#include <rte_udp.h>

#include "vn_parse.h"

#define STRIDE                                                                                     \
	2368 /* an mbuf with its header, headroom and 2,048 bytes, as a mempool lays them          \
	      */
#define BURST 256
#define FIVE_TUPLE (VN_F(ip_proto) | VN_F(ip_src) | VN_F(ip_dst) | VN_G_L4)

static struct vn_columns c;
static struct rte_mbuf **cold;

static uint64_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The peer: what one writes in C against DPDK. */
static void
scalar(struct rte_mbuf *const *pkts, uint16_t n)
{
	for (uint16_t i = 0; i < n; i++) {
		struct rte_net_hdr_lens lens;
		uint32_t type = rte_net_get_ptype(pkts[i], &lens, RTE_PTYPE_ALL_MASK);
		uint32_t l3 = lens.l2_len, l4 = l3 + lens.l3_len;

		c.ip_proto[i] = 0;
		c.ip_src[i] = c.ip_dst[i] = 0;
		c.l4_src[i] = c.l4_dst[i] = 0;
		if (!RTE_ETH_IS_IPV4_HDR(type))
			continue;
		const struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(
			pkts[i], const struct rte_ipv4_hdr *, l3);

		c.ip_proto[i] = ip->next_proto_id;
		c.ip_src[i] = rte_be_to_cpu_32(ip->src_addr);
		c.ip_dst[i] = rte_be_to_cpu_32(ip->dst_addr);
		if ((type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_UDP ||
		    (type & RTE_PTYPE_L4_MASK) == RTE_PTYPE_L4_TCP) {
			const struct rte_udp_hdr *udp = rte_pktmbuf_mtod_offset(
				pkts[i], const struct rte_udp_hdr *, l4);

			c.l4_src[i] = rte_be_to_cpu_16(udp->src_port);
			c.l4_dst[i] = rte_be_to_cpu_16(udp->dst_port);
		}
	}
}

static void
fill(struct rte_mbuf *m, uint32_t i)
{
	static const uint16_t imix[12] = {64, 64, 64, 64, 64, 64, 64, 594, 594, 594, 594, 1518};
	uint8_t *p = (uint8_t *)m + 128 + 64 + RTE_PKTMBUF_HEADROOM - 64;
	uint16_t len = imix[i % 12];

	memset(m, 0, 128);
	m->buf_addr = p;
	m->pkt_len = m->data_len = len;
	m->nb_segs = 1;
	memset(p, 0, 64);
	memcpy(p, "\2\0\0\0\0\1\2\0\0\0\0\2\x08\0\x45\0", 16);
	p[16] = (uint8_t)((len - 18) >> 8);
	p[17] = (uint8_t)(len - 18);
	p[22] = 64;
	p[23] = 17;
	memcpy(p + 26, "\x0a\0\0\1\x0a\0\0\2", 8);
	memcpy(p + 27, &i, 2);
	memcpy(p + 34, &i, 2);
	p[37] = 53;
	p[38] = (uint8_t)((len - 38) >> 8);
	p[39] = (uint8_t)(len - 38);
}

/* What memory alone costs: a word of each mbuf and of its header, fetched as far ahead. */
static void
touch(struct rte_mbuf *const *pkts, uint16_t n)
{
	ptrdiff_t distance = vn_header_distance(pkts[0]);

	for (uint16_t i = 0; i < RTE_MIN(n, VN_AHEAD); i++)
		vn_prefetch(pkts[i], distance);
	for (uint16_t i = 0; i < n; i++) {
		if (i + VN_AHEAD < n)
			vn_prefetch(pkts[i + VN_AHEAD], distance);
		memcpy(&c.ip_src[i], rte_pktmbuf_mtod_offset(pkts[i], const void *, 26), 4);
	}
}

/* ns a packet over n packets, by a level, or the peer (-1), or memory alone (-2). */
static double
measure(int level, struct rte_mbuf **pkts, uint32_t n, uint32_t passes)
{
	uint64_t from;

	if (level >= 0)
		vn_simd_set(level);
	from = now();
	for (uint32_t k = 0; k < passes; k++)
		for (uint32_t at = 0; at < n; at += BURST) {
			if (level == -2)
				touch(pkts + at, BURST);
			else if (level == -1)
				scalar(pkts + at, BURST);
			else
				vn_parse(&c, FIVE_TUPLE, pkts + at, BURST);
		}
	return (double)(now() - from) / passes / n;
}

int
main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? (unsigned int)atoi(argv[1]) : 9;
	uint32_t n = argc > 2 ? (uint32_t)atoi(argv[2]) : 1u << 20;
	int levels = vn_simd_best() + 1, ways = levels + 2;
	void **column = (void **)&c;
	uint64_t seed = 88172645463325252u;
	double *found;
	uint8_t *memory;

	n -= n % BURST;
	for (unsigned int f = 0; f < VN_COLUMNS; f++)
		column[f] = aligned_alloc(64, BURST * 8);
	memory = mmap(NULL, (size_t)n * STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	cold = malloc(n * sizeof(*cold));
	found = calloc((size_t)rounds * (size_t)ways * 2, sizeof(*found));
	if (memory == MAP_FAILED || cold == NULL || found == NULL) {
		fprintf(stderr, "no memory for %u packets\n", n);
		return 1;
	}
	madvise(memory, (size_t)n * STRIDE, MADV_HUGEPAGE);
	for (uint32_t i = 0; i < n; i++) {
		cold[i] = (struct rte_mbuf *)(memory + (size_t)i * STRIDE);
		fill(cold[i], i);
	}
	for (uint32_t i = n - 1; i; i--) {
		uint32_t k;
		struct rte_mbuf *m = cold[i];

		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		k = (uint32_t)(seed % (i + 1));
		cold[i] = cold[k];
		cold[k] = m;
	}
	for (unsigned int r = 0; r < rounds; r++)
		for (int set = 0; set < 2; set++)
			for (int k = 0; k < ways; k++) {
				/* The order changes from round to round. */
				int level = (r % 2 ? ways - 1 - k : k) - 2;

				measure(level, cold, BURST, 100);
				found[(r * 2 + (unsigned int)set) * (unsigned int)ways +
				      (unsigned int)(level + 2)] = set ? measure(level, cold, n, 1)
								       : measure(level, cold, BURST,
										 20000);
			}
	for (int set = 0; set < 2; set++)
		for (int k = 0; k < ways; k++) {
			printf("%s\"%s %s\": [", set == 0 && k == 0 ? "{" : ", ",
			       k == 0	? "memory"
			       : k == 1 ? "scalar"
					: vn_simd_names[k - 2],
			       set ? "cold" : "cached");
			for (unsigned int r = 0; r < rounds; r++)
				printf("%s%.4f", r ? ", " : "",
				       found[(r * 2 + (unsigned int)set) * (unsigned int)ways +
					     (unsigned int)k]);
			printf("]");
		}
	printf("}\n");
	return 0;
}
