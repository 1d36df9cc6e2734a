"""Flow patterns, as bytes, against those that testpmd makes of its own syntax."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from veridnet._native import flow

ALL = 0xFFFFFFFF
MAC = 0x020000000001

#: (testpmd's pattern, ours)
PATTERNS = [
    ("eth / ipv4 / udp", [("eth", {}), ("ipv4", {}), ("udp", {})]),
    (
        "eth dst is 02:00:00:00:00:01 type is 0x88b5",
        [("eth", {"dst": (MAC, (1 << 48) - 1, None), "type": (0x88B5, 0xFFFF, None)})],
    ),
    (
        "eth src spec 02:00:00:00:00:01 src mask ff:ff:ff:00:00:00 has_vlan is 0",
        [("eth", {"src": (MAC, 0xFFFFFF000000, None), "has_vlan": (0, 1, None)})],
    ),
    (
        "eth has_vlan is 1 / vlan vid is 7 pcp is 5 dei is 1 has_more_vlan is 0",
        [
            ("eth", {"has_vlan": (1, 1, None)}),
            (
                "vlan",
                {
                    "vid": (7, 0xFFF, None),
                    "pcp": (5, 7, None),
                    "dei": (1, 1, None),
                    "has_more_vlan": (0, 1, None),
                },
            ),
        ],
    ),
    (
        "eth / vlan inner_type is 0x86dd has_more_vlan is 1",
        [
            ("eth", {}),
            ("vlan", {"inner_type": (0x86DD, 0xFFFF, None), "has_more_vlan": (1, 1, None)}),
        ],
    ),
    (
        "eth / ipv4 src spec 10.1.2.0 src mask 255.255.255.0 dst is 1.2.3.4 ttl is 64 proto is 17",
        [
            ("eth", {}),
            (
                "ipv4",
                {
                    "src": (0x0A010200, 0xFFFFFF00, None),
                    "dst": (0x01020304, ALL, None),
                    "ttl": (64, 255, None),
                    "proto": (17, 255, None),
                },
            ),
        ],
    ),
    (
        "eth / ipv4 tos spec 0x28 tos mask 0xfc",
        [("eth", {}), ("ipv4", {"dscp": (10, 63, None)})],
    ),
    (
        "eth / ipv4 fragment_offset spec 0x2000 fragment_offset mask 0x3fff",
        [("eth", {}), ("ipv4", {"flags": (1, 1, None), "frag_off": (0, 0x1FFF, None)})],
    ),
    (
        "eth / ipv6 src spec 2001:db8:: src mask ffff:ffff:: dst is 2001:db8::1 "
        "proto is 6 hop is 9",
        [
            ("eth", {}),
            (
                "ipv6",
                {
                    "src_hi": (0x20010DB8 << 32, 0xFFFFFFFF << 32, None),
                    "dst_hi": (0x20010DB8 << 32, (1 << 64) - 1, None),
                    "dst_lo": (1, (1 << 64) - 1, None),
                    "proto": (6, 255, None),
                    "hop": (9, 255, None),
                },
            ),
        ],
    ),
    (
        "eth / ipv6 flow is 0x12345",
        [("eth", {}), ("ipv6", {"flow": (0x12345, 0xFFFFF, None)})],
    ),
    (
        "eth / ipv4 / udp dst spec 80 dst last 90 dst mask 0xffff",
        [("eth", {}), ("ipv4", {}), ("udp", {"dst": (80, 0xFFFF, 90)})],
    ),
    (
        "eth / ipv4 / tcp src is 443 flags spec 2 flags mask 0x12",
        [
            ("eth", {}),
            ("ipv4", {}),
            ("tcp", {"src": (443, 0xFFFF, None), "flags": (2, 0x12, None)}),
        ],
    ),
    (
        "eth / ipv4 / sctp src is 5 dst is 6 tag is 0x1234",
        [
            ("eth", {}),
            ("ipv4", {}),
            (
                "sctp",
                {
                    "src": (5, 0xFFFF, None),
                    "dst": (6, 0xFFFF, None),
                    "tag": (0x1234, ALL, None),
                },
            ),
        ],
    ),
    (
        "eth / ipv4 / icmp type is 8 code is 1",
        [("eth", {}), ("ipv4", {}), ("icmp", {"type": (8, 255, None), "code": (1, 255, None)})],
    ),
    (
        "eth / ipv6 / icmp6 type is 128 code is 1",
        [("eth", {}), ("ipv6", {}), ("icmp6", {"type": (128, 255, None), "code": (1, 255, None)})],
    ),
    ("eth / ipv4 / esp spi is 77", [("eth", {}), ("ipv4", {}), ("esp", {"spi": (77, ALL, None)})]),
    (
        "eth / mpls label is 0x12345 tc is 3",
        [("eth", {}), ("mpls", {"label": (0x12345, 0xFFFFF, None), "tc": (3, 7, None)})],
    ),
    (
        "eth / arp_eth_ipv4 sha is 02:00:00:00:00:01 spa is 10.0.0.1 tpa is 10.0.0.2",
        [
            ("eth", {}),
            (
                "arp_eth_ipv4",
                {
                    "sha": (MAC, (1 << 48) - 1, None),
                    "spa": (0x0A000001, ALL, None),
                    "tpa": (0x0A000002, ALL, None),
                },
            ),
        ],
    ),
]


def spied(tmp_path: Path) -> list[list[list[str]]]:
    """What testpmd hands to DPDK for each pattern: its lines, as words."""
    library, log = tmp_path / "spy.so", tmp_path / "log"
    flags = subprocess.check_output(["pkg-config", "--cflags", "libdpdk"], text=True).split()
    subprocess.run(
        [
            "gcc",
            "-shared",
            "-fPIC",
            "-DALLOW_EXPERIMENTAL_API",
            "-o",
            library,
            Path(__file__).with_name("flow_spy.c"),
            *flags,
        ],
        check=True,
    )
    commands = "".join(
        f"flow validate 0 priority 3 ingress pattern {pattern} / end "
        "actions mark id 5 / queue index 0 / end\n"
        for pattern, _ in PATTERNS
    )
    done = subprocess.run(
        "dpdk-testpmd -l 0,1 --no-huge -m 128 --no-pci --no-shconf --vdev net_null0 -- "
        "-i --total-num-mbufs=2048".split(),
        input=f"{commands}quit\n",
        env={**os.environ, "LD_PRELOAD": str(library), "FLOW_SPY": str(log)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    flows: list[list[list[str]]] = []
    for line in log.read_text().splitlines():
        words = line.split()
        if words[0] == "attr":
            flows.append([])
        flows[-1].append(words)
    assert len(flows) == len(PATTERNS), done.stdout[-2000:]
    return flows


@pytest.mark.skipif(not shutil.which("dpdk-testpmd"), reason="no dpdk-testpmd: package dpdk-dev")
def test_patterns_are_those_of_testpmd(tmp_path: Path) -> None:
    for (text, pattern), lines in zip(PATTERNS, spied(tmp_path), strict=True):
        assert lines[0] == ["attr", "0", "3", "1"]
        items = [words[2:] for words in lines if words[0] == "item"]
        ours = flow.layout(pattern)
        assert len(items) == len(ours), text
        for theirs, (name, *parts) in zip(items, ours, strict=True):
            masks = [bytes.fromhex(word) if word != "-" else b"" for word in theirs]
            for part, other in zip(parts, masks, strict=True):
                if part is None:
                    # testpmd may give a part all of whose bytes are 0, or that spec repeats.
                    assert not any(other) or other == masks[0], (text, name)
                else:
                    assert other[: len(part)] == part, (text, name)
                    assert not any(other[len(part) :])
