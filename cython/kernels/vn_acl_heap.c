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

static __thread uint64_t limit = UINT64_MAX, used, peak;
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
	if (used > peak)
		peak = used;
	return p;
}

static void
limited_free(void *p)
{
	uint64_t bytes = p ? malloc_usable_size(p) : 0;

	used -= bytes < used ? bytes : used;
	free(p);
}

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
			void *with = strcmp(name, "calloc") == 0 ? (void *)limited_calloc
				     : strcmp(name, "free") == 0 ? (void *)limited_free
								 : NULL;

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
	used = peak = 0;
	return replaced == 2 ? 0 : -ENOTSUP;
}

uint64_t
vn_acl_heap_peak(void)
{
	return peak;
}
