/* SPDX-License-Identifier: BSD-3-Clause
 * Guarded ports: their bursts never meet their driver's interrupt callbacks, nor a restart.
 *
 * net_memif unmaps its rings in EAL's interrupt thread when the peer goes, and nothing in DPDK
 * (22.11 to 24.11) keeps a burst from reading them at that moment: the process dies. Bursts on
 * guarded ports hold one lock for reading, net_memif's callbacks and vn_guard_stop() for writing.
 */
#ifndef VN_GUARD_H
#define VN_GUARD_H

#include <stdint.h>

#include <rte_mbuf.h>

#include "vn_compat.h"

/* Takes over net_memif's callbacks. Before rte_eal_init, which loads the drivers. 0, or -1: then
 * all is as without it, and vn_guard_channel() always tells of a channel. */
VN_EXPORT int vn_guard_install(void);

/* The bursts of a guarded port: rte_eth_rx_burst, rte_eth_tx_burst; nothing while it is stopped. */
VN_EXPORT uint16_t vn_guard_rx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);
VN_EXPORT uint16_t vn_guard_tx(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n);

/* rte_eth_dev_start, rte_eth_dev_stop; lcores may go on calling the two above. */
VN_EXPORT int vn_guard_start(uint16_t port);
VN_EXPORT int vn_guard_stop(uint16_t port);

/* Does the control channel that vn_guard_start() made for the port still exist? It does while the
 * peer has not yet answered. 1 if that cannot be known. */
VN_EXPORT int vn_guard_channel(uint16_t port);

#endif
