/* SPDX-License-Identifier: BSD-3-Clause
 * Captures into columns: records are read by libpcap, or as it would, and parsed as they come,
 * without mbufs from a pool, and so without EAL.
 */
#ifndef VN_TABLE_H
#define VN_TABLE_H

#include "vn_capture.h"
#include "vn_parse.h"

/* A capture that is being read. */
struct vn_table;

/* Begins to read the capture that fd is, and owns fd from then on. NULL: error says why (libpcap's
 * words; room for VN_CAPTURE_ERRBUF). */
VN_EXPORT struct vn_table *vn_table_open(int fd, char *error);
VN_EXPORT void vn_table_close(struct vn_table *t);
/* The DLT_ value of its link type; can its packets be parsed? */
VN_EXPORT int vn_table_linktype(const struct vn_table *t);
VN_EXPORT bool vn_table_readable(const struct vn_table *t);
/* Parses up to n records into rows 0..; the columns need not be zero before. wire_len is the length
 * on the wire, rx_time the record's time in ns since 1970. derived: those of the wanted columns
 * that vn_derive fills; what they need must be wanted too. Returns the rows: fewer than n at the
 * end, or before the first record that cannot be read. */
VN_EXPORT uint32_t vn_table_read(struct vn_table *t, const struct vn_columns *c, vn_fieldset want,
				 vn_fieldset derived, uint32_t n);
/* Why reading ended early, in libpcap's words; NULL: it did not. */
VN_EXPORT const char *vn_table_error(const struct vn_table *t);

#endif
