/* SPDX-License-Identifier: BSD-3-Clause */
#define _GNU_SOURCE
#include "vn_acl_heap.h"

#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_malloc.h>

#include "vn_memory.h"

static __thread uint64_t limit = UINT64_MAX, used;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static unsigned int replaced;

static void *
limited_calloc(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes) || (used < limit ? limit - used : 0) < bytes)
		return NULL;
	p = calloc(n, size);
	if (p)
		used += malloc_usable_size(p);
	return p;
}

static void
limited_free(void *p)
{
	uint64_t bytes = p ? malloc_usable_size(p) : 0;

	used -= bytes < used ? bytes : used;
	free(p);
}

/* Tries are read at random: 128 pages of 4 KiB are more than the first TLB holds, and cost 20 %. */
#define WORTH_A_HUGE_PAGE (32u << 10)

/* What stands before each block. DPDK's own blocks have a header there, too, but not this mark. */
struct head {
	uint64_t mark;
	uint64_t mapped; /* bytes; 0: from malloc */
	uint8_t rest[RTE_CACHE_LINE_SIZE - 2 * sizeof(uint64_t)];
};

static uint64_t
mark_of(const struct head *h)
{
	return (uintptr_t)h ^ UINT64_C(0x766e5f61636c2121);
}

static void *
zmalloc(const char *type, size_t size, unsigned int align, int socket)
{
	size_t bytes = size + sizeof(struct head);
	struct head *h;

	(void)type;
	(void)socket;
	if (align > sizeof(*h))
		return NULL; /* (a cache line is what rte_acl asks for) */
	if (bytes >= WORTH_A_HUGE_PAGE) {
		bytes = RTE_ALIGN_CEIL(bytes, VN_HUGE_2M);
		h = vn_thp_reserve(bytes);
		if (h)
			h->mapped = bytes;
	} else {
		bytes = RTE_ALIGN_CEIL(bytes, sizeof(*h));
		h = aligned_alloc(sizeof(*h), bytes);
		if (h)
			memset(h, 0, bytes);
	}
	if (h == NULL)
		return NULL;
	h->mark = mark_of(h);
	return h + 1;
}

static void *
zmalloc_anywhere(const char *type, size_t size, unsigned int align)
{
	return zmalloc(type, size, align, SOCKET_ID_ANY);
}

static void
zfree(void *p)
{
	struct head *h = (struct head *)p - 1;

	if (p == NULL)
		return;
	if (h->mark != mark_of(h)) { /* from before the entries were replaced */
		rte_free(p);
		return;
	}
	h->mark = 0;
	if (h->mapped)
		vn_thp_unmap(h, h->mapped);
	else
		free(h);
}

static const struct {
	const char *name;
	void *with;
} ours[] = {
	{"calloc", limited_calloc},	   {"free", limited_free}, {"rte_zmalloc_socket", zmalloc},
	{"rte_zmalloc", zmalloc_anywhere}, {"rte_free", zfree},
};

static int
replace(struct dl_phdr_info *info, size_t size, void *arg)
{
	const ElfW(Dyn) *dyn = NULL;
	const ElfW(Sym) *symbols = NULL;
	const char *names = NULL;
	const ElfW(Rela) * rela[2] = {NULL, NULL};
	size_t bytes[2] = {0, 0};
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	unsigned int *done = arg;
	if (info->dlpi_name == NULL || strstr(info->dlpi_name, "/librte_acl.so") == NULL)
		return 0;
	for (unsigned int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
			dyn = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
	for (; dyn && dyn->d_tag != DT_NULL; dyn++)
		switch (dyn->d_tag) {
		case DT_SYMTAB:
			symbols = (const ElfW(Sym) *)dyn->d_un.d_ptr;
			break;
		case DT_STRTAB:
			names = (const char *)dyn->d_un.d_ptr;
			break;
		case DT_JMPREL:
			rela[0] = (const ElfW(Rela) *)dyn->d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			bytes[0] = dyn->d_un.d_val;
			break;
		case DT_RELA:
			rela[1] = (const ElfW(Rela) *)dyn->d_un.d_ptr;
			break;
		case DT_RELASZ:
			bytes[1] = dyn->d_un.d_val;
			break;
		}
	for (unsigned int t = 0; t < 2 && symbols && names; t++)
		for (size_t i = 0; i < bytes[t] / sizeof(ElfW(Rela)); i++) {
			const ElfW(Rela) *r = &rela[t][i];
			const char *name = names + symbols[ELF64_R_SYM(r->r_info)].st_name;
			void **slot = (void **)(info->dlpi_addr + r->r_offset);
			uintptr_t at = (uintptr_t)slot & ~(page - 1);
			void *with = NULL;

			for (size_t k = 0; k < RTE_DIM(ours); k++)
				if (strcmp(name, ours[k].name) == 0)
					with = ours[k].with;
			if (with == NULL || mprotect((void *)at, page, PROT_READ | PROT_WRITE))
				continue;
			*slot = with;
			mprotect((void *)at, page, PROT_READ);
			(*done)++;
		}
	return 1;
}

static void
replace_once(void)
{
	dl_iterate_phdr(replace, &replaced);
}

int
vn_acl_heap_limit(uint64_t bytes)
{
	pthread_once(&once, replace_once);
	limit = bytes;
	used = 0;
	return replaced == RTE_DIM(ours) ? 0 : -ENOTSUP;
}

int
vn_rules_heap(uint64_t bytes)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const char name[] = "veridnet_rules";
	struct rte_malloc_socket_stats st;
	int socket;

	bytes = RTE_ALIGN_CEIL(bytes, VN_HUGE_2M) + VN_HUGE_2M;
	pthread_mutex_lock(&lock);
	socket = rte_malloc_heap_get_socket(name);
	if (socket < 0 && rte_malloc_heap_create(name) == 0)
		socket = rte_malloc_heap_get_socket(name);
	if (socket >= 0 && rte_malloc_get_socket_stats(socket, &st) == 0 &&
	    st.greatest_free_size < bytes) {
		void *va = vn_thp_map(bytes, -1);

		if (va == NULL || rte_malloc_heap_memory_add(name, va, bytes, NULL, bytes >> 21,
							     VN_HUGE_2M) != 0) {
			if (va)
				vn_thp_unmap(va, bytes);
			socket = -ENOMEM;
		}
	}
	pthread_mutex_unlock(&lock);
	return socket;
}
