/* SPDX-License-Identifier: BSD-3-Clause
 * Preloaded into testpmd: says what it hands to rte_flow_validate, as bytes, and takes it.
 */
#include <stdio.h>
#include <stdlib.h>

#include <rte_flow.h>

static void
show(FILE *out, const void *bytes, int size)
{
	if (bytes == NULL)
		fprintf(out, " -");
	else
		fprintf(out, " ");
	for (int i = 0; bytes != NULL && i < size; i++)
		fprintf(out, "%02x", ((const unsigned char *)bytes)[i]);
}

int
rte_flow_validate(uint16_t port, const struct rte_flow_attr *attr, const struct rte_flow_item *item,
		  const struct rte_flow_action *action, struct rte_flow_error *error)
{
	FILE *out = fopen(getenv("FLOW_SPY"), "a");

	(void)port;
	fprintf(out, "attr %u %u %d\n", attr->group, attr->priority, attr->ingress);
	for (; item->type != RTE_FLOW_ITEM_TYPE_END; item++) {
		/* What DPDK copies of an item that has a spec only. */
		struct rte_flow_item lone = {.type = item->type, .spec = item->spec};
		int size = rte_flow_conv(RTE_FLOW_CONV_OP_ITEM, NULL, 0, &lone, error) -
			   (int)sizeof(lone);

		fprintf(out, "item %d", item->type);
		show(out, item->spec, size);
		show(out, item->last, size);
		show(out, item->mask, size);
		fprintf(out, "\n");
	}
	for (; action->type != RTE_FLOW_ACTION_TYPE_END; action++)
		fprintf(out, "action %d\n", action->type);
	fclose(out);
	return 0;
}
