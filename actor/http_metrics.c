/* actor/http_metrics.c - GET /metrics: the metrics of the process in Prometheus' text format, and those that tools made for
 * vLLM look for, under its names. */
#include "actor/http_state.h"

#define HTTP_SECONDS 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300
// clang-format off
#define HTTP_LATENCIES(ROW) \
    ROW(HISTOGRAM(HTTP_SECONDS), first_token, "vllm:time_to_first_token_seconds",   "s", "From a request's headers to its first token.") \
    ROW(HISTOGRAM(HTTP_SECONDS), whole,       "vllm:e2e_request_latency_seconds",   "s", "From a request's headers to the end of its answer.")
// clang-format on

static const struct metric_row latency_rows[] = {
#define ROW(...) METRIC_ROW(struct http_latencies, __VA_ARGS__)
    HTTP_LATENCIES(ROW)
#undef ROW
};
enum { LATENCY_ROWS = sizeof latency_rows / sizeof latency_rows[0] };

void http_metrics_init(struct http_server *server)
{
    metrics_init(latency_rows, LATENCY_ROWS, &server->latencies);
}

/* Under vLLM's names, which are no metric paths of ours. */
static enum status write_latencies(const struct http_latencies *latencies, const char *labels,
                                   struct buffer *text)
{
    for (size_t i = 0; i < LATENCY_ROWS; i++) {
        const struct metric_row *row = &latency_rows[i];
        const char *at = (const char *)latencies + row->offset;
        TRY(metrics_family(text, row->path, "histogram", "seconds", row->help));
        TRY(metrics_buckets(text, row->path, labels, row->bounds,
                            (const struct metric_histogram *)(const void *)at, 1));
    }
    return STATUS_OK;
}

static enum status write_value(const char *name, const char *kind, const char *labels, double value,
                               struct buffer *text)
{
    TRY(buffer_printf(text, "# TYPE %s %s\n", name, kind));
    return metrics_sample(text, name, labels, NULL, value);
}

static enum status write_ends(const struct http_server *server, const char *labels,
                              struct buffer *text)
{
    static const char name[] = "vllm:request_success_total";
    TRY(buffer_printf(text, "# TYPE %s counter\n", name));
    TRY(metrics_sample(text, name, labels, "finished_reason=\"stop\"",
                       (double)server->finished_stop));
    TRY(metrics_sample(text, name, labels, "finished_reason=\"length\"",
                       (double)server->finished_length));
    return metrics_sample(text, name, labels, "finished_reason=\"abort\"",
                          (double)server->finished_abort);
}

static enum status write_vllm(struct exchange *exchange, const char *labels, struct buffer *text)
{
    const struct http_server *server = exchange->server;
    const struct actor_metrics *metrics = &server->config.engine->metrics;
    struct serve_load load;
    serve_get_load(server->hub, &load);
    TRY(write_value("vllm:num_requests_running", "gauge", labels, load.running, text));
    TRY(write_value("vllm:num_requests_waiting", "gauge", labels, load.waiting, text));
    TRY(write_value("vllm:gpu_cache_usage_perc", "gauge", labels, load.cache_used, text));
    TRY(write_value("vllm:kv_cache_usage_perc", "gauge", labels, load.cache_used, text));
    TRY(write_value("vllm:prompt_tokens_total", "counter", labels,
                    metric_read(&metrics->serve_prompt_tokens), text));
    TRY(write_value("vllm:generation_tokens_total", "counter", labels,
                    metric_read(&metrics->serve_tokens), text));
    TRY(write_ends(server, labels, text));
    return write_latencies(&server->latencies, labels, text);
}

enum MHD_Result http_metrics(struct exchange *exchange)
{
    const struct http_server *server = exchange->server;
    struct buffer text, labels;
    size_t count = 0;
    const struct metric_row *rows = actor_metrics_table(&count);
    buffer_init(&text, 0);
    buffer_init(&labels, 0);
    enum status status = metrics_label(&labels, "model_name", server->config.model);
    if (status == STATUS_OK)
        status = metrics_prometheus(rows, count, &server->config.engine->metrics,
                                    buffer_string(&labels), &text);
    if (status == STATUS_OK)
        status = write_vllm(exchange, buffer_string(&labels), &text);
    enum MHD_Result result =
        status == STATUS_OK
            ? http_respond(exchange, 200, "text/plain; version=0.0.4; charset=utf-8", text.bytes,
                           text.size)
            : MHD_NO;
    buffer_free(&text);
    buffer_free(&labels);
    return result;
}
