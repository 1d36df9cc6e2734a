"""The kinds of ports. A new kind is one class and one line here."""

from veridnet.ports.base import COMMON_KEYS, Key, PortKind, PortPlan
from veridnet.ports.kernel import AfPacket, AfXdp, Tap
from veridnet.ports.memif import Memif
from veridnet.ports.null import Null
from veridnet.ports.pcap import Pcap
from veridnet.ports.raw import PCI_ADDRESS, Pci, Vdev
from veridnet.ports.ring import Ring

__all__ = ["COMMON_KEYS", "KINDS", "PCI_ADDRESS", "Key", "PortKind", "PortPlan"]

#: Name -> kind.
KINDS: dict[str, PortKind] = {
    kind.name: kind
    for kind in (Pcap(), Tap(), Null(), Ring(), AfPacket(), AfXdp(), Memif(), Pci(), Vdev())
}
