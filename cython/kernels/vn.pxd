"""The C kernels in cython/kernels: what each does stands in its header."""

from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from dpdk.eal cimport rte_ring
from dpdk.mbuf cimport rte_mbuf, rte_mempool
from dpdk.sync cimport rte_ring_zc_data

cdef extern from "vn_account.h" nogil:
    enum:
        VN_DROP_TX_FULL
        VN_DROP_RUNT
        VN_DROP_FREED
        VN_DROP_COLLECTED
        VN_DROP_CLOSED
        VN_DROP_NO_MBUF
        VN_DROP_FILTERED
        VN_DROP_RULE
        VN_DROP_RING_FULL
        VN_DROP_STAGE_ERROR
        VN_DROP_STOPPED
        VN_DROP_USER
        VN_DROP_MAX
    struct vn_drop_name:
        const char *name
        const char *meaning
    vn_drop_name vn_drop_table[]
    struct vn_account:
        uint64_t rx_packets
        uint64_t rx_bytes
        uint64_t tx_packets
        uint64_t tx_bytes
        uint64_t generated
        uint64_t copies
        uint64_t handed_in
        uint64_t handed_out
        uint64_t retries
        uint64_t drops[]
    int vn_started
    int vn_forked

cdef extern from "vn_port.h" nogil:
    enum vn_tx_policy:
        VN_TX_RETRY
        VN_TX_DROP
        VN_TX_KEEP
    enum:
        VN_TXF_RX_ONLY
        VN_TXF_DIRECT
        VN_TXF_SHARED
        VN_TXF_VLAN4
        VN_TXF_GUARDED
    enum:
        VN_FOREIGN
    struct vn_rxq:
        uint16_t port_id
        uint16_t queue_id
        uint16_t finite
        uint16_t guarded
        uint16_t exhausted
        uint64_t records
        uint64_t failed
        uint64_t lost
        const uint64_t *cut
        uint64_t n_cut
        vn_account count
    struct vn_txq:
        uint16_t port_id
        uint16_t queue_id
        uint16_t flags
        uint16_t max_segs
        uint32_t max_len
        uint16_t stuck
        uint64_t retry_cycles
        rte_mempool *copy_pool
        vn_account count
    struct vn_sizes:
        uint64_t bytes
        uint64_t odd
        uint32_t max_len
    uint16_t vn_rx(vn_rxq *q, rte_mbuf **pkts, uint16_t n)
    uint16_t vn_rx_burst(vn_rxq *q, rte_mbuf **pkts, uint16_t n)
    void vn_rx_bytes(vn_rxq *q, uint64_t n)
    vn_sizes vn_sizes_of(rte_mbuf **pkts, uint16_t n)
    uint16_t vn_tx_sized(vn_txq *q, rte_mbuf **pkts, uint16_t n, vn_sizes s, vn_tx_policy policy)
    uint16_t vn_tx(vn_txq *q, rte_mbuf **pkts, uint16_t n, vn_tx_policy policy)
    void vn_drop(vn_account *a, rte_mbuf **pkts, uint16_t n, int reason)

cdef extern from "vn_bridge.h" nogil:
    enum:
        VN_MAX_PORTS
    struct vn_bridge:
        uint64_t learned
        uint64_t moved
        uint64_t aged
        uint64_t full
    vn_bridge *vn_bridge_create(const char *name, uint32_t stations, double age_s, int socket)
    void vn_bridge_free(vn_bridge *b)
    uint32_t vn_bridge_stations(const vn_bridge *b)
    uint32_t vn_bridge_dump(const vn_bridge *b, uint64_t *mac, uint8_t *port, double *age_s,
                            uint32_t max)

cdef extern from "vn_parse.h" nogil:
    ctypedef struct vn_fieldset:
        pass
    enum:
        VN_COLUMNS
        VN_SIMD_MAX
    struct vn_columns:
        pass
    enum vn_start:
        VN_START_NONE
        VN_START_ETH
        VN_START_IP4
        VN_START_IP6
    const char *vn_simd_names[]
    int vn_simd_best()
    int vn_simd_get()
    int vn_simd_set(int level)
    int vn_time_offset
    uint64_t vn_time_flag
    uint32_t vn_time_unit[]
    uint16_t vn_port_number[]
    void vn_time_look()

cdef extern from "vn_match.h" nogil:
    enum:
        VN_MATCH_DEPTH
    enum vn_match_op:
        VN_MATCH_PUSH
        VN_MATCH_AND
        VN_MATCH_OR
        VN_MATCH_NOT
        VN_MATCH_JOIN_AND
        VN_MATCH_JOIN_OR
    struct vn_match_step:
        uint64_t mask
        uint64_t lo
        uint64_t span
        uint16_t field
        uint8_t op
        uint8_t negated
    void vn_match(const vn_columns *c, const vn_match_step *steps, uint32_t n_steps, uint8_t *out,
                  uint32_t n)

cdef extern from "vn_bpf.h" nogil:
    struct vn_bpf:
        pass
    vn_bpf *vn_bpf_compile(const char *text, char *err, size_t errlen)
    void vn_bpf_free(vn_bpf *b)
    void vn_bpf_run(const vn_bpf *b, rte_mbuf **pkts, uint32_t n, uint8_t *out)
    int vn_bpf_bytes(const vn_bpf *b, const uint8_t *p, uint32_t caplen, uint32_t wirelen)

cdef extern from "vn_rules.h" nogil:
    enum:
        VN_READERS
        VN_LCORE_READERS
        VN_PLACE_BITS
        VN_COUNT_CHUNK
        VN_COUNT_CHUNKS
    struct vn_test:
        uint64_t mask
        uint64_t lo
        uint64_t span
        uint16_t field
        uint16_t size
    struct vn_box:
        const vn_test *tests
        uint32_t n
    struct vn_node:
        pass
    struct vn_rule:
        uint64_t order
        int32_t id
        uint32_t flags
        void *actions
        void *owner
        const vn_box *boxes
        uint32_t n_boxes
        uint32_t n_steps
        const vn_match_step *steps
        const vn_bpf **leaves
        uint32_t n_leaves
        uint64_t need[2]
        vn_node **nodes
        vn_rule *next
    struct vn_rule_counts:
        uint64_t packets
        uint64_t bytes
    struct vn_none:
        uint64_t since
    struct vn_state:
        uint64_t version
    struct vn_rules:
        vn_state *state
        uint64_t n_garbage
        const vn_none *none
    struct vn_merge:
        pass
    struct vn_rules_info_t "vn_rules_info":
        uint64_t version
        uint64_t rules
        uint64_t boxes
        uint64_t base_rules
        uint64_t base_boxes
        uint64_t base_dead
        uint64_t base_tuples
        uint64_t middle_rules
        uint64_t middle_boxes
        uint64_t middle_dead
        uint64_t middle_old
        uint64_t delta_boxes
        uint64_t delta_tuples
        uint64_t young_boxes
        uint64_t specials
        uint64_t garbage
        uint64_t merges
        uint64_t minor_merges
        uint64_t lookups
        uint64_t cached
        uint64_t fallbacks
        uint32_t groups
        char engines[128]
    vn_rules *vn_rules_create()
    void vn_rules_free(vn_rules *t)
    const void *vn_rules_none(vn_rules *t, unsigned int r)
    void vn_rules_quiescent(vn_rules *t, unsigned int r)
    void vn_rules_classify(vn_rules *t, unsigned int r, const vn_columns *c, rte_mbuf **pkts,
                           uint32_t n, const vn_rule **hit)
    int vn_rules_register(vn_rules *t, unsigned int r)
    int vn_rules_cache(vn_rules *t, unsigned int r, bint wanted)
    void vn_rules_online(vn_rules *t, unsigned int r)
    void vn_rules_offline(vn_rules *t, unsigned int r)
    void vn_rules_ids(vn_rules *t, unsigned int r, const vn_columns *c, rte_mbuf **pkts, uint32_t n,
                      int32_t *ids)
    int vn_rules_room(vn_rules *t, uint32_t ids)
    int vn_rules_commit(vn_rules *t, vn_rule **add, uint32_t n_add, vn_rule **remove,
                        uint32_t n_remove)
    vn_rule *vn_rules_collect(vn_rules *t)
    void vn_rules_asks(const vn_rules *t, uint64_t *need)
    int vn_rules_wait(vn_rules *t, uint64_t us)
    int vn_rules_set_none(vn_rules *t, const void *actions, bint next)
    void vn_rules_keep_none(vn_rules *t)
    vn_rule_counts vn_rules_counts(const vn_rules *t, int32_t id)
    vn_merge *vn_merge_begin(vn_rules *t, int level, uint64_t born, uint64_t least)
    int vn_merge_build(vn_merge *m, int engine, uint64_t max_bytes, char *error,
                       size_t error_size)
    int vn_merge_end(vn_rules *t, vn_merge *m, bint publish)
    uint64_t vn_rules_ripe(const vn_rules *t, uint64_t born)
    void vn_rules_read_info "vn_rules_info"(const vn_rules *t, vn_rules_info_t *info)

cdef extern from "vn_outs.h" nogil:
    enum:
        VN_MAX_BURST
        VN_OUT_PORTS
    struct vn_sink:
        rte_ring *ring
        bint wait
        int *given_up
        uint16_t reason
        uint64_t packets
        uint64_t waits
        vn_account *count
    struct vn_out:
        vn_txq *txq
        vn_sink *sink
    struct vn_outs:
        vn_tx_policy policy
        vn_account *count
        rte_mempool *copy_pool
        vn_out *outs
        uint16_t n_outs
    int vn_outs_init(vn_outs *x, vn_txq **txqs, const uint16_t *n_queues, const uint16_t *own,
                     uint16_t n, uint16_t n_sinks)
    void vn_outs_fini(vn_outs *x)

cdef extern from "vn_meter.h" nogil:
    struct vn_meter:
        uint64_t packets[3]
        uint64_t bytes[3]
    struct vn_limit:
        uint64_t rate
    int vn_meter_srtcm(vn_meter *m, uint64_t cir, uint64_t cbs, uint64_t ebs, uint64_t now)
    int vn_meter_trtcm(vn_meter *m, uint64_t cir, uint64_t pir, uint64_t cbs, uint64_t pbs,
                       uint64_t now)
    int vn_meter_color(vn_meter *m, uint64_t now, uint32_t len)
    void vn_limit_init(vn_limit *l, bint packets, uint64_t rate, uint64_t burst, uint64_t now)
    bint vn_limit_take(vn_limit *l, uint64_t now, uint32_t len)
    uint64_t VN_LIMIT_MAX_BURST

cdef extern from "vn_nat.h" nogil:
    struct vn_set:
        pass
    struct vn_nat:
        pass
    void vn_set_init(vn_set *s)
    void vn_set_add(vn_set *s, int f, uint64_t value)
    void vn_nat_init(vn_nat *a, bint source, uint8_t version, const uint8_t *address,
                     bint has_port, uint16_t port)

cdef extern from "vn_act.h" nogil:
    enum:
        VN_ACT_PORTS
        VN_CODE_RUN
        VN_CODE_KEEP
        VN_CODE_PORT
        VN_CODE_DROP
    enum vn_act_op:
        VN_ACT_DROP
        VN_ACT_FORWARD
        VN_ACT_QUEUE
        VN_ACT_SET
        VN_ACT_NAT
        VN_ACT_PUSH
        VN_ACT_POP
        VN_ACT_TTL
        VN_ACT_MIRROR
        VN_ACT_MARK
        VN_ACT_METER
        VN_ACT_LIMIT
        VN_ACT_SAMPLE
        VN_ACT_CALL
    struct vn_sample:
        uint32_t n
        uint64_t seen
    struct vn_act:
        uint8_t op
        uint16_t arg
        uint8_t *ports
        vn_set *set
        vn_nat *nat
        vn_meter *meter
        vn_limit *limit
        vn_sample *sample
        uint32_t value
    struct vn_actions:
        uint16_t n
        uint16_t code
        void *owner
        vn_act acts[]
    uint32_t vn_act_code(const vn_actions *a)
    struct vn_call:
        rte_mbuf *m
        const vn_actions *actions
        uint16_t at
        uint16_t queue
    struct vn_act_ctx:
        vn_rules *table
        unsigned int reader
        vn_outs *to
        bint whole
        vn_call *calls
        uint32_t n_calls
        uint32_t room_calls
        uint64_t bytes
        vn_rule_counts missed
    uint16_t vn_act_burst(vn_act_ctx *x, rte_mbuf **pkts, uint16_t n, const vn_rule **hit,
                          const vn_actions *none)
    uint16_t vn_act_resume(vn_act_ctx *x, rte_mbuf **pkts, uint16_t n, const vn_actions *a,
                           uint16_t at, uint16_t queue)

cdef extern from "vn_filter.h" nogil:
    struct vn_filter:
        const vn_match_step *steps
        uint32_t n_steps
        uint32_t n_leaves
        const vn_bpf *leaves[]
        const vn_filter *doubt
        const vn_filter *raw

cdef extern from "vn_stage.h" nogil:
    enum:
        VN_IN_MIXED
    struct vn_batch:
        uint16_t n
        bint sized
        bint looked
        uint16_t in_ "in"
        rte_mbuf *pkts[]
        uint16_t rows[]
        const vn_rule *hit[]
    struct vn_stage_count:
        uint64_t in_ "in"
        uint64_t out
        uint64_t timed
        uint64_t cycles
        uint64_t bursts
    struct vn_stage:
        void (*run)(vn_stage *s, vn_worker *w, vn_batch *b) noexcept nogil
        void *arg
        vn_stage_count stat
        vn_account count
        uint16_t number
    struct vn_chain:
        vn_stage *stages
        uint16_t n
    int vn_batch_init(vn_batch *b)
    void vn_batch_fini(vn_batch *b)
    void vn_batch_settle(vn_batch *b)
    void vn_batch_changed(vn_batch *b)
    void vn_batch_changed_but_rules(vn_batch *b)
    void vn_batch_keep(vn_batch *b, const uint8_t *mask, vn_account *a, int reason)

cdef extern from "vn_stages.h" nogil:
    enum:
        VN_VERDICT_PASS
        VN_VERDICT_DROP
    struct vn_filter_arg:
        const vn_filter *filter
        uint16_t reason
    struct vn_macs_arg:
        bint swap
        uint8_t which[128]
        uint8_t macs[128][12]
    struct vn_rules_arg:
        vn_act_ctx act
        const vn_actions *actions
    struct vn_forward_arg:
        uint16_t to[128]
        uint16_t other
    struct vn_bridge_arg:
        vn_bridge *bridge
        uint16_t n
        uint8_t ports[128]
    struct vn_branch:
        const vn_filter *filter
        int32_t rule
        vn_chain chain
        vn_batch batch
    struct vn_split_arg:
        bint by_rule
        uint16_t n
        vn_branch *branches[]
    struct vn_handoff_arg:
        uint16_t first
        uint16_t n
    ctypedef void (*vn_native)(void **columns, int64_t n, int16_t *verdict, uint8_t *keep,
                               void **state) noexcept nogil
    struct vn_native_arg:
        vn_native run
        uint16_t n_columns
        uint16_t columns[128]
        void **state
        uint16_t reason
        bint wants_verdict
        bint wants_keep
    void vn_stage_parse(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_filter(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_macs(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_classify(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_apply(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_actions(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_forward(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_bridge(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_split(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_tee(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_handoff(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_native(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_stage_drop(vn_stage *s, vn_worker *w, vn_batch *b) noexcept
    void vn_batch_verdict(vn_batch *b, const int16_t *verdict, vn_outs *to, vn_account *a,
                          int reason)
    void vn_batch_rules(const vn_batch *b, int32_t *out)

cdef extern from "vn_trace.h" nogil:
    enum:
        VN_TRACE_BYTES
    struct vn_trace_event:
        uint64_t tsc
        uint32_t packet
        uint32_t len
        uint16_t kind
        uint16_t stage
        uint16_t port
        uint16_t reason
        uint16_t worker
        uint16_t captured
        uint8_t bytes[128]
    struct vn_trace:
        int32_t left
        uint32_t packets
        uint32_t n
        uint32_t lost
        uint32_t room
        vn_trace_event events[]

cdef extern from "vn_worker.h" nogil:
    enum:
        VN_HISTOGRAM
        VN_TIMED
    enum vn_idle:
        VN_IDLE_BUSY
        VN_IDLE_ADAPTIVE
        VN_IDLE_SLEEP
    struct vn_lane:
        vn_rxq *rxq
        rte_ring *ring
        uint16_t in_ "in"
        bint marks
        bint intr
        bint ended
        uint16_t n_producers
        vn_worker **producers
        uint64_t packets
        uint64_t timed
        uint64_t cycles
        uint64_t bursts[11]
    struct vn_program:
        vn_lane *lanes
        uint16_t n_lanes
        uint16_t n_tables
        bint ordered
        bint gather
        bint copies
        bint python
        vn_chain chain
        vn_stage end
        vn_rules **tables
        vn_bridge *bridge
        uint16_t in_of[]
        vn_outs outs
        uint16_t n_sinks
        vn_sink *sinks
    struct vn_engine:
        uint32_t epoch
        uint32_t go
        int failed
        int closing
        int64_t budget
        bint limited
        bint bare
        uint16_t burst
        vn_idle idle
        vn_trace *trace
        void (*py_enter)(vn_worker *w) noexcept nogil
        void (*py_leave)(vn_worker *w) noexcept nogil
    struct vn_worker:
        vn_engine *engine
        vn_program *program
        vn_program *next
        unsigned int reader
        vn_outs outs
        uint16_t number
        uint32_t epoch
        void *python
        int python_state
        uint32_t parked
        uint32_t at_stage
        bint done
        uint64_t passes
        uint64_t busy_passes
        uint64_t sleeps
        vn_batch *single
        vn_batch batch
    int vn_worker_loop(void *arg)
    void vn_worker_fail(vn_worker *w, vn_stage *s, vn_batch *b)

cdef extern from "vn_rewrite.h" nogil:
    int vn_unshare(rte_mempool *pool, rte_mbuf **pkt)
    uint16_t vn_swap_macs(rte_mbuf **pkts, uint16_t n, vn_sizes *s)
    uint16_t vn_set_macs(rte_mbuf **pkts, uint16_t n, const uint8_t *macs, int which, vn_sizes *s)

cdef extern from "vn_memory.h" nogil:
    void *vn_thp_map(size_t bytes, int node)
    int64_t vn_thp_promote(void *va, size_t bytes)
    void vn_thp_unmap(void *va, size_t bytes)
    size_t vn_thp_huge_bytes(const void *va, size_t bytes)
    int vn_hugepages_probe(size_t pages, size_t page_bytes)

cdef extern from "vn_pages.h" nogil:
    enum:
        VN_NODES
    int vn_pool_nodes(rte_mempool *mp, uint64_t *bytes, uint64_t *absent)
    int vn_pool_move(rte_mempool *mp, int node)
    size_t vn_pool_page(rte_mempool *mp)

cdef extern from "vn_guard.h" nogil:
    int vn_guard_install()
    int vn_guard_start(uint16_t port)
    int vn_guard_stop(uint16_t port)
    int vn_guard_channel(uint16_t port)

cdef extern from "vn_log.h" nogil:
    int vn_log_open(int fd)
    uint64_t vn_log_lost()

cdef extern from "vn_capture.h" nogil:
    struct vn_capture:
        int linktype
        int swapped
        int snaplen
        uint64_t records
        uint64_t bytes
        uint32_t max_caplen
        uint64_t *cut
        uint64_t n_cut
        int damaged
        char error[256]
    int vn_capture_scan(const char *path, vn_capture *c)
    void vn_capture_free(vn_capture *c)
    const char *vn_capture_linktype_name(int linktype)

cdef extern from "vn_write.h" nogil:
    int vn_own_rows(rte_mbuf **pkts, uint16_t n, const uint8_t *where, uint16_t headroom,
                    uint16_t head)
    uint16_t vn_vlan_push(rte_mbuf **pkts, uint16_t n, const uint8_t *where, uint16_t tpid,
                          uint16_t tci)
    uint16_t vn_vlan_pop(rte_mbuf **pkts, uint16_t n, const uint8_t *where)
    uint16_t vn_partition(rte_mbuf **pkts, uint16_t n, const uint8_t *mask, rte_mbuf **out)

cdef extern from "vn_table.h" nogil:
    enum:
        VN_CAPTURE_ERRBUF
    struct vn_table:
        pass
    vn_table *vn_table_open(int fd, char *error)
    void vn_table_close(vn_table *t)
    int vn_table_linktype(const vn_table *t)
    bint vn_table_readable(const vn_table *t)
    const char *vn_table_error(const vn_table *t)

cdef extern from "vn_text.h" nogil:
    enum vn_text_kind:
        VN_TEXT_NUMBER
        VN_TEXT_HEX
        VN_TEXT_MAC
        VN_TEXT_IP4
        VN_TEXT_IP6
        VN_TEXT_TIME
        VN_TEXT_NAME
        VN_TEXT_ROW
        VN_TEXT_KINDS
    struct vn_word:
        const char *text
        uint32_t len
    struct vn_cell:
        vn_word before
        vn_word after
        vn_word none
        const uint8_t *shown
        const vn_word *names
        uint16_t n_names
        uint16_t field
        uint16_t low
        uint8_t kind
        uint8_t digits
        uint8_t width
    size_t vn_text_room(const vn_cell *cells, uint32_t n_cells)
    size_t vn_text(const vn_columns *c, const vn_cell *cells, uint32_t n_cells, const uint8_t *mask,
                   uint32_t first, uint32_t last, uint64_t base, char *out)

cdef extern from "vn_derive.h" nogil:
    void vn_hash_set_key(const uint8_t *key)

# A set of columns as Cython can hold it: two words, put together in C.
cdef extern from * nogil:
    """
    #define vn_set(lo, hi) ((vn_fieldset)(hi) << 64 | (lo))
    #define vn_parse2(c, lo, hi, pkts, n) vn_parse(c, vn_set(lo, hi), pkts, n)
    #define vn_parse_inner2(c, lo, hi, pkts, n, off, len, kind) \\
        vn_parse_inner(c, vn_set(lo, hi), pkts, n, off, len, kind)
    #define vn_rules_needs2(t, r, out) \\
        do { \\
            vn_fieldset vn_needs = vn_rules_needs(t, r); \\
            (out)[0] = (uint64_t)vn_needs; \\
            (out)[1] = (uint64_t)(vn_needs >> 64); \\
        } while (0)
    #define vn_write2(c, lo, hi, pkts, n, where) vn_write(c, vn_set(lo, hi), pkts, n, where)
    #define vn_derive2(c, lo, hi, pkts, n, base) vn_derive(c, vn_set(lo, hi), pkts, n, base)
    #define vn_table_read2(t, c, lo, hi, dlo, dhi, n) \\
        vn_table_read(t, c, vn_set(lo, hi), vn_set(dlo, dhi), n)
    #define vn_parse_bytes2(c, row, lo, hi, p, base, avail, end, start) \\
        vn_parse_bytes(c, row, vn_set(lo, hi), p, base, avail, end, start)
    #define vn_filter_need2(f, lo, hi) ((f)->need = vn_set(lo, hi))
    #define vn_native_sets2(a, lo, hi, wlo, whi) \\
        ((a)->need = vn_set(lo, hi), (a)->writes = vn_set(wlo, whi))
    #define vn_set_store(p, lo, hi) (*(vn_fieldset *)(p) = vn_set(lo, hi))
    """
    void vn_filter_need2(vn_filter *f, uint64_t lo, uint64_t hi)
    void vn_native_sets2(vn_native_arg *a, uint64_t lo, uint64_t hi, uint64_t wlo, uint64_t whi)
    void vn_set_store(void *p, uint64_t lo, uint64_t hi)
    void vn_rules_needs2(vn_rules *t, unsigned int r, uint64_t *out)
    void vn_parse2(const vn_columns *c, uint64_t lo, uint64_t hi, rte_mbuf **pkts, uint16_t n)
    void vn_parse_inner2(const vn_columns *c, uint64_t lo, uint64_t hi, rte_mbuf **pkts, uint16_t n,
                         const uint16_t *off, const uint16_t *len, const uint8_t *kind)
    uint16_t vn_write2(const vn_columns *c, uint64_t lo, uint64_t hi, rte_mbuf **pkts, uint16_t n,
                       const uint8_t *where)
    void vn_derive2(const vn_columns *c, uint64_t lo, uint64_t hi, rte_mbuf **pkts, uint16_t n,
                    const uint16_t *base)
    void vn_parse_bytes2(const vn_columns *c, uint32_t row, uint64_t lo, uint64_t hi,
                         const uint8_t *p, uint32_t base, uint32_t avail, uint32_t end,
                         vn_start start)
    uint32_t vn_table_read2(vn_table *t, const vn_columns *c, uint64_t lo, uint64_t hi,
                            uint64_t dlo, uint64_t dhi, uint32_t n)

cdef extern from "vn_ring.h" nogil:
    unsigned int vn_ring_put(rte_ring *r, const void *table, unsigned int esize, unsigned int n,
                             bint bulk)
    unsigned int vn_ring_get(rte_ring *r, void *table, unsigned int esize, unsigned int n,
                             bint bulk)
    bint vn_ring_busy(const rte_ring *r, bint put)
    bint vn_ring_wait(const rte_ring *r, bint put, unsigned int n, uint64_t ns, const int *stop)
    bint vn_ring_settle(const rte_ring *r, bint put, uint64_t ns)
    unsigned int vn_ring_zc_start(rte_ring *r, bint put, unsigned int esize, unsigned int n,
                                  bint bulk, rte_ring_zc_data *at)
    void vn_ring_zc_finish(rte_ring *r, bint put, unsigned int n)

cdef extern from "vn_hop.h" nogil:
    enum:
        VN_HOP_BURST_MAX
    struct vn_hop:
        rte_ring *to
        rte_ring *back
        uint32_t burst
        uint32_t rounds
        uint32_t *ticks
        uint32_t done
        uint32_t wrong
        int stop
    int vn_hop_ping(void *hop)
    int vn_hop_pong(void *hop)

cdef extern from "vn_sync.h" nogil:
    enum:
        VN_NAMED_MEMBERS
        VN_NAMED_ABOUT
        VN_RCU_DIMS
        VN_RCU_NAME
        VN_RCU_READERS_MAX
    struct vn_named:
        uint32_t closed
        uint32_t esize
        void *at
        uint64_t owner
        uint64_t members[]
        char about[]
    vn_named *vn_named_get(const char *name, bint make)
    void vn_named_show(vn_named *n, void *at, uint64_t owner)
    int vn_named_join(vn_named *n, uint64_t process)
    void vn_named_leave(vn_named *n, uint64_t process)
    void vn_named_close(vn_named *n)
    struct vn_rcu_version:
        vn_rcu_version *next
        uint64_t number
        uint64_t nbytes
        uint32_t pins
        uint32_t ndim
        int64_t shape[]
        uint8_t data[]
    struct vn_rcu_slot:
        uint64_t process
        uint32_t tid
        char name[]
    struct vn_rcu:
        vn_rcu_version *now
        vn_rcu_version *old
        uint32_t readers
        uint32_t shared
        vn_rcu_slot slots[]
    vn_rcu *vn_rcu_create(uint32_t readers, bint shared)
    void vn_rcu_free(vn_rcu *c)
    vn_rcu_version *vn_rcu_make(vn_rcu *c, uint64_t nbytes)
    uint64_t vn_rcu_show(vn_rcu *c, vn_rcu_version *v)
    bint vn_rcu_wait(vn_rcu *c, uint64_t token, uint64_t ns)
    uint32_t vn_rcu_reclaim(vn_rcu *c)
    bint vn_rcu_behind(const vn_rcu *c, uint32_t slot, uint64_t token)
    bint vn_rcu_is_online(const vn_rcu *c, uint32_t slot)
    int vn_rcu_register(vn_rcu *c, uint64_t process, uint32_t tid, const char *name)
    void vn_rcu_unregister(vn_rcu *c, uint32_t slot)
    void vn_rcu_online(vn_rcu *c, uint32_t slot)
    void vn_rcu_offline(vn_rcu *c, uint32_t slot)
    void vn_rcu_quiescent(vn_rcu *c, uint32_t slot)
    vn_rcu_version *vn_rcu_read(const vn_rcu *c)
    void vn_rcu_pin(vn_rcu_version *v)
    void vn_rcu_unpin(vn_rcu_version *v)
