/* links: learner */
/* timeout: 120 */
/* `weir sft` on a handful of rows: the loss falls, two runs are one, a killed one goes on bit for bit, and bad input
 * has a sentence. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/fault.h"
#include "learner/sft.h"
#include "learner/sft_batch.h"
#include "tests/around_tokenizer.h"
#include "tests/slow.h"
#include "tests/trainer_case.h"

static char base[FILE_PATH_MAX], model[FILE_PATH_MAX], data[FILE_PATH_MAX], out[FILE_PATH_MAX];
static struct settings settings;
static double first_loss, last_loss;
static double last_eval_loss;
static uint32_t reports;
static uint64_t die_at, stop_at; /* 0: never */
static atomic_int stop;

static void remember(const struct sft_progress *progress)
{
    if (reports++ == 0)
        first_loss = progress->loss;
    last_loss = progress->loss;
    if (isfinite(progress->eval_loss))
        last_eval_loss = progress->eval_loss;
    assert_true(progress->step > 0 && progress->step <= progress->steps);
    if (progress->step == die_at)
        raise(SIGKILL);
    if (progress->step == stop_at)
        stop = 1;
}

static void write_data(const char *text)
{
    assert_int_equal(file_replace(data, text, strlen(text)), STATUS_OK);
}

static int setup(void **state)
{
    (void)state;
    case_folder(base, "test_sft");
    case_model(model, base, CASE_CONFIG_QWEN2);
    assert_int_equal(file_path(data, "%s/train.jsonl", base), STATUS_OK);
    return 0;
}

/* Settings of a short run into folder `name`. */
static void prepare(const char *name)
{
    assert_int_equal(file_path(out, "%s/%s", base, name), STATUS_OK);
    assert_int_equal(file_remove_tree(out), STATUS_OK);
    settings = case_settings();
    settings.model.path = model;
    settings.model.tokenizer = TOKENIZER_BYTE;
    settings.sft.train = data;
    settings.sft.out = out;
    settings.sft.steps = 40;
    settings.sft.batch = 4;
    settings.sft.lr = 3e-3;
    settings.sft.schedule = LR_COSINE;
    settings.sft.lr_end = 0.1;
    settings.sft.warmup_updates = 5;
    settings.sft.sequence_tokens = 16;
    settings.sft.eval_every = 1000;
    reports = 0;
    die_at = stop_at = 0;
    char work[FILE_PATH_MAX];
    assert_int_equal(file_path(work, "%s.sft", out), STATUS_OK);
    assert_int_equal(file_remove_tree(work), STATUS_OK);
    write_data("{\"prompt\": \"1+1=\", \"completion\": \"2\"}\n"
               "{\"prompt\": \"2+2=\", \"completion\": \"4\"}\n"
               "\n"
               "{\"prompt\": \"3+4=\", \"completion\": \"7\"}\n"
               "{\"prompt\": \"4+5=\", \"completion\": \"9\"}\n");
}

static enum status run(void)
{
    stop = 0;
    return sft_run(&settings, &stop, remember);
}

/* The trained model's parameters; the caller frees. */
static float *load_out(size_t *bytes)
{
    char path[FILE_PATH_MAX];
    struct model_shape shape;
    struct parameter_table table;
    assert_int_equal(file_path(path, "%s/config.json", out), STATUS_OK);
    assert_int_equal(model_shape_load(&shape, path), STATUS_OK);
    assert_int_equal(parameter_table_create(&table, &shape), STATUS_OK);
    *bytes = (size_t)table.elements * sizeof(float);
    float *flat = calloc(1, *bytes);
    assert_non_null(flat);
    if (model_folder_load(out, &shape, &table, flat) != STATUS_OK)
        fail_msg("%s", status_last_error());
    parameter_table_destroy(&table);
    return flat;
}

static void test_sft_loss_falls_and_two_runs_are_equal(void **state)
{
    (void)state;
    size_t bytes_a = 0, bytes_b = 0;
    prepare("a");
    if (run() != STATUS_OK)
        fail_msg("%s", status_last_error());
    print_message("loss %.3f at step 20, %.3f at step 40\n", first_loss, last_loss);
    assert_int_equal(reports, 2);
    assert_true(first_loss < 5.8); /* log 331 = 5.8: knows nothing */
    assert_true(last_loss < 0.7 * first_loss);
    float *a = load_out(&bytes_a);
    prepare("b");
    settings.run.threads = 2;
    assert_int_equal(run(), STATUS_OK);
    float *b = load_out(&bytes_b);
    assert_int_equal(bytes_a, bytes_b);
    assert_memory_equal(a, b, bytes_a);
    prepare("c");
    settings.run.seed++; /* another order of the rows: another result */
    settings.sft.batch = 3;
    assert_int_equal(run(), STATUS_OK);
    float *c = load_out(&bytes_b);
    assert_true(memcmp(a, c, bytes_a) != 0);
    free(a);
    free(b);
    free(c);
}

static void expect_sentence(enum status status, const char *text)
{
    enum status got = run();
    if (got != status || strstr(status_last_error(), text) == NULL)
        fail_msg("%s: \"%s\" has no \"%s\"", status_name(got), status_last_error(), text);
}

static void test_sft_bad_row_is_named_by_file_and_line(void **state)
{
    (void)state;
    prepare("bad");
    write_data("{\"prompt\": \"a\", \"completion\": \"b\"}\n\n{\"prompt\": \"a\", \n");
    expect_sentence(STATUS_INVALID, "train.jsonl:3:");
    write_data(
        "{\"prompt\": \"a\", \"completion\": \"b\"}\n{\"prompt\": \"a\", \"completion\": 4}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:2: \"completion\" is not a text");
    write_data("{\"prompt\": \"\", \"completion\": \"b\"}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: prompt or completion is empty");
    write_data("[1]\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1:");
    write_data("\n \n");
    expect_sentence(STATUS_INVALID, "has no rows");
    settings.sft.train = "/nowhere/rows.jsonl";
    expect_sentence(STATUS_NOT_FOUND, "/nowhere/rows.jsonl");
    assert_false(file_exists(out));
}

static void test_sft_target_folder_that_exists_is_refused(void **state)
{
    (void)state;
    prepare("exists");
    assert_int_equal(file_make_dirs(out), STATUS_OK);
    expect_sentence(STATUS_INVALID, "is there already");
    settings.sft.out = "";
    expect_sentence(STATUS_INVALID, "sft.out is empty");
}

static void test_sft_signal_ends_it_without_a_model(void **state)
{
    (void)state;
    prepare("signal");
    stop = 1;
    assert_int_equal(sft_run(&settings, &stop, NULL), STATUS_CANCELLED);
    assert_non_null(strstr(status_last_error(), "is not written"));
    assert_false(file_exists(out));
}

/* ---- checkpoints and resume ---- */

static void write_held_out(char path[FILE_PATH_MAX])
{
    static const char text[] = "{\"prompt\": \"1+2=\", \"completion\": \"3\"}\n"
                               "{\"prompt\": \"5+1=\", \"completion\": \"6\"}\n";
    assert_int_equal(file_path(path, "%s/held.jsonl", base), STATUS_OK);
    assert_int_equal(file_replace(path, text, sizeof text - 1), STATUS_OK);
}

/* A run in a process of its own that kills itself: at update `at`, or at a fault point. */
static void run_and_die(uint64_t at, const char *point)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        die_at = at;
        if (point != NULL &&
            (setenv("WEIR_FAULT", point, 1) != 0 || fault_init("sft", 0) != STATUS_OK))
            _exit(3);
        if (run() != STATUS_OK)
            fprintf(stderr, "%s\n", status_last_error());
        _exit(2);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    if (!WIFSIGNALED(how) || WTERMSIG(how) != SIGKILL)
        fail_msg("the child was not killed: status %d", how);
}

/* Lines of metrics.jsonl as [loss of update 1, ...]; each update stands there once, in order. */
static uint32_t read_losses(double *losses, uint32_t most)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s.sft/metrics.jsonl", out), STATUS_OK);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    uint32_t count = 0;
    json_error_t error;
    for (json_t *line; (line = json_loadf(file, JSON_DISABLE_EOF_CHECK, &error)) != NULL; count++) {
        assert_true(count < most);
        assert_int_equal(json_integer_value(json_object_get(line, "step")), count + 1);
        losses[count] = json_number_value(json_object_get(line, "loss"));
        json_decref(line);
    }
    fclose(file);
    return count;
}

enum { SHORT = 12 };

static void prepare_short(const char *name, char held_out[FILE_PATH_MAX])
{
    prepare(name);
    write_held_out(held_out);
    settings.sft.steps = SHORT;
    settings.sft.batch = 3;
    settings.sft.checkpoint_every = 3;
    settings.sft.eval_file = held_out;
    settings.sft.eval_every = 1;
    settings.learner.statistics_every = 2;
}

static void test_sft_resumes_bit_equal_after_a_kill_at_any_update(void **state)
{
    (void)state;
    char held_out[FILE_PATH_MAX];
    size_t bytes = 0, again = 0;
    double plain[SHORT], resumed[SHORT];
    prepare_short("whole", held_out);
    if (run() != STATUS_OK)
        fail_msg("%s", status_last_error());
    float *whole = load_out(&bytes);
    assert_int_equal(read_losses(plain, SHORT), SHORT);
    static const char *const points[] = {"checkpoint.model:2=kill", "checkpoint.written:3=kill",
                                         "checkpoint.renamed:1=kill"};
    uint64_t kills = test_times(SHORT, 1), step = SHORT / kills;
    for (uint64_t k = step; k <= SHORT + step * 3; k += step) {
        prepare_short("killed", held_out);
        run_and_die(k <= SHORT ? k : 0, k <= SHORT ? NULL : points[(k - SHORT) / step - 1]);
        assert_false(file_exists(out));
        settings.run.resume = true;
        if (k % 2 == 0 && k > 3 && k <= SHORT) /* killed a second time */
            run_and_die(k, NULL);
        if (run() != STATUS_OK)
            fail_msg("kill %llu: %s", (unsigned long long)k, status_last_error());
        float *other = load_out(&again);
        assert_int_equal(again, bytes);
        assert_memory_equal(whole, other, bytes);
        assert_int_equal(read_losses(resumed, SHORT), SHORT);
        assert_memory_equal(plain, resumed, sizeof plain);
        free(other);
    }
    free(whole);
}

static void test_sft_signal_leaves_a_checkpoint_that_goes_on(void **state)
{
    (void)state;
    char held_out[FILE_PATH_MAX];
    size_t bytes = 0;
    prepare_short("whole2", held_out);
    assert_int_equal(run(), STATUS_OK);
    float *whole = load_out(&bytes);
    prepare_short("signalled", held_out);
    stop_at = 5;
    expect_sentence(STATUS_CANCELLED, "after 5 updates");
    assert_false(file_exists(out));
    expect_sentence(STATUS_INVALID, "set run.resume=true to go on");
    settings.run.resume = true;
    stop_at = 0;
    settings.sft.batch = 2;
    expect_sentence(STATUS_INVALID, "data or settings differ");
    settings.sft.batch = 3;
    assert_int_equal(run(), STATUS_OK);
    float *other = load_out(&bytes);
    assert_memory_equal(whole, other, bytes);
    free(whole);
    free(other);
}

static void test_sft_held_out_loss_is_that_of_a_model_that_learns(void **state)
{
    (void)state;
    char held_out[FILE_PATH_MAX];
    prepare("held");
    assert_int_equal(file_path(held_out, "%s/train.jsonl", base), STATUS_OK);
    settings.sft.eval_file = held_out; /* the training rows themselves */
    settings.sft.eval_every = 20;
    assert_int_equal(run(), STATUS_OK);
    print_message("loss %.4f, of the same rows after it %.4f\n", last_loss, last_eval_loss);
    assert_true(fabs(last_eval_loss - last_loss) < 0.2 * last_loss);
}

/* ---- rows ---- */

static struct sft_rows rows;
static struct tokenizer *tokenizer;

static enum status load_rows(int64_t limit)
{
    if (tokenizer == NULL)
        assert_int_equal(tokenizer_open(&tokenizer, model, TOKENIZER_BYTE), STATUS_OK);
    sft_rows_free(&rows);
    return sft_rows_load(&rows, &settings, tokenizer, "sft.train", settings.sft.train, limit);
}

/* Ids as text, 256 as '$'; trained ones of row r only, others '.'. */
static const char *shown(uint32_t r, bool trained)
{
    static char text[512];
    const struct train_sequence *row = &rows.rows[r];
    size_t at = 0;
    for (uint32_t i = 0; i < row->prompt_count + row->response_count; i++) {
        bool own = i >= row->prompt_count && row->mask[i - row->prompt_count] != 0;
        uint32_t id =
            i < row->prompt_count ? row->prompt_ids[i] : row->response_ids[i - row->prompt_count];
        assert_true(at + 1 < sizeof text && id <= 256);
        text[at++] = trained && !own ? '.' : id == 256 ? '$' : (char)id;
    }
    text[at] = '\0';
    return text;
}

static void test_sft_messages_are_trained_on_what_the_assistant_said(void **state)
{
    (void)state;
    prepare("messages");
    write_data("{\"messages\": [{\"role\":\"user\",\"content\":\"a?\"},"
               "{\"role\":\"assistant\",\"content\":\"B\"},"
               "{\"role\":\"user\",\"content\":\"c\"},"
               "{\"role\":\"assistant\",\"content\":\"D!\"},"
               "{\"role\":\"user\",\"content\":\"bye\"}]}\n"
               "{\"prompt\": \"p\", \"completion\": \"Q\"}\n");
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_string_equal(shown(0, false), "a?BcD!$");
    assert_string_equal(shown(0, true), "..B.D!$");
    assert_string_equal(shown(1, true), ".Q$");
    settings.model.chat_format = CHAT_CHATML;
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_string_equal(shown(0, false), "<|im_start|>user\na?<|im_end|>\n<|im_start|>assistant\n"
                                         "B<|im_end|>\n<|im_start|>user\nc<|im_end|>\n"
                                         "<|im_start|>assistant\nD!<|im_end|>\n$");
    const char *trained = shown(0, true);
    assert_non_null(strstr(trained, ".B<|im_end|>\n."));
    assert_non_null(strstr(trained, ".D!<|im_end|>\n$"));
    assert_null(strchr(trained, 'c'));
    assert_string_equal(shown(1, false),
                        "<|im_start|>user\np<|im_end|>\n<|im_start|>assistant\nQ<|im_end|>\n$");
    settings.model.chat_format = CHAT_NONE;
    write_data("{\"messages\": [{\"role\":\"user\",\"content\":\"a\"}]}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: no message is the assistant's");
    write_data("{\"messages\": [{\"role\":\"robot\",\"content\":\"a\"},"
               "{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
    expect_sentence(STATUS_INVALID, "message 0 has role \"robot\"");
    write_data("{\"messages\": [{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: nothing stands before");
    write_data("{\"messages\": [{\"role\":\"user\"}]}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: message 0 has no");
    write_data("{\"text\": \"abc\"}\n");
    expect_sentence(STATUS_INVALID, "set sft.mode to pretrain");
}

/* As runs, evaluation and the endpoint take them. */
static void test_sft_contents_may_be_lists_of_texts(void **state)
{
    (void)state;
    static const char *const files[] = {
        "{\"messages\": [{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"text\",\"text\":\"b\"}]},{\"role\":\"assistant\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"C\"}]}]}\n",
        "{\"prompt\": [{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\\nb\"}]}],"
        "\"completion\": [{\"role\":\"assistant\",\"content\":\"C\"}]}\n"};
    prepare("parts");
    for (size_t i = 0; i < 2; i++) {
        write_data(files[i]);
        settings.model.chat_format = CHAT_CHATML;
        assert_int_equal(load_rows(0), STATUS_OK);
        assert_string_equal(shown(0, false), "<|im_start|>user\na\nb<|im_end|>\n"
                                             "<|im_start|>assistant\nC<|im_end|>\n$");
        settings.model.chat_format = CHAT_NONE;
        assert_int_equal(load_rows(0), STATUS_OK);
        assert_string_equal(shown(0, true), "...C$");
    }
    write_data("{\"messages\": [{\"role\":\"user\",\"content\":[{\"type\":\"image_url\"}]},"
               "{\"role\":\"assistant\",\"content\":\"b\"}]}\n");
    expect_sentence(STATUS_INVALID, "train.jsonl:1: message 0 has no");
}

/* ids of the only row as "9 6 *3": trained ones have a star; pretraining has no mask. */
static void expect_row(const char *wanted)
{
    char text[256] = "";
    size_t at = 0;
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_int_equal(rows.count, 1);
    const struct train_sequence *row = &rows.rows[0];
    for (uint32_t i = 0; i < row->prompt_count + row->response_count; i++) {
        uint32_t response = i - row->prompt_count;
        bool own = i >= row->prompt_count && row->mask[response] != 0;
        at += (size_t)snprintf(
            text + at, sizeof text - at, "%s%s%u", i > 0 ? " " : "", own ? "*" : "",
            i < row->prompt_count ? row->prompt_ids[i] : row->response_ids[response]);
        assert_true(at < sizeof text);
    }
    assert_string_equal(text, wanted);
}

/* Plain rows begin as the prompts of a run do. */
static void test_sft_plain_rows_begin_as_the_tokenizer_says(void **state)
{
    (void)state;
    static const char pair[] = "{\"prompt\": \"ab\", \"completion\": \"cd\"}";
    static const char *const configs[] = {NULL, "{\"eos_token\": \"d\"}"};
    static const char *const wanted[][2] = {{"9 6 *3 *4 *8", "9 6 3 8"},
                                            {"9 6 *3 *4 *4", "9 6 3 4"}};
    for (size_t i = 0; i < 2; i++) {
        prepare("around");
        tokenizer_close(&tokenizer);
        assert_int_equal(around_open(&tokenizer, configs[i]), STATUS_OK);
        write_data(pair);
        expect_row(wanted[i][0]);
        write_data("{\"messages\": [{\"role\":\"user\",\"content\":\"ab\"},"
                   "{\"role\":\"assistant\",\"content\":\"cd\"}]}");
        expect_row(wanted[i][0]);
        write_data("{\"text\": \"abc\"}");
        settings.sft.mode = SFT_MODE_PRETRAIN;
        expect_row(wanted[i][1]);
    }
    settings.sft.mode = SFT_MODE_SFT;
    settings.model.chat_format = CHAT_CHATML; /* it writes what it wants */
    write_data(pair);
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_true(rows.rows[0].prompt_ids[0] != AROUND_BEGIN);
    tokenizer_close(&tokenizer);
}

static void test_sft_template_of_the_folder_masks_its_turns(void **state)
{
    (void)state;
    char path[FILE_PATH_MAX];
    static const char plain[] =
        "{% for m in messages %}{{ m.role[0] }}:{{ m.content }};{% endfor %}"
        "{% if add_generation_prompt %}a:{% endif %}";
    static const char marked[] =
        "{% for m in messages %}{{ m.role[0] }}:{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }};{% endgeneration %}{% else %}"
        "{{ m.content }};{% endif %}{% endfor %}";
    prepare("template");
    assert_int_equal(file_path(path, "%s/chat_template.jinja", settings.model.path), STATUS_OK);
    assert_int_equal(file_replace(path, plain, strlen(plain)), STATUS_OK);
    settings.model.chat_format = CHAT_TEMPLATE;
    settings.model.chat_template = settings.model.chat_variables = "";
    write_data("{\"messages\": [{\"role\":\"user\",\"content\":\"x\"},"
               "{\"role\":\"assistant\",\"content\":\"B\"},"
               "{\"role\":\"user\",\"content\":\"y\"},"
               "{\"role\":\"assistant\",\"content\":\"D\"}]}\n"
               "{\"prompt\": \"p\", \"completion\": \"Q\"}\n"
               "{\"prompt\": [{\"role\":\"user\",\"content\":\"x\"},"
               "{\"role\":\"assistant\",\"content\":\"B\"},{\"role\":\"user\",\"content\":\"y\"}],"
               " \"completion\": [{\"role\":\"assistant\",\"content\":\"D\"}]}\n");
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_string_equal(shown(0, false), "u:x;a:B;u:y;a:D;$");
    assert_string_equal(shown(0, true), "......B;......D;$");
    assert_string_equal(shown(1, true), "......Q;$");
    assert_string_equal(shown(2, true), "..............D;$");
    assert_int_equal(file_replace(path, marked, strlen(marked)), STATUS_OK);
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_string_equal(shown(0, true), "......B;......D;");
    assert_string_equal(shown(2, true), "..............D;");
    assert_int_equal(file_replace(path, "{{ messages[-1].content }}", 26), STATUS_OK);
    expect_sentence(STATUS_INVALID, "train.jsonl:1: ");
    expect_sentence(STATUS_INVALID, "does not begin with what opens an answer (message 1)");
    assert_int_equal(file_remove_tree(path), STATUS_OK);
    expect_sentence(STATUS_NOT_FOUND, "has no chat template");
    settings.model.chat_format = CHAT_NONE;
}

static void test_sft_long_rows_are_refused_cut_or_left_out(void **state)
{
    (void)state;
    prepare("long");
    write_data("{\"prompt\": \"ab\", \"completion\": \"cdefgh\"}\n"
               "{\"prompt\": \"abcdefgh\", \"completion\": \"i\"}\n"
               "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    settings.sft.sequence_tokens_max = 6;
    expect_sentence(STATUS_INVALID,
                    "train.jsonl:1: a row of 9 tokens, sft.sequence_tokens_max is 6");
    settings.sft.too_long = TOO_LONG_CUT;
    assert_int_equal(load_rows(6), STATUS_OK);
    assert_int_equal(rows.count, 2); /* of the second nothing trained would stay */
    assert_int_equal(rows.cut, 1);
    assert_int_equal(rows.skipped, 1);
    assert_string_equal(shown(0, true), "..cdef");
    settings.sft.too_long = TOO_LONG_SKIP;
    assert_int_equal(load_rows(6), STATUS_OK);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.longest, 3);
    settings.learner.microbatch_tokens = 16; /* a longer row goes alone */
    settings.sft.sequence_tokens_max = 0;
    settings.sft.steps = 2;
    write_data("{\"prompt\": \"abcdefghijklmnopqrstuvwxyz\", \"completion\": \"0123456789\"}\n"
               "{\"prompt\": \"a\", \"completion\": \"b\"}\n");
    assert_int_equal(run(), STATUS_OK);
}

static void test_sft_several_files_and_folders_are_read_in_order(void **state)
{
    (void)state;
    static char list[3 * FILE_PATH_MAX];
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    prepare("files");
    write_data("{\"prompt\": \"1\", \"completion\": \"a\"}\n");
    assert_int_equal(file_path(folder, "%s/more", base), STATUS_OK);
    assert_int_equal(file_make_dirs(folder), STATUS_OK);
    for (int i = 0; i < 2; i++) {
        static const char *const texts[] = {"{\"prompt\": \"3\", \"completion\": \"c\"}\n",
                                            "{\"prompt\": \"2\", \"completion\": \"b\"}"};
        assert_int_equal(file_path(path, "%s/%s.jsonl", folder, i == 0 ? "y" : "x"), STATUS_OK);
        assert_int_equal(file_replace(path, texts[i], strlen(texts[i])), STATUS_OK);
    }
    snprintf(list, sizeof list, "%s, %s", data, folder);
    settings.sft.train = list;
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_int_equal(rows.count, 3);
    for (uint32_t r = 0; r < 3; r++)
        assert_int_equal(rows.rows[r].prompt_ids[0], '1' + r);
    snprintf(list, sizeof list, "%s,%s/none.jsonl", data, folder);
    expect_sentence(STATUS_NOT_FOUND, "none.jsonl cannot be opened");
}

/* ---- mode pretrain ---- */

static void write_documents(void)
{
    char text[2048];
    size_t at = 0;
    for (int i = 0; i < 7; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "{\"text\": \"%.*s\"}\n", 3 + 4 * i,
                               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ");
    write_data(text);
    settings.sft.mode = SFT_MODE_PRETRAIN;
}

/* An epoch of sequences predicts every token but one exactly once, and documents stand whole, one after another. */
static void test_sft_documents_are_packed_end_to_end(void **state)
{
    (void)state;
    struct sft_stages stages = {0};
    struct sft_batch batch, other;
    prepare("packed");
    write_documents();
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_int_equal(rows.count, 7);
    assert_int_equal(rows.tokens, 7 * 3 + 4 * 21 + 7); /* with an end of text each */
    settings.sft.sequence_tokens = 16;
    uint32_t epoch = (uint32_t)(rows.tokens - 1 + 15) / 16;
    assert_int_equal(sft_batch_create(&batch, &settings, &rows, &stages, epoch), STATUS_OK);
    for (uint64_t update = 0; update < 3; update++) {
        sft_batch_fill(&batch, update);
        uint64_t predicted = 0, ends = 0;
        for (uint32_t i = 0; i < epoch; i++) {
            const struct train_sequence *sequence = &batch.sequences[i];
            assert_int_equal(sequence->prompt_count, 1);
            assert_true(sequence->response_count <= 16);
            predicted += sequence->response_count;
            for (uint32_t t = 0; t < sequence->response_count; t++) {
                uint32_t before = t > 0 ? sequence->response_ids[t - 1] : sequence->prompt_ids[0];
                uint32_t id = sequence->response_ids[t];
                assert_true(sequence->mask[t] == 1);
                ends += id == 256;
                if (before == 256)
                    assert_int_equal(id, 'a');
                else if (before != 'z')
                    assert_true(id == before + 1 || id == 256);
            }
        }
        assert_int_equal(predicted, rows.tokens - 1);
        assert_int_equal(ends, 7);
    }
    /* the number of the update is the whole cursor */
    uint32_t kept[16];
    sft_batch_fill(&batch, 5);
    memcpy(kept, batch.sequences[1].response_ids, sizeof kept);
    assert_int_equal(sft_batch_create(&other, &settings, &rows, &stages, epoch), STATUS_OK);
    sft_batch_fill(&other, 5);
    uint32_t count = batch.sequences[1].response_count;
    assert_int_equal(other.sequences[1].response_count, count);
    assert_memory_equal(other.sequences[1].response_ids, kept, count * sizeof *kept);
    sft_batch_destroy(&batch);
    sft_batch_destroy(&other);
}

static void test_sft_pretraining_learns_its_documents(void **state)
{
    (void)state;
    prepare("pretrain");
    write_documents();
    settings.sft.steps = 60;
    strncat(out, "/", sizeof out - strlen(out) - 1); /* as a shell completes it */
    settings.sft.schedule = LR_WSD;
    settings.sft.decay_updates = 30;
    if (run() != STATUS_OK)
        fail_msg("%s", status_last_error());
    print_message("loss %.3f at update 20, %.3f at 60\n", first_loss, last_loss);
    assert_true(last_loss < 0.5 * first_loss);
    assert_int_equal(file_path(out, "%s/pretrain.sft/metrics.jsonl", base), STATUS_OK);
    assert_true(file_exists(out));
}

/* ---- context stages ---- */

static void test_sft_stages_are_read_and_refused_by_column(void **state)
{
    (void)state;
    struct sft_stages stages;
    assert_int_equal(
        sft_stages_parse(&stages, " 4096@rope=10000: 100; 16384 @ rope = 1e6 :50 ;8:1"), STATUS_OK);
    assert_int_equal(stages.count, 3);
    assert_int_equal(stages.rows[1].tokens, 16384);
    assert_true(stages.rows[1].rope_theta == 1e6 && stages.rows[2].rope_theta == 0);
    assert_int_equal(sft_stages_updates(&stages), 151);
    assert_int_equal(sft_stages_at(&stages, 99)->tokens, 4096);
    assert_int_equal(sft_stages_at(&stages, 100)->tokens, 16384);
    assert_int_equal(sft_stages_at(&stages, 150)->tokens, 8);
    assert_int_equal(sft_stages_at(&stages, 9999)->tokens, 8);
    assert_int_equal(sft_stages_longest(&stages), 16384);
    assert_int_equal(sft_stages_parse(&stages, ""), STATUS_OK);
    assert_int_equal(stages.count, 0);
    static const struct {
        const char *text, *sentence;
    } bad[] = {{"x: 1", "column 1: \"x\" is not a number of tokens"},
               {"1: 1", "column 1: \"1\""},
               {"64", "column 3: \"\" is not a colon"},
               {"64: 5; 128@base=3: 2", "column 12: \"base=3\" is not rope=BASE"},
               {"64@rope=0.5: 2", "column 9: \"0.5\" is not a RoPE base"},
               {"64: 1.5", "column 5: \"1.5\" is not a number of updates"},
               {"64: 5, 128: 5", "column 5: \"5,\" is not a number of updates"},
               {"64: 5 128: 5", "column 7: \"128\" is not a semicolon"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(sft_stages_parse(&stages, bad[i].text), STATUS_INVALID);
        if (strstr(status_last_error(), bad[i].sentence) == NULL)
            fail_msg("\"%s\": %s", bad[i].text, status_last_error());
    }
}

static double saved_number(const char *key)
{
    char path[FILE_PATH_MAX];
    assert_int_equal(file_path(path, "%s/config.json", out), STATUS_OK);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    double value = json_number_value(json_object_get(root, key));
    json_decref(root);
    return value;
}

static void prepare_stages(const char *name, char held_out[FILE_PATH_MAX])
{
    prepare_short(name, held_out);
    write_documents();
    settings.sft.context_stages = "8@rope=10000: 5; 24@rope=1e6: 7";
}

static void test_sft_context_stages_change_length_and_rope_and_resume(void **state)
{
    (void)state;
    char held_out[FILE_PATH_MAX];
    size_t bytes = 0;
    prepare_stages("stages", held_out);
    if (run() != STATUS_OK)
        fail_msg("%s", status_last_error());
    assert_true(saved_number("rope_theta") == 1e6);
    float *whole = load_out(&bytes);
    prepare_stages("stages_same", held_out); /* the base matters */
    settings.sft.context_stages = "8@rope=10000: 5; 24: 7";
    assert_int_equal(run(), STATUS_OK);
    assert_true(saved_number("rope_theta") == 10000);
    float *other = load_out(&bytes);
    assert_true(memcmp(whole, other, bytes) != 0);
    free(other);
    for (uint64_t k = test_is_slow() ? 7 : 4; k <= (test_is_slow() ? 7 : 10); k += 3) {
        prepare_stages("stages_killed", held_out);
        run_and_die(k, NULL);
        settings.run.resume = true;
        if (run() != STATUS_OK)
            fail_msg("%s", status_last_error());
        assert_true(saved_number("rope_theta") == 1e6);
        other = load_out(&bytes);
        assert_memory_equal(whole, other, bytes);
        free(other);
    }
    free(whole);
    prepare_stages("stages_sum", held_out);
    settings.sft.context_stages = "8: 5";
    expect_sentence(STATUS_INVALID, "add up to 5, sft.steps is 12");
}

static void test_sft_context_stage_cuts_rows(void **state)
{
    (void)state;
    struct sft_stages stages;
    struct sft_batch batch;
    prepare("stage_cut");
    write_data("{\"prompt\": \"abc\", \"completion\": \"defgh\"}\n");
    assert_int_equal(load_rows(0), STATUS_OK);
    assert_int_equal(sft_stages_parse(&stages, "3: 1; 5: 1; 100: 1"), STATUS_OK);
    assert_int_equal(sft_batch_create(&batch, &settings, &rows, &stages, 1), STATUS_OK);
    sft_batch_fill(&batch, 0); /* no room for the completion: nothing is trained */
    assert_int_equal(batch.sequences[0].prompt_count + batch.sequences[0].response_count, 3);
    assert_true(batch.sequences[0].mask[0] == 0);
    sft_batch_fill(&batch, 1);
    assert_int_equal(batch.sequences[0].response_count, 2);
    sft_batch_fill(&batch, 2);
    assert_int_equal(batch.sequences[0].response_count, 6);
    sft_batch_destroy(&batch);
}

static void test_sft_several_ranks_are_refused(void **state)
{
    (void)state;
    prepare("ranks");
    settings.learner.ranks = 2;
    expect_sentence(STATUS_UNSUPPORTED, "`weir sft` trains in one process");
}

static int teardown(void **state)
{
    (void)state;
    sft_rows_free(&rows);
    tokenizer_close(&tokenizer);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sft_loss_falls_and_two_runs_are_equal),
        cmocka_unit_test(test_sft_bad_row_is_named_by_file_and_line),
        cmocka_unit_test(test_sft_target_folder_that_exists_is_refused),
        cmocka_unit_test(test_sft_signal_ends_it_without_a_model),
        cmocka_unit_test(test_sft_resumes_bit_equal_after_a_kill_at_any_update),
        cmocka_unit_test(test_sft_signal_leaves_a_checkpoint_that_goes_on),
        cmocka_unit_test(test_sft_held_out_loss_is_that_of_a_model_that_learns),
        cmocka_unit_test(test_sft_messages_are_trained_on_what_the_assistant_said),
        cmocka_unit_test(test_sft_contents_may_be_lists_of_texts),
        cmocka_unit_test(test_sft_plain_rows_begin_as_the_tokenizer_says),
        cmocka_unit_test(test_sft_template_of_the_folder_masks_its_turns),
        cmocka_unit_test(test_sft_long_rows_are_refused_cut_or_left_out),
        cmocka_unit_test(test_sft_several_files_and_folders_are_read_in_order),
        cmocka_unit_test(test_sft_documents_are_packed_end_to_end),
        cmocka_unit_test(test_sft_pretraining_learns_its_documents),
        cmocka_unit_test(test_sft_stages_are_read_and_refused_by_column),
        cmocka_unit_test(test_sft_context_stages_change_length_and_rope_and_resume),
        cmocka_unit_test(test_sft_context_stage_cuts_rows),
        cmocka_unit_test(test_sft_several_ranks_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
