/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_capture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

static int
cut_add(struct vn_capture *c, uint64_t *room)
{
	if (c->n_cut == *room) {
		uint64_t more = *room ? *room * 2 : 64;
		uint64_t *p = realloc(c->cut, more * sizeof(*p));

		if (p == NULL)
			return -1;
		c->cut = p;
		*room = more;
	}
	c->cut[c->n_cut++] = c->records;
	return 0;
}

int
vn_capture_scan(const char *path, struct vn_capture *c)
{
	char errbuf[PCAP_ERRBUF_SIZE] = "";
	struct pcap_pkthdr *h;
	const u_char *data;
	uint64_t room = 0;
	pcap_t *p;
	int rc;

	memset(c, 0, sizeof(*c));
	c->linktype = -1;
	/* Microseconds, as net_pcap opens it. */
	p = pcap_open_offline(path, errbuf);
	if (p == NULL) {
		snprintf(c->error, sizeof(c->error), "%s", errbuf);
		return -1;
	}
	c->linktype = pcap_datalink(p);
	c->swapped = pcap_is_swapped(p);
	c->snaplen = pcap_snapshot(p);
	while ((rc = pcap_next_ex(p, &h, &data)) == 1) {
		if (h->caplen < h->len && cut_add(c, &room) != 0) {
			snprintf(c->error, sizeof(c->error), "out of memory");
			pcap_close(p);
			vn_capture_free(c);
			return -1;
		}
		c->records++;
		c->bytes += h->caplen;
		if (h->caplen > c->max_caplen)
			c->max_caplen = h->caplen;
	}
	if (rc == PCAP_ERROR) {
		c->damaged = 1;
		snprintf(c->error, sizeof(c->error), "%s", pcap_geterr(p));
	}
	pcap_close(p);
	return 0;
}

void
vn_capture_free(struct vn_capture *c)
{
	free(c->cut);
	c->cut = NULL;
	c->n_cut = 0;
}

const char *
vn_capture_linktype_name(int linktype)
{
	return pcap_datalink_val_to_name(linktype);
}
