"""What a port kind is: its keys, and the plan that it makes of a user's options."""

from __future__ import annotations

import contextlib
import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from veridnet.addresses import mac_bytes
from veridnet.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from veridnet.runtime import Port

#: Bytes of an Ethernet header; of it and one VLAN tag.
ETH_HEADER = 14
ETH_VLAN_HEADER = 18


@dataclass(frozen=True)
class Key:
    """One ``key=value`` of a port spec."""

    name: str
    type: type
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    dpdk: str = ""  # the key's name in DPDK's device arguments, where it differs
    unicode: bool = True  # False: a path of any bytes
    check: Callable[[str], str] | None = None  # the text as it is passed on, or ValueError: why not

    def parse(self, value: object) -> Any:
        """The value as this key's type; ConfigError names key, value and what is allowed."""
        if not isinstance(value, (str, int, float)):
            raise ConfigError(f"{self.name}={value!r}: must be one value")
        if self.choices:
            text = str(value)
            if text not in self.choices:
                raise ConfigError(f"{self.name}={value}: must be one of {', '.join(self.choices)}")
            return text
        if self.type is bool:
            text = str(value).lower()
            if text in ("1", "true", "yes", "on"):
                return True
            if text in ("0", "false", "no", "off"):
                return False
            raise ConfigError(f"{self.name}={value}: must be on or off")
        if self.type is int:
            try:
                number = int(str(value), 0)
            except ValueError:
                number = None
            if (
                number is None
                or (self.low is not None and number < self.low)
                or (self.high is not None and number > self.high)
            ):
                raise ConfigError(f"{self.name}={value}: must be a number{self.range()}")
            return number
        text = str(value)
        if not text or "\0" in text:
            raise ConfigError(f"{self.name}={text!r}: must not be empty")
        if self.unicode and any("\ud800" <= c <= "\udfff" for c in text):
            raise ConfigError(f"{self.name}={text!r}: is not UTF-8")
        if self.check is not None:
            try:
                return self.check(text)
            except ValueError as e:
                raise ConfigError(f"{self.name}={text}: {e}") from None
        return text

    def range(self) -> str:
        """ " from 1 to 9", or the part of it that is bounded."""
        low = "" if self.low is None else f" from {self.low}"
        high = "" if self.high is None else f" to {self.high}"
        return low + high


def station_address(text: str) -> str:
    """A MAC address that one station can have, as DPDK writes it; ValueError says why not."""
    try:
        raw = mac_bytes(text)
    except ConfigError:
        raise ValueError(
            "is not a MAC address (six bytes in hex, as in 02:00:00:00:00:01)"
        ) from None
    if raw[0] & 1:
        raise ValueError("is a group address (its first byte is odd), not that of one station")
    if not any(raw):
        raise ValueError("is no station's address")
    return raw.hex(":")


@dataclass
class PortPlan:
    """How one port is to be made: what `Runtime.add_port` needs to know of its kind."""

    device: str = ""  # its name in DPDK; made from the driver's if empty
    devargs: dict[str, str] = field(default_factory=dict)
    raw_args: str = ""  # further device arguments, as the user wrote them
    queues: int = 1
    rx_desc: int = 1024
    tx_desc: int = 1024
    mtu: int | None = None
    iface_mtu: int | None = None  # of the kernel's interface, where DPDK does not know it
    mac: str | None = None
    promiscuous: bool = True
    data_room: int = 2048
    own_pool: int = 0  # mbufs of a pool that is this port's alone; 0: shares one
    residue: bool = False  # the driver never gives back some mbufs of that pool
    scatter: bool = False
    max_frame: int | Callable[[Port], int] | None = None  # without FCS
    vlan_extra: bool = False
    rx_only: bool = False
    tx_only: bool = False
    direct: bool = False
    guarded: bool = False  # bursts must not meet the driver's interrupt callbacks
    peer_is_there: Callable[[], bool] | None = None  # of a port that connects when it is started
    marks: bool = False  # its driver does not say in an mbuf which port received it
    time_unit: int = 1  # ns that one unit of its receive times is
    linger_s: float = 0.0  # a peer may still read what was sent: wait before closing
    records: int | None = None  # of the trace that it reads
    cut: NDArray[np.uint64] | None = None
    needs_hugepages: bool = False
    hugepages_if_any: bool = False  # others may use its buffers, and count on them if there are
    policy: str = "retry"
    retry_us: int | None = None
    interrupts: bool = False  # a packet can wake a worker that sleeps on its queues
    details: dict[str, Any] = field(default_factory=dict)  # for the summary
    warnings: list[str] = field(default_factory=list)
    on_made: Callable[[Port], None] | None = None  # once the device is there
    on_close: Callable[[Port], Iterable[str]] | None = None  # after the device is gone
    resources: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    made: list[str] = field(default_factory=list)  # files that go again if no port comes of it
    inputs: list[tuple[int, int]] = field(default_factory=list)  # (device, inode) of files read
    outputs: list[tuple[int, int]] = field(default_factory=list)


#: Keys that every kind has.
COMMON_KEYS = (
    Key("name", str, "what the port is called (its order is used if not given)"),
    Key("mac", str, "its MAC address, as 02:00:00:00:00:01", check=station_address),
    Key("mtu", int, "its MTU", low=68, high=65535),
    Key("queues", int, "rx and tx queues", default=1, low=1, high=64),
    Key("promiscuous", bool, "receive frames for every MAC address", default=True),
    Key("rx_desc", int, "descriptors of an rx queue", low=32, high=32768),
    Key("tx_desc", int, "descriptors of a tx queue", low=32, high=32768),
    Key(
        "policy",
        str,
        "packets that the port does not take: retry (bounded) or drop",
        default="retry",
        choices=("retry", "drop"),
    ),
    Key("retry_us", int, "bound of those retries, in microseconds", low=0, high=1_000_000),
    Key("interrupts", bool, "let packets wake a worker that sleeps (idle=sleep)"),
)


class PortKind(ABC):
    """A kind of port. One file and one subclass each; `veridnet.ports.KINDS` lists them."""

    name: str
    driver: str  # DPDK's name of the driver ("net_null")
    summary: str
    keys: tuple[Key, ...] = ()
    unprivileged: bool = True  # works for a user with no capabilities
    max_queues: int = 1
    has_mtu: bool = True
    bus = "vdev"

    def all_keys(self) -> dict[str, Key]:
        """Its own keys and the common ones, by name."""
        keys = {k.name: k for k in (*self.keys, *COMMON_KEYS)}
        if not self.has_mtu:
            del keys["mtu"]
        return keys

    def parse(self, options: Mapping[str, object]) -> dict[str, Any]:
        """Checks and converts a user's options; the defaults stand for what is not given."""
        known = self.all_keys()
        out = {k.name: k.default for k in known.values()}
        for name, value in options.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                raise ConfigError(
                    f"{self.name}: unknown key {name!r}"
                    + (f" (did you mean {near[0]!r}?)" if near else ""),
                    hint=f"keys: {', '.join(known)}",
                )
            if value is not None:
                try:
                    out[name] = known[name].parse(value)
                except ConfigError as e:
                    raise ConfigError(f"{self.name}: {e}") from None
        if out["queues"] > self.max_queues:
            raise ConfigError(
                f"{self.name}: queues={out['queues']}: this kind has at most {self.max_queues}"
            )
        return out

    def plan(self, options: Mapping[str, object]) -> PortPlan:
        """The plan for a port with these options. Raises before anything is made."""
        values = self.parse(options)
        plan = PortPlan(
            queues=values["queues"],
            mtu=values.get("mtu"),
            mac=values["mac"],
            promiscuous=values["promiscuous"],
            policy=values["policy"],
            retry_us=values["retry_us"],
        )
        try:
            self.fill(plan, values)
        except BaseException:
            plan.resources.close()
            raise
        plan.rx_desc = values["rx_desc"] or plan.rx_desc
        plan.tx_desc = values["tx_desc"] or plan.tx_desc
        if values["interrupts"] is not None:
            plan.interrupts = values["interrupts"]
        return plan

    @abstractmethod
    def fill(self, plan: PortPlan, values: dict[str, Any]) -> None:
        """Completes the plan from the checked options."""

    def devargs(self, values: dict[str, Any], *names: str) -> dict[str, str]:
        """DPDK's device arguments from the keys of the given names that have a value."""
        known = self.all_keys()
        out = {}
        for name in names:
            value = values[name]
            if value is None or value is False:
                continue
            text = "1" if value is True else str(value)
            if any(c in text for c in ",=[]\n"):
                raise ConfigError(f"{self.name}: {name}={text}: DPDK cannot take , = [ ] there")
            out[known[name].dpdk or name] = text
        return out
