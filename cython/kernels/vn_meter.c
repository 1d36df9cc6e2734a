/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_meter.h"

#include <string.h>

#include <rte_cycles.h>

int
vn_meter_srtcm(struct vn_meter *m, uint64_t cir, uint64_t cbs, uint64_t ebs, uint64_t now)
{
	struct rte_meter_srtcm_params params = {.cir = cir, .cbs = cbs, .ebs = ebs};
	int rc;

	memset(m, 0, sizeof(*m));
	rte_spinlock_init(&m->lock);
	rc = rte_meter_srtcm_profile_config(&m->sr_profile, &params);
	if (rc == 0)
		rc = rte_meter_srtcm_config(&m->sr, &m->sr_profile);
	m->last = m->sr.time = now;
	return rc;
}

int
vn_meter_trtcm(struct vn_meter *m, uint64_t cir, uint64_t pir, uint64_t cbs, uint64_t pbs,
	       uint64_t now)
{
	struct rte_meter_trtcm_params params = {.cir = cir, .pir = pir, .cbs = cbs, .pbs = pbs};
	int rc;

	memset(m, 0, sizeof(*m));
	rte_spinlock_init(&m->lock);
	m->two_rate = true;
	rc = rte_meter_trtcm_profile_config(&m->tr_profile, &params);
	if (rc == 0)
		rc = rte_meter_trtcm_config(&m->tr, &m->tr_profile);
	m->last = m->tr.time_tc = m->tr.time_tp = now;
	return rc;
}

enum rte_color
vn_meter_color(struct vn_meter *m, uint64_t now, uint32_t len)
{
	enum rte_color color;

	rte_spinlock_lock(&m->lock);
	/* rte_meter takes a step back for a step of centuries, and fills the buckets. */
	if (now > m->last)
		m->last = now;
	else
		now = m->last;
	color = m->two_rate ? rte_meter_trtcm_color_blind_check(&m->tr, &m->tr_profile, now, len)
			    : rte_meter_srtcm_color_blind_check(&m->sr, &m->sr_profile, now, len);
	m->packets[color]++;
	m->bytes[color] += len;
	rte_spinlock_unlock(&m->lock);
	return color;
}

void
vn_limit_init(struct vn_limit *l, bool packets, uint64_t rate, uint64_t burst, uint64_t now)
{
	memset(l, 0, sizeof(*l));
	rte_spinlock_init(&l->lock);
	l->packets = packets;
	l->rate = rate;
	l->hz = rte_get_tsc_hz();
	l->full = l->tokens = RTE_MIN(burst, VN_LIMIT_MAX_BURST) * l->hz;
	l->last = now;
}

bool
vn_limit_take(struct vn_limit *l, uint64_t now, uint32_t len)
{
	uint64_t cost = (l->packets ? 1 : (uint64_t)len) * l->hz;
	bool taken;

	rte_spinlock_lock(&l->lock);
	if (now > l->last) {
		uint64_t passed = now - l->last, missing = l->full - l->tokens;

		/* The product would not fit after a long silence; the bucket is full long before.
		 */
		l->tokens = passed > missing / l->rate ? l->full : l->tokens + passed * l->rate;
		l->last = now;
	}
	taken = cost <= l->tokens;
	if (taken)
		l->tokens -= cost;
	rte_spinlock_unlock(&l->lock);
	return taken;
}
