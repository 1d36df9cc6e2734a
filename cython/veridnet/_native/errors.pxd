cdef int check_rc(int rc, str what, object kind=*) except -1
cdef int check_ptr(const void *ptr, str what, object kind=*) except -1
cdef int check_process() except -1
