"""Real and built frames for fuzz_headers.c to begin with: seed_headers.py FOLDER.

Frames of classic captures (the demo trace, ../shared/traces), and every header stack of
tests/header_stacks.py where scapy is installed. Before each: the target's 8 control bytes.
"""

import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
CONTROL = bytes([1, 2, 3, 4, 5, 38, 17, 40])


def frames_of(path: Path, most: int) -> list[bytes]:
    """Frames of a classic little-endian Ethernet capture: at most so many, of different sizes."""
    data = path.read_bytes()
    if data[:4] not in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") or data[20:24] != b"\1\0\0\0":
        return []
    at, sizes = 24, {}
    while at + 16 <= len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        sizes.setdefault(size, data[at + 16 : at + 16 + size])
        at += 16 + size
    return list(sizes.values())[:most]


def main(folder: str) -> None:
    frames = []
    for path in [*ROOT.glob("examples/*.pcap"), *ROOT.parent.glob("shared/traces/*.*cap")]:
        frames += frames_of(path, 60)
    try:
        sys.path.append(str(ROOT / "tests"))
        import header_stacks

        frames += header_stacks.stacks().values()
    except ImportError:
        pass
    for i, frame in enumerate(frames):
        (Path(folder) / f"seed-{i}").write_bytes(CONTROL + frame[:2048])


main(sys.argv[1])
