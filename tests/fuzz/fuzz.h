/* SPDX-License-Identifier: BSD-3-Clause
 * What the libFuzzer targets have in common: the input, byte for byte, and claims about it.
 */
#ifndef FUZZ_H
#define FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define CHECK(claim)                                                                               \
	do {                                                                                       \
		if (!(claim)) {                                                                    \
			fprintf(stderr, "line %d: does not hold: %s\n", __LINE__, #claim);         \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Zeros once it has ended. */
static const uint8_t *input __attribute__((unused)), *input_end __attribute__((unused));

static inline unsigned int
byte(void)
{
	return input < input_end ? *input++ : 0;
}

#endif
