/* SPDX-License-Identifier: BSD-3-Clause */
#include "vn_account.h"

struct vn_drop_name vn_drop_table[VN_DROP_MAX] = {
	[VN_DROP_TX_FULL] = {"tx_full", "the output port was full (with retry: and remained so)"},
	[VN_DROP_TOO_LONG] = {"too_long", "longer than the output port's frame limit"},
	[VN_DROP_TOO_MANY_SEGMENTS] = {"too_many_segments",
				       "in more segments than the output port takes"},
	[VN_DROP_RX_ONLY] = {"rx_only", "the output port only receives (pcap port without tx=)"},
	[VN_DROP_RUNT] = {"runt", "shorter than an Ethernet header (14 bytes)"},
	[VN_DROP_CUT] = {"capture_cut", "the capture holds only the beginning of the frame"},
	[VN_DROP_NO_MBUF] = {"no_mbuf", "no free mbuf for a copy"},
	[VN_DROP_SAME_PORT] = {"same_port", "bridge: the destination is behind the input port"},
	[VN_DROP_LINK_LOCAL] = {"link_local",
				"bridge: 01:80:c2:00:00:0x stays on its link (IEEE 802.1D)"},
	[VN_DROP_NO_OUTPUT] =
		{"no_output",
		 "nothing sends it: a frame to flood and no other port, a port that is "
		 "not there, or the end of a pipeline"},
	[VN_DROP_FREED] = {"freed", "freed by the program (Burst.clear)"},
	[VN_DROP_COLLECTED] = {"collected", "the Burst that held it was garbage-collected"},
	[VN_DROP_CLOSED] = {"closed", "still held when the runtime closed"},
	[VN_DROP_FILTERED] = {"filtered", "a filter, a stage or the program chose it"},
	[VN_DROP_RULE] = {"rule", "a rule says so (drop)"},
	[VN_DROP_METER] = {"meter", "a meter: colour red"},
	[VN_DROP_RATE] = {"rate", "above a rate limit"},
	[VN_DROP_TTL] = {"ttl", "dec_ttl: the TTL or hop limit would become 0"},
	[VN_DROP_NO_PYTHON] = {"no_python", "a rule's python: action where no Python runs"},
	[VN_DROP_RING_FULL] = {"ring_full",
			       "a ring between two workers, or of the program, was full"},
	[VN_DROP_STAGE_ERROR] = {"stage_error",
				 "a Python stage raised, or a pipeline that it stopped held it"},
	[VN_DROP_STOPPED] = {"stopped", "a ring that nobody read any more held it"},
};

int vn_started;
int vn_forked;
