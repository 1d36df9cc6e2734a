"""The one place where DPDK's three error conventions become Python exceptions.

DPDK returns a negative errno, or -1 with rte_errno, or NULL with rte_errno.
"""

from dpdk.eal cimport rte_errno
from kernels.vn cimport VN_DROP_MAX, vn_drop_table
cimport kernels.vn as vn

import os

from veridnet.errors import DpdkError, ForkedError


cdef int check_rc(int rc, str what, object kind=DpdkError) except -1:
    """rc of a DPDK call: >= 0 is returned, negative raises `kind`."""
    cdef int err
    if rc >= 0:
        return rc
    err = -rc
    if rc == -1 and rte_errno > 0:
        err = rte_errno
    raise kind(what, err)


cdef int check_ptr(const void *ptr, str what, object kind=DpdkError) except -1:
    """Pointer of a DPDK call: NULL raises `kind` with rte_errno."""
    if ptr == NULL:
        raise kind(what, rte_errno if rte_errno > 0 else 0)
    return 0


cdef int check_process() except -1:
    """Raises in a forked child."""
    if vn.vn_forked:
        raise ForkedError(
            "DPDK objects cannot be used in a forked child",
            hint="start child processes with multiprocessing's spawn method",
        )
    return 0


def drop_reasons() -> dict[str, str]:
    """Name -> meaning of every reason for which a packet can end unsent."""
    return {
        vn_drop_table[i].name.decode(): vn_drop_table[i].meaning.decode()
        for i in range(VN_DROP_MAX) if vn_drop_table[i].name != NULL
    }


def _after_fork_in_child() -> None:
    # Forked before EAL has started, a child may start its own.
    vn.vn_forked = vn.vn_started


os.register_at_fork(after_in_child=_after_fork_in_child)
