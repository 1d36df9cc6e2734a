/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "vn_log.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <rte_log.h>

static int log_fd = -1;
static uint64_t log_lost;

static ssize_t
log_write(void *cookie, const char *buf, size_t size)
{
	char line[PIPE_BUF];
	int level = rte_log_cur_msg_loglevel();
	size_t n = size < sizeof(line) - 2 ? size : sizeof(line) - 2;

	(void)cookie;
	line[0] = (char)('0' + (level >= 0 && level <= 8 ? level : 0));
	memcpy(line + 1, buf, n);
	if (line[n] != '\n')
		line[++n] = '\n';
	/* One write of at most PIPE_BUF bytes is atomic: lines of two threads never mix. */
	if (write(log_fd, line, n + 1) < 0)
		__atomic_fetch_add(&log_lost, 1, __ATOMIC_RELAXED);
	return (ssize_t)size;
}

int
vn_log_open(int fd)
{
	cookie_io_functions_t io = {.write = log_write};
	FILE *f = fopencookie(NULL, "w", io);

	if (f == NULL)
		return -errno;
	setvbuf(f, NULL, _IOLBF, 1024);
	log_fd = fd;
	return rte_openlog_stream(f);
}

uint64_t
vn_log_lost(void)
{
	return __atomic_load_n(&log_lost, __ATOMIC_RELAXED);
}
