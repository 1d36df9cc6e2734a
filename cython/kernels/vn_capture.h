/* SPDX-License-Identifier: BSD-3-Clause
 * What is in a capture, by libpcap itself (the reader that net_pcap uses): read through once
 * before a port is made of it, since net_pcap neither says that its file has ended nor why.
 */
#ifndef VN_CAPTURE_H
#define VN_CAPTURE_H

#include <stddef.h>
#include <stdint.h>

#include "vn_compat.h"

#define VN_CAPTURE_ERRBUF 256

struct vn_capture {
	int linktype; /* LINKTYPE_ value (pcap-linktype(7)); -1: not opened */
	int swapped;  /* written on a machine of the other byte order */
	int snaplen;
	uint64_t records;    /* whole records, before the end or the first bad one */
	uint64_t bytes;	     /* sum of caplen */
	uint32_t max_caplen; /* longest record */
	uint64_t *cut;	     /* numbers of the records with caplen < len, ascending; malloc'ed */
	uint64_t n_cut;
	int damaged;		       /* the file ends in, or has, a bad record: `error` */
	char error[VN_CAPTURE_ERRBUF]; /* libpcap's words */
};

/* Reads the capture through. 0, or -1 when it is no capture at all (error says why). Touches no
 * global state; free the result with vn_capture_free(). */
VN_EXPORT int vn_capture_scan(const char *path, struct vn_capture *c);
VN_EXPORT void vn_capture_free(struct vn_capture *c);
/* Name of a link type ("EN10MB"), or NULL. */
VN_EXPORT const char *vn_capture_linktype_name(int linktype);

#endif
