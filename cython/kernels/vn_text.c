/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_text.h"

/* The longest value: an IPv6 address with an IPv4 one at its end has 45. */
#define VALUE_ROOM 48

static const char digits2[] = "00010203040506070809"
			      "10111213141516171819"
			      "20212223242526272829"
			      "30313233343536373839"
			      "40414243444546474849"
			      "50515253545556575859"
			      "60616263646566676869"
			      "70717273747576777879"
			      "80818283848586878889"
			      "90919293949596979899";
static const char hex[] = "0123456789abcdef";

static inline char *
put_word(char *o, struct vn_word w)
{
	if (w.len == 1) {
		*o = *w.text;
		return o + 1;
	}
	if (w.len)
		memcpy(o, w.text, w.len);
	return o + w.len;
}

static inline char *
put_number(char *o, uint64_t v)
{
	char buf[24], *p = buf + sizeof(buf);
	size_t len;

	if (v < 10) {
		*o = (char)('0' + v);
		return o + 1;
	}
	while (v >= 100) {
		p -= 2;
		memcpy(p, digits2 + 2 * (v % 100), 2);
		v /= 100;
	}
	if (v >= 10) {
		p -= 2;
		memcpy(p, digits2 + 2 * v, 2);
	} else {
		*--p = (char)('0' + v);
	}
	len = (size_t)(buf + sizeof(buf) - p);
	memcpy(o, p, len);
	return o + len;
}

/* Without 0x; at least so many digits. */
static inline char *
put_hex(char *o, uint64_t v, unsigned int digits)
{
	while (digits < 16 && v >> 4 * digits)
		digits++;
	for (unsigned int k = digits; k-- > 0;)
		*o++ = hex[v >> 4 * k & 15];
	return o;
}

static inline char *
put_byte(char *o, uint8_t v)
{
	if (v >= 100) {
		*o = (char)('0' + v / 100);
		memcpy(o + 1, digits2 + 2 * (v % 100), 2);
		return o + 3;
	}
	if (v >= 10) {
		memcpy(o, digits2 + 2 * v, 2);
		return o + 2;
	}
	*o = (char)('0' + v);
	return o + 1;
}

static inline char *
put_ip4(char *o, uint32_t v)
{
	o = put_byte(o, (uint8_t)(v >> 24));
	*o++ = '.';
	o = put_byte(o, (uint8_t)(v >> 16));
	*o++ = '.';
	o = put_byte(o, (uint8_t)(v >> 8));
	*o++ = '.';
	return put_byte(o, (uint8_t)v);
}

static inline char *
put_mac(char *o, uint64_t v)
{
	for (int k = 40; k >= 0; k -= 8) {
		*o++ = hex[v >> (k + 4) & 15];
		*o++ = hex[v >> k & 15];
		*o++ = ':';
	}
	return o - 1;
}

/* RFC 5952, as inet_ntop writes it: the longest run of two or more zero groups is ::, and what
 * maps an IPv4 address, or is compatible with one, ends in it. */
static char *
put_ip6(char *o, uint64_t hi, uint64_t lo)
{
	unsigned int best = 8, best_len = 1;
	uint16_t g[8];

	for (unsigned int k = 0; k < 4; k++) {
		g[k] = (uint16_t)(hi >> (48 - 16 * k));
		g[k + 4] = (uint16_t)(lo >> (48 - 16 * k));
	}
	for (unsigned int k = 0; k < 8; k++) {
		unsigned int len = 0;

		while (k + len < 8 && g[k + len] == 0)
			len++;
		if (len > best_len) {
			best = k;
			best_len = len;
		}
		k += len;
	}
	for (unsigned int k = 0; k < 8; k++) {
		if (k == best) {
			*o++ = ':';
			k += best_len - 1;
			if (k == 7)
				*o++ = ':';
			continue;
		}
		if (k)
			*o++ = ':';
		if (k == 6 && best == 0 && (best_len == 6 || (best_len == 5 && g[5] == 0xffff)))
			return put_ip4(o, (uint32_t)lo);
		o = put_hex(o, g[k], 1);
	}
	return o;
}

static inline char *
put_time(char *o, uint64_t ns)
{
	uint64_t rest = ns % 1000000000u;

	o = put_number(o, ns / 1000000000u);
	*o = '.';
	for (int k = 9; k > 0; k--) {
		o[k] = (char)('0' + rest % 10);
		rest /= 10;
	}
	return o + 10;
}

static inline uint64_t
value_of(const struct vn_columns *c, uint16_t field, uint32_t row)
{
	const void *column = ((void *const *)c)[field];

	switch (vn_field_size[field]) {
	case 1:
		return ((const uint8_t *)column)[row];
	case 2:
		return ((const uint16_t *)column)[row];
	case 4:
		return ((const uint32_t *)column)[row];
	default:
		return ((const uint64_t *)column)[row];
	}
}

static inline char *
put_value(char *o, const struct vn_columns *c, const struct vn_cell *cell, uint32_t row,
	  uint64_t number)
{
	uint64_t v = cell->kind == VN_TEXT_ROW ? number : value_of(c, cell->field, row);

	switch (cell->kind) {
	case VN_TEXT_HEX:
		*o++ = '0';
		*o++ = 'x';
		return put_hex(o, v, cell->digits);
	case VN_TEXT_MAC:
		return put_mac(o, v);
	case VN_TEXT_IP4:
		return put_ip4(o, (uint32_t)v);
	case VN_TEXT_IP6:
		return put_ip6(o, v, value_of(c, cell->low, row));
	case VN_TEXT_TIME:
		return put_time(o, v);
	case VN_TEXT_NAME:
		if (v < cell->n_names)
			return put_word(o, cell->names[v]);
		return put_number(o, v);
	default:
		return put_number(o, v);
	}
}

size_t
vn_text_room(const struct vn_cell *cells, uint32_t n_cells)
{
	size_t room = 0;

	for (uint32_t k = 0; k < n_cells; k++) {
		size_t value = RTE_MAX((size_t)VALUE_ROOM, (size_t)cells[k].width);

		for (uint32_t i = 0; i < cells[k].n_names; i++)
			value = RTE_MAX(value, (size_t)cells[k].names[i].len);
		room += RTE_MAX(cells[k].before.len + value + cells[k].after.len,
				(size_t)cells[k].none.len);
	}
	return room;
}

size_t
vn_text(const struct vn_columns *c, const struct vn_cell *cells, uint32_t n_cells,
	const uint8_t *mask, uint32_t first, uint32_t last, uint64_t base, char *out)
{
	char *o = out;

	for (uint32_t row = first; row < last; row++) {
		if (mask && !mask[row])
			continue;
		for (uint32_t k = 0; k < n_cells; k++) {
			const struct vn_cell *cell = &cells[k];
			char *start;

			if (cell->shown && !cell->shown[row]) {
				o = put_word(o, cell->none);
				continue;
			}
			o = put_word(o, cell->before);
			start = o;
			o = put_value(o, c, cell, row, base + row);
			if (o - start < cell->width) {
				size_t len = (size_t)(o - start), pad = cell->width - len;

				memmove(start + pad, start, len);
				memset(start, ' ', pad);
				o = start + cell->width;
			}
			o = put_word(o, cell->after);
		}
	}
	return (size_t)(o - out);
}
