/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_bridge.h"

#include <rte_errno.h>
#include <rte_hash_crc.h>
#include <rte_malloc.h>

#define VN_SWEEP_STEP 32

struct vn_bridge *
vn_bridge_create(const char *name, uint32_t stations, double age_s, int socket)
{
	struct rte_hash_parameters p = {
		.name = name,
		.entries = stations,
		.key_len = sizeof(uint64_t),
		.hash_func = rte_hash_crc,
		.socket_id = socket,
		.extra_flag = RTE_HASH_EXTRA_FLAGS_RW_CONCURRENCY |
			      RTE_HASH_EXTRA_FLAGS_MULTI_WRITER_ADD,
	};
	struct vn_bridge *b = calloc(1, sizeof(*b));

	if (b == NULL) {
		rte_errno = ENOMEM;
		return NULL;
	}
	b->hash = rte_hash_create(&p);
	if (b->hash == NULL) {
		free(b);
		return NULL;
	}
	b->slots = calloc((size_t)rte_hash_max_key_id(b->hash) + 1, sizeof(*b->slots));
	if (b->slots == NULL) {
		vn_bridge_free(b);
		rte_errno = ENOMEM;
		return NULL;
	}
	b->age_cycles = (uint64_t)(age_s * rte_get_tsc_hz());
	/* A station that talks is written once per refresh, not once per frame. */
	b->refresh_cycles = RTE_MIN(rte_get_tsc_hz(), b->age_cycles / 8);
	return b;
}

void
vn_bridge_free(struct vn_bridge *b)
{
	if (b == NULL)
		return;
	rte_hash_free(b->hash);
	free(b->slots);
	free(b);
}

static inline uint64_t
slot_load(const struct vn_bridge *b, int32_t pos)
{
	return __atomic_load_n(&b->slots[pos], __ATOMIC_RELAXED);
}

static inline void
slot_store(struct vn_bridge *b, int32_t pos, uint64_t v)
{
	__atomic_store_n(&b->slots[pos], v, __ATOMIC_RELAXED);
}

static inline void
lookup(const struct vn_bridge *b, const uint64_t *mac, unsigned int n, int32_t *pos)
{
	const void *keys[RTE_HASH_LOOKUP_BULK_MAX];

	for (unsigned int i = 0; i < n; i++)
		keys[i] = &mac[i];
	rte_hash_lookup_bulk(b->hash, keys, n, pos);
}

void
vn_bridge_learn(struct vn_bridge *b, const uint64_t *src, unsigned int n, uint8_t port,
		uint64_t now)
{
	int32_t pos[RTE_HASH_LOOKUP_BULK_MAX];
	uint64_t stamp = (now & ~UINT64_C(0xff)) | port;

	lookup(b, src, n, pos);
	for (unsigned int i = 0; i < n; i++) {
		uint64_t old;

		if (src[i] & 1 || src[i] == 0)
			continue; /* a group address is nobody's source; zero is no address */
		if (unlikely(pos[i] < 0)) {
			pos[i] = rte_hash_add_key(b->hash, &src[i]);
			if (pos[i] < 0) {
				__atomic_fetch_add(&b->full, 1, __ATOMIC_RELAXED);
				continue;
			}
			if (slot_load(b, pos[i]) == 0)
				__atomic_fetch_add(&b->learned, 1, __ATOMIC_RELAXED);
			slot_store(b, pos[i], stamp);
			continue;
		}
		old = slot_load(b, pos[i]);
		if (unlikely((uint8_t)old != port)) {
			__atomic_fetch_add(&b->moved, 1, __ATOMIC_RELAXED);
			slot_store(b, pos[i], stamp);
		} else if (now - old > b->refresh_cycles) {
			slot_store(b, pos[i], stamp);
		}
	}
}

void
vn_bridge_find(struct vn_bridge *b, const uint64_t *dst, unsigned int n, uint8_t *port,
	       uint64_t now)
{
	int32_t pos[RTE_HASH_LOOKUP_BULK_MAX];

	lookup(b, dst, n, pos);
	for (unsigned int i = 0; i < n; i++) {
		uint64_t slot;

		port[i] = VN_BRIDGE_FLOOD;
		if (dst[i] & 1 || pos[i] < 0)
			continue;
		slot = slot_load(b, pos[i]);
		if (slot && (int64_t)(now - slot) <= (int64_t)b->age_cycles)
			port[i] = (uint8_t)slot;
	}
}

void
vn_bridge_sweep(struct vn_bridge *b, uint64_t now)
{
	const void *key;
	void *data;

	/* Whoever is here first; it would not pay to wait for a sweep that is under way. */
	if (now < __atomic_load_n(&b->sweep_at, __ATOMIC_RELAXED) ||
	    __atomic_load_n(&b->sweeping, __ATOMIC_RELAXED) ||
	    __atomic_exchange_n(&b->sweeping, 1, __ATOMIC_ACQUIRE))
		return;
	for (unsigned int i = 0; i < VN_SWEEP_STEP; i++) {
		int32_t pos = rte_hash_iterate(b->hash, &key, &data, &b->sweep_next);
		uint64_t slot, mac;

		if (pos < 0) {
			b->sweep_next = 0;
			__atomic_store_n(&b->sweep_at,
					 now + RTE_MIN(rte_get_tsc_hz(), b->age_cycles / 4 + 1),
					 __ATOMIC_RELAXED);
			break;
		}
		slot = slot_load(b, pos);
		if (slot && (int64_t)(now - slot) > (int64_t)b->age_cycles) {
			mac = *(const uint64_t *)key;
			/* Cleared first: the slot's next owner must not inherit the port. */
			slot_store(b, pos, 0);
			if (rte_hash_del_key(b->hash, &mac) >= 0)
				b->aged++;
		}
	}
	__atomic_store_n(&b->sweeping, 0, __ATOMIC_RELEASE);
}

uint32_t
vn_bridge_stations(const struct vn_bridge *b)
{
	int32_t n = rte_hash_count(b->hash);

	return n < 0 ? 0 : (uint32_t)n;
}

uint32_t
vn_bridge_dump(const struct vn_bridge *b, uint64_t *mac, uint8_t *port, double *age_s, uint32_t max)
{
	uint32_t next = 0, n = 0;
	uint64_t now = rte_rdtsc();
	const void *key;
	void *data;
	int32_t pos;

	while (n < max && (pos = rte_hash_iterate(b->hash, &key, &data, &next)) >= 0) {
		uint64_t slot = slot_load(b, pos);

		if (slot == 0)
			continue;
		mac[n] = *(const uint64_t *)key;
		port[n] = (uint8_t)slot;
		age_s[n] = now > slot ? (double)(now - slot) / rte_get_tsc_hz() : 0;
		n++;
	}
	return n;
}
