/* SPDX-License-Identifier: BSD-3-Clause
 * Checksums that follow what is written (RFC 1624). A delta is the sum of ~old + new, in the
 * packet's own byte order (a ones' complement sum does not mind, RFC 1071). Headers begin at even
 * distances from what their checksum is over.
 */
#ifndef VN_CHECKSUM_H
#define VN_CHECKSUM_H

#include <stdint.h>
#include <string.h>

static inline uint16_t
vn_word(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return v;
}

/* Writes bytes of a header, and says what that does to a checksum over it. */
static inline uint32_t
vn_put(uint8_t *header, uint32_t off, const void *bytes, uint32_t len)
{
	uint32_t from = off & ~1u, to = (off + len + 1) & ~1u, delta = 0;

	for (uint32_t k = from; k < to; k += 2)
		delta += (uint16_t)~vn_word(header + k);
	memcpy(header + off, bytes, len);
	for (uint32_t k = from; k < to; k += 2)
		delta += vn_word(header + k);
	return delta;
}

static inline uint32_t
vn_put16(uint8_t *header, uint32_t off, uint64_t v)
{
	uint16_t be = __builtin_bswap16((uint16_t)v);

	return vn_put(header, off, &be, 2);
}

static inline uint32_t
vn_put32(uint8_t *header, uint32_t off, uint64_t v)
{
	uint32_t be = __builtin_bswap32((uint32_t)v);

	return vn_put(header, off, &be, 4);
}

static inline uint32_t
vn_put64(uint8_t *header, uint32_t off, uint64_t v)
{
	uint64_t be = __builtin_bswap64(v);

	return vn_put(header, off, &be, 8);
}

/* RFC 1624, equation 3: HC' = ~(~HC + ~m + m'). */
static inline uint16_t
vn_corrected(const uint8_t *checksum, uint32_t delta)
{
	uint32_t sum = (uint16_t)~vn_word(checksum);

	sum += (delta & 0xffff) + (delta >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

#endif
