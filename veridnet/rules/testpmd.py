"""Rules in the syntax of dpdk-testpmd: ``flow create`` lines.

::

    flow create 0 priority 1 ingress pattern eth / vlan vid is 7 / ipv4 src spec 10.0.0.0
        src mask 255.0.0.0 / tcp dst is 443 / end actions count / port_id id 1 / end

(one line each). What a line means here:

- ``flow create N`` is for packets that port N received (``in_port == N``); with ``transfer``, for
  those of all ports.
- rte_flow's priority 0 is the strongest. Read, the weakest of a file becomes 0, and the others are
  above it as far as they were; written, the strongest is 0.
- ``eth / ipv4`` is ``ip_version == 4``: VLAN tags and MPLS labels that a pattern does not name may
  be there or not. ``eth type is 0x0800`` is for untagged packets, as in rte_flow.
- ``ipv6 proto`` is the next header of the fixed header; an item above ``ipv6`` is found behind
  extension headers.
- Only ``spec``, with neither ``mask`` nor ``is``: the item's default mask holds, on all its fields.
"""

from veridnet.rules.testpmd_read import read
from veridnet.rules.testpmd_write import write

__all__ = ["read", "write"]
