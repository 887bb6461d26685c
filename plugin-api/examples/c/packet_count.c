/* A plugin in C: a feature that counts the packets between ethernet-input and the outputs and passes them
 * on, and a command that shows how many they were. README.md says how to build it.
 *
 * Read it from the bottom up: the records that the host reads in the file, the entry that it looks up,
 * the declarations that it asks for, and then the functions. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "gristmill.h"

#define NAME "packet-count"
#define VERSION "1.0.0"
#define TEXT "Counts packets, in C"
#define ARC "packet-count-arc"
#define COMMAND "show packet-count"

/* What a plugin keeps is in here and not in statics: its code stays, its state comes and goes. */
struct state {
    _Atomic uint64_t packets;
    _Atomic uint64_t bytes;
};

static const GristmillHostTable *host;

static GristmillStatus initialize(const GristmillHostTable *table)
{
    host = table;
    return GristmillStatus_OK; /* initialized */
}

/* The plugin: made, started, stopped and ended on the main thread. */

static void fail(GristmillErrorText *error, const char *text)
{
    error->len = (uint32_t)strlen(text);
    memcpy(error->bytes, text, error->len);
}

static GristmillOpaque create(GristmillPluginHandle plugin, GristmillList_ConfigEntry config,
                              GristmillErrorText *error)
{
    static const GristmillStr text = GRISTMILL_STR("counts from now on");
    struct state *state = calloc(1, sizeof *state);

    (void)config;
    if (state == NULL)
        fail(error, "no memory");
    else
        host->log(host, plugin, GRISTMILL_HOST_LOG_LEVEL_NOTICE, text);
    return state;
}

static GristmillStatus start(GristmillOpaque state, GristmillErrorText *error)
{
    (void)state;
    (void)error;
    return GristmillStatus_OK;
}

static GristmillStatus stop(GristmillOpaque state)
{
    (void)state;
    return GristmillStatus_OK;
}

static GristmillStatus notify(GristmillOpaque state, uint32_t notice, uint64_t value)
{
    (void)state;
    (void)notice;
    (void)value;
    return GristmillStatus_OK;
}

static GristmillStatus destroy(GristmillOpaque state)
{
    free(state);
    return GristmillStatus_OK;
}

/* The node: an instance for each thread, which has the plugin's state here. */

static GristmillOpaque create_node(GristmillOpaque state, uint32_t thread, GristmillErrorText *error)
{
    (void)thread;
    (void)error;
    return state;
}

static GristmillStatus destroy_node(GristmillOpaque node)
{
    (void)node;
    return GristmillStatus_OK;
}

/* Up to 256 packets on the thread that has them; the result is one next for all of them. */
static uint32_t count(GristmillThreadCtx *ctx, GristmillNodeRuntime *node, GristmillFrame *frame)
{
    struct state *state = node->state;
    uint64_t bytes = 0;

    for (uint32_t at = 0; at < frame->n; at++) {
        size_t place = (size_t)frame->indices[at] << GRISTMILL_BUFFER_LINE_SHIFT;
        const GristmillHeader *header = (const GristmillHeader *)(ctx->buffer_base + place);

        bytes += header->len;
    }
    atomic_fetch_add_explicit(&state->packets, frame->n, memory_order_relaxed);
    atomic_fetch_add_explicit(&state->bytes, bytes, memory_order_relaxed);
    node->counters[0] += frame->n;
    return 0;
}

/* The command, on the main thread: a table with one row. */
static GristmillStatus show(GristmillOpaque plugin, GristmillList_ArgValue args,
                            const GristmillAnswerTable *answer, GristmillErrorText *error)
{
    static const GristmillStr names[] = { GRISTMILL_STR("packets"), GRISTMILL_STR("bytes") };
    static const GristmillStr none = GRISTMILL_STR("");
    const GristmillList_Str columns = GRISTMILL_LIST(names);
    struct state *state = plugin;

    (void)args;
    (void)error;
    answer->columns(answer->context, none, columns);
    answer->cell(answer->context, GRISTMILL_COMMAND_CELL_KIND_UNSIGNED, state->packets, none);
    answer->cell(answer->context, GRISTMILL_COMMAND_CELL_KIND_UNSIGNED, state->bytes, none);
    return GristmillStatus_OK;
}

/* What it declares, each thing under the name that its record has. */

static const GristmillPluginDecl plugin_decl = {
    .head = GRISTMILL_HEAD(GristmillPluginDecl),
    .version = GRISTMILL_STR(VERSION),
    .description = GRISTMILL_STR(TEXT),
    .create = create,
    .start = start,
    .stop = stop,
    .notify = notify,
    .destroy = destroy,
};

static const GristmillNextDecl nexts[] = {
    { .kind = GRISTMILL_DECLARATION_NEXT_KIND_FEATURE, .name = GRISTMILL_STR("") },
};
static const GristmillCounterDecl counters[] = { { .name = GRISTMILL_STR("counted") } };
static const GristmillVariant variants[] = { { .cpu_level = 0, .entry = count } };
static const GristmillNodeDecl node_decl = {
    .head = GRISTMILL_HEAD(GristmillNodeDecl),
    .node_type = GRISTMILL_DECLARATION_NODE_TYPE_INTERNAL,
    .nexts = GRISTMILL_LIST(nexts),
    .counters = GRISTMILL_LIST(counters),
    .variants = GRISTMILL_LIST(variants),
    .create = create_node,
    .destroy = destroy_node,
};

static const GristmillStr starts[] = { GRISTMILL_STR("ethernet-input") };
static const GristmillArcDecl arc_decl = {
    .head = GRISTMILL_HEAD(GristmillArcDecl),
    .starts = GRISTMILL_LIST(starts),
    .end = GRISTMILL_STR("interface-output"),
};

static const GristmillFeatureDecl feature_decl = {
    .head = GRISTMILL_HEAD(GristmillFeatureDecl),
    .arc = GRISTMILL_STR(ARC),
    .default_on = 1,
};

static const GristmillCommandDecl command_decl = {
    .head = GRISTMILL_HEAD(GristmillCommandDecl),
    .grammar = GRISTMILL_STR(COMMAND),
    .help = GRISTMILL_STR("Shows how many packets went by, and their bytes"),
    .role = GRISTMILL_COMMAND_ROLE_READ,
    .run = show,
};

#define DECLARED(of_kind, of_name, of_body) { \
    .head = GRISTMILL_HEAD(GristmillDeclaration), \
    .kind = GRISTMILL_STR(GRISTMILL_DECLARATION_KIND_##of_kind), \
    .plugin = GRISTMILL_STR(NAME), \
    .name = GRISTMILL_STR(of_name), \
    .body = &of_body, \
}

static const GristmillDeclaration declarations[] = {
    DECLARED(PLUGIN, NAME, plugin_decl),
    DECLARED(NODE, NAME, node_decl),
    DECLARED(ARC, ARC, arc_decl),
    DECLARED(FEATURE, NAME, feature_decl),
    DECLARED(COMMAND, COMMAND, command_decl),
};

static const GristmillDeclaration *declaration(uint32_t index)
{
    return index < sizeof declarations / sizeof declarations[0] ? &declarations[index] : NULL;
}

/* What the host looks up once the file is mapped. */
const GristmillEntry gristmill_plugin_entry = {
    .head = GRISTMILL_HEAD(GristmillEntry),
    .declaration = declaration,
    .initialize = initialize,
};

/* What the host reads in the file before it is mapped. Nothing unwinds here, hence the flag. */

GRISTMILL_RECORD GristmillPluginRecord plugin_record = {
    .head = GRISTMILL_RECORD_HEAD(GristmillPluginRecord, GRISTMILL_DESCRIPTOR_KIND_PLUGIN),
    .abi_major = GRISTMILL_ABI_MAJOR,
    .abi_minor = GRISTMILL_ABI_MINOR,
    .flags = GRISTMILL_DESCRIPTOR_FLAG_PANIC_UNWIND,
    .layout_digest = GRISTMILL_LAYOUT_DIGEST,
    .name = NAME,
    .version = VERSION,
    .sdk_version = "1.0.0",
    .description = TEXT,
};

#define RECORDED(of_kind, of_name, of_detail) { \
    .head = GRISTMILL_RECORD_HEAD(GristmillNameRecord, GRISTMILL_DESCRIPTOR_KIND_##of_kind), \
    .name = of_name, \
    .detail = of_detail, \
}

GRISTMILL_RECORD GristmillNameRecord node_record = RECORDED(NODE, NAME, "");
GRISTMILL_RECORD GristmillNameRecord arc_record = RECORDED(ARC, ARC, "interface-output");
GRISTMILL_RECORD GristmillNameRecord feature_record = RECORDED(FEATURE, NAME, ARC);
GRISTMILL_RECORD GristmillNameRecord command_record = RECORDED(COMMAND, COMMAND, COMMAND);
