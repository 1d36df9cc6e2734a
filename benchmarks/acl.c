/* SPDX-License-Identifier: BSD-3-Clause
 * The peer of the flow-rule table: rte_acl through its C API, in the process where our own table
 * is. rules.py builds this file into a shared library and calls it with ctypes.
 *
 * The key is that of dpdk-test-acl: protocol byte, source, destination, both ports, in network byte
 * order. The first rule of the file wins: its rte_acl priority is the highest, and a result is the
 * rule's place in the file plus one (0: none).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_acl.h>
#include <rte_byteorder.h>
#include <rte_log.h>
#include <rte_vect.h>

#define BURST_MAX 512

/* A filter of a ClassBench file: numbers in host byte order. rules.py has the same as a dtype. */
struct filter {
	uint32_t src, dst;
	uint8_t src_len, dst_len, proto, proto_mask;
	uint16_t sport_lo, sport_hi, dport_lo, dport_hi;
	uint32_t place; /* in the file, from 0 */
};

struct key {
	uint8_t proto;
	uint8_t pad[3];
	uint32_t src, dst;
	uint16_t sport, dport;
};

/* What rte_acl logs of a build, and its time. */
struct built {
	double seconds;
	uint64_t heap;	     /* bytes of the build's pool: the most of all its attempts */
	uint64_t runtime;    /* bytes of the result */
	uint32_t tries;	     /* 1..8 */
	uint32_t attempts;   /* builds with another node limit */
	uint32_t node_limit; /* of the last */
	uint32_t nodes;
	uint32_t rules[8]; /* of each trie */
	int32_t rc;
};

enum { PROTO, SRC, DST, SPORT, DPORT, FIELDS };
enum { IN_PROTO, IN_SRC, IN_DST, IN_PORTS };

RTE_ACL_RULE_DEF(acl_filter, FIELDS);

static const struct rte_acl_field_def defs[FIELDS] = {
	{RTE_ACL_FIELD_TYPE_BITMASK, 1, PROTO, IN_PROTO, offsetof(struct key, proto)},
	{RTE_ACL_FIELD_TYPE_MASK, 4, SRC, IN_SRC, offsetof(struct key, src)},
	{RTE_ACL_FIELD_TYPE_MASK, 4, DST, IN_DST, offsetof(struct key, dst)},
	{RTE_ACL_FIELD_TYPE_RANGE, 2, SPORT, IN_PORTS, offsetof(struct key, sport)},
	{RTE_ACL_FIELD_TYPE_RANGE, 2, DPORT, IN_PORTS, offsetof(struct key, dport)},
};

/* CPU time of this thread: what else runs on the machine does not count. */
static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The figures of a build that rte_acl logs and does not return. An attempt (a build with one node
 * limit) logs its pool, the tries, and before that the result's size.
 */
static void
read_log(const char *text, struct built *b)
{
	static const char attempt[] = "node limit for tree split: ";
	const char *last = text, *at;

	for (at = text; (at = strstr(at, attempt)); at++) {
		const char *heap = strstr(at, "memory consumed: ");
		const char *nodes = strstr(at, "nodes created: ");
		uint64_t bytes = heap ? strtoull(heap + 17, NULL, 10) : 0;

		b->attempts++;
		b->node_limit = (uint32_t)strtoul(at + sizeof(attempt) - 1, NULL, 10);
		b->nodes = nodes ? (uint32_t)strtoul(nodes + 15, NULL, 10) : 0;
		b->heap = RTE_MAX(b->heap, bytes);
		last = at;
	}
	for (at = last; (at = strstr(at, "number of rules: ")) && b->tries < 8; at++)
		b->rules[b->tries++] = (uint32_t)strtoul(at + 17, NULL, 10);
	for (at = text; (at = strstr(at, "\ntotal: ")); at++)
		b->runtime = strtoull(at + 8, NULL, 10);
}

/* Builds a context of n filters; NULL and b->rc where it fails. */
struct rte_acl_ctx *
acl_build(const struct filter *f, uint32_t n, uint64_t max_size, int socket, struct built *b)
{
	static unsigned int serial;
	struct rte_acl_config cfg = {.num_categories = 1, .num_fields = FIELDS};
	struct rte_acl_param param = {.socket_id = socket, .max_rule_num = n};
	FILE *log, *former = rte_log_get_stream();
	uint32_t level = rte_log_get_global_level();
	struct acl_filter *rules;
	struct rte_acl_ctx *ctx;
	char name[32], *text = NULL;
	size_t size = 0;
	double from;

	memset(b, 0, sizeof(*b));
	snprintf(name, sizeof(name), "bench%u", serial++);
	param.name = name;
	param.rule_size = RTE_ACL_RULE_SZ(FIELDS);
	memcpy(cfg.defs, defs, sizeof(defs));
	cfg.max_size = max_size;
	ctx = rte_acl_create(&param);
	rules = calloc(n, sizeof(*rules));
	if (ctx == NULL || rules == NULL) {
		b->rc = -ENOMEM;
		free(rules);
		rte_acl_free(ctx);
		return NULL;
	}
	for (uint32_t i = 0; i < n; i++) {
		struct acl_filter *r = &rules[i];

		r->data.category_mask = 1;
		r->data.priority = RTE_ACL_MAX_PRIORITY - (int32_t)f[i].place;
		r->data.userdata = f[i].place + 1;
		r->field[PROTO].value.u8 = f[i].proto;
		r->field[PROTO].mask_range.u8 = f[i].proto_mask;
		r->field[SRC].value.u32 = f[i].src;
		r->field[SRC].mask_range.u32 = f[i].src_len;
		r->field[DST].value.u32 = f[i].dst;
		r->field[DST].mask_range.u32 = f[i].dst_len;
		r->field[SPORT].value.u16 = f[i].sport_lo;
		r->field[SPORT].mask_range.u16 = f[i].sport_hi;
		r->field[DPORT].value.u16 = f[i].dport_lo;
		r->field[DPORT].mask_range.u16 = f[i].dport_hi;
	}
	b->rc = rte_acl_add_rules(ctx, (struct rte_acl_rule *)rules, n);
	free(rules);
	log = open_memstream(&text, &size);
	rte_openlog_stream(log);
	rte_log_set_global_level(RTE_LOG_DEBUG);
	rte_log_set_level_pattern("lib.acl", RTE_LOG_DEBUG);
	from = now();
	if (b->rc == 0)
		b->rc = rte_acl_build(ctx, &cfg);
	b->seconds = now() - from;
	rte_log_set_level_pattern("lib.acl", RTE_LOG_INFO);
	rte_log_set_global_level(level);
	rte_openlog_stream(former);
	fclose(log);
	read_log(text, b);
	if (getenv("VN_ACL_LOG"))
		fputs(text, stderr);
	free(text);
	if (b->rc) {
		rte_acl_free(ctx);
		return NULL;
	}
	return ctx;
}

void
acl_free(struct rte_acl_ctx *ctx)
{
	rte_acl_free(ctx);
}

/* Gives what malloc keeps back to the kernel. */
void
acl_trim(void)
{
	malloc_trim(0);
}

/* The best algorithm that this CPU has, of AVX-512, AVX2 and SSE; its name. */
const char *
acl_algorithm(struct rte_acl_ctx *ctx)
{
	static const struct {
		enum rte_acl_classify_alg alg;
		const char *name;
	} best[] = {
		{RTE_ACL_CLASSIFY_AVX512X32, "avx512x32"},
		{RTE_ACL_CLASSIFY_AVX512X16, "avx512x16"},
		{RTE_ACL_CLASSIFY_AVX2, "avx2"},
		{RTE_ACL_CLASSIFY_SSE, "sse"},
		{RTE_ACL_CLASSIFY_NEON, "neon"},
		{RTE_ACL_CLASSIFY_SCALAR, "scalar"},
	};

	/* As --force-max-simd-bitwidth=512 does, unless that was given. */
	rte_vect_set_max_simd_bitwidth(RTE_VECT_SIMD_512);
	for (unsigned int i = 0; i < RTE_DIM(best); i++)
		if (rte_acl_set_ctx_classify(ctx, best[i].alg) == 0)
			return best[i].name;
	return "default";
}

/* The keys of n headers given as columns, in host byte order. */
void
acl_keys(struct key *k, const uint32_t *src, const uint32_t *dst, const uint16_t *sport,
	 const uint16_t *dport, const uint8_t *proto, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		k[i] = (struct key){.proto = proto[i],
				    .src = rte_cpu_to_be_32(src[i]),
				    .dst = rte_cpu_to_be_32(dst[i]),
				    .sport = rte_cpu_to_be_16(sport[i]),
				    .dport = rte_cpu_to_be_16(dport[i])};
}

/* Classifies n keys `passes` times in bursts, in `parts` contexts, of whose results the first rule
 * in the file wins. The winners of the last pass go to `winners`: places in the file, -1: none.
 * Returns ns a lookup (a key in all contexts), or -1.
 */
double
acl_classify(struct rte_acl_ctx *const *ctx, uint32_t parts, const struct key *keys, uint32_t n,
	     uint32_t burst, uint32_t passes, int32_t *winners)
{
	const uint8_t **data = malloc(n * sizeof(*data));
	uint32_t found[BURST_MAX];
	double from, spent;

	if (data == NULL || burst == 0 || burst > BURST_MAX) {
		free(data);
		return -1;
	}
	for (uint32_t i = 0; i < n; i++)
		data[i] = (const uint8_t *)&keys[i];
	from = now();
	for (uint32_t p = 0; p < passes; p++)
		for (uint32_t at = 0; at < n; at += burst) {
			uint32_t m = RTE_MIN(burst, n - at);
			uint32_t *out = (uint32_t *)winners + at;

			rte_acl_classify(ctx[0], data + at, out, m, 1);
			for (uint32_t c = 1; c < parts; c++) {
				rte_acl_classify(ctx[c], data + at, found, m, 1);
				for (uint32_t i = 0; i < m; i++)
					out[i] = RTE_MIN(out[i] - 1, found[i] - 1) + 1;
			}
		}
	spent = now() - from;
	for (uint32_t i = 0; i < n; i++)
		winners[i]--;
	free(data);
	return spent * 1e9 / passes / n;
}
