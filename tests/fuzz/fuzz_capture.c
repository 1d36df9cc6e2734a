/* SPDX-License-Identifier: BSD-3-Clause
 * libFuzzer target: vn_capture_scan() over arbitrary bytes, as a file in memory. Whatever they
 * are: no crash, no leak, and a result that holds together. Run by scripts/fuzz.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "vn_capture.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	static char path[32];
	struct vn_capture c;
	int rc;

	if (fd < 0) {
		fd = memfd_create("capture", MFD_CLOEXEC);
		CHECK(fd >= 0);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	CHECK(ftruncate(fd, 0) == 0);
	CHECK(pwrite(fd, data, size, 0) == (ssize_t)size);
	memset(&c, 0xa5, sizeof(c)); /* the caller's memory need not be clean */

	rc = vn_capture_scan(path, &c);
	CHECK(memchr(c.error, 0, sizeof(c.error)) != NULL);
	if (rc != 0) {
		CHECK(rc == -1 && c.error[0] != 0);
		CHECK(c.cut == NULL && c.n_cut == 0 && c.records == 0);
	} else {
		CHECK(c.linktype >= 0);
		CHECK(!c.damaged == (c.error[0] == 0));
		CHECK(c.bytes <= c.records * (uint64_t)c.max_caplen);
		CHECK(c.bytes <= size && c.records <= size / 16);
		CHECK(c.n_cut <= c.records);
		for (uint64_t i = 0; i < c.n_cut; i++)
			CHECK(c.cut[i] < c.records && (i == 0 || c.cut[i - 1] < c.cut[i]));
		vn_capture_linktype_name(c.linktype);
	}
	vn_capture_free(&c);
	vn_capture_free(&c); /* twice is allowed */
	return 0;
}
