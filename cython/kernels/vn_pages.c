/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "vn_pages.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_memory.h>

/* linux/mempolicy.h, which would clash with numaif.h where that is included. */
#define PREFERRED 1 /* MPOL_PREFERRED */
#define STRICT 1    /* MPOL_MF_STRICT: an error if a page stays elsewhere */
#define MOVE 2	    /* MPOL_MF_MOVE */

#define BATCH 512

static int
bind_range(void *va, size_t bytes, int node, unsigned int flags)
{
	unsigned long mask[VN_NODES / (8 * sizeof(long))] = {0};

	if (node < 0 || node >= VN_NODES)
		return -EINVAL;
	mask[node / (8 * sizeof(long))] = 1UL << node % (8 * sizeof(long));
	/* (The kernel takes one off the number of bits.) */
	if (syscall(SYS_mbind, va, bytes, PREFERRED, mask, (unsigned long)VN_NODES + 1, flags) != 0)
		return -errno;
	return 0;
}

int
vn_prefer_node(void *va, size_t bytes, int node)
{
	return bind_range(va, bytes, node, 0);
}

struct walk {
	size_t page;
	uint64_t *bytes;
	uint64_t *absent;
	int node;
	int rc;
};

static void
first_page(struct rte_mempool *mp, void *arg, struct rte_mempool_memhdr *h, unsigned int i)
{
	const struct rte_memseg_list *list = rte_mem_virt2memseg_list(h->addr);

	/* A heap of transparent huge pages says 2 MiB, and may be on smaller ones. */
	if (list != NULL && !list->external && rte_eal_has_hugepages())
		*(size_t *)arg = list->page_sz;
}

size_t
vn_pool_page(struct rte_mempool *mp)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	rte_mempool_mem_iter(mp, first_page, &page);
	return page;
}

static void
ask(struct rte_mempool *mp, void *arg, struct rte_mempool_memhdr *h, unsigned int i)
{
	struct walk *w = arg;
	uintptr_t at = (uintptr_t)h->addr, end = at + h->len, next;
	void *pages[BATCH];
	size_t length[BATCH];
	int status[BATCH];
	unsigned int n, k;

	while (at < end && w->rc == 0) {
		for (n = 0; n < BATCH && at < end; n++, at = next) {
			next = (at | (w->page - 1)) + 1;
			if (next > end)
				next = end;
			pages[n] = (void *)at;
			length[n] = next - at;
		}
		/* Without nodes to move to, it says where they are. */
		if (syscall(SYS_move_pages, 0, (unsigned long)n, pages, NULL, status, 0) < 0) {
			w->rc = -errno;
			return;
		}
		for (k = 0; k < n; k++)
			*(status[k] >= 0 && status[k] < VN_NODES ? &w->bytes[status[k]]
								 : w->absent) += length[k];
	}
}

int
vn_pool_nodes(struct rte_mempool *mp, uint64_t *bytes, uint64_t *absent)
{
	struct walk w = {.page = vn_pool_page(mp), .bytes = bytes, .absent = absent};

	rte_mempool_mem_iter(mp, ask, &w);
	return w.rc;
}

static void
move(struct rte_mempool *mp, void *arg, struct rte_mempool_memhdr *h, unsigned int i)
{
	const struct rte_memseg_list *list = rte_mem_virt2memseg_list(h->addr);
	struct walk *w = arg;
	/* On a heap of transparent huge pages these move whole: a smaller range would cut them. */
	uintptr_t page = list != NULL && list->external ? list->page_sz : w->page;
	uintptr_t from = (uintptr_t)h->addr & ~(page - 1);
	uintptr_t to = ((uintptr_t)h->addr + h->len + page - 1) & ~(page - 1);
	int rc = bind_range((void *)from, to - from, w->node, MOVE | STRICT);

	if (w->rc == 0 || w->rc == -EIO)
		w->rc = rc != 0 ? rc : w->rc;
}

int
vn_pool_move(struct rte_mempool *mp, int node)
{
	struct walk w = {.page = vn_pool_page(mp), .node = node};

	rte_mempool_mem_iter(mp, move, &w);
	return w.rc;
}
