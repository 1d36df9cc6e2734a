/* SPDX-License-Identifier: BSD-3-Clause
 * Columns back into packets: header fields, VLAN tags. Checksums follow incrementally (RFC 1624),
 * so that a wrong one stays wrong and a right one right; SCTP's CRC32c is computed anew. Every
 * packet that is written must be its caller's alone: vn_own_rows() first.
 */
#ifndef VN_WRITE_H
#define VN_WRITE_H

#include "vn_parse.h"

/* Makes the rows of `where` (NULL: all) writable, with `headroom` bytes before each packet and its
 * first `head` bytes, if it has so many, in one piece: those that others share, or that lack this,
 * become copies from their own pool. 0, or -1 when there is no mbuf for a copy; then no packet's
 * bytes were changed. */
VN_EXPORT int vn_own_rows(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where,
			  uint16_t headroom, uint16_t head);
/* Writes the columns of `fields` into the rows of `where`. A row whose packet lacks a field's
 * header stays as it is there. Returns how many packets were changed. */
VN_EXPORT uint16_t vn_write(const struct vn_columns *c, vn_fieldset fields, struct rte_mbuf **pkts,
			    uint16_t n, const uint8_t *where);
/* Pushes a tag of `tpid` and `tci` in front of the EtherType (rows need 4 bytes of headroom and 14
 * in one piece); pops the outermost tag (18 in one piece). Returns how many packets were changed: a
 * runt is not, nor a packet without a tag. */
VN_EXPORT uint16_t vn_vlan_push(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where,
				uint16_t tpid, uint16_t tci);
VN_EXPORT uint16_t vn_vlan_pop(struct rte_mbuf **pkts, uint16_t n, const uint8_t *where);
/* Moves the rows of mask, in order, to out, and the others together. Returns how many moved. */
VN_EXPORT uint16_t vn_partition(struct rte_mbuf **pkts, uint16_t n, const uint8_t *mask,
				struct rte_mbuf **out);

#endif
