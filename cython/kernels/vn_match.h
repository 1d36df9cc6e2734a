/* SPDX-License-Identifier: BSD-3-Clause
 * A match expression, compiled (veridnet/headers/match): tests of columns and what joins them,
 * in postfix order, run over blocks of rows so that all but the columns stays in the L1 cache.
 */
#ifndef VN_MATCH_H
#define VN_MATCH_H

#include "vn_parse.h"

#define VN_MATCH_DEPTH 32 /* of nested parentheses */
#define VN_MATCH_ROWS 256

enum vn_match_op {
	VN_MATCH_PUSH, /* the test's result becomes a new top */
	VN_MATCH_AND,  /* the test's result is joined with the top */
	VN_MATCH_OR,
	VN_MATCH_NOT,	   /* no test: the top alone ... */
	VN_MATCH_JOIN_AND, /* ... or the top two, which become one */
	VN_MATCH_JOIN_OR,
};

/* Is (column & mask) in lo..lo + span? A field from VN_COLUMNS on is no header's, but bytes that
 * the caller has put behind struct vn_columns: what a BPF program said of each row. */
struct vn_match_step {
	uint64_t mask, lo, span;
	uint16_t field;
	uint8_t op;
	uint8_t negated;
};

/* Runs a program over rows 0..n: out[i] is 1 where it holds, else 0. Programs are checked by who
 * makes them: one value is left, and never more than VN_MATCH_DEPTH are there. */
VN_EXPORT void vn_match(const struct vn_columns *c, const struct vn_match_step *steps,
			uint32_t n_steps, uint8_t *out, uint32_t n);

void vn_match_plain(const struct vn_columns *c, const struct vn_match_step *steps, uint32_t n_steps,
		    uint8_t *out, uint32_t n);
#ifdef VN_X86
void vn_match_avx2(const struct vn_columns *c, const struct vn_match_step *steps, uint32_t n_steps,
		   uint8_t *out, uint32_t n);
void vn_match_avx512(const struct vn_columns *c, const struct vn_match_step *steps,
		     uint32_t n_steps, uint8_t *out, uint32_t n);
#endif

#endif
