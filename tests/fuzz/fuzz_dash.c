/* links: dash */
/* Any bytes as what a request says (Host, Origin, Authorization, Cookie, names, numbers, Last-Event-ID), as a query of metrics, as a
 * body, as a setting's value, and as lines of metrics and rollouts: answers are JSON, and nothing is let in that must not. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "ops/dash/access.h"
#include "ops/dash/board.h"
#include "ops/dash/config_view.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void try_access(const char *text)
{
    static const struct access_rules here = {
        .host = "127.0.0.1", .port = 8420, .loopback = true, .token = "abcdefghijklmnopqrstuvwxyz"};
    uint64_t whole = 0;
    double real = 0;
    char host[ACCESS_NAME_MAX];
    uint32_t port = 0;
    if (access_host(&here, text))
        CHECK(strcasestr(text, "localhost") != NULL || strstr(text, "127.") != NULL ||
              strchr(text, ':') != NULL);
    if (access_bearer(&here, text) || access_cookie(&here, text) || access_token(&here, text))
        CHECK(strstr(text, here.token) != NULL);
    if (access_origin(text, "localhost:8420"))
        CHECK(strcasestr(text, "://localhost:8420") != NULL);
    if (access_file(text))
        CHECK(text[0] != '/' && strstr(text, "..") != text && strstr(text, "/.") == NULL);
    if (access_process(text))
        CHECK(strchr(text, '/') == NULL && strstr(text, "..") == NULL);
    if (access_u64(text, &whole))
        CHECK(strspn(text, "0123456789") == strlen(text));
    if (access_real(text, &real))
        CHECK(isfinite(real));
    if (access_split(text, host, &port) == STATUS_OK)
        CHECK(port <= 65535 && strlen(host) < sizeof host);
}

static void check_json(struct buffer *json)
{
    json_t *value = json_loadb((const char *)json->bytes, json->size, JSON_DECODE_ANY, NULL);
    CHECK(value != NULL);
    json_decref(value);
}

/* Names of a query are printable ASCII: the server refuses others. */
static void try_query(const char *text)
{
    struct metric_table table = {0};
    struct buffer json;
    size_t row;
    bool fresh;
    buffer_init(&json, 0);
    for (const char *at = text; *at != 0; at++)
        if (*at < ' ' || *at > '~')
            return;
    for (int step = 0; step < 9; step++) {
        CHECK(metric_table_row(&table, step * 2, step, &row, &fresh) == STATUS_OK);
        CHECK(metric_table_set(&table, row, step % 2 ? "a" : "b", step / 3.0) == STATUS_OK);
    }
    struct metric_query query = {.names = text, .from = 1, .to = 15, .points = strlen(text) % 7};
    CHECK(metric_table_json(&table, &query, &json) == STATUS_OK);
    check_json(&json);
    metric_table_free(&table);
    buffer_free(&json);
}

static void try_lines(const uint8_t *bytes, size_t size)
{
    static struct board board; /* one for all inputs: its tables are large */
    static bool open;
    struct buffer json;
    if (!open)
        CHECK(board_open(&board) == STATUS_OK);
    open = true;
    json_t *line = json_loadb((const char *)bytes, size, 0, NULL);
    if (!json_is_object(line)) {
        json_decref(line);
        return;
    }
    if (json_is_number(json_object_get(line, "step")))
        board_take_metrics(&board, line, true);
    board_take_rollout(&board, line);
    board_take_event(&board, line);
    board_take_histograms(&board, line);
    board_take_span(&board, line);
    json_decref(line);
    buffer_init(&json, 0);
    struct rollout_query query = {.most = 50, .reward_min = NAN, .reward_max = NAN};
    CHECK(rollout_list_json(&board.rollouts, &query, &json) == STATUS_OK);
    check_json(&json);
    buffer_free(&json);
    if (board.metrics.column_count > METRIC_COLUMNS_MAX / 2)
        metric_table_free(&board.metrics);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct broadcast broadcast;
    char *text = memory_alloc(size + 1);
    CHECK(text != NULL);
    memcpy(text, bytes, size);
    if (broadcast.bytes == NULL) {
        CHECK(broadcast_open(&broadcast, 4096, 7) == STATUS_OK);
        for (int i = 0; i < 100; i++)
            CHECK(broadcast_add(&broadcast, "e", "{}", 2) == STATUS_OK);
    }
    struct broadcast_resume said = broadcast_resume(&broadcast, text);
    CHECK(said.position >= broadcast.tail && said.position <= broadcast.head);
    try_access(text);
    try_query(text);
    char *shown = config_view_shown(text);
    CHECK(shown != NULL);
    memory_free(shown);
    try_lines(bytes, size);
    memory_free(text);
    return 0;
}
