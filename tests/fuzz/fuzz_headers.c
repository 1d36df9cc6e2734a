/* SPDX-License-Identifier: BSD-3-Clause
 * libFuzzer target: the header parser over arbitrary bytes. The general parser, asked for all
 * columns, is what everything else is compared with: a few columns alone, the vector loops with
 * the packet in any place of a burst, chains of short segments; and derived columns, of the packet
 * and of what is in it. Packets and columns lie in memory of exactly their size, for
 * AddressSanitizer. Run by scripts/fuzz.
 *
 * The input: CONTROL bytes, then the frame.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "vn_derive.h"

#define CONTROL 8
#define ROWS 40
#define MAX_SEGS 4200
#define ALL (((vn_fieldset)1 << VN_COLUMNS) - 1)
#define DERIVED (VN_G_CHECKSUM | VN_G_HASH)
#define PARSED (ALL & ~DERIVED)

#define WIDTH(name) sizeof(*((const struct vn_columns *)0)->name),
static const size_t width[VN_COLUMNS] = {VN_EACH(WIDTH)};
#define NAME(name) #name,
static const char *const names[VN_COLUMNS] = {VN_EACH(NAME)};

/* -- columns ----------------------------------------------------------------------------------- */

union table {
	struct vn_columns c;
	uint8_t *col[VN_COLUMNS];
};

/* Columns of n rows of zeros for the fields of `want`; no others. */
static void
make(union table *t, vn_fieldset want, size_t n)
{
	for (int i = 0; i < VN_COLUMNS; i++)
		t->col[i] = want >> i & 1 ? calloc(n, width[i]) : NULL;
}

static void
drop(union table *t)
{
	for (int i = 0; i < VN_COLUMNS; i++)
		free(t->col[i]);
}

/* Is row i of t, in the fields of `want`, row k of what is right? */
static void
check_row(const union table *t, size_t i, const union table *right, size_t k, vn_fieldset want)
{
	for (int f = 0; f < VN_COLUMNS; f++) {
		size_t w = width[f];

		if (!(want >> f & 1) || memcmp(t->col[f] + i * w, right->col[f] + k * w, w) == 0)
			continue;
		fprintf(stderr, "column %s differs in row %zu\n", names[f], i);
		abort();
	}
}

/* -- packets ----------------------------------------------------------------------------------- */

static struct rte_mbuf segs[MAX_SEGS];

/* A chain of segments of at most `room` bytes each, in memory of their own. */
static void
make_mbuf(struct rte_mbuf *m, const uint8_t *bytes, size_t len, size_t room)
{
	size_t at = 0, n = 0;
	struct rte_mbuf *s = m;

	do {
		size_t size = RTE_MIN(room, len - at);

		memset(s, 0, sizeof(*s));
		s->buf_addr = malloc(size ? size : 1);
		CHECK(s->buf_addr);
		memcpy(s->buf_addr, bytes + at, size);
		s->data_len = (uint16_t)size;
		s->port = 7;
		at += size;
		n++;
		if (at < len) {
			CHECK(n < MAX_SEGS);
			s->next = &segs[n];
			s = s->next;
		}
	} while (at < len);
	m->pkt_len = (uint32_t)len;
	m->nb_segs = (uint16_t)n;
}

/* Nobody has changed the packet, either. */
static void
free_mbuf(struct rte_mbuf *m, const uint8_t *bytes)
{
	for (; m != NULL; m = m->next) {
		CHECK(memcmp(m->buf_addr, bytes, m->data_len) == 0);
		bytes += m->data_len;
		free(m->buf_addr);
	}
}

/* What the vector loop knows: UDP and TCP over IPv4. */
static const uint8_t udp_frame[] = {
	2,    0,  0,   0,    0,	   1,	 2, 0,	0,  0, 0, 2,   8,   0, 0x45,
	0xba, 0,  29,  0x12, 0x34, 0,	 0, 3,	17, 0, 9, 192, 0,   2, 1,
	198,  51, 100, 200,  0x0f, 0xa1, 0, 53, 0,  9, 1, 2,   'x',
};
static const uint8_t tcp_frame[] = {
	2,    0, 0,  0, 0, 3, 2,    0,	  0, 0, 0,  4, 8, 0, 0x45, 0,	 0, 40,	  0, 7,
	0x40, 0, 64, 6, 1, 2, 10,   0,	  0, 1, 10, 0, 0, 2, 0x9c, 0x40, 1, 0xbb, 1, 2,
	3,    4, 5,  6, 7, 8, 0x50, 0x12, 9, 9, 8,  8, 0, 0, 0,	   0,	 0, 0,	  0, 0,
};

/* -- what is right ----------------------------------------------------------------------------- */

/* What must hold of any packet's columns, whatever its bytes. */
static void
check_sense(const struct vn_columns *c, uint32_t i, uint32_t base, uint32_t len)
{
	uint32_t layers = (uint32_t)c->l2_len[i] + c->l3_len[i] + c->l4_len[i];
	uint32_t limit = RTE_MIN(len, VN_PARSE_LIMIT);

	CHECK(c->error[i] < VN_E_MAX);
	CHECK(base + layers <= RTE_MAX(limit, base) || c->ip_proto[i] == 6);
	CHECK(c->payload_off[i] >= base);
	CHECK(c->payload_off[i] + (uint32_t)c->payload_len[i] <= len);
	CHECK(c->frag[i] < 4 && c->tunnel[i] <= 5);
	CHECK(c->vlan_depth[i] <= VN_MAX_VLAN && c->mpls_depth[i] <= VN_MAX_MPLS);
	CHECK(c->ip6_ext[i] <= VN_MAX_EXT);
	CHECK(c->ip_version[i] == 0 || c->ip_version[i] == 4 || c->ip_version[i] == 6);
	CHECK(c->ip_version[i] || !(c->ip_proto[i] || c->ip_len[i] || c->l4_len[i]));
	CHECK((c->inner_kind[i] == 0) == (c->inner_len[i] == 0));
	if (c->inner_kind[i]) {
		CHECK(c->tunnel[i] && c->inner_off[i] > base);
		CHECK(c->inner_off[i] + (uint32_t)c->inner_len[i] <= len);
	}
}

static vn_fieldset
some_columns(const uint8_t *control)
{
	uint64_t x = 0, y;

	memcpy(&x, control, 4);
	x = (x + 1) * UINT64_C(0x9e3779b97f4a7c15);
	y = (x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
	/* Few or many of them. */
	if (control[4] & 1)
		return ((vn_fieldset)(x & y << 7) << 64 | (x & y & y << 13)) & PARSED;
	return ((vn_fieldset)x << 64 | y) & PARSED;
}

/* -- the comparisons --------------------------------------------------------------------------- */

static void
parse_alone(const uint8_t *frame, size_t len, vn_fieldset want, const union table *right,
	    enum vn_start start)
{
	union table t;

	make(&t, want, 1);
	vn_parse_bytes(&t.c, 0, want, frame, 0, (uint32_t)len, (uint32_t)len, start);
	check_row(&t, 0, right, 0, want);
	drop(&t);
}

/* The frame in one place of a burst of n, at every level. */
static void
parse_bursts(const uint8_t *frame, size_t len, vn_fieldset want, const union table *right,
	     const uint8_t *control)
{
	static struct rte_mbuf mbufs[ROWS];
	struct rte_mbuf *pkts[ROWS];
	uint16_t n = (uint16_t)(1 + control[5] % ROWS), place = control[6] % n;
	union table others;

	make(&others, PARSED, 2);
	vn_parse_bytes(&others.c, 0, PARSED, udp_frame, 0, sizeof(udp_frame), sizeof(udp_frame),
		       VN_START_ETH);
	vn_parse_bytes(&others.c, 1, PARSED, tcp_frame, 0, sizeof(tcp_frame), sizeof(tcp_frame),
		       VN_START_ETH);
	others.c.in_port[0] = others.c.in_port[1] = 7;
	for (uint16_t i = 0; i < n; i++) {
		pkts[i] = &mbufs[i];
		if (i == place)
			make_mbuf(&mbufs[i], frame, len, UINT16_MAX);
		else if (i % 3)
			make_mbuf(&mbufs[i], udp_frame, sizeof(udp_frame), UINT16_MAX);
		else
			make_mbuf(&mbufs[i], tcp_frame, sizeof(tcp_frame), UINT16_MAX);
	}
	for (int level = 0; level <= vn_simd_best(); level++) {
		vn_fieldset sets[] = {want, want & VN_BLOCK_FIELDS, VN_BLOCK_FIELDS};

		CHECK(vn_simd_set(level) == 0);
		for (unsigned int s = 0; s < RTE_DIM(sets); s++) {
			union table t;

			make(&t, sets[s], n);
			vn_parse(&t.c, sets[s], pkts, n);
			for (uint16_t i = 0; i < n; i++)
				check_row(&t, i, i == place ? right : &others,
					  i == place || i % 3 ? 0 : 1, sets[s]);
			drop(&t);
		}
	}
	for (uint16_t i = 0; i < n; i++)
		free_mbuf(&mbufs[i], i == place ? frame : i % 3 ? udp_frame : tcp_frame);
	drop(&others);
}

/* All columns, derived ones too, of the packet and of three layers in it. */
static void
all_layers(struct rte_mbuf *m, union table layers[4])
{
	for (int depth = 0; depth < 4; depth++) {
		const struct vn_columns *c = &layers[depth].c, *outer = &layers[depth - 1].c;

		make(&layers[depth], ALL, 1);
		if (depth == 0)
			vn_parse(c, PARSED, &m, 1);
		else
			vn_parse_inner(c, PARSED, &m, 1, outer->inner_off, outer->inner_len,
				       outer->inner_kind);
		vn_derive(c, DERIVED, &m, 1, depth ? outer->inner_off : NULL);
		if (depth == 0)
			check_sense(c, 0, 0, m->pkt_len);
		else if (outer->inner_kind[0])
			check_sense(c, 0, outer->inner_off[0],
				    outer->inner_off[0] + (uint32_t)outer->inner_len[0]);
		CHECK(c->ip_csum[0] <= VN_CSUM_BAD && c->l4_csum[0] <= VN_CSUM_BAD);
		CHECK((c->ip_csum[0] != VN_CSUM_NONE) == (c->ip_version[0] == 4));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum vn_start starts[] = {VN_START_ETH, VN_START_IP4, VN_START_IP6};
	union table right, whole[4], chained[4];
	const uint8_t *control = data;
	struct rte_mbuf m;
	uint8_t *frame;
	vn_fieldset want;
	size_t len;

	if (size <= CONTROL)
		return 0;
	len = size - CONTROL;
	frame = malloc(len);
	CHECK(frame);
	memcpy(frame, data + CONTROL, len);
	want = some_columns(control);

	for (unsigned int i = RTE_DIM(starts); i-- > 0;) {
		make(&right, PARSED, 1);
		vn_parse_bytes(&right.c, 0, PARSED, frame, 0, (uint32_t)len, (uint32_t)len,
			       starts[i]);
		check_sense(&right.c, 0, 0, (uint32_t)len);
		parse_alone(frame, len, want, &right, starts[i]);
		parse_alone(frame, len, (vn_fieldset)1 << control[0] % VN_COLUMNS & PARSED, &right,
			    starts[i]);
		if (i > 0)
			drop(&right);
	}
	vn_port_number[7] = 7; /* as if it were the runtime's eighth port */
	right.c.in_port[0] = 7;
	parse_bursts(frame, len, want, &right, control);

	make_mbuf(&m, frame, len, UINT16_MAX);
	all_layers(&m, whole);
	free_mbuf(&m, frame);
	make_mbuf(&m, frame, len, 1 + control[7] % 96);
	all_layers(&m, chained);
	free_mbuf(&m, frame);
	check_row(&whole[0], 0, &right, 0, PARSED);
	for (int depth = 0; depth < 4; depth++) {
		check_row(&chained[depth], 0, &whole[depth], 0, ALL);
		drop(&chained[depth]);
		drop(&whole[depth]);
	}
	drop(&right);
	free(frame);
	return 0;
}
