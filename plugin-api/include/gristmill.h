/* The boundary between the Gristmill host and its plugins, in C; plugin-api/examples/c uses it.
 *
 * Made from plugin-api/abi/src, which says more; a test holds both against each other. What may change
 * is said in plugin-api/CHANGELOG.md. Every structure that begins with a head is only appended to: set
 * its struct_size to the sizeof, and read no field beyond the struct_size of one that you are given. */
#ifndef GRISTMILL_H
#define GRISTMILL_H

#include <stddef.h>
#include <stdint.h>

struct GristmillTraceText; /* Below. */

/* Shared with other threads as soon as it is not 1. */
typedef uint16_t GristmillAtomicU16;

#define GRISTMILL_ALIGNED(n) __attribute__((aligned(n)))
/* A record in the file, which the linker must keep. */
#define GRISTMILL_RECORD __attribute__((used, retain, section(".gristmill"))) static const
/* The head of a structure of that type. */
#define GRISTMILL_HEAD(type) { sizeof(type), GRISTMILL_ABI_MAJOR, GRISTMILL_ABI_MINOR }
/* The head of a record of that type and kind. */
#define GRISTMILL_RECORD_HEAD(type, kind) { GRISTMILL_DESCRIPTOR_MAGIC, kind, 0, sizeof(type) }
/* A text literal. */
#define GRISTMILL_STR(text) { (const uint8_t *)(text), sizeof(text) - 1 }
/* An array. */
#define GRISTMILL_LIST(array) { (array), sizeof(array) / sizeof((array)[0]) }

#define GRISTMILL_ABI_MAJOR 1
#define GRISTMILL_ABI_MINOR 1
#define GRISTMILL_LAYOUT_DIGEST 0x254b666dfaac9867ULL
#define GRISTMILL_BUFFER_LINE 64u
#define GRISTMILL_BUFFER_LINE_SHIFT 6u
#define GRISTMILL_BUFFER_HEADER 128u
#define GRISTMILL_BUFFER_HEADROOM 128u
#define GRISTMILL_BUFFER_DATA 2048u
#define GRISTMILL_BUFFER_STRIDE 2368u
#define GRISTMILL_BUFFER_SLOTS_AT 64u
#define GRISTMILL_BUFFER_SLOTS 64u
#define GRISTMILL_BUFFER_FLAG_NEXT 1u
#define GRISTMILL_BUFFER_FLAG_IP4_CHECKSUM_OK 2u
#define GRISTMILL_BUFFER_FLAG_LOCALLY_ORIGINATED 4u
#define GRISTMILL_BUFFER_NO_INTERFACE 4294967295u
#define GRISTMILL_COMMAND_ROLE_READ 0u
#define GRISTMILL_COMMAND_ROLE_WRITE 1u
#define GRISTMILL_COMMAND_ARG_KIND_FLAG 0u
#define GRISTMILL_COMMAND_ARG_KIND_TEXT 1u
#define GRISTMILL_COMMAND_ARG_KIND_UNSIGNED 2u
#define GRISTMILL_COMMAND_ARG_KIND_SIGNED 3u
#define GRISTMILL_COMMAND_ARG_KIND_FLOAT 4u
#define GRISTMILL_COMMAND_ARG_KIND_BOOL 5u
#define GRISTMILL_COMMAND_ARG_KIND_IP4 6u
#define GRISTMILL_COMMAND_ARG_KIND_IP4_PREFIX 7u
#define GRISTMILL_COMMAND_ARG_KIND_MAC 8u
#define GRISTMILL_COMMAND_ARG_KIND_INTERFACE 9u
#define GRISTMILL_COMMAND_ARG_KIND_DURATION 10u
#define GRISTMILL_COMMAND_ARG_KIND_PATH 11u
#define GRISTMILL_COMMAND_CELL_KIND_NOTHING 0u
#define GRISTMILL_COMMAND_CELL_KIND_TEXT 1u
#define GRISTMILL_COMMAND_CELL_KIND_UNSIGNED 2u
#define GRISTMILL_COMMAND_CELL_KIND_SIGNED 3u
#define GRISTMILL_COMMAND_CELL_KIND_FLOAT 4u
#define GRISTMILL_COMMAND_CELL_KIND_BOOL 5u
#define GRISTMILL_DECLARATION_KIND_PLUGIN "plugin"
#define GRISTMILL_DECLARATION_KIND_NODE "node"
#define GRISTMILL_DECLARATION_KIND_ARC "arc"
#define GRISTMILL_DECLARATION_KIND_FEATURE "feature"
#define GRISTMILL_DECLARATION_KIND_DEVICE_CLASS "device-class"
#define GRISTMILL_DECLARATION_KIND_COMMAND "command"
#define GRISTMILL_DECLARATION_KIND_OFFER "offer"
#define GRISTMILL_DECLARATION_KIND_REQUIRE "require"
#define GRISTMILL_DECLARATION_NOTICE_INTERFACE_ADDED 1u
#define GRISTMILL_DECLARATION_NOTICE_INTERFACE_REMOVED 2u
#define GRISTMILL_DECLARATION_NOTICE_INTERFACE_STATE 3u
#define GRISTMILL_DECLARATION_NOTICE_THREAD_ADDED 4u
#define GRISTMILL_DECLARATION_NOTICE_THREAD_REMOVED 5u
#define GRISTMILL_DECLARATION_NODE_TYPE_INTERNAL 0u
#define GRISTMILL_DECLARATION_NODE_TYPE_INPUT 1u
#define GRISTMILL_DECLARATION_NODE_TYPE_PRE_INPUT 2u
#define GRISTMILL_DECLARATION_NODE_TYPE_SCHED 3u
#define GRISTMILL_DECLARATION_NODE_FLAG_MAY_SLEEP 1u
#define GRISTMILL_DECLARATION_NODE_FLAG_ON_INTERRUPT 2u
#define GRISTMILL_DECLARATION_NEXT_KIND_NODE 0u
#define GRISTMILL_DECLARATION_NEXT_KIND_DROP 1u
#define GRISTMILL_DECLARATION_NEXT_KIND_OPTIONAL 2u
#define GRISTMILL_DECLARATION_NEXT_KIND_FEATURE 3u
#define GRISTMILL_DESCRIPTOR_SECTION ".gristmill"
#define GRISTMILL_DESCRIPTOR_MAGIC { 71, 82, 83, 84, 77, 73, 76, 49 }
#define GRISTMILL_DESCRIPTOR_KIND_PLUGIN 1u
#define GRISTMILL_DESCRIPTOR_KIND_NODE 2u
#define GRISTMILL_DESCRIPTOR_KIND_ARC 3u
#define GRISTMILL_DESCRIPTOR_KIND_FEATURE 4u
#define GRISTMILL_DESCRIPTOR_KIND_DEVICE_CLASS 5u
#define GRISTMILL_DESCRIPTOR_KIND_COMMAND 6u
#define GRISTMILL_DESCRIPTOR_KIND_OFFER 7u
#define GRISTMILL_DESCRIPTOR_KIND_REQUIRE 8u
#define GRISTMILL_DESCRIPTOR_FLAG_PANIC_UNWIND 1u
#define GRISTMILL_DEVICE_TX_PANICKED 4294967295u
#define GRISTMILL_DEVICE_INTERFACE_L3 1u
#define GRISTMILL_FILE_FILE_READ 1u
#define GRISTMILL_FILE_FILE_WRITE 2u
#define GRISTMILL_FILE_FILE_EDGE 4u
#define GRISTMILL_FRAME_FRAME_SIZE 256u
#define GRISTMILL_FRAME_TAKEN 65535u
#define GRISTMILL_FRAME_PANICKED 65534u
#define GRISTMILL_FRAME_MAX_NEXTS 65280u
#define GRISTMILL_FRAME_PER_PACKET 4294967295u
#define GRISTMILL_FRAME_ENTRY_PANICKED 4294967294u
#define GRISTMILL_FRAME_RX_LINK_UP 1u
#define GRISTMILL_FRAME_RX_LINK_DOWN 2u
#define GRISTMILL_FRAME_RX_LAST_POLL 4u
#define GRISTMILL_HOST_LOG_LEVEL_ERROR 0u
#define GRISTMILL_HOST_LOG_LEVEL_WARN 1u
#define GRISTMILL_HOST_LOG_LEVEL_NOTICE 2u
#define GRISTMILL_HOST_LOG_LEVEL_DEBUG 3u
#define GRISTMILL_HOST_ALL_INTERFACES 4294967295u
#define GRISTMILL_HOST_TIMER_DEFERRABLE 1u
#define GRISTMILL_HOST_TIMER_PINNED 2u
#define GRISTMILL_HOST_CALL_ARGUMENTS 64u
#define GRISTMILL_HOST_CALL_ALIGN 16u
#define GRISTMILL_HOST_CALL_RUN 0u
#define GRISTMILL_HOST_CALL_CANCELLED 1u
#define GRISTMILL_HOST_CALL_LATE 2u
#define GRISTMILL_HOST_CALL_AT_BARRIER 1u
#define GRISTMILL_HOST_CALL_WAIT_FOR_ROOM 2u
#define GRISTMILL_HOST_CALL_WAIT_FOR_REPLY 4u
#define GRISTMILL_HOST_CALL_FULL 16
#define GRISTMILL_HOST_CALL_CLOSED 17
#define GRISTMILL_HOST_CALL_MUST_NOT_WAIT 18
#define GRISTMILL_HOST_ALL_THREADS 4294967295u
#define GRISTMILL_PROCESS_EVENTS 64u
#define GRISTMILL_PROCESS_RESTART_NEVER 0u
#define GRISTMILL_PROCESS_RESTART_ON_FAILURE 1u
#define GRISTMILL_PROCESS_WAIT_EVENT 1u
#define GRISTMILL_DEFERRED_SOFTIRQS 64u
#define GRISTMILL_DEFERRED_SOFTIRQ_HI 0u
#define GRISTMILL_DEFERRED_SOFTIRQ_TIMER 1u
#define GRISTMILL_DEFERRED_SOFTIRQ_NET_TX 2u
#define GRISTMILL_DEFERRED_SOFTIRQ_NET_RX 3u
#define GRISTMILL_DEFERRED_SOFTIRQ_BLOCK 4u
#define GRISTMILL_DEFERRED_SOFTIRQ_IRQ_POLL 5u
#define GRISTMILL_DEFERRED_SOFTIRQ_TASKLET 6u
#define GRISTMILL_DEFERRED_SOFTIRQ_SCHED 7u
#define GRISTMILL_DEFERRED_SOFTIRQ_HRTIMER 8u
#define GRISTMILL_DEFERRED_SOFTIRQ_RCU 9u
#define GRISTMILL_DEFERRED_SOFTIRQ_FIRST_FREE 10u
#define GRISTMILL_DEFERRED_SOFTIRQ_ANY 4294967295u
#define GRISTMILL_DEFERRED_THIS_THREAD 4294967294u
#define GRISTMILL_DEFERRED_TASKLET_HI 1u
#define GRISTMILL_DEFERRED_TASKLET_ALREADY 16
#define GRISTMILL_DEFERRED_TASKLET_KILLED 17
#define GRISTMILL_WORK_WORK_UNBOUND 0u
#define GRISTMILL_WORK_WORK_ORDERED 1u
#define GRISTMILL_WORK_WORK_BOUND 2u
#define GRISTMILL_WORK_WORK_ANY_THREAD 4294967295u
#define GRISTMILL_WORK_WORK_PENDING 16
#define GRISTMILL_WORK_WORK_CLOSED 17
#define GRISTMILL_WORK_WORK_DRAINING 18
#define GRISTMILL_PROCESS_WAIT_CLOCK 2u
#define GRISTMILL_PROCESS_WAIT_END 4u
#define GRISTMILL_ROOT_ROOT_SYMBOL "_1as_0lib_1header_0root_bmodule_bloader"
#define GRISTMILL_ROOT_ENTRY_SYMBOL "gristmill_plugin_entry"
#define GRISTMILL_FRAME_CTX_TRACED 1u
#define GRISTMILL_TRACE_TRACE_RECORD 64u


// How a call across the boundary ended.
typedef int32_t GristmillStatus;
// It worked.
#define GristmillStatus_OK 0
// It failed; the [`ErrorText`] of the call says why.
#define GristmillStatus_FAILED 1
// The callee panicked; the panic was caught on its side.
#define GristmillStatus_PANICKED 2
// The other side does not have what was asked for.
#define GristmillStatus_MISSING 3
// The process that calls is to end.
#define GristmillStatus_CANCELLED 4

// First fields of every structure that may grow.
typedef struct GristmillHead {
  // Size of the whole structure as its maker knew it, in bytes.
  uint32_t struct_size;
  // [`ABI_MAJOR`] of its maker.
  uint16_t abi_major;
  // [`ABI_MINOR`] of its maker.
  uint16_t abi_minor;
} GristmillHead;

// Borrowed UTF-8 text.
typedef struct GristmillStr {
  const uint8_t *ptr;
  size_t len;
} GristmillStr;

// Room for an error's text, owned by the caller.
typedef struct GristmillErrorText {
  uint32_t len;
  uint8_t bytes[508];
} GristmillErrorText;

// First fields of every record.
typedef struct GRISTMILL_ALIGNED(8) GristmillRecordHead {
  // [`MAGIC`].
  uint8_t magic[8];
  // One of [`kind`].
  uint16_t kind;
  // Reserved, 0.
  uint16_t reserved;
  // Bytes of the record with this head.
  uint32_t size;
} GristmillRecordHead;

// The plugin itself.
typedef struct GRISTMILL_ALIGNED(8) GristmillPluginRecord {
  // Head, kind [`kind::PLUGIN`].
  struct GristmillRecordHead head;
  // ABI major it was built against.
  uint16_t abi_major;
  // ABI minor it needs at least.
  uint16_t abi_minor;
  // `FLAG_*`.
  uint32_t flags;
  // [`crate::layout::DIGEST`] of its build.
  uint64_t layout_digest;
  // Name, zero-padded.
  uint8_t name[64];
  // Version, zero-padded.
  uint8_t version[32];
  // Version of the SDK, zero-padded.
  uint8_t sdk_version[32];
  // One sentence, zero-padded.
  uint8_t description[128];
} GristmillPluginRecord;

// Anything else: a name and one detail.
typedef struct GRISTMILL_ALIGNED(8) GristmillNameRecord {
  // Head.
  struct GristmillRecordHead head;
  // Name, zero-padded.
  uint8_t name[64];
  // Detail, zero-padded.
  uint8_t detail[192];
} GristmillNameRecord;

// One declared thing.
typedef struct GristmillDeclaration {
  // Size and version; its `struct_size` is that of the `Declaration`, not of the body.
  struct GristmillHead head;
  // One of [`kind`].
  struct GristmillStr kind;
  // The plugin it belongs to: several may be linked into one image.
  struct GristmillStr plugin;
  // Its name; unique for its kind in the host.
  struct GristmillStr name;
  // The structure `kind` says, beginning with its own [`Head`].
  const void *body;
} GristmillDeclaration;

// Names a generation of a plugin in calls to the host; made by the host.
typedef uint64_t GristmillPluginHandle;

// State that only its maker understands.
typedef void *GristmillOpaque;

// A service that was found.
typedef struct GristmillServiceRef {
  // Its table.
  const void *table;
  // First argument of its functions.
  GristmillOpaque context;
} GristmillServiceRef;

// What a thread lends to the nodes it runs.
typedef struct GristmillThreadCtx {
  // Size and version.
  struct GristmillHead head;
  // 0 is main, workers count from 1.
  uint32_t thread_index;
  // [`CTX_TRACED`] while a node runs in whose frame there are traced packets, else 0.
  uint32_t flags;
  // Time of this turn of the loop, nanoseconds since the host started.
  uint64_t now_ns;
  // Where buffer 0 is.
  uint8_t *buffer_base;
  // What a plugin may ask of the host.
  const struct GristmillHostTable *host;
  // Reserved, 0.
  uint64_t reserved[2];
} GristmillThreadCtx;

// One node on one thread.
typedef struct GRISTMILL_ALIGNED(64) GristmillNodeRuntime {
  // Size and version.
  struct GristmillHead head;
  // Stable index of the node, the same on all threads.
  uint32_t node_index;
  // Nexts it has; a higher one is treated as [`PANICKED`].
  uint16_t n_nexts;
  // Reserved, 0.
  uint16_t flags;
  // The instance its `create` made for this thread.
  void *state;
  // `n_counters` counters, written by this thread only, read by others.
  uint64_t *counters;
  // Declared counters.
  uint32_t n_counters;
  // Reserved, 0.
  uint32_t reserved32;
  // Of a *sched* node: when it wants to be called next, in nanoseconds since the host started.
  // 0 before each call; if it is 0 after it, the node is called again only when it is marked.
  uint64_t wake_at_ns;
  // Reserved, 0.
  uint64_t reserved;
} GristmillNodeRuntime;

// The host's table. Every function catches its own panics.
typedef struct GristmillHostTable {
  // Size and version.
  struct GristmillHead head;
  // The host's own.
  const void *shared;
  // Writes a line to the log. Any thread.
  void (*log)(const struct GristmillHostTable *host,
              GristmillPluginHandle plugin,
              uint32_t level,
              struct GristmillStr text);
  // Finds a service of the host or of another plugin. Main thread.
  GristmillStatus (*service)(const struct GristmillHostTable *host,
                             GristmillPluginHandle plugin,
                             struct GristmillStr name,
                             struct GristmillStr range,
                             struct GristmillServiceRef *found,
                             struct GristmillErrorText *error);
  // Allocates up to `n` buffers; returns how many. Their line 0 is reset.
  uint32_t (*buffer_alloc)(struct GristmillThreadCtx *ctx, uint32_t *indices, uint32_t n);
  // Frees `n` packets with their chains.
  void (*buffer_free)(struct GristmillThreadCtx *ctx, const uint32_t *indices, uint32_t n);
  // Frees one packet with its chain. Any thread; slow.
  void (*buffer_release)(const struct GristmillHostTable *host, uint32_t index);
  // Enqueues packets that are not of the node's frame to one of its nexts.
  void (*enqueue)(struct GristmillThreadCtx *ctx,
                  struct GristmillNodeRuntime *node,
                  uint32_t next,
                  const uint32_t *indices,
                  uint32_t n);
  // Nanoseconds since the host started. Any thread.
  uint64_t (*now)(const struct GristmillHostTable *host);
  // Reserved, null.
  const void *reserved[2];
} GristmillHostTable;

// What a plugin in C exports in the place of a root module: the same three things.
typedef struct GristmillEntry {
  // Size and version.
  struct GristmillHead head;
  // The declaration at `index`, null past the last one.
  const struct GristmillDeclaration *(*declaration)(uint32_t index);
  // Hands the host's table to the image, before any declaration is asked for.
  GristmillStatus (*initialize)(const struct GristmillHostTable *host);
} GristmillEntry;

// One setting of the plugin's own configuration section.
typedef struct GristmillConfigEntry {
  // Key, dotted if nested.
  struct GristmillStr key;
  // Value as text, without quotes.
  struct GristmillStr value;
} GristmillConfigEntry;

// A borrowed slice.
typedef struct GristmillList_ConfigEntry {
  const struct GristmillConfigEntry *ptr;
  size_t len;
} GristmillList_ConfigEntry;

// The plugin itself. All functions run on the main thread.
typedef struct GristmillPluginDecl {
  // Size and version.
  struct GristmillHead head;
  // Version (semver).
  struct GristmillStr version;
  // One sentence.
  struct GristmillStr description;
  // Makes the plugin's state; null and the error text if it cannot.
  GristmillOpaque (*create)(GristmillPluginHandle host,
                            struct GristmillList_ConfigEntry config,
                            struct GristmillErrorText *error);
  // Called once its nodes are in the running graph.
  GristmillStatus (*start)(GristmillOpaque state, struct GristmillErrorText *error);
  // Called before its nodes leave the graph.
  GristmillStatus (*stop)(GristmillOpaque state);
  // Tells it of a [`notice`].
  GristmillStatus (*notify)(GristmillOpaque state, uint32_t notice, uint64_t value);
  // Ends the state `create` made; nothing of the plugin runs any more.
  GristmillStatus (*destroy)(GristmillOpaque state);
} GristmillPluginDecl;

// One out-arc of a node.
typedef struct GristmillNextDecl {
  // One of [`next_kind`].
  uint32_t kind;
  // For a drop: 0 error, 1 warning, 2 info.
  uint32_t severity;
  // Node or reason.
  struct GristmillStr name;
} GristmillNextDecl;

// One counter of a node.
typedef struct GristmillCounterDecl {
  // Name, kebab-case.
  struct GristmillStr name;
} GristmillCounterDecl;

// The packets of one dispatch. Frozen.
//
// An input node finds `n` = 0 and writes up to [`FRAME_SIZE`] entries.
typedef struct GristmillFrame {
  // Packets, 0 to [`FRAME_SIZE`].
  uint32_t n;
  // [`RX_LAST_POLL`] for an rx function, `RX_LINK_*` from it, else 0.
  uint32_t flags;
  // `n` buffer indices, room for [`FRAME_SIZE`].
  uint32_t *indices;
  // A next per packet, room for [`FRAME_SIZE`].
  uint16_t *nexts;
  // Reserved, null.
  uint64_t *aux;
  // Bytes received, written by an rx function.
  uint64_t bytes;
  // Reserved, 0.
  uint64_t reserved[2];
} GristmillFrame;

// A node's entry. Called on the thread that owns all three.
typedef uint32_t (*GristmillNodeFn)(struct GristmillThreadCtx *ctx,
                                    struct GristmillNodeRuntime *node,
                                    struct GristmillFrame *frame);

// An entry compiled for one CPU level.
typedef struct GristmillVariant {
  // x86-64 level (1 to 4) it needs; 0 runs anywhere.
  uint32_t cpu_level;
  // Reserved, 0.
  uint32_t reserved;
  // The entry.
  GristmillNodeFn entry;
} GristmillVariant;

// A borrowed slice.
typedef struct GristmillList_NextDecl {
  const struct GristmillNextDecl *ptr;
  size_t len;
} GristmillList_NextDecl;

// A borrowed slice.
typedef struct GristmillList_CounterDecl {
  const struct GristmillCounterDecl *ptr;
  size_t len;
} GristmillList_CounterDecl;

// A borrowed slice.
typedef struct GristmillList_Variant {
  const struct GristmillVariant *ptr;
  size_t len;
} GristmillList_Variant;

// A node.
typedef struct GristmillNodeDecl {
  // Size and version.
  struct GristmillHead head;
  // One of [`node_type`].
  uint32_t node_type;
  // Any of [`node_flag`]; 0 in nodes that know none.
  uint32_t flags;
  // Out-arcs, in the order of their next numbers.
  struct GristmillList_NextDecl nexts;
  // Counters.
  struct GristmillList_CounterDecl counters;
  // Entries; at least one with `cpu_level` 0.
  struct GristmillList_Variant variants;
  // Makes the instance of one thread; main thread. Null and the error text if it cannot.
  GristmillOpaque (*create)(GristmillOpaque plugin,
                            uint32_t thread,
                            struct GristmillErrorText *error);
  // Ends an instance.
  GristmillStatus (*destroy)(GristmillOpaque instance);
  // Writes its trace records for people; they are shown in hexadecimal where there is none. Since
  // ABI 1.1.
  GristmillStatus (*format_trace)(const uint8_t *record, uint32_t len, const struct GristmillTraceText *text);
} GristmillNodeDecl;

// A borrowed slice.
typedef struct GristmillList_Str {
  const struct GristmillStr *ptr;
  size_t len;
} GristmillList_Str;

// A feature arc: an out-arc that other plugins' nodes may be put on.
typedef struct GristmillArcDecl {
  // Size and version.
  struct GristmillHead head;
  // Nodes the arc starts from; an arc to `end` of each of them becomes the feature arc.
  struct GristmillList_Str starts;
  // Node it ends at.
  struct GristmillStr end;
  // Whether features are chosen by the packet's tx interface (1) or its rx interface (0).
  uint32_t by_tx_interface;
  // Reserved, 0.
  uint32_t reserved;
} GristmillArcDecl;

// A node that can be put on an arc; the declaration's name is the node's.
typedef struct GristmillFeatureDecl {
  // Size and version.
  struct GristmillHead head;
  // The arc.
  struct GristmillStr arc;
  // Features that must come after this one.
  struct GristmillList_Str before;
  // Features that must come before this one.
  struct GristmillList_Str after;
  // 1: on for every interface as soon as it is loaded.
  uint32_t default_on;
  // Reserved, 0.
  uint32_t reserved;
} GristmillFeatureDecl;

// A service offered to other plugins.
typedef struct GristmillOfferDecl {
  // Size and version.
  struct GristmillHead head;
  // Version (semver) of the table.
  struct GristmillStr version;
  // The table: a `repr(C)` structure that begins with a [`Head`] and whose functions take the
  // plugin's state as their first argument. Valid until the generation ends.
  const void *(*table)(GristmillOpaque plugin);
} GristmillOfferDecl;

// A service required of another plugin.
typedef struct GristmillRequireDecl {
  // Size and version.
  struct GristmillHead head;
  // Range (semver requirement) of versions that will do.
  struct GristmillStr range;
} GristmillRequireDecl;

// An argument the host has checked.
typedef struct GristmillArgValue {
  // Name in the grammar.
  struct GristmillStr name;
  // As typed.
  struct GristmillStr text;
  // See [`arg_kind`].
  uint64_t number;
  // One of [`arg_kind`].
  uint32_t kind;
  // See [`arg_kind`].
  uint32_t extra;
} GristmillArgValue;

// A borrowed slice.
typedef struct GristmillList_ArgValue {
  const struct GristmillArgValue *ptr;
  size_t len;
} GristmillList_ArgValue;

// Where a command's answer goes: lines of text, and tables of typed cells.
typedef struct GristmillAnswerTable {
  // Size and version.
  struct GristmillHead head;
  // First argument of the functions.
  void *context;
  // Adds a line of text.
  void (*line)(void *context, struct GristmillStr text);
  // Begins a table; `title` may be empty.
  void (*columns)(void *context, struct GristmillStr title, struct GristmillList_Str names);
  // Adds a cell to the current row; a row is full when every column has its cell.
  void (*cell)(void *context, uint32_t kind, uint64_t number, struct GristmillStr text);
} GristmillAnswerTable;

// A command; the declaration's name is its path.
typedef struct GristmillCommandDecl {
  // Size and version.
  struct GristmillHead head;
  // Path, arguments and usage in one, such as `show ip fib [<prefix:ip4-prefix>]`.
  struct GristmillStr grammar;
  // One sentence.
  struct GristmillStr help;
  // One of [`role`].
  uint32_t role;
  // 1: runs with the workers stopped at the barrier.
  uint32_t needs_barrier;
  // Runs it, on the main thread.
  GristmillStatus (*run)(GristmillOpaque plugin,
                         struct GristmillList_ArgValue args,
                         const struct GristmillAnswerTable *answer,
                         struct GristmillErrorText *error);
} GristmillCommandDecl;

// Receives on `queue` into an empty frame; result as of [`NodeFn`](crate::frame::NodeFn).
// A queue is served by one thread at a time.
typedef uint32_t (*GristmillRxFn)(struct GristmillThreadCtx *ctx,
                                  void *device,
                                  uint32_t queue,
                                  struct GristmillFrame *frame);

// Sends `n` packets, in order; returns how many were taken from the front. Those belong to the
// device (which frees them with the host's `buffer_free`); the host retries or drops the others.
// A queue is served by one thread at a time.
typedef uint32_t (*GristmillTxFn)(struct GristmillThreadCtx *ctx,
                                  void *device,
                                  uint32_t queue,
                                  const uint32_t *indices,
                                  uint32_t n);

// A kind of device.
typedef struct GristmillDeviceClassDecl {
  // Size and version.
  struct GristmillHead head;
  // Nexts of the input node of each of its interfaces.
  struct GristmillList_NextDecl nexts;
  // Receives.
  GristmillRxFn rx;
  // Sends.
  GristmillTxFn tx;
  // Takes the device up (1) or down (0); main thread.
  GristmillStatus (*set_admin)(void *device, uint32_t up);
  // Ends a device; no thread uses it any more.
  GristmillStatus (*destroy)(void *device);
} GristmillDeviceClassDecl;

// One receive queue of a new interface.
typedef struct GristmillRxQueueSpec {
  // Descriptor that becomes readable when packets wait; -1: the queue must be polled.
  int32_t fd;
  // Reserved, 0.
  uint32_t reserved;
} GristmillRxQueueSpec;

// A borrowed slice.
typedef struct GristmillList_RxQueueSpec {
  const struct GristmillRxQueueSpec *ptr;
  size_t len;
} GristmillList_RxQueueSpec;

// A new interface.
typedef struct GristmillInterfaceSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, unique in the host.
  struct GristmillStr name;
  // Device class, declared by the same plugin.
  struct GristmillStr class_;
  // The device, handed to the class's functions. The host calls `destroy` for it in the end,
  // also when the interface could not be created.
  GristmillOpaque device;
  // Receive queues.
  struct GristmillList_RxQueueSpec rx_queues;
  // Transmit queues, at least 1 for each thread or shared under the host's lock.
  uint32_t tx_queues;
  // `INTERFACE_*`.
  uint32_t flags;
  // Bytes of the largest layer-3 packet.
  uint32_t mtu;
  // Index of the kernel's interface whose link state it follows; 0: the link is always up.
  uint32_t kernel_index;
  // MAC address; zeros if it has none.
  uint8_t mac[6];
  // Reserved, 0.
  uint8_t reserved[2];
} GristmillInterfaceSpec;

// What the host knows of an interface.
typedef struct GristmillInterfaceInfo {
  // Size and version, filled in by the caller.
  struct GristmillHead head;
  // Index.
  uint32_t index;
  // `INTERFACE_*`.
  uint32_t flags;
  // Bytes of the largest layer-3 packet.
  uint32_t mtu;
  // 1 when taken up by the operator.
  uint32_t admin_up;
  // 1 when the link is up.
  uint32_t link_up;
  // MAC address.
  uint8_t mac[6];
  // Reserved, 0.
  uint8_t reserved[2];
  // Name, zero-padded.
  uint8_t name[64];
} GristmillInterfaceInfo;

// Service `interface`, version 1. Main thread.
typedef struct GristmillInterfaceService {
  // Size and version.
  struct GristmillHead head;
  // Creates an interface with its input and output nodes, down.
  GristmillStatus (*create)(void *context,
                            GristmillPluginHandle plugin,
                            const struct GristmillInterfaceSpec *spec,
                            uint32_t *index,
                            struct GristmillErrorText *error);
  // Deletes an interface of this plugin.
  GristmillStatus (*delete_)(void *context,
                             GristmillPluginHandle plugin,
                             uint32_t index,
                             struct GristmillErrorText *error);
  // Fills in what is known of interface `index`.
  GristmillStatus (*info)(void *context, uint32_t index, struct GristmillInterfaceInfo *info);
  // Finds an interface by name.
  GristmillStatus (*find)(void *context, struct GristmillStr name, uint32_t *index);
  // The first index at or after `from` that is in use.
  GristmillStatus (*next)(void *context, uint32_t from, uint32_t *index);
  // Takes an interface up (1) or down (0).
  GristmillStatus (*set_admin)(void *context,
                               GristmillPluginHandle plugin,
                               uint32_t index,
                               uint32_t up,
                               struct GristmillErrorText *error);
  // Tells the host that the link of an interface of this plugin went up (1) or down (0).
  GristmillStatus (*set_link)(void *context,
                              GristmillPluginHandle plugin,
                              uint32_t index,
                              uint32_t up);
} GristmillInterfaceService;

// Service `graph`, version 1. Main thread.
typedef struct GristmillGraphService {
  // Size and version.
  struct GristmillHead head;
  // The next number of `node` that leads to `target`, added if there is none. Called while the
  // plugin is being created, it takes effect with the plugin's own splice; later, at once.
  GristmillStatus (*add_next)(void *context,
                              GristmillPluginHandle plugin,
                              struct GristmillStr node,
                              struct GristmillStr target,
                              uint32_t *next,
                              struct GristmillErrorText *error);
  // Puts feature `node` on its arc, or takes it off, for one interface or
  // [`ALL_INTERFACES`].
  GristmillStatus (*set_feature)(void *context,
                                 GristmillPluginHandle plugin,
                                 struct GristmillStr arc,
                                 struct GristmillStr node,
                                 uint32_t interface,
                                 uint32_t on,
                                 struct GristmillErrorText *error);
} GristmillGraphService;

// Service `batch`, version 1: many changes of the graph in one stop of the workers. Main thread.
typedef struct GristmillBatchService {
  // Size and version.
  struct GristmillHead head;
  // Calls `changes` with `data` and puts all that it changed in force at once; nothing of it if
  // it answers other than [`Status::OK`].
  GristmillStatus (*make)(void *context,
                          GristmillPluginHandle plugin,
                          GristmillStatus (*changes)(void *data),
                          void *data,
                          struct GristmillErrorText *error);
} GristmillBatchService;

// Service `buffer`, version 1. Main thread.
typedef struct GristmillBufferService {
  // Size and version.
  struct GristmillHead head;
  // Reserves `size` bytes of every buffer's slot line, aligned to `align`, until the plugin's
  // generation ends; `offset` counts from the start of the buffer.
  GristmillStatus (*slot)(void *context,
                          GristmillPluginHandle plugin,
                          struct GristmillStr name,
                          uint32_t size,
                          uint32_t align,
                          uint32_t *offset,
                          struct GristmillErrorText *error);
} GristmillBufferService;

// A timer's function; `now_ns` is the time of this turn of the loop.
typedef GristmillStatus (*GristmillTimerFn)(void *data, uint64_t now_ns);

// A new timer.
typedef struct GristmillTimerSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show timers`.
  struct GristmillStr name;
  // What it runs.
  GristmillTimerFn function;
  // First argument of the function.
  void *data;
  // `TIMER_*`.
  uint32_t flags;
  // Reserved, 0.
  uint32_t reserved;
} GristmillTimerSpec;

// A timer, as the host names it to its maker.
typedef const void *GristmillTimerHandle;

// Service `timer`, version 1: dynamic timers with Linux's contract, ticks of 1 ms. Any thread.
typedef struct GristmillTimerService {
  // Size and version.
  struct GristmillHead head;
  // Makes a timer, not pending.
  GristmillStatus (*create)(void *context,
                            GristmillPluginHandle plugin,
                            const struct GristmillTimerSpec *spec,
                            GristmillTimerHandle *timer,
                            struct GristmillErrorText *error);
  // Deletes a timer, waits until its function does not run, and forgets it. Fails, and does
  // nothing, where the wait would not end.
  GristmillStatus (*destroy)(void *context, GristmillTimerHandle timer);
  // Starts a timer; fails if it is pending. `file` and `line` say who starts it.
  GristmillStatus (*add)(void *context,
                         GristmillTimerHandle timer,
                         uint64_t expires_ns,
                         struct GristmillStr file,
                         uint32_t line);
  // Moves a timer, or starts it; says whether it was pending.
  GristmillStatus (*modify)(void *context,
                            GristmillTimerHandle timer,
                            uint64_t expires_ns,
                            struct GristmillStr file,
                            uint32_t line,
                            uint32_t *was_pending);
  // Deletes a timer; says whether it was pending. Its function may be running all the same.
  GristmillStatus (*delete_)(void *context, GristmillTimerHandle timer, uint32_t *was_pending);
  // As `delete`, and waits until its function does not run. Fails where that would not end.
  GristmillStatus (*delete_and_wait)(void *context,
                                     GristmillTimerHandle timer,
                                     uint32_t *was_pending,
                                     struct GristmillErrorText *error);
  // Whether a timer is pending.
  uint32_t (*is_pending)(void *context, GristmillTimerHandle timer);
} GristmillTimerService;

// What a call to main runs, once, with its arguments, which it consumes: `what` is a `CALL_*`; one
// that is not known is as [`CALL_CANCELLED`].
typedef GristmillStatus (*GristmillCallFn)(void *arguments, uint32_t what);

// A call to main.
typedef struct GristmillCallSpec {
  // Size and version.
  struct GristmillHead head;
  // What it runs.
  GristmillCallFn function;
  // The arguments, copied byte by byte.
  const void *arguments;
  // Bytes of them, at most [`CALL_ARGUMENTS`].
  uint32_t size;
  // `CALL_AT_BARRIER` and the like.
  uint32_t flags;
} GristmillCallSpec;

// Service `rpc`, version 1: calls to main, in the order in which each thread sends them. Any
// thread.
typedef struct GristmillRpcService {
  // Size and version.
  struct GristmillHead head;
  // Sends a call; on main, outside of nodes, runs it. If the status is OK, the function has run
  // or will be called once; else the arguments are still the caller's.
  GristmillStatus (*call)(void *context,
                          GristmillPluginHandle plugin,
                          const struct GristmillCallSpec *call,
                          struct GristmillErrorText *error);
  // 1 if this thread may wait for main: it forwards nothing.
  uint32_t (*may_wait)(void *context);
} GristmillRpcService;

// Service `interrupt`, version 1: nodes that are dispatched when they are marked.
typedef struct GristmillInterruptService {
  // Size and version.
  struct GristmillHead head;
  // The index of a node of this plugin that is in the graph and can be marked: a *sched* node,
  // or an input with [`ON_INTERRUPT`](crate::declaration::node_flag::ON_INTERRUPT). It is the
  // node's as long as the plugin is loaded. Main thread.
  GristmillStatus (*node)(void *context,
                          GristmillPluginHandle plugin,
                          struct GristmillStr name,
                          uint32_t *node,
                          struct GristmillErrorText *error);
  // Has a thread, or [`ALL_THREADS`], dispatch a node in its next turn, once however often it
  // was marked by then. Fails if there is no such thread. Any thread.
  GristmillStatus (*mark)(void *context, uint32_t node, uint32_t thread);
} GristmillInterruptService;

// A descriptor to watch.
typedef struct GristmillFileSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show files`.
  struct GristmillStr name;
  // The descriptor; the host watches a copy of its own.
  int32_t fd;
  // `FILE_*`.
  uint32_t flags;
  // The thread that calls the functions; 0 is main.
  uint32_t thread;
  // Reserved, 0.
  uint32_t reserved;
  // Argument of the functions.
  void *data;
  // There is something to read; null if never asked for.
  GristmillStatus (*read)(void *data);
  // There is room to write; null if never asked for.
  GristmillStatus (*write)(void *data);
  // The descriptor is in error. If null, the host closes its copy then.
  GristmillStatus (*error)(void *data);
  // The host has closed its copy, and not by `remove`; may be null.
  GristmillStatus (*closed)(void *data);
} GristmillFileSpec;

// Service `file`, version 1. Any thread.
typedef struct GristmillFileService {
  // Size and version.
  struct GristmillHead head;
  // Watches a descriptor; gives it a number, never 0.
  GristmillStatus (*add)(void *context,
                         GristmillPluginHandle plugin,
                         const struct GristmillFileSpec *spec,
                         uint64_t *id,
                         struct GristmillErrorText *error);
  // Watches it for something else.
  GristmillStatus (*modify)(void *context,
                            uint32_t thread,
                            uint64_t id,
                            uint32_t flags,
                            struct GristmillErrorText *error);
  // Watches it no more, and waits until none of its functions runs, unless called by one.
  // Fails if it is not watched any more.
  GristmillStatus (*remove)(void *context, uint32_t thread, uint64_t id);
} GristmillFileService;

// Service `handoff`, version 1.
typedef struct GristmillHandoffService {
  // Size and version.
  struct GristmillHead head;
  // Hands `n` packets of the calling node to threads: packet `i` to `threads[i]`, where it takes
  // the node's next `nexts[i]`. Gives how many are on their way. The host owns all of them after
  // the call: those for the calling thread go on at once, those that a thread has no room for
  // are dropped and counted. Context: a node's entry, with what it was given.
  uint32_t (*hand_off)(void *context,
                       struct GristmillThreadCtx *ctx,
                       struct GristmillNodeRuntime *node,
                       const uint32_t *indices,
                       const uint16_t *nexts,
                       const uint16_t *threads,
                       uint32_t n);
  // Gives the address of `words` words of a bit for each thread, lowest first: 1 if packets can
  // be handed to it now. They are there for as long as the host, and change as threads come and
  // go: to be read as atomics. Main thread.
  const uint64_t *(*threads)(void *context, uint32_t *words);
} GristmillHandoffService;

// A process's body. Context: main, on a stack of its own; it may wait.
typedef GristmillStatus (*GristmillProcessFn)(void *data, struct GristmillErrorText *error);

// Ends what a process, or an event that was put off, was given. Context: main.
typedef GristmillStatus (*GristmillDropFn)(void *data);

// A new process.
typedef struct GristmillProcessSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show process`.
  struct GristmillStr name;
  // What it runs.
  GristmillProcessFn entry;
  // First argument of the body.
  void *data;
  // Called once, when the body will not run any more.
  GristmillDropFn drop;
  // Bytes of its stack; 0 for the host's default for plugins.
  uint64_t stack_size;
  // `RESTART_*`.
  uint32_t restart;
  // Reserved, 0.
  uint32_t reserved;
  // From the first failure to the next start; doubled each time.
  uint64_t backoff_ns;
  // The longest of these.
  uint64_t backoff_max_ns;
  // How long it may hold main before that is reported; 0 for the host's default.
  uint64_t watchdog_ns;
} GristmillProcessSpec;

// A process, as the host names it: a counted reference.
typedef const void *GristmillProcessHandle;

// What a process waits for, and what came of it. With no flag it lets others run once.
typedef struct GristmillWait {
  // Size and version.
  struct GristmillHead head;
  // `WAIT_*`.
  uint32_t flags;
  // Out: which of them.
  uint32_t woken;
  // A bit per event. Out: those that happened, and are forgotten with that.
  uint64_t events;
  // From now on. Out: what is left of it.
  uint64_t timeout_ns;
  // The process whose end is waited for.
  GristmillProcessHandle process;
} GristmillWait;

// An event that happens later.
typedef struct GristmillDelayedEvent {
  // Size and version.
  struct GristmillHead head;
  // The process.
  GristmillProcessHandle process;
  // A bit per event.
  uint64_t events;
  // From now on.
  uint64_t delay_ns;
  // Called when it happens, before the process is woken, or when it never will: then `happened`
  // is 0.
  GristmillStatus (*deliver)(void *data, uint64_t token, uint32_t happened);
  // First argument of it.
  void *data;
  // Second argument of it.
  uint64_t token;
} GristmillDelayedEvent;

// Service `process`, version 1. Main thread, unless said otherwise.
typedef struct GristmillProcessService {
  // Size and version.
  struct GristmillHead head;
  // Makes a process, which begins in the main loop's next turn. If this fails, `drop` is not
  // called.
  GristmillStatus (*create)(void *context,
                            GristmillPluginHandle plugin,
                            const struct GristmillProcessSpec *spec,
                            GristmillProcessHandle *process,
                            struct GristmillErrorText *error);
  // One more reference. Any thread.
  void (*retain)(void *context, GristmillProcessHandle process);
  // One reference less. Any thread.
  void (*release)(void *context, GristmillProcessHandle process);
  // The process that runs, as one more reference; null if none does.
  GristmillProcessHandle (*current)(void *context);
  // Suspends the process that runs. [`Status::CANCELLED`] if it is to end; then it is not
  // suspended. Fails where no process runs, or it may not be suspended. `error` may be null.
  GristmillStatus (*wait)(void *context,
                          struct GristmillWait *wait,
                          struct GristmillErrorText *error);
  // Whether the process that runs has had its slice and ought to wait; 0 where it may not.
  uint32_t (*should_yield)(void *context);
  // Events happen to a process. Any thread. Fails if it has ended for good.
  GristmillStatus (*signal)(void *context, GristmillProcessHandle process, uint64_t events);
  // An event that happens later; gives it a number.
  GristmillStatus (*signal_later)(void *context,
                                  GristmillPluginHandle plugin,
                                  const struct GristmillDelayedEvent *event,
                                  uint64_t *id,
                                  struct GristmillErrorText *error);
  // Takes such an event back; fails if it has happened. `deliver` is called, with 0.
  GristmillStatus (*take_back)(void *context, uint64_t id);
  // Says what an event is called in `show process`.
  GristmillStatus (*name_event)(void *context,
                                GristmillProcessHandle process,
                                uint32_t event,
                                struct GristmillStr name);
  // Has a process end: its waits fail from now on, the one that it is in too.
  GristmillStatus (*cancel)(void *context, GristmillProcessHandle process);
  // Begins a process again that has ended. Fails if it has not.
  GristmillStatus (*restart)(void *context, GristmillProcessHandle process);
  // Whether a process has ended. Any thread.
  uint32_t (*has_ended)(void *context, GristmillProcessHandle process);
  // The creator gives a process up: it runs on, and is forgotten when it has ended. Any thread.
  void (*detach)(void *context, GristmillProcessHandle process);
} GristmillProcessService;

// What runs at the end of a turn, outside of nodes, on the thread whose context that is.
typedef GristmillStatus (*GristmillDeferredFn)(void *data, struct GristmillThreadCtx *ctx);

// A new softirq.
typedef struct GristmillSoftirqSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show softirqs`; no other has it.
  struct GristmillStr name;
  // What it runs, on several threads at once.
  GristmillDeferredFn function;
  // First argument of the function.
  void *data;
  // One of [`softirq`], or [`SOFTIRQ_ANY`].
  uint32_t number;
  // Reserved, 0.
  uint32_t reserved;
} GristmillSoftirqSpec;

// What runs once nobody can see any more what was taken away before. Main, outside of nodes.
typedef GristmillStatus (*GristmillGraceFn)(void *data);

// Service `softirq`, version 1.
typedef struct GristmillSoftirqService {
  // Size and version.
  struct GristmillHead head;
  // Opens a softirq. Main thread.
  GristmillStatus (*open)(void *context,
                          GristmillPluginHandle plugin,
                          const struct GristmillSoftirqSpec *spec,
                          uint32_t *number,
                          struct GristmillErrorText *error);
  // Closes a softirq and waits until it does not run. Where the wait would not end (on a thread
  // that forwards, and inside of what runs at the end of a turn) it is closed and fails: it may be
  // running still, until a grace period is over.
  GristmillStatus (*close)(void *context, GristmillPluginHandle plugin, uint32_t number);
  // Raises a softirq on a thread, on [`THIS_THREAD`] or on
  // [`ALL_THREADS`](crate::host::ALL_THREADS). Fails if there is no such thread or number. Any
  // thread.
  GristmillStatus (*raise)(void *context, uint32_t number, uint32_t thread);
  // Calls a function on main after every thread has begun another turn: then no node reads any
  // more what was taken out of its sight before. It is called before the plugin's state ends.
  // Any thread.
  GristmillStatus (*after_grace)(void *context,
                                 GristmillPluginHandle plugin,
                                 GristmillGraceFn function,
                                 void *data);
} GristmillSoftirqService;

// A new tasklet.
typedef struct GristmillTaskletSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show tasklets`.
  struct GristmillStr name;
  // What it runs, never on two threads at once.
  GristmillDeferredFn function;
  // First argument of the function.
  void *data;
  // `TASKLET_*`.
  uint32_t flags;
  // Reserved, 0.
  uint32_t reserved;
} GristmillTaskletSpec;

// A tasklet, as the host names it to its maker.
typedef const void *GristmillTaskletHandle;

// Service `tasklet`, version 1. Any thread.
typedef struct GristmillTaskletService {
  // Size and version.
  struct GristmillHead head;
  // Makes a tasklet, enabled and not scheduled.
  GristmillStatus (*create)(void *context,
                            GristmillPluginHandle plugin,
                            const struct GristmillTaskletSpec *spec,
                            GristmillTaskletHandle *tasklet,
                            struct GristmillErrorText *error);
  // Kills a tasklet and forgets it. Fails, and only kills it, where the wait would not end.
  GristmillStatus (*destroy)(void *context, GristmillTaskletHandle tasklet);
  // Schedules a tasklet on a thread, or on [`THIS_THREAD`]: it runs once at the end of the
  // thread's turn, or once it is enabled.
  GristmillStatus (*schedule)(void *context, GristmillTaskletHandle tasklet, uint32_t thread);
  // Disables a tasklet, once more; with `wait` not 0, waits until it does not run.
  GristmillStatus (*disable)(void *context,
                             GristmillTaskletHandle tasklet,
                             uint32_t wait,
                             struct GristmillErrorText *error);
  // Takes one disabling back. Fails if there is none.
  GristmillStatus (*enable)(void *context, GristmillTaskletHandle tasklet);
  // Kills a tasklet for good: it is not scheduled any more. Waits until it does not run.
  GristmillStatus (*kill)(void *context,
                          GristmillTaskletHandle tasklet,
                          struct GristmillErrorText *error);
  // 1 if it is scheduled and has not begun.
  uint32_t (*is_scheduled)(void *context, GristmillTaskletHandle tasklet);
} GristmillTaskletService;

// A new queue.
typedef struct GristmillWorkQueueSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show workqueues`.
  struct GristmillStr name;
  // `WORK_UNBOUND` and the like.
  uint32_t kind;
  // Items of it in execution at once; 0 for the host's default.
  uint32_t max_active;
} GristmillWorkQueueSpec;

// What an item runs; never on two threads at once. Context: a work thread; it may block.
typedef GristmillStatus (*GristmillWorkFn)(void *data);

// A new item, or a call of a function that runs once.
typedef struct GristmillWorkItemSpec {
  // Size and version.
  struct GristmillHead head;
  // Name, for `show workqueues`.
  struct GristmillStr name;
  // What it runs.
  GristmillWorkFn run;
  // First argument of the two functions.
  void *data;
  // Called once, when `run` will not be called any more. Any thread.
  GristmillWorkFn drop;
  // The forwarding thread, of a bound queue's; else [`WORK_ANY_THREAD`].
  uint32_t thread;
  // Reserved, 0.
  uint32_t reserved;
} GristmillWorkItemSpec;

// A queue, as the host names it to its maker.
typedef const void *GristmillWorkQueueHandle;

// An item, as the host names it to its maker.
typedef const void *GristmillWorkItemHandle;

// Service `work`, version 1. Any thread, a node's too, unless said otherwise.
//
// What *waits* is for work threads, processes (main goes on meanwhile), main outside of nodes (for
// some seconds at most) and threads of the plugin's own; elsewhere, and where the wait would not
// end, it fails.
typedef struct GristmillWorkService {
  // Size and version.
  struct GristmillHead head;
  // Makes a queue. Not on a thread that forwards packets.
  GristmillStatus (*create_queue)(void *context,
                                  GristmillPluginHandle plugin,
                                  const struct GristmillWorkQueueSpec *spec,
                                  GristmillWorkQueueHandle *queue,
                                  struct GristmillErrorText *error);
  // Cancels what is pending on a queue, which takes nothing any more, and waits for what runs;
  // fails where it cannot wait for that, and does all else.
  GristmillStatus (*close_queue)(void *context,
                                 GristmillWorkQueueHandle queue,
                                 struct GristmillErrorText *error);
  // The same, and forgets the queue.
  GristmillStatus (*destroy_queue)(void *context, GristmillWorkQueueHandle queue);
  // Makes an item, not pending. If this fails, `drop` is not called.
  GristmillStatus (*create_item)(void *context,
                                 GristmillWorkQueueHandle queue,
                                 const struct GristmillWorkItemSpec *spec,
                                 GristmillWorkItemHandle *item,
                                 struct GristmillErrorText *error);
  // Cancels an item, waits until it does not run, and forgets it; fails where it cannot wait for
  // that, and does all else.
  GristmillStatus (*destroy_item)(void *context, GristmillWorkItemHandle item);
  // Queues an item, unless it is pending.
  GristmillStatus (*enqueue)(void *context, GristmillWorkItemHandle item);
  // Has an item be queued later, unless it is pending; it is, from now on. `file` and `line` say
  // who asks.
  GristmillStatus (*enqueue_delayed)(void *context,
                                     GristmillWorkItemHandle item,
                                     uint64_t delay_ns,
                                     struct GristmillStr file,
                                     uint32_t line);
  // The same whether it is pending or not; says whether it was.
  GristmillStatus (*modify_delay)(void *context,
                                  GristmillWorkItemHandle item,
                                  uint64_t delay_ns,
                                  struct GristmillStr file,
                                  uint32_t line,
                                  uint32_t *was_pending);
  // Cancels an item; 1 if it was pending. It may be running all the same.
  uint32_t (*cancel)(void *context, GristmillWorkItemHandle item);
  // The same, and waits until it does not run; it is not queued meanwhile.
  GristmillStatus (*cancel_and_wait)(void *context,
                                     GristmillWorkItemHandle item,
                                     uint32_t *was_pending,
                                     struct GristmillErrorText *error);
  // Queues an item at once that waits for its delay, and waits until all that was queued of it
  // has run.
  GristmillStatus (*flush)(void *context,
                           GristmillWorkItemHandle item,
                           struct GristmillErrorText *error);
  // Whether an item is pending.
  uint32_t (*is_pending)(void *context, GristmillWorkItemHandle item);
  // Waits for all that is queued on a queue now; for no delay.
  GristmillStatus (*flush_queue)(void *context,
                                 GristmillWorkQueueHandle queue,
                                 struct GristmillErrorText *error);
  // Waits until nothing is queued on a queue, or runs; meanwhile it takes work of its own items
  // only.
  GristmillStatus (*drain)(void *context,
                           GristmillWorkQueueHandle queue,
                           struct GristmillErrorText *error);
  // Queues a function that runs once. If this fails, `drop` is not called.
  GristmillStatus (*call)(void *context,
                          GristmillWorkQueueHandle queue,
                          const struct GristmillWorkItemSpec *spec,
                          struct GristmillErrorText *error);
} GristmillWorkService;

// Service `log`, version 1. Any thread.
//
// A class is written `PLUGIN/CLASS`; the operator can set its level and its rate.
typedef struct GristmillLogService {
  // Size and version.
  struct GristmillHead head;
  // Writes a line; `level` as in [`log_level`](crate::host::log_level).
  void (*write)(void *context,
                GristmillPluginHandle plugin,
                struct GristmillStr class,
                uint32_t level,
                struct GristmillStr text);
  // 1 if lines of that class and level are logged.
  uint32_t (*enabled)(void *context,
                      GristmillPluginHandle plugin,
                      struct GristmillStr class,
                      uint32_t level);
} GristmillLogService;

// Service `config`, version 1. Main thread, while the plugin is created.
typedef struct GristmillConfigService {
  // Size and version.
  struct GristmillHead head;
  // Line of the configuration file that sets a key of the plugin's section, from 1; 0 if none does.
  uint32_t (*line)(void *context, GristmillPluginHandle plugin, struct GristmillStr key);
} GristmillConfigService;

// Where a [`FormatTraceFn`] writes to; line breaks are allowed.
typedef struct GristmillTraceText {
  // Size and version.
  struct GristmillHead head;
  // First argument of the function.
  void *context;
  // Appends text.
  void (*write)(void *context, struct GristmillStr text);
} GristmillTraceText;

// Service `trace`, version 1. The thread of the node that is dispatched.
typedef struct GristmillTraceService {
  // Size and version.
  struct GristmillHead head;
  // Keeps the record of the node that is dispatched for a traced packet of its frame, in the place
  // of the one it left before; what is longer than [`TRACE_RECORD`] is cut. Nothing for a packet
  // that is not traced, or not in the frame.
  void (*record)(void *context,
                 struct GristmillThreadCtx *ctx,
                 uint32_t packet,
                 const uint8_t *record,
                 uint32_t len);
  // Has the trace of a packet go on with another packet too, a copy of it that the node owns.
  void (*follow)(void *context, struct GristmillThreadCtx *ctx, uint32_t packet, uint32_t copy);
} GristmillTraceService;

// Line 0 of a buffer.
typedef struct GRISTMILL_ALIGNED(64) GristmillHeader {
  // Start of the packet's bytes, counted from the start of the headroom.
  uint16_t data_off;
  // Bytes of the packet in this buffer.
  uint16_t len;
  // `FLAG_*`.
  uint32_t flags;
  // Index of the next buffer of the chain; meaningful with [`FLAG_NEXT`].
  uint32_t next_buffer;
  // Bytes in the rest of the chain; 0 without one.
  uint32_t chain_len;
  // Owners. Plain loads and stores while it is 1, atomic beyond.
  GristmillAtomicU16 ref_count;
  // Drop reason, an index the host hands out; 0 is none.
  uint16_t error;
  // Mark of a traced packet, which the host gives; 0 is none. See [`trace`](crate::trace).
  uint32_t trace;
  // Interface it came in by.
  uint32_t rx_interface;
  // Interface it leaves by, once known.
  uint32_t tx_interface;
  // Hash of the flow, 0 if not computed.
  uint32_t flow_hash;
  // Layer-2 header, counted like `data_off`.
  uint16_t l2_off;
  // Layer-3 header, counted like `data_off`.
  uint16_t l3_off;
  // Layer-4 header, counted like `data_off`.
  uint16_t l4_off;
  // Position on the feature arc the packet is on.
  uint16_t arc_position;
  // Adjacency chosen by a lookup.
  uint32_t adjacency;
  // Belongs to a node and its immediate next.
  uint64_t scratch[2];
} GristmillHeader;
#endif
