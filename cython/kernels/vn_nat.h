/* SPDX-License-Identifier: BSD-3-Clause
 * What actions write into one packet: columns, addresses and ports (NAT), the TTL. Checksums follow
 * (RFC 1624). The packet is its caller's alone: vn_own_rows() first, with VN_ACT_HEAD bytes.
 */
#ifndef VN_NAT_H
#define VN_NAT_H

#include "vn_write.h"

#define VN_ACT_HEAD                                                                                \
	128 /* Ethernet, 4 tags, 8 MPLS labels and an IP header are in one piece then              \
	     */

/* Columns and the values that they are set to. */
struct vn_set {
	vn_fieldset fields;
	struct vn_columns columns; /* of one row: cells */
	uint64_t cells[VN_COLUMNS];
};

/* An address, and a port where has_port is set, that replace a packet's source or destination. */
struct vn_nat {
	uint8_t version; /* 4 or 6: packets of the other stay as they are */
	bool source, has_port;
	uint16_t port;
	uint8_t address[16]; /* as in the packet */
	struct vn_set set;   /* the same, for packets of rare shapes */
};

VN_EXPORT void vn_set_init(struct vn_set *s);
/* Adds a column, or changes its value. */
VN_EXPORT void vn_set_add(struct vn_set *s, enum vn_field f, uint64_t value);
/* MAC addresses alone. */
VN_EXPORT void vn_set_macs_of(const struct vn_set *s, struct rte_mbuf *m);
/* Writes the columns; a packet that lacks a column's header stays as it is there. */
static inline void
vn_set_run(const struct vn_set *s, struct rte_mbuf *m)
{
	if ((s->fields & ~(VN_F(eth_dst) | VN_F(eth_src))) == 0) {
		vn_set_macs_of(s, m);
		return;
	}
	vn_write(&s->columns, s->fields, &m, 1, NULL);
}

VN_EXPORT void vn_nat_init(struct vn_nat *a, bool source, uint8_t version, const uint8_t *address,
			   bool has_port, uint16_t port);
/* The ports of fragments but the first, which has them, stay. */
VN_EXPORT void vn_nat_run(const struct vn_nat *a, struct rte_mbuf *m);

/* Takes one from the TTL or hop limit. False, with nothing written, if it would become 0. */
VN_EXPORT bool vn_ttl_run(struct rte_mbuf *m);

#endif
