"""Start of EAL, devices by hotplug, the log, and the clock.

EAL starts once per process (rte_eal_init answers EALREADY after a failed or ended start), so
whoever calls `init` has chosen and checked every argument before.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memset, strdup

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.errors cimport check_process, check_rc

import os

from veridnet.errors import EalError, PortError


def version() -> str:
    """DPDK's version, as in ``"DPDK 22.11.11"``."""
    return eal.rte_version().decode()


def tsc_hz() -> int:
    """Ticks a second of the time-stamp counter; 0 before EAL has started."""
    return eal.rte_get_tsc_hz()


def started() -> bool:
    """Has the start of EAL been tried in this process? There is no second try."""
    return vn.vn_started != 0


def log_open(int fd) -> None:
    """Sends DPDK's log to `fd`, the writing end of a non-blocking pipe.

    A record is the level as one digit (1 emergency .. 8 debug), the text, and a newline.
    """
    check_rc(vn.vn_log_open(fd), "cannot redirect DPDK's log")


def log_lost() -> int:
    """Log lines that a full pipe has lost."""
    return vn.vn_log_lost()


def log_level(str pattern, int level) -> None:
    """Sets the level of the log types that match the shell pattern ("" for the global level)."""
    if pattern:
        check_rc(eal.rte_log_set_level_pattern(pattern.encode(), level), "cannot set log level")
    else:
        eal.rte_log_set_global_level(level)


def init(list args) -> None:
    """Calls rte_eal_init. May be called once per process; the GIL is released meanwhile."""
    cdef int argc = len(args), rc, err
    cdef char **argv
    check_process()
    if vn.vn_started:
        raise EalError("EAL has already been started in this process")
    # DPDK keeps pointers into argv: it lives as long as the process.
    argv = <char **>calloc(argc + 1, sizeof(char *))
    if argv == NULL:
        raise MemoryError
    for i, arg in enumerate(args):
        argv[i] = strdup(arg.encode())
    vn.vn_started = 1
    vn.vn_guard_install()
    # EAL prints its fatal errors, and its usage, past its own log; they stand in the log as well.
    saved = {}
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    for fd in (1, 2):
        try:
            saved[fd] = os.dup(fd)
            os.dup2(null, fd)
        except OSError:        # a process without that stream has nothing to keep clean
            pass
    try:
        with nogil:
            rc = eal.rte_eal_init(argc, argv)
    finally:
        for fd, copy in saved.items():
            os.dup2(copy, fd)
            os.close(copy)
        os.close(null)
    if rc < 0:
        err = eal.rte_errno
        raise EalError(f"EAL did not start ({eal.rte_strerror(err).decode()})")


def hotplug_add(str bus, str device, str args) -> None:
    """Makes a device: bus "vdev" (rte_vdev_init) or "pci" (rte_eal_hotplug_add).

    rte_eal_hotplug_add would do for both, but its messages to secondary processes hold 127 bytes
    of arguments: DPDK 24.11 refuses longer ones, and a memif's socket path makes them so.
    """
    cdef bytes b = bus.encode(), d = device.encode(), a = args.encode()
    cdef const char *pb = b
    cdef const char *pd = d
    cdef const char *pa = a
    cdef bint virtual = bus == "vdev"
    cdef eal.rte_devargs da
    cdef int rc
    check_process()
    eal.rte_errno = 0
    memset(&da, 0, sizeof(da))
    with nogil:
        if virtual:
            rc = eal.rte_devargs_parse(&da, pd)  # is there such a driver? It logs if not
            free(da.data)
            if rc == 0:
                rc = eal.rte_vdev_init(pd, pa)
        else:
            rc = eal.rte_eal_hotplug_add(pb, pd, pa)
    check_rc(rc, f"DPDK cannot make device {device}", PortError)


def hotplug_remove(str bus, str device) -> None:
    """Removes a device that hotplug_add made."""
    cdef bytes b = bus.encode(), d = device.encode()
    cdef const char *pb = b
    cdef const char *pd = d
    cdef int rc
    check_process()
    eal.rte_errno = 0
    with nogil:
        rc = eal.rte_eal_hotplug_remove(pb, pd)
    check_rc(rc, f"DPDK cannot remove device {device}", PortError)


def ring_free(str name) -> None:
    """Frees the rte_ring of that name, if there is one."""
    cdef bytes n = name.encode()
    check_process()
    eal.rte_ring_free(eal.rte_ring_lookup(n))


def iova_mode() -> str:
    """"pa", "va" or "unknown" (rte_eal_iova_mode)."""
    return {1: "pa", 2: "va"}.get(eal.rte_eal_iova_mode(), "unknown")
