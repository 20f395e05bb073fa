/* ops/data/dedup_command.c - `weir dedup`: files in, files without what stands twice or in an evaluation set out. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/program.h"
#include "ops/cmd.h"
#include "ops/data/data.h"
#include "ops/data/dedup.h"
#include "ops/jsonl.h"

enum { FILES_MAX = 256 };

struct input {
    const char *path;
    enum dedup_role role;
    uint64_t rows, counts[DEDUP_REASON_COUNT];
};

struct place { /* of row i of the dedup */
    uint32_t input;
    uint64_t line;
    char *id; /* owned */
};

struct dedup_job {
    struct dedup_options options;
    struct input inputs[FILES_MAX];
    uint32_t input_count;
    const char *out, *report_path, *key_id, *key_prompt, *key_answer;
    bool json;
    struct dedup *dedup;
    struct place *places;
    uint32_t place_count, place_limit;
    FILE *out_file, *report;
    char temporary[FILE_PATH_MAX], target[FILE_PATH_MAX]; /* of out_file */
    struct buffer prompt, answer;
};

/* ---- outputs ---- */

/* One file for everything when --out ends in .jsonl, else a folder with a file for each input. */
static bool is_one_file(const struct dedup_job *job)
{
    size_t size = strlen(job->out);
    return size > 6 && strcmp(job->out + size - 6, ".jsonl") == 0;
}

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static enum status begin_output(struct dedup_job *job, const char *target)
{
    TRY(file_path(job->target, "%s", target));
    TRY(file_path(job->temporary, "%s.tmp", target));
    job->out_file = fopen(job->temporary, "w");
    return job->out_file != NULL ? STATUS_OK
                                 : FAIL(STATUS_IO, "%s: %s", job->temporary, strerror(errno));
}

static enum status end_output(struct dedup_job *job)
{
    bool whole = fclose(job->out_file) == 0;
    job->out_file = NULL;
    return whole && rename(job->temporary, job->target) == 0
               ? STATUS_OK
               : FAIL(STATUS_IO, "%s: %s", job->target, strerror(errno));
}

static enum status open_report(struct dedup_job *job)
{
    char path[FILE_PATH_MAX];
    if (!is_one_file(job))
        TRY(file_make_dirs(job->out));
    if (job->report_path != NULL)
        TRY(file_path(path, "%s", job->report_path));
    else if (is_one_file(job))
        TRY(file_path(path, "%s.dropped.jsonl", job->out));
    else
        TRY(file_path(path, "%s/dropped.jsonl", job->out));
    job->report = fopen(path, "w");
    return job->report != NULL ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", path, strerror(errno));
}

static enum status check_names(const struct dedup_job *job)
{
    for (uint32_t i = 0; i < job->input_count; i++)
        for (uint32_t j = 0; j < i && !is_one_file(job); j++)
            if (job->inputs[i].role == DEDUP_TRAIN && job->inputs[j].role == DEDUP_TRAIN &&
                strcmp(name_of(job->inputs[i].path), name_of(job->inputs[j].path)) == 0)
                return FAIL(STATUS_INVALID,
                            "%s and %s would have one name in %s: rename one, or give --out "
                            "FILE.jsonl",
                            job->inputs[j].path, job->inputs[i].path, job->out);
    return STATUS_OK;
}

/* ---- rows ---- */

static enum status read_texts(struct dedup_job *job, const json_t *row)
{
    static const char *const usual[] = {"prompt", "question", "problem", "instruction", "text"};
    const json_t *prompt = json_object_get(row, job->key_prompt),
                 *answer = jsonl_answer(row, job->key_answer);
    for (size_t i = 0; job->key_prompt[0] == '\0' && prompt == NULL && i < 5; i++)
        prompt = json_object_get(row, usual[i]);
    buffer_clear(&job->prompt);
    buffer_clear(&job->answer);
    TRY(jsonl_prompt_text(prompt, json_is_array(prompt) ? "user" : NULL, &job->prompt));
    if (json_is_string(answer))
        return buffer_append(&job->answer, json_string_value(answer), json_string_length(answer));
    char *text = answer != NULL ? json_dumps(answer, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    enum status status = text != NULL ? buffer_text(&job->answer, text) : STATUS_OK;
    free(text); /* lint: allow(free): jansson's buffer */
    return status;
}

static enum status add_place(struct dedup_job *job, uint32_t input, uint64_t line,
                             const json_t *row)
{
    char id[JSONL_ID_MAX];
    TRY(jsonl_id(row, job->key_id, id));
    if (job->place_count == job->place_limit) {
        uint32_t wider = job->place_limit > 0 ? job->place_limit * 2 : 1024;
        struct place *grown =
            memory_grow(job->places, job->place_limit * sizeof *grown, wider * sizeof *grown);
        if (grown == NULL)
            return FAIL(STATUS_NO_MEMORY, "%u rows", wider);
        job->places = grown;
        job->place_limit = wider;
    }
    struct place place = {.input = input, .line = line, .id = memory_text(id)};
    job->places[job->place_count++] = place;
    return place.id != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "an id");
}

static json_t *place_json(const struct dedup_job *job, uint32_t number)
{
    const struct place *place = &job->places[number];
    return json_pack("{s:s,s:s,s:I}", "id", place->id, "file", job->inputs[place->input].path,
                     "line", (json_int_t)place->line);
}

static enum status report_dropped(struct dedup_job *job, uint32_t number,
                                  const struct dedup_verdict *verdict)
{
    json_t *json = place_json(job, number);
    if (json == NULL)
        return FAIL(STATUS_INVALID, "a file's name is no UTF-8");
    json_object_set_new(json, "reason", json_string(dedup_reason_name(verdict->reason)));
    if (verdict->reason != DEDUP_EMPTY)
        json_object_set_new(json, "like", place_json(job, verdict->other));
    if (isfinite(verdict->similarity))
        json_object_set_new(json, "similarity", json_real(verdict->similarity));
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(4));
    bool written = text != NULL && fprintf(job->report, "%s\n", text) > 0;
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(json);
    return written ? STATUS_OK : FAIL(STATUS_IO, "the report cannot be written");
}

static enum status take_row(struct dedup_job *job, uint32_t input, const struct jsonl *file,
                            const json_t *row)
{
    struct input *from = &job->inputs[input];
    struct dedup_verdict verdict;
    uint32_t number = 0;
    TRY(read_texts(job, row));
    TRY(add_place(job, input, file->number, row));
    TRY(dedup_add(job->dedup, from->role, buffer_string(&job->prompt), buffer_string(&job->answer),
                  &number, &verdict));
    from->rows++;
    from->counts[verdict.reason]++;
    if (from->role != DEDUP_TRAIN)
        return STATUS_OK;
    if (verdict.reason != DEDUP_KEPT)
        return report_dropped(job, number, &verdict);
    bool written = fwrite(file->line, 1, file->size, job->out_file) == file->size &&
                   fputc('\n', job->out_file) != EOF;
    return written ? STATUS_OK : FAIL(STATUS_IO, "%s: %s", job->temporary, strerror(errno));
}

static enum status read_file(struct dedup_job *job, uint32_t input)
{
    struct jsonl file;
    json_t *row = NULL;
    TRY(jsonl_open(&file, job->inputs[input].path));
    enum status status;
    while ((status = jsonl_next(&file, &row)) == STATUS_OK && row != NULL) {
        status = take_row(job, input, &file, row);
        json_decref(row);
        if (status != STATUS_OK)
            break;
    }
    jsonl_close(&file);
    return status;
}

static enum status read_training(struct dedup_job *job, uint32_t input)
{
    char target[FILE_PATH_MAX];
    if (is_one_file(job))
        return read_file(job, input);
    TRY(file_path(target, "%s/%s", job->out, name_of(job->inputs[input].path)));
    TRY(begin_output(job, target));
    TRY(read_file(job, input));
    return end_output(job);
}

/* References first: evaluation sets before rows of the warm start, so that the graver reason is given. */
static enum status read_all(struct dedup_job *job)
{
    static const enum dedup_role order[] = {DEDUP_EVAL, DEDUP_SFT};
    TRY(check_names(job));
    TRY(dedup_create(&job->dedup, &job->options));
    TRY(open_report(job));
    for (int i = 0; i < 2; i++)
        for (uint32_t input = 0; input < job->input_count; input++)
            if (job->inputs[input].role == order[i])
                TRY(read_file(job, input));
    if (is_one_file(job))
        TRY(begin_output(job, job->out));
    for (uint32_t input = 0; input < job->input_count; input++)
        if (job->inputs[input].role == DEDUP_TRAIN)
            TRY(read_training(job, input));
    if (is_one_file(job))
        TRY(end_output(job));
    return fflush(job->report) == 0 ? STATUS_OK
                                    : FAIL(STATUS_IO, "the report: %s", strerror(errno));
}

/* ---- what is said ---- */

static void say(const struct dedup_job *job, double seconds)
{
    json_t *files = json_array();
    for (uint32_t i = 0; i < job->input_count; i++) {
        const struct input *input = &job->inputs[i];
        json_t *json = json_pack("{s:s,s:I}", "file", input->path, "rows", (json_int_t)input->rows);
        for (int r = 0; r < DEDUP_REASON_COUNT; r++)
            if (input->counts[r] > 0 && input->role == DEDUP_TRAIN)
                json_object_set_new(json, dedup_reason_name((enum dedup_reason)r),
                                    json_integer((json_int_t)input->counts[r]));
        if (job->json) {
            json_array_append_new(files, json);
            continue;
        }
        char *text = json_dumps(json, JSON_COMPACT);
        printf("%s\n", text != NULL ? text : "");
        free(text); /* lint: allow(free): jansson's buffer */
        json_decref(json);
    }
    uint64_t bytes = dedup_bytes(job->dedup), capped = dedup_capped(job->dedup);
    json_t *all = json_pack("{s:f,s:I,s:I}", "seconds", seconds, "memory_bytes", (json_int_t)bytes,
                            "capped", (json_int_t)capped);
    if (job->json)
        json_object_set(all, "files", files);
    char *text = json_dumps(all, JSON_COMPACT | JSON_REAL_PRECISION(4));
    printf("%s\n", text != NULL ? text : "");
    free(text); /* lint: allow(free): jansson's buffer */
    json_decref(all);
    json_decref(files);
}

static enum status run(struct dedup_job *job)
{
    int64_t begin_ns = clock_now_ns();
    buffer_init(&job->prompt, 0);
    buffer_init(&job->answer, 0);
    enum status status = read_all(job);
    if (status == STATUS_OK)
        say(job, (double)(clock_now_ns() - begin_ns) / CLOCK_NS_PER_S);
    if (job->out_file != NULL)
        fclose(job->out_file);
    if (job->report != NULL)
        fclose(job->report);
    for (uint32_t i = 0; i < job->place_count; i++)
        memory_free(job->places[i].id);
    memory_free(job->places);
    dedup_destroy(&job->dedup);
    buffer_free(&job->prompt);
    buffer_free(&job->answer);
    return status;
}

/* ---- the command line ---- */

static int usage(FILE *to, int code)
{
    fputs("usage: weir dedup A.jsonl [B.jsonl ...] [--against EVAL.jsonl ...] [--separate "
          "SFT.jsonl ...]\n"
          "                  --out FOLDER|FILE.jsonl [options]\n"
          "  --against FILE ...   evaluation sets: exact, near and n-gram overlap is taken out\n"
          "  --separate FILE ...  rows of the warm start: exact and near ones are taken out\n"
          "  --threshold X        of near: Jaccard similarity of token shingles (default 0.5; 2: "
          "off)\n"
          "  --shingle N          tokens of a shingle (default 3)\n"
          "  --ngram N            tokens of an n-gram (default 13; 0: off)\n"
          "  --common N           an n-gram of more evaluation rows says nothing (default 4)\n"
          "  --mask-numbers       in n-grams any number is like any other\n"
          "  --numbers any        near rows may differ in numbers and operators\n"
          "  --names any          ... in names\n"
          "  --answers any        ... in reference answers\n"
          "  --report FILE        pairs and reasons (default: dropped.jsonl in the folder)\n"
          "  --prompt KEY --answer KEY --id KEY   columns of a row\n"
          "  --memory-mb N        stop beyond it (default 4096)\n"
          "  --json               counts as one JSON object\n"
          "The first of several alike rows stays, in the order of the files.\n",
          to);
    return code;
}

enum {
    WORD = 1, /* of getopt_long: an argument that is no option */
    OUT,
    AGAINST,
    SEPARATE,
    THRESHOLD,
    SHINGLE,
    NGRAM,
    COMMON,
    MASK,
    NUMBERS,
    NAMES,
    ANSWERS,
    REPORT,
    KEY_PROMPT,
    KEY_ANSWER,
    KEY_ID,
    MEMORY,
    AS_JSON,
    HELP
};

static const struct option names[] = {{"out", 1, NULL, OUT},
                                      {"against", 1, NULL, AGAINST},
                                      {"separate", 1, NULL, SEPARATE},
                                      {"threshold", 1, NULL, THRESHOLD},
                                      {"shingle", 1, NULL, SHINGLE},
                                      {"ngram", 1, NULL, NGRAM},
                                      {"common", 1, NULL, COMMON},
                                      {"mask-numbers", 0, NULL, MASK},
                                      {"numbers", 1, NULL, NUMBERS},
                                      {"names", 1, NULL, NAMES},
                                      {"answers", 1, NULL, ANSWERS},
                                      {"report", 1, NULL, REPORT},
                                      {"prompt", 1, NULL, KEY_PROMPT},
                                      {"answer", 1, NULL, KEY_ANSWER},
                                      {"id", 1, NULL, KEY_ID},
                                      {"memory-mb", 1, NULL, MEMORY},
                                      {"json", 0, NULL, AS_JSON},
                                      {"help", 0, NULL, HELP},
                                      {NULL, 0, NULL, 0}};

static enum status add_input(struct dedup_job *job, const char *path, enum dedup_role role)
{
    if (job->input_count == FILES_MAX)
        return FAIL(STATUS_LIMIT, "more than %d files", FILES_MAX);
    job->inputs[job->input_count++] = (struct input){.path = path, .role = role};
    return STATUS_OK;
}

static enum status read_number(const char *name, uint64_t least, uint64_t most, uint64_t *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(optarg, &end, 10);
    if (errno != 0 || optarg[0] < '0' || optarg[0] > '9' || *end != '\0' || value < least ||
        value > most)
        return FAIL(STATUS_INVALID, "--%s %s: a whole number from %" PRIu64 " to %" PRIu64, name,
                    optarg, least, most);
    *out = value;
    return STATUS_OK;
}

static enum status read_any(const char *name, bool *any)
{
    *any = strcmp(optarg, "any") == 0;
    return *any || strcmp(optarg, "same") == 0
               ? STATUS_OK
               : FAIL(STATUS_INVALID, "--%s %s: same or any is wanted", name, optarg);
}

static enum status take_number(struct dedup_options *options, int option)
{
    uint64_t number = 0;
    char *end = NULL;
    switch (option) {
    case THRESHOLD:
        options->threshold = strtod(optarg, &end);
        return end != optarg && *end == '\0' && options->threshold >= 0.1 && options->threshold <= 2
                   ? STATUS_OK
                   : FAIL(STATUS_INVALID, "--threshold %s: a number from 0.1 to 2", optarg);
    case SHINGLE:
        TRY(read_number("shingle", 1, 64, &number));
        options->shingle = (uint32_t)number;
        return STATUS_OK;
    case NGRAM:
        TRY(read_number("ngram", 0, 1000, &number));
        options->ngram = (uint32_t)number;
        return STATUS_OK;
    case COMMON:
        TRY(read_number("common", 1, UINT32_MAX, &number));
        options->common = (uint32_t)number;
        return STATUS_OK;
    default:
        TRY(read_number("memory-mb", 16, 1 << 20, &number));
        options->memory_bytes = number << 20;
        return STATUS_OK;
    }
}

static enum status take_option(struct dedup_job *job, int option)
{
    struct dedup_options *options = &job->options;
    switch (option) {
    case OUT:
        job->out = optarg;
        return STATUS_OK;
    case AGAINST:
        return add_input(job, optarg, DEDUP_EVAL);
    case SEPARATE:
        return add_input(job, optarg, DEDUP_SFT);
    case MASK:
        options->mask_numbers = true;
        return STATUS_OK;
    case NUMBERS:
        return read_any("numbers", &options->any_numbers);
    case NAMES:
        return read_any("names", &options->any_names);
    case ANSWERS:
        return read_any("answers", &options->any_answers);
    case REPORT:
        job->report_path = optarg;
        return STATUS_OK;
    case KEY_PROMPT:
        job->key_prompt = optarg;
        return STATUS_OK;
    case KEY_ANSWER:
        job->key_answer = optarg;
        return STATUS_OK;
    case KEY_ID:
        job->key_id = optarg;
        return STATUS_OK;
    case AS_JSON:
        job->json = true;
        return STATUS_OK;
    default:
        return take_number(options, option);
    }
}

/* -1: go on. Words after --against FILE and --separate FILE are more such files. */
static int read_arguments(struct dedup_job *job, int argc, char **argv, enum status *status)
{
    int last = 0;
    bool training = false;
    for (int option;
         *status == STATUS_OK && (option = getopt_long(argc, argv, "-", names, NULL)) != -1;) {
        if (option == HELP)
            return usage(stdout, EXIT_CODE_OK);
        if (option == '?')
            return usage(stderr, EXIT_CODE_USAGE);
        if (option == WORD) {
            enum dedup_role role = last == AGAINST    ? DEDUP_EVAL
                                   : last == SEPARATE ? DEDUP_SFT
                                                      : DEDUP_TRAIN;
            training |= role == DEDUP_TRAIN;
            *status = add_input(job, optarg, role);
            continue;
        }
        *status = take_option(job, option);
        last = option;
    }
    if (*status == STATUS_OK && (!training || job->out == NULL))
        return usage(stderr, EXIT_CODE_USAGE);
    return -1;
}

int dedup_command(int argc, char **argv)
{
    static struct dedup_job job;
    enum status status = STATUS_OK;
    job = (struct dedup_job){
        .options = dedup_options_default, .key_id = "id", .key_prompt = "", .key_answer = ""};
    int code = read_arguments(&job, argc, argv, &status);
    if (code >= 0)
        return code;
    bool bad_usage = status != STATUS_OK;
    if (status == STATUS_OK)
        status = run(&job);
    if (status != STATUS_OK)
        fprintf(stderr, "weir dedup: %s\n", error_sentence());
    return bad_usage ? EXIT_CODE_USAGE : program_exit_code(status);
}
