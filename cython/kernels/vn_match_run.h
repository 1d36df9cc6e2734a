/* SPDX-License-Identifier: BSD-3-Clause
 * One source for every instruction set: the compiler makes vectors of these loops. A file defines
 * VN_MATCH_FN and includes this.
 */
#include "vn_match.h"

#define ROWS VN_MATCH_ROWS

/* The test of one column, over a block. Two unsigned comparisons are one: what is below lo wraps.
 */
#define TESTS(bits)                                                                                \
	static inline void test##bits(const uint##bits##_t *restrict x,                            \
				      const struct vn_match_step *s, uint8_t *restrict to,         \
				      uint32_t n)                                                  \
	{                                                                                          \
		const uint##bits##_t mask = (uint##bits##_t)s->mask, lo = (uint##bits##_t)s->lo;   \
		const uint##bits##_t span = (uint##bits##_t)s->span;                               \
		const uint8_t flip = s->negated;                                                   \
                                                                                                   \
		if (s->op == VN_MATCH_AND)                                                         \
			for (uint32_t i = 0; i < n; i++)                                           \
				to[i] &= ((uint##bits##_t)((x[i] & mask) - lo) <= span) ^ flip;    \
		else if (s->op == VN_MATCH_OR)                                                     \
			for (uint32_t i = 0; i < n; i++)                                           \
				to[i] |= ((uint##bits##_t)((x[i] & mask) - lo) <= span) ^ flip;    \
		else                                                                               \
			for (uint32_t i = 0; i < n; i++)                                           \
				to[i] = ((uint##bits##_t)((x[i] & mask) - lo) <= span) ^ flip;     \
	}
TESTS(8)
TESTS(16)
TESTS(32)
TESTS(64)

void
VN_MATCH_FN(const struct vn_columns *c, const struct vn_match_step *steps, uint32_t n_steps,
	    uint8_t *out, uint32_t n)
{
	const void *const *column = (const void *const *)c;
	uint8_t stack[VN_MATCH_DEPTH][ROWS];

	for (uint32_t from = 0; from < n; from += ROWS) {
		uint32_t rows = RTE_MIN(n - from, (uint32_t)ROWS);
		unsigned int top = 0; /* how many values there are; the lowest is out itself */

		for (uint32_t k = 0; k < n_steps; k++) {
			const struct vn_match_step *s = &steps[k];
			uint8_t *to, *below;

			top += s->op == VN_MATCH_PUSH;
			to = top == 1 ? out + from : stack[top - 1];
			switch (s->op) {
			case VN_MATCH_NOT:
				for (uint32_t i = 0; i < rows; i++)
					to[i] ^= 1;
				continue;
			case VN_MATCH_JOIN_AND:
			case VN_MATCH_JOIN_OR:
				top--;
				below = top == 1 ? out + from : stack[top - 1];
				if (s->op == VN_MATCH_JOIN_AND)
					for (uint32_t i = 0; i < rows; i++)
						below[i] &= to[i];
				else
					for (uint32_t i = 0; i < rows; i++)
						below[i] |= to[i];
				continue;
			}
			if (s->mask == 0) { /* a constant: its column need not be there */
				static const uint64_t zeros[ROWS];

				test64(zeros, s, to, rows);
				continue;
			}
			switch (s->field < VN_COLUMNS ? vn_field_size[s->field] : 1) {
			case 1:
				test8((const uint8_t *)column[s->field] + from, s, to, rows);
				break;
			case 2:
				test16((const uint16_t *)column[s->field] + from, s, to, rows);
				break;
			case 4:
				test32((const uint32_t *)column[s->field] + from, s, to, rows);
				break;
			default:
				test64((const uint64_t *)column[s->field] + from, s, to, rows);
			}
		}
	}
}
