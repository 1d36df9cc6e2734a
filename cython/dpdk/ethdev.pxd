"""DPDK's Ethernet devices as they are: rte_ethdev.h, rte_ether.h."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from dpdk.mbuf cimport rte_mbuf, rte_mempool

cdef extern from "rte_ether.h" nogil:
    ctypedef struct rte_ether_addr "struct rte_ether_addr":
        uint8_t addr_bytes[6]

cdef extern from "rte_ethdev.h" nogil:
    enum:
        RTE_ETH_RX_OFFLOAD_SCATTER
        RTE_ETH_TX_OFFLOAD_MULTI_SEGS
        RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE
        RTE_ETH_NAME_MAX_LEN
        RTE_ETHDEV_QUEUE_STAT_CNTRS
        RTE_ETH_MQ_RX_RSS
        RTE_ETH_RSS_IP
        RTE_ETH_RSS_TCP
        RTE_ETH_RSS_UDP
    ctypedef struct rte_eth_rxmode "struct rte_eth_rxmode":
        uint32_t mq_mode
        uint32_t mtu
        uint64_t offloads
    ctypedef struct rte_eth_txmode "struct rte_eth_txmode":
        uint64_t offloads
    ctypedef struct rte_eth_rss_conf "struct rte_eth_rss_conf":
        uint8_t *rss_key
        uint64_t rss_hf
    ctypedef struct vn_rx_adv_conf "struct rte_eth_conf":  # unnamed in C; only its members count
        rte_eth_rss_conf rss_conf
    ctypedef struct rte_eth_intr_conf "struct rte_eth_intr_conf":
        bint rxq
    ctypedef struct rte_eth_conf "struct rte_eth_conf":
        rte_eth_intr_conf intr_conf
        rte_eth_rxmode rxmode
        rte_eth_txmode txmode
        vn_rx_adv_conf rx_adv_conf
    ctypedef struct rte_eth_desc_lim "struct rte_eth_desc_lim":
        uint16_t nb_max
        uint16_t nb_min
        uint16_t nb_align
        uint16_t nb_seg_max
    ctypedef struct rte_eth_dev_info "struct rte_eth_dev_info":
        const char *driver_name
        unsigned int if_index
        uint16_t min_mtu
        uint16_t max_mtu
        uint32_t max_rx_pktlen
        uint16_t max_rx_queues
        uint16_t max_tx_queues
        uint64_t rx_offload_capa
        uint64_t tx_offload_capa
        uint64_t flow_type_rss_offloads
        rte_eth_desc_lim rx_desc_lim
        rte_eth_desc_lim tx_desc_lim
    ctypedef struct rte_eth_rxconf "struct rte_eth_rxconf":
        uint64_t offloads
    ctypedef struct rte_eth_txconf "struct rte_eth_txconf":
        uint64_t offloads
    ctypedef struct rte_eth_link "struct rte_eth_link":
        uint32_t link_speed
        uint16_t link_duplex
        uint16_t link_autoneg
        uint16_t link_status
    ctypedef struct rte_eth_stats "struct rte_eth_stats":
        uint64_t ipackets
        uint64_t opackets
        uint64_t ibytes
        uint64_t obytes
        uint64_t imissed
        uint64_t ierrors
        uint64_t oerrors
        uint64_t rx_nombuf
    ctypedef struct rte_eth_xstat "struct rte_eth_xstat":
        uint64_t id
        uint64_t value
    ctypedef struct rte_eth_xstat_name "struct rte_eth_xstat_name":
        char name[64]

    int rte_eth_dev_get_port_by_name(const char *name, uint16_t *port_id)
    int rte_eth_dev_info_get(uint16_t port_id, rte_eth_dev_info *dev_info)
    int rte_eth_dev_configure(uint16_t port_id, uint16_t nb_rx, uint16_t nb_tx,
                              const rte_eth_conf *conf)
    int rte_eth_dev_adjust_nb_rx_tx_desc(uint16_t port_id, uint16_t *rx, uint16_t *tx)
    int rte_eth_rx_queue_setup(uint16_t port_id, uint16_t queue, uint16_t nb_desc,
                               unsigned int socket_id, const rte_eth_rxconf *conf,
                               rte_mempool *mp)
    int rte_eth_tx_queue_setup(uint16_t port_id, uint16_t queue, uint16_t nb_desc,
                               unsigned int socket_id, const rte_eth_txconf *conf)
    int rte_eth_dev_start(uint16_t port_id)
    int rte_eth_dev_stop(uint16_t port_id)
    int rte_eth_dev_close(uint16_t port_id)
    int rte_eth_dev_socket_id(uint16_t port_id)
    int rte_eth_dev_is_valid_port(uint16_t port_id)
    int rte_eth_macaddr_get(uint16_t port_id, rte_ether_addr *mac)
    int rte_eth_dev_default_mac_addr_set(uint16_t port_id, rte_ether_addr *mac)
    int rte_eth_promiscuous_enable(uint16_t port_id)
    int rte_eth_promiscuous_disable(uint16_t port_id)
    int rte_eth_promiscuous_get(uint16_t port_id)
    int rte_eth_dev_get_mtu(uint16_t port_id, uint16_t *mtu)
    int rte_eth_dev_set_mtu(uint16_t port_id, uint16_t mtu)
    int rte_eth_link_get_nowait(uint16_t port_id, rte_eth_link *link)
    int rte_eth_stats_get(uint16_t port_id, rte_eth_stats *stats)
    int rte_eth_xstats_get_names(uint16_t port_id, rte_eth_xstat_name *names, unsigned int n)
    int rte_eth_xstats_get(uint16_t port_id, rte_eth_xstat *xstats, unsigned int n)
    uint16_t rte_eth_rx_burst(uint16_t port_id, uint16_t queue, rte_mbuf **pkts, uint16_t n)
