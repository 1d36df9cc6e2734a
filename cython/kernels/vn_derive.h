/* SPDX-License-Identifier: BSD-3-Clause
 * Columns that are computed from a packet's bytes or from its other columns, on demand: are its
 * checksums right (RFC 1071; RFC 9260 for SCTP), and which flow is it (Toeplitz).
 */
#ifndef VN_DERIVE_H
#define VN_DERIVE_H

#include "vn_parse.h"

#define VN_HASH_KEY_LEN 40

enum vn_csum { VN_CSUM_NONE, VN_CSUM_GOOD, VN_CSUM_BAD };

/* Fills the columns of `want` for n packets whose other columns are parsed. base: where each row's
 * packet begins in its mbuf; NULL: at the first byte. What each needs: `NEEDS` in fields.py. */
VN_EXPORT void vn_derive(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
			 uint16_t n, const uint16_t *base);
/* Parses and derives: all that n packets' columns of `want` need. Other columns than these may be
 * written too: every one has memory. */
VN_EXPORT void vn_fill(const struct vn_columns *c, vn_fieldset want, struct rte_mbuf *const *pkts,
		       uint16_t n);
/* Writes the CRC32c of the SCTP packet at off. The bytes must be the caller's to write. */
void vn_sctp_seal(struct rte_mbuf *m, uint32_t off, uint32_t len);
/* Does a routing header or option have places to go to yet (RFC 8200, 4.4; RFC 791)? A checksum is
 * over the last one's address, then. l3 is where IP begins, l4 where it ends. */
bool vn_rerouted(const struct rte_mbuf *m, uint32_t l3, uint32_t l4, bool v6);
/* The RSS key of flow_hash, VN_HASH_KEY_LEN bytes. */
VN_EXPORT void vn_hash_set_key(const uint8_t *key);

#endif
