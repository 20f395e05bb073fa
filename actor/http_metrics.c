/* actor/http_metrics.c - GET /metrics: the metrics of the process in Prometheus' text format, and those that tools made for
 * vLLM look for, under its names. */
#include <stdio.h>

#include "actor/http_state.h"
#include "core/clock.h"

static const double bounds_s[HTTP_BUCKETS] = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
                                              1.0,   2.5,  5.0,   10.0, 30., 60.0, 300.0};

void http_observe(struct http_histogram *histogram, int64_t ns)
{
    double seconds = (double)ns / (double)CLOCK_NS_PER_S;
    int at = 0;
    while (at < HTTP_BUCKETS && seconds > bounds_s[at])
        at++;
    histogram->bucket[at]++;
    histogram->sum += seconds;
}

static enum status write_histogram(const char *name, const char *help,
                                   const struct http_histogram *histogram, const char *labels,
                                   struct buffer *text)
{
    uint64_t count = 0;
    TRY(buffer_printf(text, "# HELP %s %s\n# TYPE %s histogram\n", name, help, name));
    for (int i = 0; i <= HTTP_BUCKETS; i++) {
        char bound[32] = "+Inf";
        if (i < HTTP_BUCKETS)
            snprintf(bound, sizeof bound, "%g", bounds_s[i]);
        count += histogram->bucket[i];
        TRY(buffer_printf(text, "%s_bucket{%s,le=\"%s\"} %llu\n", name, labels, bound,
                          (unsigned long long)count));
    }
    TRY(buffer_printf(text, "%s_sum{%s} %.9g\n", name, labels, histogram->sum));
    return buffer_printf(text, "%s_count{%s} %llu\n", name, labels, (unsigned long long)count);
}

static enum status write_value(const char *name, const char *kind, const char *labels, double value,
                               struct buffer *text)
{
    return buffer_printf(text, "# TYPE %s %s\n%s{%s} %.17g\n", name, kind, name, labels, value);
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
    TRY(buffer_text(text, "# TYPE vllm:request_success_total counter\n"));
    TRY(buffer_printf(text, "vllm:request_success_total{%s,finished_reason=\"stop\"} %llu\n",
                      labels, (unsigned long long)server->finished_stop));
    TRY(buffer_printf(text, "vllm:request_success_total{%s,finished_reason=\"length\"} %llu\n",
                      labels, (unsigned long long)server->finished_length));
    TRY(buffer_printf(text, "vllm:request_success_total{%s,finished_reason=\"abort\"} %llu\n",
                      labels, (unsigned long long)server->finished_abort));
    TRY(write_histogram("vllm:time_to_first_token_seconds",
                        "From a request's headers to its first token.", &server->first_token,
                        labels, text));
    return write_histogram("vllm:e2e_request_latency_seconds",
                           "From a request's headers to the end of its answer.", &server->whole,
                           labels, text);
}

enum MHD_Result http_metrics(struct exchange *exchange)
{
    const struct http_server *server = exchange->server;
    struct buffer text, name, labels;
    size_t count = 0;
    const struct metric_row *rows = actor_metrics_table(&count);
    buffer_init(&text, 0);
    buffer_init(&name, 0);
    buffer_init(&labels, 0);
    /* A label's value is quoted as a JSON text is. */
    enum status status = buffer_json_text(&name, server->config.model);
    if (status == STATUS_OK)
        status = buffer_printf(&labels, "model_name=%s", buffer_string(&name));
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
    buffer_free(&name);
    buffer_free(&labels);
    return result;
}
