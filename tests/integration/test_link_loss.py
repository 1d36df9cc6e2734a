"""An interface goes down, comes back or is deleted under a running forwarder: it goes on."""

from __future__ import annotations

import time

import pytest
from captures import frame, texts
from netns import Lab, Namespace, Raw, ip, wait_until
from running import Live, Run, balanced

A, B = "02:00:00:00:00:aa", "02:00:00:00:00:bb"


def stream_into(lab: Lab, kind: str) -> tuple[Live, Namespace, str]:
    """null -> a port on an interface, as fast as it goes; (it, its namespace, the interface)."""
    router = lab.ns("R")
    router.quiet()
    if kind == "tap":
        spec, device = "tap:iface=r0", "r0"
    else:
        lab.ns("A").quiet()
        lab.veth("A", "vt0", "R", "r0")
        lab.ns("A").offloads_off("vt0")
        lab.ns("A").up("vt0")
        router.up("r0")
        spec, device = f"{kind}:iface=r0,offloads=off", "r0"
    live = Live(lab, "-p", "null:size=60", "-p", spec, ns=router).ready()
    return live, router, device


def ended(run: Run) -> None:
    """It ended by itself on the signal, with the accounts in order."""
    assert run.code in (0, 1), (run.code, run.stderr[-3000:])
    assert "Traceback" not in run.stderr
    balanced(run.data)


def handled(live: Live) -> int:
    """Packets that it has received so far, by its latest table."""
    for line in reversed(live.stderr.splitlines()):
        words = line.replace(",", "").split()
        if words[:2] == ["0", "null"]:
            return int(words[2])
    return 0


def goes_on(live: Live) -> None:
    """More packets are handled than before."""
    before = handled(live)
    wait_until(lambda: not live.running or handled(live) > before, "packets")
    assert live.running, f"ended with {live.process.returncode}: {live.stderr[-2000:]}"


@pytest.mark.parametrize("kind", ["tap", "af_packet", "af_xdp"])
def test_down_and_up_again(lab: Lab, kind: str) -> None:
    live, router, device = stream_into(lab, kind)
    goes_on(live)
    router.ip("link", "set", device, "down")
    goes_on(live)
    router.ip("link", "set", device, "up")
    goes_on(live)
    # What is sent arrives again.
    listener = router.raw(device) if kind == "tap" else lab.ns("A").raw("vt0")
    assert listener.receive(at_most=10, at_least=10)
    ended(live.stop())


@pytest.mark.parametrize("kind", ["tap", "af_packet", "af_xdp"])
def test_deleted(lab: Lab, kind: str) -> None:
    live, router, device = stream_into(lab, kind)
    goes_on(live)
    router.ip("link", "del", device)
    goes_on(live)
    time.sleep(0.3)
    ended(live.stop())


@pytest.mark.parametrize("kind", ["af_packet", "af_xdp"])
def test_the_other_end_is_down(lab: Lab, kind: str) -> None:
    """No carrier: what is sent is lost in the kernel or dropped by name, never a hang."""
    live, _, _ = stream_into(lab, kind)
    lab.ns("A").ip("link", "set", "vt0", "down")
    goes_on(live)
    lab.ns("A").ip("link", "set", "vt0", "up")
    goes_on(live)
    assert lab.ns("A").raw("vt0").receive(at_most=10, at_least=10)
    ended(live.stop())


@pytest.mark.parametrize("kind", ["tap", "af_packet", "af_xdp"])
def test_receiving_from_an_interface_that_comes_and_goes(lab: Lab, kind: str) -> None:
    router, hosts = lab.ns("R"), [lab.ns("A"), lab.ns("B")]
    for ns in (router, *hosts):
        ns.quiet()
    ports = []
    for i, host in enumerate(hosts):
        if kind == "tap":
            ports += ["-p", f"tap:iface=vt{i}"]
            continue
        lab.veth(host.name[-1], f"vt{i}", "R", f"r{i}")
        host.offloads_off(f"vt{i}")
        router.up(f"r{i}")
        ports += ["-p", f"{kind}:iface=r{i},offloads=off"]
    live = Live(lab, "--no-mac-updating", *ports, ns=router).ready()
    for i, host in enumerate(hosts):
        if kind == "tap":
            router.ip("link", "set", f"vt{i}", "netns", host.name)
        host.up(f"vt{i}")
    device, ns = ("vt0", hosts[0]) if kind == "tap" else ("r0", router)
    for round_ in range(3):
        # New sockets: one that saw its interface go down reports that once, at any call.
        raws = [h.raw(f"vt{i}") for i, h in enumerate(hosts)]
        for a, b, dst, src in ((0, 1, B, A), (1, 0, A, B)):
            arrives(raws[a], raws[b], dst, src, a, round_)
        ns.ip("link", "set", device, "down")
        raws[1].send(frame(A, B, "late"))
        time.sleep(0.2)
        ns.ip("link", "set", device, "up")
    ended(live.stop())


def arrives(sender: Raw, receiver: Raw, dst: str, src: str, way: int, round_: int) -> None:
    """Sends until it arrives, for at most 15 s: the kernel takes a while after an interface is up.

    What was sent that way before, or to an interface while it was down, may be delivered late, or
    not at all.
    """
    text = f"{way} {round_}"
    got: set[str] = set()
    end = time.monotonic() + 15
    while text not in got:
        assert time.monotonic() < end, f"{text!r} does not arrive, only {got}"
        sender.send(frame(dst, src, text))
        got |= set(texts(receiver.receive(0.15)))
    assert got <= {"late", *(f"{way} {i}" for i in range(round_ + 1))}


def test_a_namespace_with_a_tap_is_deleted(lab: Lab) -> None:
    live, router, device = stream_into(lab, "tap")
    there = lab.ns("A")
    router.ip("link", "set", device, "netns", there.name)
    there.up(device)
    goes_on(live)
    ip("netns", "del", there.name)
    del lab.namespaces["A"]
    goes_on(live)
    ended(live.stop())
