/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_table.h"

#include <errno.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <pcap/pcap.h>

#include "vn_derive.h"

#define FILE_BUFFER (512u << 10)
/* The longest piece of one mbuf. */
#define SEGMENT 65535u

/* Plain records are taken from `buffer` in place; libpcap copies each one. Plain: of a classic pcap
 * file in this machine's byte order, whole, and not longer than the file says. The first record
 * that is not, and all after it, are libpcap's. */
struct vn_table {
	pcap_t *pcap;
	FILE *file;
	char *buffer;
	int linktype;
	bool ended, failed;
	bool plain;
	uint32_t snaplen, unit; /* ns of a record's fraction of a second */
	uint32_t at, have;	/* in the buffer: the next record, the end */
	uint64_t offset;	/* in the file: of the buffer's first byte */
};

/* Are the file's first records plain? */
static void
look(struct vn_table *t)
{
	struct pcap_file_header h;
	int snaplen = pcap_snapshot(t->pcap);
	struct stat st;

	if (t->buffer == NULL || fstat(fileno(t->file), &st) != 0 || !S_ISREG(st.st_mode) ||
	    ftello(t->file) != (off_t)sizeof(h) ||
	    pread(fileno(t->file), &h, sizeof(h), 0) != (ssize_t)sizeof(h))
		return;
	if ((h.magic != 0xa1b2c3d4 && h.magic != 0xa1b23c4d) || h.version_major != 2 ||
	    h.version_minor != 4 || snaplen <= 0)
		return;
	t->unit = h.magic == 0xa1b2c3d4 ? 1000 : 1;
	t->snaplen = RTE_MIN((uint32_t)snaplen, FILE_BUFFER / 2);
	t->offset = sizeof(h);
	t->plain = true;
}

/* The next record, if it is plain: a pointer to its bytes, and its header. */
static inline const uint8_t *
next_plain(struct vn_table *t, struct pcap_pkthdr *h)
{
	uint32_t r[4]; /* seconds, their fraction, captured length, length on the wire */
	const char *p;

	for (;;) {
		ssize_t more;

		p = t->buffer + t->at;
		if (likely(t->have - t->at >= sizeof(r))) {
			memcpy(r, p, sizeof(r));
			if (unlikely(r[2] > t->snaplen || r[0] > INT32_MAX || r[1] > INT32_MAX))
				return NULL;
			if (likely(t->have - t->at - sizeof(r) >= r[2]))
				break;
		}
		memmove(t->buffer, p, t->have - t->at);
		t->offset += t->at;
		t->have -= t->at;
		t->at = 0;
		more = pread(fileno(t->file), t->buffer + t->have, FILE_BUFFER - t->have,
			     (off_t)(t->offset + t->have));
		if (more <= 0) /* the end, an error, a signal: libpcap will meet it too */
			return NULL;
		t->have += (uint32_t)more;
	}
	h->ts.tv_sec = r[0];
	h->ts.tv_usec = (suseconds_t)r[1] * t->unit;
	h->caplen = r[2];
	h->len = r[3];
	t->at += (uint32_t)sizeof(r) + r[2];
	return (const uint8_t *)p + sizeof(r);
}

/* As pcap_next_ex. */
static inline int
next_record(struct vn_table *t, struct pcap_pkthdr *own, const struct pcap_pkthdr **h,
	    const uint8_t **data)
{
	struct pcap_pkthdr *theirs;
	int rc;

	if (likely(t->plain)) {
		*data = next_plain(t, own);
		*h = own;
		if (likely(*data != NULL))
			return 1;
		t->plain = false;
		if (fseeko(t->file, (off_t)(t->offset + t->at), SEEK_SET) != 0)
			return PCAP_ERROR;
	}
	rc = pcap_next_ex(t->pcap, &theirs, data);
	*h = theirs;
	return rc;
}

struct vn_table *
vn_table_open(int fd, char *error)
{
	char errbuf[PCAP_ERRBUF_SIZE] = "";
	struct vn_table *t = calloc(1, sizeof(*t));
	FILE *f;

	error[0] = '\0';
	f = fdopen(fd, "rb");
	if (f == NULL || t == NULL) {
		snprintf(error, VN_CAPTURE_ERRBUF, "%s", strerror(errno));
		if (f != NULL)
			fclose(f);
		else
			close(fd);
		free(t);
		return NULL;
	}
	__fsetlocking(f, FSETLOCKING_BYCALLER); /* one thread reads */
	t->file = f;
	t->buffer = malloc(FILE_BUFFER);
	t->pcap = pcap_fopen_offline_with_tstamp_precision(f, PCAP_TSTAMP_PRECISION_NANO, errbuf);
	if (t->pcap == NULL) {
		snprintf(error, VN_CAPTURE_ERRBUF, "%s", errbuf);
		fclose(f);
		free(t->buffer);
		free(t);
		return NULL;
	}
	t->linktype = pcap_datalink(t->pcap);
	look(t);
	return t;
}

void
vn_table_close(struct vn_table *t)
{
	if (t == NULL)
		return;
	pcap_close(t->pcap); /* and the file */
	free(t->buffer);
	free(t);
}

int
vn_table_linktype(const struct vn_table *t)
{
	return t->linktype;
}

/* What a packet of this link type begins with. */
static inline enum vn_start
start_of(int linktype, const uint8_t *p, uint32_t len)
{
	switch (linktype) {
	case 1: /* Ethernet */
		return VN_START_ETH;
	case 12: /* raw IP; DLT_RAW elsewhere is 14, in files it is 101 */
	case 14:
	case 101:
		return len && p[0] >> 4 == 6 ? VN_START_IP6 : VN_START_IP4;
	case 228:
		return VN_START_IP4;
	case 229:
		return VN_START_IP6;
	default:
		return VN_START_NONE;
	}
}

bool
vn_table_readable(const struct vn_table *t)
{
	return start_of(t->linktype, NULL, 0) != VN_START_NONE;
}

/* Derived columns of one row. The record lies in two mbufs where it is too long for one. */
static void
derive(const struct vn_columns *c, uint32_t row, vn_fieldset derived, const uint8_t *data,
       uint32_t len)
{
	void *const *columns = (void *const *)c;
	void *shifted[VN_COLUMNS];
	struct rte_mbuf m[2];
	struct rte_mbuf *first = m;

	_Static_assert(sizeof(shifted) == sizeof(*c), "a pointer a column");
	for (unsigned int k = 0; k < VN_COLUMNS; k++)
		shifted[k] = columns[k] ? (char *)columns[k] + (size_t)row * vn_field_size[k]
					: NULL;
	memset(m, 0, sizeof(m));
	len = RTE_MIN(len, 2 * SEGMENT);
	m[0].buf_addr = (void *)(uintptr_t)data;
	m[0].data_len = (uint16_t)RTE_MIN(len, SEGMENT);
	m[0].pkt_len = len;
	m[0].nb_segs = 1;
	if (len > SEGMENT) {
		m[1].buf_addr = (void *)(uintptr_t)(data + SEGMENT);
		m[1].data_len = (uint16_t)(len - SEGMENT);
		m[1].pkt_len = m[1].data_len;
		m[1].nb_segs = 1;
		m[0].next = &m[1];
		m[0].nb_segs = 2;
	}
	vn_derive((const struct vn_columns *)shifted, derived, &first, 1, NULL);
}

uint32_t
vn_table_read(struct vn_table *t, const struct vn_columns *c, vn_fieldset want, vn_fieldset derived,
	      uint32_t n)
{
	vn_fieldset parsed = want & ~derived & ~(VN_F(rx_time) | VN_F(in_port));
	const struct pcap_pkthdr *h;
	struct pcap_pkthdr own;
	const uint8_t *data;
	uint32_t row = 0;

	vn_zero(c, want, 0, n);
	while (row < n && !t->ended) {
		int rc = next_record(t, &own, &h, &data);

		if (rc != 1) {
			t->ended = true;
			t->failed = rc == PCAP_ERROR;
			break;
		}
		vn_parse_bytes(c, row, parsed, data, 0, h->caplen, h->len,
			       start_of(t->linktype, data, h->caplen));
		/* Nanoseconds, in spite of its name: the file was opened so. */
		if (want & VN_F(rx_time))
			c->rx_time[row] = (uint64_t)h->ts.tv_sec * 1000000000u +
					  (uint64_t)h->ts.tv_usec;
		if (want & VN_F(in_port))
			c->in_port[row] = UINT16_MAX; /* no port received it */
		if (derived)
			derive(c, row, derived, data, RTE_MIN(h->caplen, h->len));
		row++;
	}
	return row;
}

const char *
vn_table_error(const struct vn_table *t)
{
	return t->failed ? pcap_geterr(t->pcap) : NULL;
}
