/* SPDX-License-Identifier: BSD-3-Clause
 * What the writer's files share: vn_rules.c and vn_merge.c.
 */
#ifndef VN_RULES_OWN_H
#define VN_RULES_OWN_H

#include "vn_base.h"

/* Releases p when the readers of today have gone on. `of`: the table. */
void vn_rules_later(void *of, void *p, void (*release)(void *));
/* One holder fewer: a rule that nobody holds is given back by vn_rules_collect. */
void vn_rules_unref(struct vn_rules *t, struct vn_rule *r);
/* Takes a rule out of the list of the young. */
void vn_rules_grown_up(struct vn_rules *t, struct vn_rule *r);

#endif
