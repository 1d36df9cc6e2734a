"""DPDK's generic flow API as it is: rte_flow.h."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from "rte_flow.h" nogil:
    ctypedef struct rte_flow_attr "struct rte_flow_attr":
        uint32_t group
        uint32_t priority
        uint32_t ingress
        uint32_t egress
        uint32_t transfer
    ctypedef enum rte_flow_item_type "enum rte_flow_item_type":
        RTE_FLOW_ITEM_TYPE_END
    ctypedef struct rte_flow_item "struct rte_flow_item":
        rte_flow_item_type type
        const void *spec
        const void *last
        const void *mask
    ctypedef enum rte_flow_action_type "enum rte_flow_action_type":
        RTE_FLOW_ACTION_TYPE_END
        RTE_FLOW_ACTION_TYPE_PASSTHRU
        RTE_FLOW_ACTION_TYPE_MARK
        RTE_FLOW_ACTION_TYPE_QUEUE
        RTE_FLOW_ACTION_TYPE_DROP
        RTE_FLOW_ACTION_TYPE_COUNT
        RTE_FLOW_ACTION_TYPE_RSS
    ctypedef struct rte_flow_action "struct rte_flow_action":
        rte_flow_action_type type
        const void *conf
    ctypedef struct rte_flow_action_mark "struct rte_flow_action_mark":
        uint32_t id
    ctypedef struct rte_flow_action_queue "struct rte_flow_action_queue":
        uint16_t index
    ctypedef struct rte_flow_action_count "struct rte_flow_action_count":
        uint32_t id
    ctypedef struct rte_flow_action_rss "struct rte_flow_action_rss":
        uint64_t types
        uint32_t queue_num
        const uint16_t *queue
    ctypedef struct rte_flow_query_count "struct rte_flow_query_count":
        uint32_t reset
        uint32_t hits_set
        uint32_t bytes_set
        uint64_t hits
        uint64_t bytes
    ctypedef enum rte_flow_error_type "enum rte_flow_error_type":
        RTE_FLOW_ERROR_TYPE_NONE
        RTE_FLOW_ERROR_TYPE_UNSPECIFIED
        RTE_FLOW_ERROR_TYPE_HANDLE
        RTE_FLOW_ERROR_TYPE_ATTR
        RTE_FLOW_ERROR_TYPE_ATTR_GROUP
        RTE_FLOW_ERROR_TYPE_ATTR_PRIORITY
        RTE_FLOW_ERROR_TYPE_ATTR_INGRESS
        RTE_FLOW_ERROR_TYPE_ATTR_EGRESS
        RTE_FLOW_ERROR_TYPE_ATTR_TRANSFER
        RTE_FLOW_ERROR_TYPE_ITEM_NUM
        RTE_FLOW_ERROR_TYPE_ITEM_SPEC
        RTE_FLOW_ERROR_TYPE_ITEM_LAST
        RTE_FLOW_ERROR_TYPE_ITEM_MASK
        RTE_FLOW_ERROR_TYPE_ITEM
        RTE_FLOW_ERROR_TYPE_ACTION_NUM
        RTE_FLOW_ERROR_TYPE_ACTION_CONF
        RTE_FLOW_ERROR_TYPE_ACTION
    ctypedef struct rte_flow_error "struct rte_flow_error":
        rte_flow_error_type type
        const void *cause
        const char *message
    ctypedef struct rte_flow "struct rte_flow":
        pass
    ctypedef struct rte_flow_conv_rule "struct rte_flow_conv_rule":
        const rte_flow_attr *attr_ro
        const rte_flow_item *pattern_ro
        const rte_flow_action *actions_ro
        rte_flow_attr *attr
        rte_flow_item *pattern
        rte_flow_action *actions
    ctypedef enum rte_flow_conv_op "enum rte_flow_conv_op":
        RTE_FLOW_CONV_OP_ITEM
        RTE_FLOW_CONV_OP_PATTERN
        RTE_FLOW_CONV_OP_RULE
        RTE_FLOW_CONV_OP_ITEM_NAME_PTR
        RTE_FLOW_CONV_OP_ACTION_NAME_PTR

    int rte_flow_validate(uint16_t port_id, const rte_flow_attr *attr,
                          const rte_flow_item *pattern, const rte_flow_action *actions,
                          rte_flow_error *error)
    rte_flow *rte_flow_create(uint16_t port_id, const rte_flow_attr *attr,
                              const rte_flow_item *pattern, const rte_flow_action *actions,
                              rte_flow_error *error)
    int rte_flow_destroy(uint16_t port_id, rte_flow *flow, rte_flow_error *error)
    int rte_flow_flush(uint16_t port_id, rte_flow_error *error)
    int rte_flow_query(uint16_t port_id, rte_flow *flow, const rte_flow_action *action,
                       void *data, rte_flow_error *error)
    int rte_flow_isolate(uint16_t port_id, int set, rte_flow_error *error)
    int rte_flow_conv(rte_flow_conv_op op, void *dst, size_t size, const void *src,
                      rte_flow_error *error)
