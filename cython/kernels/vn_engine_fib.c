/* SPDX-License-Identifier: BSD-3-Clause
 * Prefixes of one address: rte_fib (DIR-24-8) and rte_fib6 (a trie).
 */
#include <errno.h>

#include "vn_acl_heap.h"
#include "vn_engine.h"

void
vn_fib_look_up(const struct vn_group *g, const struct vn_keys *keys, uint32_t n, uint32_t *result)
{
	uint64_t next[VN_RULE_ROWS];

	if (g->six) {
		rte_fib6_lookup_bulk(g->fib6, (void *)(uintptr_t)keys->bytes, next, n);
	} else {
		uint32_t ips[VN_RULE_ROWS];

		for (uint32_t i = 0; i < n; i++)
			ips[i] = rte_be_to_cpu_32(((const unaligned_uint32_t *)keys->bytes)[i]);
		rte_fib_lookup_bulk(g->fib, ips, next, n);
	}
	for (uint32_t i = 0; i < n; i++)
		result[i] = next[i];
}

struct prefix {
	uint8_t bytes[16]; /* the address, from the first byte on */
	uint8_t length;
	uint32_t index;
};

/* The one address whose prefixes all boxes are: its first column, or -1. */
static int
all_prefixes(const struct vn_build *w, bool *six)
{
	int column = -1;

	for (uint64_t i = 0; i < w->n; i++) {
		const struct vn_test *t[2];
		uint32_t found = 0;
		int field;

		for (uint32_t k = 0; k < w->items[i].box->n; k++) {
			if (vn_guards(w, &w->items[i].box->tests[k]))
				continue;
			if (found == 2)
				return -1;
			t[found++] = &w->items[i].box->tests[k];
		}
		if (found == 0 || vn_prefix_of(t[0]) < 1)
			return -1;
		field = t[0]->field;
		if (field == VN_I_ip_src || field == VN_I_ip_dst) {
			if (found != 1)
				return -1;
			*six = false;
		} else if (field == VN_I_ip6_src_hi || field == VN_I_ip6_dst_hi) {
			if (found == 2 && (t[1]->field != field + 1 || vn_prefix_of(t[0]) != 64 ||
					   vn_prefix_of(t[1]) < 1))
				return -1;
			*six = true;
		} else {
			return -1;
		}
		if (column >= 0 && column != field)
			return -1;
		column = field;
	}
	return column;
}

static int
compare_prefixes(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;
	int c = memcmp(x->bytes, y->bytes, 16);

	if (c == 0)
		c = (int)x->length - (int)y->length;
	return c ? c : (x->index > y->index) - (x->index < y->index);
}

static bool
covers(const struct prefix *a, const struct prefix *b)
{
	unsigned int whole = a->length / 8, rest = a->length % 8;

	return a->length <= b->length && memcmp(a->bytes, b->bytes, whole) == 0 &&
	       (rest == 0 || (a->bytes[whole] ^ b->bytes[whole]) >> (8 - rest) == 0);
}

/* Tables of a trie of bytes below its first 24 bits that lead to a prefix. */
static unsigned int
levels(const struct prefix *p)
{
	return p->length > 24 ? (p->length + 7u) / 8 - 3 : 0;
}

/* The longest prefix wins in a FIB. A rule whose prefix lies in that of a rule that wins against it
 * never wins anywhere: without such rules, the longest prefix is the winner. trie_tables: what
 * rte_fib6 reserves for them, tables of 256 from each prefix up to the one around it, shared or
 * not. */
static uint64_t
reachable(struct prefix *p, uint64_t n, uint64_t *trie_tables)
{
	uint64_t kept = 0, depth = 0;
	uint64_t *open = malloc((n + 1) *
				sizeof(*open)); /* places of the prefixes around the next */

	if (open == NULL)
		return 0;
	*trie_tables = 0;
	qsort(p, n, sizeof(*p), compare_prefixes);
	for (uint64_t i = 0; i < n; i++) {
		while (depth && !covers(&p[open[depth - 1]], &p[i]))
			depth--;
		if (depth && p[open[depth - 1]].index < p[i].index)
			continue;
		/* What is around has a larger index each, so that the innermost is the one to beat.
		 */
		*trie_tables += levels(&p[i]) - (depth ? levels(&p[open[depth - 1]]) : 0);
		p[kept] = p[i];
		open[depth++] = kept++;
	}
	free(open);
	return kept;
}

/* Tables of 256 that a trie of bytes has below its first 24 bits. */
static uint64_t
tables_below_24(const struct prefix *p, uint64_t n)
{
	uint64_t count = 1;

	for (uint64_t i = 0; i < n; i++) {
		unsigned int same = 0, whole = (p[i].length + 7) / 8;

		while (i && same < 16 && p[i].bytes[same] == p[i - 1].bytes[same])
			same++;
		for (unsigned int at = 3; at < whole; at++)
			count += i == 0 || same < at || (p[i - 1].length + 7u) / 8 <= at;
	}
	return count;
}

bool
vn_fib_fits(const struct vn_build *w, bool *six)
{
	return all_prefixes(w, six) >= 0;
}

int
vn_fib_build(const struct vn_build *w, struct vn_group *g, bool six)
{
	struct prefix *p = calloc(w->n, sizeof(*p));
	char name[32];
	uint64_t kept, tables;
	int socket, rc = 0;

	if (p == NULL)
		return vn_engine_fail(w, -ENOMEM, "no memory for the rules");
	for (uint64_t i = 0; i < w->n; i++) {
		uint32_t at = 0;

		p[i].index = w->items[i].index;
		for (uint32_t k = 0; k < w->items[i].box->n; k++) {
			const struct vn_test *t = &w->items[i].box->tests[k];

			if (vn_guards(w, t))
				continue;
			for (uint32_t j = 0; j < t->size; j++)
				p[i].bytes[at++] = t->lo >> 8 * (t->size - 1 - j);
			p[i].length += vn_prefix_of(t);
		}
	}
	kept = reachable(p, w->n, &tables);
	if (kept == 0) {
		free(p);
		return vn_engine_fail(w, -ENOMEM, "no memory for the rules");
	}
	vn_plain_layout(w, g);
	g->six = six;
	vn_engine_name(name, sizeof(name));
	if (!six)
		tables = tables_below_24(p, kept);
	socket = vn_rules_heap((six ? 96u << 20 : 160u << 20) + kept * 512 + tables * 2048);
	if (socket < 0) {
		free(p);
		return vn_engine_fail(w, -ENOMEM, "no memory for a routing table of the rules");
	}
	if (six) {
		const struct vn_test *t = w->items[0].box->tests;
		struct rte_fib6_conf conf = {
			.type = RTE_FIB6_TRIE, .default_nh = 0, .max_routes = kept + 1};

		while (vn_guards(w, t))
			t++;
		conf.trie.nh_sz = RTE_FIB6_TRIE_4B;
		conf.trie.num_tbl8 = tables + 1;
		g->n_parts = 0; /* all 16 bytes, where the first box has the upper half only, too */
		for (uint32_t k = 0; k < 4; k++)
			g->parts[g->n_parts++] = (struct vn_key_part){.field = t->field + k / 2,
								      .size = 8,
								      .bytes = 4,
								      .shift = k % 2 ? 0 : 32,
								      .offset = 4 * k};
		g->stride = 16;
		g->fib6 = rte_fib6_create(name, socket, &conf);
		rc = g->fib6 ? 0 : -ENOMEM;
		for (uint64_t i = 0; i < kept && rc == 0; i++)
			rc = rte_fib6_add(g->fib6, (void *)p[i].bytes, p[i].length, p[i].index);
	} else {
		struct rte_fib_conf conf = {
			.type = RTE_FIB_DIR24_8, .default_nh = 0, .max_routes = kept + 1};

		conf.dir24_8.nh_sz = RTE_FIB_DIR24_8_4B;
		conf.dir24_8.num_tbl8 = tables + 1;
		g->fib = rte_fib_create(name, socket, &conf);
		rc = g->fib ? 0 : -ENOMEM;
		for (uint64_t i = 0; i < kept && rc == 0; i++) {
			uint32_t ip;

			memcpy(&ip, p[i].bytes, 4);
			rc = rte_fib_add(g->fib, rte_be_to_cpu_32(ip), p[i].length, p[i].index);
		}
	}
	free(p);
	if (rc < 0)
		return vn_engine_fail(w, rc, "rte_fib cannot hold the rules");
	g->engine = VN_ENGINE_FIB;
	return 0;
}
