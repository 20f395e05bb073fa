/* model/verify.c - runs reference cases and compares. See verify.h; the case format is that of
 * tests/golden/model. Bounds are for f32 against a float64 reference:
 *   logits, logprob  2e-5: about 100 f32 roundings of a value near 2
 *   entropy          1e-4: |dH/dz| sums to at most ln V (5.8 here) times the logit error
 *   ratio            2.1e-5 relative: exp(x) turns an absolute error of x into a relative one
 *   loss             2e-5 times mean(w |A| (1 + |logprob|)): error of logprob, and of w = exp(logprob - old)
 *   gradients        1e-3 of the tensor's norm: 8 layers of f32 backward, and room for sums of both signs
 *   AdamW            1e-6: an f32 rounding of a parameter below 8
 *   hidden           2e-5 of the largest value (postnorm residuals scale with alpha, so relative)
 * A bf16 backend rounds every stored activation to 2^-9 of itself, which is 2^-9 / sqrt(3) rms; 12 stores a layer
 * (norms, projections, q and k after RoPE, probabilities, gate and product, residuals) add up like a random walk, and
 * softmax and the norms of small models carry an error on enlarged, by up to 2: e = 2 * 2^-9 sqrt(12 L / 3) of the
 * rms. Bounds are 5 e (the largest of some 10^5 normal numbers): of the rms of the reference's logits for logits,
 * sqrt(2) of that for logprobs, ln V of it for entropies; gradients have twice the depth, sqrt(2) 5 e of the tensor's
 * norm. For comparison, the bf16 forward of transformers 5.17 is off by 0.115 in the logits of the qwen2 case, where
 * this bound is 0.074. Where the experts chosen differ from those of the f32 forward on the CPU, theirs are taken: the
 * check `routing` says how far apart the two probabilities were, and 5 e is allowed for that too. */
#include "model/verify.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"
#include "model/verify_case.h"

enum { VERIFY_CHUNK = 32 }; /* default of settings.model.lightning_chunk */

static const char *const check_names[VERIFY_COUNT] = {
    "hidden",   "logits",    "logprob", "entropy", "ratio",  "loss",
    "gradient", "grad_norm", "adamw",   "greedy",  "decode", "routing",
};

const char *verify_check_name(enum verify_check check)
{
    return check_names[check];
}

/* ---- forward ---- */

static enum status make_model(struct verify *verify, const struct model_shape *shape)
{
    int32_t rows = verify->rows > verify->greedy_rows ? verify->rows : verify->greedy_rows;
    struct model_options options = {
        .rows_max = rows, .lightning_chunk = VERIFY_CHUNK, .train = true};
    TRY(model_create(&verify->model, shape, verify->ops, &options));
    const struct parameter_table *table = model_parameters(verify->model);
    TRY(case_make((void **)&verify->flat, table->elements, sizeof(float)));
    TRY(model_folder_load(verify->folder, shape, table, verify->flat));
    TRY(model_weights_create(verify->model, &verify->weights));
    for (int32_t i = 0; i < 2; i++) {
        void *memory = NULL;
        TRY(verify->ops->memory_create(verify->ops->context,
                                       (size_t)table->elements * sizeof(float), &memory));
        verify->device[i] = memory;
    }
    TRY(verify->ops->memory_write(verify->ops->context, verify->device[1], verify->flat,
                                  (size_t)table->elements * sizeof(float)));
    TRY(model_weights_round(verify->model, &verify->weights, verify->device[1], false));
    /* Slots: the sequences, then one for decode and one for its prefill. */
    int32_t slots = verify->sequences + 2;
    int32_t pages_each = (int32_t)(rows / verify->ops->kv_tile + 1);
    TRY(model_cache_create(verify->model, slots, slots * pages_each, rows, &verify->cache));
    int64_t vocabulary = shape->vocabulary, state = (int64_t)verify->rows * shape->hidden;
    TRY(case_make((void **)&verify->logits, verify->rows * vocabulary, sizeof(float)));
    TRY(case_make((void **)&verify->trace, (shape->layers + 2) * state, sizeof(float)));
    TRY(case_make((void **)&verify->trace_rows, shape->layers + 2, sizeof(float *)));
    for (int32_t i = 0; i < shape->layers + 2; i++)
        verify->trace_rows[i] = verify->trace + i * state;
    return STATUS_OK;
}

static enum status run_forward(struct verify *verify, act **hidden)
{
    struct op_segment *segments = NULL;
    TRY(case_make((void **)&segments, verify->sequences, sizeof(*segments)));
    enum status status = STATUS_OK;
    for (int32_t s = 0; s < verify->sequences; s++) {
        segments[s] =
            (struct op_segment){.slot = s, .row = verify->start[s], .count = verify->lengths[s]};
        TRY_GOTO(out, model_cache_open(verify->cache, s, verify->lengths[s]));
    }
    struct model_batch batch = {verify->rows, verify->ids, segments, verify->sequences};
    model_trace(verify->model, verify->trace_rows);
    model_force_routing(verify->model, verify->routing);
    TRY_GOTO(out,
             model_forward(verify->model, &verify->weights, verify->cache, &batch, true, hidden));
    model_trace(verify->model, NULL);
    if (verify->routing) {
        verify_bound(verify, VERIFY_ROUTING, verify->allowed.routing);
        verify_worst(verify, VERIFY_ROUTING, model_forced_gap(verify->model), "");
    }
    model_force_routing(verify->model, NULL);
    struct model_head head = {
        .rows = verify->rows,
        .temperature = 1.0F,
        .target = verify->target,
        .logprob = verify->logprob,
        .entropy = verify->entropy,
        .logits = verify->logits,
    };
    TRY_GOTO(out, model_head(verify->model, &verify->weights, *hidden, &head));
out:
    memory_free(segments);
    return status;
}

static enum status compare_hidden(const struct verify *verify)
{
    const struct model_shape *shape = model_get_shape(verify->model);
    int64_t count = (int64_t)verify->lengths[0] * shape->hidden;
    verify_bound(verify, VERIFY_HIDDEN, verify->allowed.hidden);
    for (int32_t k = 0; k <= shape->layers; k++) {
        char name[32];
        double *reference = NULL;
        (void)snprintf(name, sizeof(name), "hidden.0.%d", k);
        TRY(case_f64(verify, name, count, &reference));
        double largest = 0.0;
        for (int64_t i = 0; i < count; i++)
            largest = fmax(largest, fabs(reference[i]));
        /* The reference's last one is after the final norm. */
        const float *ours = verify->trace_rows[k < shape->layers ? k : k + 1];
        verify_worst(verify, VERIFY_HIDDEN,
                     verify_difference(ours, reference, count) / (largest > 0.0 ? largest : 1.0),
                     name);
        memory_free(reference);
    }
    return STATUS_OK;
}

static enum status compare_logits(const struct verify *verify)
{
    int64_t vocabulary = model_get_shape(verify->model)->vocabulary;
    verify_bound(verify, VERIFY_LOGITS, verify->allowed.logit);
    for (int32_t s = 0; s < verify->sequences; s++) {
        char name[32];
        double *reference = NULL;
        int64_t count = verify->lengths[s] * vocabulary;
        (void)snprintf(name, sizeof(name), "logits.%d", s);
        TRY(case_f64(verify, name, count, &reference));
        verify_worst(
            verify, VERIFY_LOGITS,
            verify_difference(verify->logits + verify->start[s] * vocabulary, reference, count),
            name);
        memory_free(reference);
    }
    return STATUS_OK;
}

static enum status compare_rows(const struct verify *verify)
{
    double *reference = NULL;
    TRY(case_make((void **)&reference, verify->rows, sizeof(double)));
    enum status status;
    TRY_GOTO(out, case_on_rows(verify, "logprob", reference));
    verify_bound(verify, VERIFY_LOGPROB, verify->allowed.logprob);
    verify_worst(verify, VERIFY_LOGPROB,
                 verify_difference(verify->logprob, reference, verify->rows), "");
    TRY_GOTO(out, case_on_rows(verify, "old_logprob", verify->old_logprob));
    TRY_GOTO(out, case_on_rows(verify, "is_ratio", reference));
    verify_bound(verify, VERIFY_RATIO, verify->allowed.ratio);
    for (int32_t t = 0; t < verify->rows; t++) {
        if (verify->target[t] < 0)
            continue;
        double ratio = exp((double)verify->logprob[t] - verify->old_logprob[t]);
        verify_worst(verify, VERIFY_RATIO, fabs(ratio - reference[t]) / fmax(1.0, reference[t]),
                     "");
    }
    memory_free(reference);
    reference = NULL;
    TRY_GOTO(out, case_f64(verify, "entropy", verify->rows, &reference));
    verify_bound(verify, VERIFY_ENTROPY, verify->allowed.entropy);
    verify_worst(verify, VERIFY_ENTROPY,
                 verify_difference(verify->entropy, reference, verify->rows), "");
out:
    memory_free(reference);
    return status;
}

/* ---- decode ---- */

/* One forward call of `count` tokens at `position` of `slot`, and the logits of all its rows. */
static enum status step(const struct verify *verify, int32_t slot, int32_t position, int32_t count,
                        const int32_t *ids, act **hidden, float *logits)
{
    struct op_segment segment = {slot, position, 0, count};
    struct model_batch batch = {count, ids, &segment, 1};
    TRY(model_forward(verify->model, &verify->weights, verify->cache, &batch, false, hidden));
    struct model_head head = {.rows = count, .temperature = 1.0F, .logits = logits};
    return model_head(verify->model, &verify->weights, *hidden, &head);
}

/* Decodes greedily after the prompt of sequence 0; the ids so far are in `ids`. */
static enum status decode(const struct verify *verify, const double *margin, int32_t *ids,
                          float *logits)
{
    int32_t prompt = verify->prompts[0], slot = verify->sequences;
    int64_t vocabulary = model_get_shape(verify->model)->vocabulary;
    double doubt = 4.0 * verify->report->result[VERIFY_LOGITS].error;
    bool same = true;
    TRY(model_cache_open(verify->cache, slot, verify->greedy_rows));
    for (int32_t t = 0; t + 1 < verify->greedy_rows; t = t == 0 ? prompt : t + 1) {
        int32_t count = t == 0 ? prompt : 1, last = t + count - 1;
        act *hidden = NULL;
        TRY(step(verify, slot, t, count, ids + t, &hidden, logits + t * vocabulary));
        if (last + 1 >= verify->greedy_rows)
            break;
        struct op_sample_row row = {.temperature = 0.0F, .top_p = 1.0F};
        int32_t index = count - 1;
        struct model_sample sample = {
            .rows = 1, .row_index = &index, .row = &row, .token = &ids[last + 1]};
        TRY(model_sample(verify->model, &verify->weights, hidden, &sample));
        same = same && margin[last + 1 - prompt] > doubt;
        if (!same)
            continue;
        verify->report->greedy_checked++;
        if (ids[last + 1] != verify->greedy[last + 1]) {
            char where[32];
            (void)snprintf(where, sizeof(where), "token %d", last + 1);
            verify_worst(verify, VERIFY_GREEDY, 1.0, where);
            same = false;
        }
    }
    return STATUS_OK;
}

/* The decoded tokens as one prefill must give the bits of the decode steps. */
static enum status compare_decode(const struct verify *verify, const int32_t *ids,
                                  const float *logits, float *prefill)
{
    int32_t slot = verify->sequences + 1, count = verify->greedy_rows - 1;
    size_t row = (size_t)model_get_shape(verify->model)->vocabulary;
    act *hidden = NULL;
    TRY(model_cache_open(verify->cache, slot, verify->greedy_rows));
    TRY(step(verify, slot, 0, count, ids, &hidden, prefill));
    int32_t differ = 0;
    for (int32_t t = 0; t < count; t++)
        differ +=
            memcmp(logits + (size_t)t * row, prefill + (size_t)t * row, row * sizeof(float)) != 0;
    verify_bound(verify, VERIFY_DECODE, 0.0);
    verify_worst(verify, VERIFY_DECODE, differ, "");
    return STATUS_OK;
}

static enum status compare_greedy(const struct verify *verify)
{
    int32_t prompt = verify->prompts[0], rows = verify->greedy_rows;
    int64_t values = (int64_t)rows * model_get_shape(verify->model)->vocabulary;
    double *margin = NULL;
    int32_t *ids = NULL;
    float *logits = NULL, *prefill = NULL;
    enum status status;
    verify->report->greedy_count = rows - prompt;
    if (rows == prompt)
        return STATUS_OK;
    TRY_GOTO(out, case_f64(verify, "greedy_margin", rows - prompt, &margin));
    TRY_GOTO(out, case_make((void **)&ids, rows, sizeof(*ids)));
    TRY_GOTO(out, case_make((void **)&logits, values, sizeof(*logits)));
    TRY_GOTO(out, case_make((void **)&prefill, values, sizeof(*prefill)));
    memcpy(ids, verify->greedy, (size_t)prompt * sizeof(*ids));
    verify_bound(verify, VERIFY_GREEDY, 0.0);
    TRY_GOTO(out, decode(verify, margin, ids, logits));
    TRY_GOTO(out, compare_decode(verify, ids, logits, prefill));
out:
    memory_free(margin);
    memory_free(ids);
    memory_free(logits);
    memory_free(prefill);
    return status;
}

/* ---- precision ---- */

static enum status reference_rms(const struct verify *verify, double *rms)
{
    int64_t vocabulary = model_get_shape(verify->model)->vocabulary, count = 0;
    double squares = 0.0;
    for (int32_t s = 0; s < verify->sequences; s++) {
        char name[32];
        double *reference = NULL;
        int64_t values = verify->lengths[s] * vocabulary;
        (void)snprintf(name, sizeof(name), "logits.%d", s);
        TRY(case_f64(verify, name, values, &reference));
        for (int64_t i = 0; i < values; i++)
            squares += reference[i] * reference[i];
        count += values;
        memory_free(reference);
    }
    *rms = sqrt(squares / (double)(count > 0 ? count : 1));
    return STATUS_OK;
}

static enum status choose_tolerance(struct verify *verify)
{
    const struct model_shape *shape = model_get_shape(verify->model);
    if (verify->ops->act_bytes == (int64_t)sizeof(float)) {
        verify->allowed = (struct verify_tolerance){.hidden = 2e-5,
                                                    .logit = 2e-5,
                                                    .logprob = 2e-5,
                                                    .entropy = 1e-4,
                                                    .ratio = 2.1e-5,
                                                    .gradient = 1e-3,
                                                    .grad_norm = 1e-4};
        return STATUS_OK;
    }
    double rms = 0.0, e = 5.0 * 2.0 * 0x1p-9 * sqrt(12.0 * shape->layers / 3.0);
    TRY(reference_rms(verify, &rms));
    verify->allowed = (struct verify_tolerance){.hidden = e,
                                                .logit = e * rms,
                                                .logprob = e * rms * sqrt(2.0),
                                                .entropy = e * rms * log(shape->vocabulary),
                                                .ratio = exp(e * rms * sqrt(2.0)) - 1.0,
                                                .gradient = e * sqrt(2.0),
                                                .grad_norm = e,
                                                .routing = e};
    return STATUS_OK;
}

/* The experts that the f32 forward on the CPU chooses for the same rows. */
static enum status reference_routing(struct verify *verify, const struct model_shape *shape)
{
    if (shape->experts == 0 || verify->ops->act_bytes == (int64_t)sizeof(float))
        return STATUS_OK;
    struct verify twin = {.folder = verify->folder, .report = verify->report};
    struct op_table *ops = NULL;
    act *hidden = NULL;
    int64_t entries = (int64_t)verify->rows * shape->experts_per_token;
    int32_t **routing = NULL;
    TRY(case_make((void **)&routing, shape->layers, sizeof(*routing)));
    verify->routing = routing;
    TRY(op_table_create_cpu(&ops, 2));
    twin.ops = ops;
    enum status status;
    TRY_GOTO(out, case_read(&twin));
    TRY_GOTO(out, make_model(&twin, shape));
    TRY_GOTO(out, run_forward(&twin, &hidden));
    for (int32_t l = 0; l < shape->layers; l++) {
        TRY_GOTO(out, case_make((void **)&routing[l], entries, sizeof(int32_t)));
        TRY_GOTO(out, model_read_routing(twin.model, l, routing[l]));
    }
out:
    case_close(&twin);
    op_table_destroy(&ops);
    return status;
}

/* ---- a case ---- */

static enum status run_case(struct verify *verify, const struct model_shape *shape)
{
    act *hidden = NULL;
    TRY(case_read(verify));
    verify->report->tokens = verify->rows;
    TRY(make_model(verify, shape));
    TRY(choose_tolerance(verify));
    TRY(reference_routing(verify, shape));
    TRY(run_forward(verify, &hidden));
    TRY(compare_hidden(verify));
    TRY(compare_logits(verify));
    TRY(compare_rows(verify));
    TRY(verify_loss(verify));
    TRY(verify_gradients(verify, hidden));
    TRY(verify_adamw(verify));
    return compare_greedy(verify);
}

enum status verify_shape(const char *folder, const struct model_shape *shape,
                         const struct op_table *ops, struct verify_report *report)
{
    *report = (struct verify_report){0};
    struct verify verify = {.folder = folder, .report = report, .ops = ops};
    enum status status = run_case(&verify, shape);
    case_close(&verify);
    report->passed = status == STATUS_OK;
    for (int i = 0; i < VERIFY_COUNT; i++)
        if (!(report->result[i].error <= report->result[i].bound))
            report->passed = false;
    return status;
}

enum status verify_case(const char *folder, const char *device, int32_t threads,
                        struct verify_report *report)
{
    char path[FILE_PATH_MAX];
    struct model_shape shape;
    struct op_table *ops = NULL;
    *report = (struct verify_report){0};
    TRY(file_path(path, "%s/config.json", folder));
    TRY(model_shape_load(&shape, path));
    TRY(op_table_create(&ops, device, threads));
    enum status status = verify_shape(folder, &shape, ops, report);
    op_table_destroy(&ops);
    return status;
}

/* ---- the command ---- */

static void print_report(const char *folder, const struct verify_report *report, FILE *out)
{
    (void)fprintf(out, "%s: %d tokens, %d of %d greedy steps compared\n", folder, report->tokens,
                  report->greedy_checked, report->greedy_count);
    for (int i = 0; i < VERIFY_COUNT; i++) {
        const struct verify_result *result = &report->result[i];
        bool within = result->error <= result->bound;
        (void)fprintf(out, "  %-10s %10.3g  bound %10.3g  %s  %s\n", check_names[i], result->error,
                      result->bound, within ? "ok    " : "BROKEN", result->where);
    }
}

static int usage(FILE *out, const char *problem)
{
    (void)fprintf(out,
                  "%s\nusage: verify [--device cpu|cuda:N|cuda:N/f32] [--threads N] CASE_DIR...\n",
                  problem);
    return 2;
}

int verify_main(int argc, char **argv, FILE *out)
{
    int32_t threads = 2;
    const char *device = "cpu";
    int first = 1, worst_result = 0;
    for (; first + 1 < argc && strncmp(argv[first], "--", 2) == 0; first += 2) {
        char *end = NULL;
        long value = strtol(argv[first + 1], &end, 10);
        if (strcmp(argv[first], "--device") == 0)
            device = argv[first + 1];
        else if (strcmp(argv[first], "--threads") != 0)
            return usage(out, "unknown option");
        else if (*argv[first + 1] == '\0' || *end != '\0' || value < 1 || value > 64)
            return usage(out, "--threads takes a number from 1 to 64");
        else
            threads = (int32_t)value;
    }
    if (first >= argc)
        return usage(out, "no case folder given");
    for (int i = first; i < argc; i++) {
        struct verify_report report;
        int result = 2;
        if (verify_case(argv[i], device, threads, &report) != STATUS_OK) {
            (void)fprintf(out, "%s: %s\n", argv[i], status_last_error());
        } else {
            print_report(argv[i], &report, out);
            result = report.passed ? 0 : 1;
        }
        worst_result = result > worst_result ? result : worst_result;
    }
    return worst_result;
}
