/* SPDX-License-Identifier: BSD-3-Clause
 * Columns as text: TSV, CSV, JSON and aligned tables are the same rows with other words around the
 * values.
 */
#ifndef VN_TEXT_H
#define VN_TEXT_H

#include "vn_parse.h"

/* How a value is written. */
enum vn_text_kind {
	VN_TEXT_NUMBER, /* decimal */
	VN_TEXT_HEX,	/* 0x, and at least `digits` digits */
	VN_TEXT_MAC,	/* 02:00:00:00:00:01 */
	VN_TEXT_IP4,	/* 10.0.0.1 */
	VN_TEXT_IP6,	/* of two columns, RFC 5952 */
	VN_TEXT_TIME,	/* ns as seconds with nine decimals */
	VN_TEXT_NAME,	/* of the list of names; a number beyond it in decimal */
	VN_TEXT_ROW,	/* the row's number itself, no column */
	VN_TEXT_KINDS,
};

struct vn_word {
	const char *text;
	uint32_t len;
};

/* One value of each row. */
struct vn_cell {
	struct vn_word before, after; /* around the value */
	struct vn_word none;	      /* instead of all three where it is not shown */
	const uint8_t *shown;	      /* rows that have it; NULL: all */
	const struct vn_word *names;
	uint16_t n_names;
	uint16_t field, low; /* low: the lower half of an IPv6 address */
	uint8_t kind, digits;
	uint8_t width; /* the value is padded to it, on the left */
};

/* The most bytes that a row can have. */
VN_EXPORT size_t vn_text_room(const struct vn_cell *cells, uint32_t n_cells);
/* Writes rows first..last of those with mask[row] (NULL: all) to out, and returns the bytes. The
 * row's number is base + row. */
VN_EXPORT size_t vn_text(const struct vn_columns *c, const struct vn_cell *cells, uint32_t n_cells,
			 const uint8_t *mask, uint32_t first, uint32_t last, uint64_t base,
			 char *out);

#endif
