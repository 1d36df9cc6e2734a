"""Names by which other processes find an object."""

cimport cython
from libc.string cimport memcpy

from dpdk cimport eal
from kernels cimport vn
from veridnet._native.errors cimport check_process, check_ptr

from veridnet import processes
from veridnet.errors import ConfigError, PoolError, StateError


@cython.auto_pickle(False)
cdef class Named:
    """A name in the memory that processes share, and who uses what it names.

    Made by `claim` in the process that makes the object, by `find` in the others.
    """

    def __init__(self):
        raise TypeError("made by Named.claim and Named.find")

    @staticmethod
    def claim(str kind, str name, str about not None, unsigned int esize,
              uint64_t process) -> Named:
        """The name for a new object. ConfigError if it is taken."""
        cdef Named self = Named.__new__(Named)
        cdef bytes text = about.encode()
        cdef bytes zone = f"vn_{kind}_{name}".encode()
        check_process()
        if len(text) >= vn.VN_NAMED_ABOUT:
            raise ConfigError(f"{name}: its dtype is too long to be shared")
        eal.rte_errno = 0
        self.ptr = vn.vn_named_get(zone, True)
        if self.ptr == NULL and eal.rte_errno == 17:        # EEXIST
            self.ptr = vn.vn_named_get(zone, False)
            if self.ptr != NULL and processes.alive(self.ptr.owner):
                raise ConfigError(f"there is already a {kind} named {name!r}, "
                                  f"made by {processes.describe(self.ptr.owner)}")
        check_ptr(self.ptr, f"no memory for the name {name!r}", PoolError)
        self.name = name
        self.process = process
        users = self.others()
        if users:
            raise ConfigError(
                f"{processes.describe(users[0])} still uses the former {kind} {name!r}",
                hint="end it first, or take another name")
        vn.vn_named_close(self.ptr)     # until it is shown
        self.ptr.esize = esize
        memcpy(self.ptr.about, <const char *>text, len(text) + 1)
        self.about = about
        self.owner = True
        return self

    @staticmethod
    def find(str kind, str name, uint64_t process) -> Named:
        """The object of that name, or None; StateError if too many processes use it."""
        cdef Named self = Named.__new__(Named)
        check_process()
        self.ptr = vn.vn_named_get(f"vn_{kind}_{name}".encode(), False)
        if self.ptr == NULL or self.ptr.closed:
            return None
        self.name = name
        self.process = process
        if vn.vn_named_join(self.ptr, process) < 0:
            self.others()               # forgets those that are dead
            if vn.vn_named_join(self.ptr, process) < 0:
                raise StateError(f"{vn.VN_NAMED_MEMBERS} processes use {kind} {name!r} already")
        if self.ptr.closed:             # meanwhile
            self.leave()
            return None
        self.about = (<bytes>self.ptr.about).decode()
        return self

    @property
    def esize(self) -> int:
        """Bytes of an element."""
        return self.ptr.esize

    def show_no_object(self) -> None:
        """Others find the name, and what `about` says; there is no object."""
        self.show(NULL)

    cdef void show(self, void *at) noexcept:
        vn.vn_named_show(self.ptr, at, self.process)

    cdef bint closed(self) noexcept:
        return self.ptr.closed != 0

    cdef list others(self):
        """The other processes that use it, and live; the places of the dead become free."""
        cdef int i
        found = []
        for i in range(vn.VN_NAMED_MEMBERS):
            one = self.ptr.members[i]
            if one and one != self.process:
                if processes.alive(one):
                    found.append(one)
                else:
                    vn.vn_named_leave(self.ptr, one)
        return found

    cpdef bint leave(self) except -1:
        """Owner: it is closed. Others: this process no longer uses it. Is nobody else there?"""
        if not self.left:
            self.left = True
            if self.owner:
                vn.vn_named_close(self.ptr)
            else:
                vn.vn_named_leave(self.ptr, self.process)
        return not self.others() and (
            self.owner or not processes.alive(self.ptr.owner) or self.ptr.closed != 0)
