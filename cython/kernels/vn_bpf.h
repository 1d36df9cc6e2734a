/* SPDX-License-Identifier: BSD-3-Clause
 * pcap-filter expressions as programs over packets' bytes: what no column says. libpcap compiles
 * them (for Ethernet), and its interpreter runs them.
 *
 * DPDK's librte_bpf was tried, and its x86 JIT of 22.11 is not fit for it: it encodes a test of a
 * mask that fits one byte wrongly (BPF_JSET: machine code that crashes); rte_bpf_convert forgets
 * the register of indirect loads of 1 and 4 bytes; and the JIT ends its passes when the code's size
 * no longer changes, though places in it may, so that jumps go astray by a byte in programs of a
 * few dozen instructions. The first two can be mended from outside, the third cannot.
 */
#ifndef VN_BPF_H
#define VN_BPF_H

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include "vn_compat.h"

/* Bytes of a packet in segments that are looked at, at most. */
#define VN_BPF_BYTES 65536u

struct vn_bpf;

/* Compiles an expression. NULL: err says why, in libpcap's words. An expression that no packet
 * matches is a program too. Any thread may call it; EAL need not be up. */
VN_EXPORT struct vn_bpf *vn_bpf_compile(const char *text, char *err, size_t errlen);
VN_EXPORT void vn_bpf_free(struct vn_bpf *b);
/* out[i] is 1 where packet i matches, else 0. A load beyond a packet's end makes it 0, as with
 * libpcap. Any number of threads may run the same program. */
VN_EXPORT void vn_bpf_run(const struct vn_bpf *b, struct rte_mbuf *const *pkts, uint32_t n,
			  uint8_t *out);
/* The same for a packet that is no mbuf: `caplen` bytes are here, it had `wirelen` on the wire. */
VN_EXPORT int vn_bpf_bytes(const struct vn_bpf *b, const uint8_t *p, uint32_t caplen,
			   uint32_t wirelen);

#endif
