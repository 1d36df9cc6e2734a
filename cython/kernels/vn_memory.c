/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "vn_memory.h"

#include "vn_pages.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MAP_HUGE_SHIFT
#define MAP_HUGE_SHIFT 26
#endif

static void *
map_aligned(size_t bytes, int flags)
{
	size_t span = bytes + VN_HUGE_2M;
	uintptr_t raw, va;
	void *p;

	p = mmap(NULL, span, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	raw = (uintptr_t)p;
	va = (raw + VN_HUGE_2M - 1) & ~(uintptr_t)(VN_HUGE_2M - 1);
	if (va > raw)
		munmap(p, va - raw);
	if (raw + span > va + bytes)
		munmap((void *)(va + bytes), raw + span - (va + bytes));
	madvise((void *)va, bytes, MADV_HUGEPAGE);
	return (void *)va;
}

void *
vn_thp_reserve(size_t bytes)
{
	return map_aligned(bytes, MAP_NORESERVE);
}

void *
vn_thp_map(size_t bytes, int node)
{
	void *p = map_aligned(bytes, 0);
	int rc;

	if (p == NULL)
		return NULL;
	/* A container may not be allowed to say where: the memory is as good. */
	rc = node < 0 ? 0 : vn_prefer_node(p, bytes, node);
	if (rc != 0 && rc != -EPERM && rc != -ENOSYS) {
		munmap(p, bytes);
		errno = -rc;
		return NULL;
	}
	/* Populated by the kernel, a shortage is an error here and not a SIGBUS or the OOM killer
	 * later; kernels before 5.14 lack the advice and fault the pages in on use. */
	if (madvise(p, bytes, MADV_POPULATE_WRITE) != 0 && errno != EINVAL) {
		int err = errno;

		munmap(p, bytes);
		errno = err == EFAULT ? ENOMEM : err;
		return NULL;
	}
	madvise(p, bytes, MADV_COLLAPSE);
	return p;
}

int64_t
vn_thp_promote(void *va, size_t bytes)
{
	int64_t huge = 0, refused = 0;
	size_t at;
	int tries;

	for (at = 0; at < bytes; at += VN_HUGE_2M) {
		/* EAGAIN: somebody else holds a page for a moment. */
		for (tries = 0; tries < 3; tries++) {
			if (madvise((char *)va + at, VN_HUGE_2M, MADV_COLLAPSE) == 0) {
				huge++;
				break;
			}
			if (errno == EINVAL)
				refused++;
			if (errno != EAGAIN)
				break;
		}
	}
	/* Of single ones it means that the mapping was cut in the middle of the 2 MiB. */
	return refused == (int64_t)(bytes / VN_HUGE_2M) ? -EINVAL : huge;
}

void
vn_thp_unmap(void *va, size_t bytes)
{
	munmap(va, bytes);
}

size_t
vn_thp_huge_bytes(const void *va, size_t bytes)
{
	uintptr_t from = (uintptr_t)va, to = from + bytes;
	unsigned long lo, hi, kb;
	size_t total = 0;
	char line[512];
	int inside = 0;
	FILE *f = fopen("/proc/self/smaps", "re");

	if (f == NULL)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2 &&
		    strchr(line, '-') < strchr(line, ' '))
			inside = lo < to && hi > from;
		else if (inside && sscanf(line, "AnonHugePages: %lu kB", &kb) == 1)
			total += (size_t)kb << 10;
	}
	fclose(f);
	/* A neighbouring mapping may have been merged into ours. */
	return total > bytes ? bytes : total;
}

int
vn_hugepages_probe(size_t pages, size_t page_bytes)
{
	int shift = __builtin_ctzl(page_bytes);
	void *p = mmap(NULL, pages * page_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | (shift << MAP_HUGE_SHIFT), -1,
		       0);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, pages * page_bytes);
	return 0;
}
