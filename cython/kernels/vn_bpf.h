/* stand-in, LANG's comes */
#ifndef VN_BPF_H
#define VN_BPF_H
#include <string.h>
#include <rte_mbuf.h>
struct vn_bpf;
static inline void vn_bpf_run(const struct vn_bpf *b, struct rte_mbuf *const *pkts, uint32_t n, uint8_t *out) { memset(out, 0, n); }
#endif
