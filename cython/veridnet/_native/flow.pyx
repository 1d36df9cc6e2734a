"""Flow rules in a port: rte_flow (validate, create, query, destroy, isolate).

A pattern is a list of (item, {field: (spec, mask, last)}): the item's and the field's names stand
in `items()`; numbers are in host byte order; ``last`` (the upper bound of a range) is None for
none. Actions are a list of (name, conf): ("drop", None), ("count", None), ("passthru", None),
("mark", {"id": 5}), ("queue", {"index": 0}), ("rss", {"queues": [0, 1]}).
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

import os

from dpdk cimport eal
from dpdk cimport flow as rte
from veridnet._native.errors cimport check_process
from veridnet._native.port cimport NativePort

from veridnet.errors import ConfigError, FlowError

cdef extern from "vn_flow.h" nogil:
    struct vn_flow_field:
        const char *name
        uint16_t off
        uint8_t bytes
        uint8_t shift
        uint8_t bits
        uint8_t flag
    struct vn_flow_item:
        const char *name
        rte.rte_flow_item_type type
        uint16_t size
        vn_flow_field fields[16]
    const vn_flow_item vn_flow_items[]
    enum:
        VN_FLOW_ITEMS
        VN_FLOW_MAX_SIZE
    rte.rte_flow_attr vn_flow_attr(uint32_t group, uint32_t priority, int ingress, int egress,
                                   int transfer)
    void vn_flow_set_flag(rte.rte_flow_item_type type, void *item)

CAUSES = {
    rte.RTE_FLOW_ERROR_TYPE_NONE: "",
    rte.RTE_FLOW_ERROR_TYPE_UNSPECIFIED: "",
    rte.RTE_FLOW_ERROR_TYPE_HANDLE: "handle",
    rte.RTE_FLOW_ERROR_TYPE_ATTR: "attributes",
    rte.RTE_FLOW_ERROR_TYPE_ATTR_GROUP: "group",
    rte.RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY: "priority",
    rte.RTE_FLOW_ERROR_TYPE_ATTR_INGRESS: "ingress",
    rte.RTE_FLOW_ERROR_TYPE_ATTR_EGRESS: "egress",
    rte.RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER: "transfer",
    rte.RTE_FLOW_ERROR_TYPE_ITEM_NUM: "pattern's length",
    rte.RTE_FLOW_ERROR_TYPE_ITEM_SPEC: "item's spec",
    rte.RTE_FLOW_ERROR_TYPE_ITEM_LAST: "item's last",
    rte.RTE_FLOW_ERROR_TYPE_ITEM_MASK: "item's mask",
    rte.RTE_FLOW_ERROR_TYPE_ITEM: "item",
    rte.RTE_FLOW_ERROR_TYPE_ACTION_NUM: "number of actions",
    rte.RTE_FLOW_ERROR_TYPE_ACTION_CONF: "action's conf",
    rte.RTE_FLOW_ERROR_TYPE_ACTION: "action",
}

ACTIONS = {
    "passthru": rte.RTE_FLOW_ACTION_TYPE_PASSTHRU,
    "mark": rte.RTE_FLOW_ACTION_TYPE_MARK,
    "queue": rte.RTE_FLOW_ACTION_TYPE_QUEUE,
    "drop": rte.RTE_FLOW_ACTION_TYPE_DROP,
    "count": rte.RTE_FLOW_ACTION_TYPE_COUNT,
    "rss": rte.RTE_FLOW_ACTION_TYPE_RSS,
}


def items() -> dict[str, dict[str, int]]:
    """Item -> field -> how many bits it has: what patterns can say."""
    return {
        vn_flow_items[i].name.decode(): {
            vn_flow_items[i].fields[k].name.decode(): vn_flow_items[i].fields[k].bits
            for k in range(16) if vn_flow_items[i].fields[k].name != NULL
        }
        for i in range(<int>VN_FLOW_ITEMS)
    }


def item_name(str item not None) -> str:
    """What this DPDK calls an item of ours (rte_flow_conv)."""
    return name_of(rte.RTE_FLOW_CONV_OP_ITEM_NAME_PTR, find_item(item).type)


def action_name(str action not None) -> str:
    """What this DPDK calls an action of ours (rte_flow_conv)."""
    return name_of(rte.RTE_FLOW_CONV_OP_ACTION_NAME_PTR, ACTIONS[action])


cdef str name_of(rte.rte_flow_conv_op op, uintptr_t number):
    cdef const char *name = NULL
    cdef rte.rte_flow_error error
    cdef int rc = rte.rte_flow_conv(op, &name, sizeof(name), <const void *>number, &error)
    if rc < 0 or name == NULL:
        raise FlowError(f"DPDK has no name for {number}", -rc if rc < 0 else 0)
    return name.decode()


cdef const vn_flow_item *find_item(str name) except NULL:
    cdef bytes wanted = name.encode()
    for i in range(<int>VN_FLOW_ITEMS):
        if vn_flow_items[i].name == wanted:
            return &vn_flow_items[i]
    raise ConfigError(f"there is no flow item {name!r}; there are {', '.join(items())}")


cdef int put(uint8_t *to, const vn_flow_item *item, const vn_flow_field *field,
             uint64_t value) except -1:
    """Ors a field's value into an item's bytes."""
    cdef int k
    if field.bits < 64 and value >> field.bits:
        raise ConfigError(f"{field.name.decode()}: {value} does not fit {field.bits} bits")
    if field.flag:
        if value:
            vn_flow_set_flag(item.type, to)
        return 0
    value <<= field.shift
    for k in range(field.bytes):
        to[field.off + field.bytes - 1 - k] |= <uint8_t>(value >> 8 * k)
    return 0


@cython.internal
cdef class Built:
    """A rule as DPDK wants it: attributes, items and actions, and their memory."""

    cdef rte.rte_flow_attr attr
    cdef rte.rte_flow_item *pattern
    cdef rte.rte_flow_action *actions
    cdef uint8_t *room              # spec, last, mask of each item
    cdef rte.rte_flow_action_mark mark
    cdef rte.rte_flow_action_queue queue
    cdef rte.rte_flow_action_count count
    cdef rte.rte_flow_action_rss rss
    cdef uint16_t queues[64]
    cdef list names

    def __cinit__(self, pattern, actions, *, uint32_t group=0, uint32_t priority=0,
                  bint ingress=True, bint egress=False, bint transfer=False):
        cdef list items_ = list(pattern)
        cdef list acts = list(actions)
        cdef int i
        self.attr = vn_flow_attr(group, priority, ingress, egress, transfer)
        self.names = [name for name, _ in items_]
        self.pattern = <rte.rte_flow_item *>calloc(len(items_) + 1, sizeof(rte.rte_flow_item))
        self.actions = <rte.rte_flow_action *>calloc(len(acts) + 1, sizeof(rte.rte_flow_action))
        self.room = <uint8_t *>calloc(3 * len(items_) + 1, VN_FLOW_MAX_SIZE)
        if self.pattern == NULL or self.actions == NULL or self.room == NULL:
            raise MemoryError
        for i, (name, fields) in enumerate(items_):
            self.fill_item(i, name, fields)
        self.pattern[len(items_)].type = rte.RTE_FLOW_ITEM_TYPE_END
        for i, (name, conf) in enumerate(acts):
            self.fill_action(i, name, conf or {})
        self.actions[len(acts)].type = rte.RTE_FLOW_ACTION_TYPE_END

    def __dealloc__(self):
        free(self.pattern)
        free(self.actions)
        free(self.room)

    cdef int fill_item(self, int i, str name, dict fields) except -1:
        cdef const vn_flow_item *item = find_item(name)
        cdef uint8_t *spec = self.room + 3 * i * <int>VN_FLOW_MAX_SIZE
        cdef uint8_t *last = spec + <int>VN_FLOW_MAX_SIZE
        cdef uint8_t *mask = last + <int>VN_FLOW_MAX_SIZE
        cdef const vn_flow_field *field
        cdef bint ranges = False
        self.pattern[i].type = item.type
        if not fields:
            return 0                # the item alone: any header of the kind
        for key, (low, bits, high) in fields.items():
            field = self.find_field(item, key)
            put(spec, item, field, low)
            put(mask, item, field, bits)
            # DPDK ignores a `last` that equals spec: no range in this field.
            put(last, item, field, low if high is None else high)
            ranges |= high is not None
        self.pattern[i].spec = spec
        self.pattern[i].mask = mask
        self.pattern[i].last = last if ranges else NULL
        return 0

    cdef const vn_flow_field *find_field(self, const vn_flow_item *item, str name) except NULL:
        cdef bytes wanted = name.encode()
        cdef int k
        for k in range(16):
            if item.fields[k].name == NULL:
                break
            if item.fields[k].name == wanted:
                return &item.fields[k]
        raise ConfigError(f"flow item {item.name.decode()} has no field {name!r}")

    cdef int fill_action(self, int i, str name, dict conf) except -1:
        cdef rte.rte_flow_action *action = &self.actions[i]
        cdef int k
        if name not in ACTIONS:
            raise ConfigError(f"there is no flow action {name!r}; there are {', '.join(ACTIONS)}")
        action.type = ACTIONS[name]
        if name == "mark":
            self.mark.id = conf["id"]
            action.conf = &self.mark
        elif name == "queue":
            self.queue.index = conf["index"]
            action.conf = &self.queue
        elif name == "count":
            self.count.id = conf.get("id", 0)
            action.conf = &self.count
        elif name == "rss":
            queues = conf["queues"]
            if not 0 < len(queues) <= 64:
                raise ConfigError(f"rss over {len(queues)} queues; 1 to 64 can be given")
            for k, queue in enumerate(queues):
                self.queues[k] = queue
            memset(&self.rss, 0, sizeof(self.rss))
            self.rss.types = conf.get("types", 0)
            self.rss.queue_num = len(queues)
            self.rss.queue = self.queues
            action.conf = &self.rss
        return 0

    cdef object error(self, str what, int rc, rte.rte_flow_error *e):
        """What DPDK said, as an exception."""
        cause = CAUSES.get(e.type, "")
        where = <uintptr_t>e.cause
        first = <uintptr_t>self.pattern
        if where >= first and where < first + len(self.names) * sizeof(rte.rte_flow_item):
            cause += f" {self.names[(where - first) // sizeof(rte.rte_flow_item)]}"
        return flow_error(what, rc, e, cause)


cdef object flow_error(str what, int rc, rte.rte_flow_error *e, str cause):
    said = e.message.decode(errors="replace") if e.message != NULL else ""
    number = -rc if rc < 0 else eal.rte_errno
    if said == os.strerror(number):
        said = ""                       # the error's text ends with it
    out = FlowError(": ".join(part for part in (what, cause, said) if part), number)
    out.cause = cause
    return out


def layout(pattern) -> list[tuple[str, bytes | None, bytes | None, bytes | None]]:
    """(item, spec, last, mask) as bytes, as DPDK itself copies them (rte_flow_conv).

    For tests and for people: needs no port.
    """
    cdef Built built = Built(pattern, [])
    cdef rte.rte_flow_error error
    cdef const rte.rte_flow_item *item
    cdef const void *parts[3]
    cdef int rc
    cdef size_t size
    cdef bytearray room
    cdef uint8_t *copy
    rc = rte.rte_flow_conv(rte.RTE_FLOW_CONV_OP_PATTERN, NULL, 0, built.pattern, &error)
    if rc < 0:
        raise built.error("rte_flow_conv", rc, &error)
    size = rc
    room = bytearray(size + 16)
    copy = <uint8_t *>room
    copy += -<uintptr_t>copy & 15
    rc = rte.rte_flow_conv(rte.RTE_FLOW_CONV_OP_PATTERN, copy, size, built.pattern, &error)
    if rc < 0:
        raise built.error("rte_flow_conv", rc, &error)
    out = []
    item = <const rte.rte_flow_item *>copy
    for name in built.names:
        parts = [item.spec, item.last, item.mask]
        width = find_item(name).size
        out.append((name_of(rte.RTE_FLOW_CONV_OP_ITEM_NAME_PTR, item.type),
                    *(None if parts[k] == NULL else (<const uint8_t *>parts[k])[:width]
                      for k in range(3))))
        item += 1
    return out


def validate(NativePort port not None, pattern, actions, **attributes) -> None:
    """Asks the port whether it would take a flow (rte_flow_validate); FlowError if not.

    That it would is no promise: net_tap passes what `create` refuses.
    """
    cdef Built built = Built(pattern, actions, **attributes)
    cdef rte.rte_flow_error error
    cdef int rc
    port.check()
    memset(&error, 0, sizeof(error))
    eal.rte_errno = 0
    with nogil:
        rc = rte.rte_flow_validate(port.port_id, &built.attr, built.pattern, built.actions, &error)
    if rc < 0:
        raise built.error(f"{port.device} cannot take the flow", rc, &error)


def create(NativePort port not None, pattern, actions, **attributes) -> Flow:
    """Installs a flow (rte_flow_create). Attributes: priority (0 wins), group, ingress, egress."""
    cdef Built built = Built(pattern, actions, **attributes)
    cdef rte.rte_flow_error error
    cdef rte.rte_flow *ptr
    cdef Flow flow
    port.check()
    flow = Flow.__new__(Flow)
    memset(&error, 0, sizeof(error))
    eal.rte_errno = 0
    with nogil:
        ptr = rte.rte_flow_create(port.port_id, &built.attr, built.pattern, built.actions, &error)
    if ptr == NULL:
        raise built.error(f"{port.device} does not take the flow", 0, &error)
    flow.ptr = ptr
    flow.port = port
    return flow


def isolate(NativePort port not None, bint on) -> None:
    """With it, the port receives only what flows send to queues (rte_flow_isolate)."""
    cdef rte.rte_flow_error error
    cdef int rc
    port.check()
    memset(&error, 0, sizeof(error))
    eal.rte_errno = 0
    with nogil:
        rc = rte.rte_flow_isolate(port.port_id, on, &error)
    if rc < 0:
        raise flow_error(f"{port.device} cannot be isolated", rc, &error, "")


cdef class Flow:
    """A flow in a port. It ends with `destroy`, or with the port; not with this object."""

    cdef rte.rte_flow *ptr
    cdef readonly NativePort port

    def __init__(self, *args, **kwargs):
        raise TypeError("create() makes flows")

    @property
    def alive(self) -> bool:
        """Is the flow in the port?"""
        return self.ptr != NULL and not self.port.closed

    def query(self, bint reset=False) -> tuple[int | None, int | None]:
        """(packets, bytes) of its count action; None for what the port does not count."""
        cdef rte.rte_flow_query_count count
        cdef rte.rte_flow_error error
        cdef rte.rte_flow_action actions[2]
        cdef int rc
        self.port.check()
        if self.ptr == NULL:
            raise FlowError("the flow is destroyed")
        memset(&count, 0, sizeof(count))
        memset(&error, 0, sizeof(error))
        memset(actions, 0, sizeof(actions))
        count.reset = reset
        actions[0].type = rte.RTE_FLOW_ACTION_TYPE_COUNT
        actions[1].type = rte.RTE_FLOW_ACTION_TYPE_END
        eal.rte_errno = 0
        rc = rte.rte_flow_query(self.port.port_id, self.ptr, actions, &count, &error)
        if rc < 0:
            raise flow_error(f"{self.port.device} does not count the flow", rc, &error, "")
        return (count.hits if count.hits_set else None, count.bytes if count.bytes_set else None)

    def destroy(self) -> None:
        """Takes the flow out of the port. May be called twice; after the port's end, too."""
        cdef rte.rte_flow_error error
        cdef rte.rte_flow *ptr = self.ptr
        cdef int rc
        check_process()
        if ptr == NULL:
            return
        if self.port.closed:
            self.ptr = NULL
            return
        memset(&error, 0, sizeof(error))
        eal.rte_errno = 0
        rc = rte.rte_flow_destroy(self.port.port_id, ptr, &error)
        if rc < 0:
            raise flow_error(f"{self.port.device} cannot destroy the flow", rc, &error, "")
        self.ptr = NULL
