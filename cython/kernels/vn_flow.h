/* SPDX-License-Identifier: BSD-3-Clause
 * The pattern items of rte_flow that veridnet fills, and where their fields stand. The names of
 * items are DPDK's (rte_flow_conv gives the same); those of fields are testpmd's or the network's.
 */
#ifndef VN_FLOW_H
#define VN_FLOW_H

#include <stddef.h>
#include <stdint.h>

#include <rte_arp.h>
#include <rte_flow.h>

#include "vn_compat.h"

/* A number of `bits` bits, `shift` above the lowest of a big-endian word of `bytes` bytes at `off`.
 * `flag`: a C bit field instead, which only the compiler can place (vn_flow_set_flag).
 */
struct vn_flow_field {
	const char *name;
	uint16_t off;
	uint8_t bytes;
	uint8_t shift;
	uint8_t bits;
	uint8_t flag;
};

struct vn_flow_item {
	const char *name;
	enum rte_flow_item_type type;
	uint16_t size;
	struct vn_flow_field fields[16]; /* to the first without a name */
};

#define VN_FLOW_MAX_SIZE 64

/* A whole member; bits of a member; a C bit field. */
#define VN_FF(item, label, member)                                                                 \
	{label,                                                                                    \
	 offsetof(struct rte_flow_item_##item, member),                                            \
	 sizeof(((struct rte_flow_item_##item *)0)->member),                                       \
	 0,                                                                                        \
	 8 * sizeof(((struct rte_flow_item_##item *)0)->member),                                   \
	 0}
#define VN_FB(item, label, member, size, shift, bits)                                              \
	{label, offsetof(struct rte_flow_item_##item, member), size, shift, bits, 0}
#define VN_FLAG(label) {label, 0, 0, 0, 1, 1}
#define VN_ARP(label, member, hdr_member)                                                          \
	VN_FF(arp_eth_ipv4, label, VN_FLOW_ARP(member, hdr_member))
#define VN_ITEM(label, TYPE, item)                                                                 \
	label, RTE_FLOW_ITEM_TYPE_##TYPE, sizeof(struct rte_flow_item_##item)

static const struct vn_flow_item vn_flow_items[] = {
	{VN_ITEM("eth", ETH, eth),
	 {
		 VN_FF(eth, "dst", hdr.dst_addr),
		 VN_FF(eth, "src", hdr.src_addr),
		 VN_FF(eth, "type", hdr.ether_type),
		 VN_FLAG("has_vlan"),
	 }},
	{VN_ITEM("vlan", VLAN, vlan),
	 {
		 VN_FB(vlan, "pcp", hdr.vlan_tci, 2, 13, 3),
		 VN_FB(vlan, "dei", hdr.vlan_tci, 2, 12, 1),
		 VN_FB(vlan, "vid", hdr.vlan_tci, 2, 0, 12),
		 VN_FF(vlan, "inner_type", hdr.eth_proto),
		 VN_FLAG("has_more_vlan"),
	 }},
	{VN_ITEM("mpls", MPLS, mpls),
	 {
		 VN_FB(mpls, "label", label_tc_s, 4, 12, 20),
		 VN_FB(mpls, "tc", label_tc_s, 4, 9, 3),
		 VN_FB(mpls, "s", label_tc_s, 4, 8, 1),
		 VN_FF(mpls, "ttl", ttl),
	 }},
	{VN_ITEM("arp_eth_ipv4", ARP_ETH_IPV4, arp_eth_ipv4),
	 {
		 VN_ARP("op", op, arp_opcode),
		 VN_ARP("sha", sha, arp_data.arp_sha),
		 VN_ARP("spa", spa, arp_data.arp_sip),
		 VN_ARP("tha", tha, arp_data.arp_tha),
		 VN_ARP("tpa", tpa, arp_data.arp_tip),
	 }},
	{VN_ITEM("ipv4", IPV4, ipv4),
	 {
		 VN_FB(ipv4, "ihl", hdr.version_ihl, 1, 0, 4),
		 VN_FB(ipv4, "dscp", hdr.type_of_service, 1, 2, 6),
		 VN_FB(ipv4, "ecn", hdr.type_of_service, 1, 0, 2),
		 VN_FF(ipv4, "length", hdr.total_length),
		 VN_FF(ipv4, "packet_id", hdr.packet_id),
		 VN_FB(ipv4, "flags", hdr.fragment_offset, 2, 13, 3),
		 VN_FB(ipv4, "frag_off", hdr.fragment_offset, 2, 0, 13),
		 VN_FF(ipv4, "ttl", hdr.time_to_live),
		 VN_FF(ipv4, "proto", hdr.next_proto_id),
		 VN_FF(ipv4, "src", hdr.src_addr),
		 VN_FF(ipv4, "dst", hdr.dst_addr),
	 }},
	{VN_ITEM("ipv6", IPV6, ipv6),
	 {
		 VN_FB(ipv6, "dscp", hdr.vtc_flow, 4, 22, 6),
		 VN_FB(ipv6, "ecn", hdr.vtc_flow, 4, 20, 2),
		 VN_FB(ipv6, "flow", hdr.vtc_flow, 4, 0, 20),
		 VN_FF(ipv6, "proto", hdr.proto),
		 VN_FF(ipv6, "hop", hdr.hop_limits),
		 {"src_hi", offsetof(struct rte_flow_item_ipv6, hdr.src_addr), 8, 0, 64, 0},
		 {"src_lo", offsetof(struct rte_flow_item_ipv6, hdr.src_addr) + 8, 8, 0, 64, 0},
		 {"dst_hi", offsetof(struct rte_flow_item_ipv6, hdr.dst_addr), 8, 0, 64, 0},
		 {"dst_lo", offsetof(struct rte_flow_item_ipv6, hdr.dst_addr) + 8, 8, 0, 64, 0},
	 }},
	{VN_ITEM("tcp", TCP, tcp),
	 {
		 VN_FF(tcp, "src", hdr.src_port),
		 VN_FF(tcp, "dst", hdr.dst_port),
		 VN_FF(tcp, "seq", hdr.sent_seq),
		 VN_FF(tcp, "ack", hdr.recv_ack),
		 VN_FB(tcp, "flags", hdr.data_off, 2, 0, 12), /* the reserved bits among them */
		 VN_FF(tcp, "window", hdr.rx_win),
	 }},
	{VN_ITEM("udp", UDP, udp),
	 {
		 VN_FF(udp, "src", hdr.src_port),
		 VN_FF(udp, "dst", hdr.dst_port),
		 VN_FF(udp, "length", hdr.dgram_len),
	 }},
	{VN_ITEM("sctp", SCTP, sctp),
	 {
		 VN_FF(sctp, "src", hdr.src_port),
		 VN_FF(sctp, "dst", hdr.dst_port),
		 VN_FF(sctp, "tag", hdr.tag),
	 }},
	{VN_ITEM("icmp", ICMP, icmp),
	 {
		 VN_FF(icmp, "type", hdr.icmp_type),
		 VN_FF(icmp, "code", hdr.icmp_code),
	 }},
	{VN_ITEM("icmp6", ICMP6, icmp6),
	 {
		 VN_FF(icmp6, "type", type),
		 VN_FF(icmp6, "code", code),
	 }},
	{VN_ITEM("esp", ESP, esp),
	 {
		 VN_FF(esp, "spi", hdr.spi),
		 VN_FF(esp, "seq", hdr.seq),
	 }},
};

#define VN_FLOW_ITEMS (sizeof(vn_flow_items) / sizeof(vn_flow_items[0]))

/* Attributes: bit fields, too. */
static inline struct rte_flow_attr
vn_flow_attr(uint32_t group, uint32_t priority, int ingress, int egress, int transfer)
{
	struct rte_flow_attr a = {.group = group, .priority = priority};

	a.ingress = !!ingress;
	a.egress = !!egress;
	a.transfer = !!transfer;
	return a;
}

/* Sets an item's flag, in its spec, last or mask. */
static inline void
vn_flow_set_flag(enum rte_flow_item_type type, void *item)
{
	if (type == RTE_FLOW_ITEM_TYPE_ETH)
		((struct rte_flow_item_eth *)item)->has_vlan = 1;
	else if (type == RTE_FLOW_ITEM_TYPE_VLAN)
		((struct rte_flow_item_vlan *)item)->has_more_vlan = 1;
}

#endif
