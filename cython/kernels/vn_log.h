/* SPDX-License-Identifier: BSD-3-Clause
 * DPDK's log into a pipe. Each record is one line: the level as a digit, the text, '\n'. Writing
 * never blocks and never calls Python (a callback into Python from inside rte_log can deadlock
 * with the GIL); a full pipe loses lines, and says how many.
 */
#ifndef VN_LOG_H
#define VN_LOG_H

#include <stdint.h>

#include "vn_compat.h"

/* Sends DPDK's log to fd (the writing end of a non-blocking pipe). 0 or a negative errno. */
VN_EXPORT int vn_log_open(int fd);
VN_EXPORT uint64_t vn_log_lost(void);

#endif
