/* weir top: a run at a glance, every second. Full screen on a terminal; a line a second elsewhere; --once: one page. */
#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "ops/cmd.h"
#include "ops/process_table.h"
#include "ops/processes.h"
#include "ops/run_meta.h"
#include "ops/screen.h"
#include "ops/store_query.h"
#include "ops/terminal.h"
#include "ops/top_page.h"
#include "ops/why.h"

enum { PERIOD_MS = 1000, SLICE_MS = 50, ANSWER_MS = 1500, COLUMNS_PLAIN = 100 };

/* One after the other, without waiting: keys are answered meanwhile. */
static const struct {
    const char *command, *arguments;
} questions[] = {{"status", "{}"}, {"why", "{}"}, {"events", "{\"n\":200}"}};
enum { ASK_STATUS, ASK_WHY, ASK_EVENTS, QUESTIONS };

struct top {
    struct known_run known;
    bool once, json;
    struct store_query *query;
    struct metrics_tail tail;
    struct top_view view;
    json_t *answers[QUESTIONS]; /* the newest of each; NULL: none */
    json_t *table;
    size_t asked; /* QUESTIONS: none is open */
    bool sent;
    int64_t asked_ns, next_ns;
    int64_t started_ms; /* of this attempt; 0: not known */
    char trouble[500];  /* why the store does not answer; "" */
    struct buffer json_text, page;
    struct top_style style;
};
static struct top top; /* large */

/* ---- what is known ---- */

static void describe_wait(void)
{
    if (top.answers[ASK_WHY] == NULL && top.trouble[0] == 0) {
        snprintf(top.view.because, sizeof top.view.because, "asking the store");
        return;
    }
    struct why_case why = {.run = top.known.name,
                           .answer = top.answers[ASK_WHY],
                           .trouble = top.trouble[0] != 0 ? top.trouble : NULL,
                           .table = top.table,
                           .stopped_ms = (int64_t)top.known.stopped_s * 1000,
                           .supervisor_stopped = process_state(top.known.supervisor) == 'T',
                           .supervisor = (long)top.known.supervisor};
    if (top.trouble[0] != 0)
        why.answer = NULL;
    json_t *merged = why_merge(&why);
    const char *because = json_string_value(json_object_get(merged, "because"));
    size_t used = 0;
    for (; because != NULL && *because != 0 && used + 1 < sizeof top.view.because; because++)
        if ((unsigned char)*because < 0x80)
            top.view.because[used++] = (unsigned char)*because < 0x20 ? ' ' : *because;
    top.view.because[used] = 0;
    json_decref(merged);
}

static enum status refresh(void)
{
    json_decref(top.table);
    top.table = NULL;
    if (process_table_read_all(top.known.folder, &top.table) != STATUS_OK)
        top.table = NULL;
    TRY(metrics_tail_poll(&top.tail, top_view_metrics, &top.view));
    const char *sick = top.table != NULL ? process_table_store_trouble(top.table) : NULL;
    if (sick != NULL)
        snprintf(top.trouble, sizeof top.trouble, "%s", sick);
    top.view.steps = (double)top.known.steps;
    snprintf(top.view.run, sizeof top.view.run, "%s", top.known.name);
    snprintf(top.view.state, sizeof top.view.state, "%s", top.known.state);
    top_view_processes(&top.view, top.trouble[0] != 0 ? NULL : top.answers[ASK_STATUS], top.table);
    if (top.started_ms > 0)
        top.view.up_s = (double)(clock_wall_ns() / CLOCK_NS_PER_MS - top.started_ms) / 1000;
    top_view_alarms(&top.view, top.answers[ASK_EVENTS]);
    top_view_pace(&top.view);
    describe_wait();
    return STATUS_OK;
}

static void take_answer(void)
{
    json_t *answer =
        json_loadb((const char *)top.json_text.bytes, top.json_text.size, JSON_DECODE_ANY, NULL);
    if (json_is_object(answer)) {
        json_decref(top.answers[top.asked]);
        top.answers[top.asked] = answer;
    } else {
        json_decref(answer);
    }
    top.trouble[0] = 0;
    top.asked++;
    top.sent = false;
    top.asked_ns = clock_now_ns();
}

/* Asks and takes what came, waiting for at most `ms`. true: a round of questions is over. */
static bool ask(int64_t ms)
{
    int64_t now_ns = clock_now_ns();
    if (top.asked == QUESTIONS && now_ns >= top.next_ns) {
        top.asked = 0;
        top.sent = false;
        top.asked_ns = now_ns;
        top.next_ns = now_ns + (int64_t)PERIOD_MS * CLOCK_NS_PER_MS;
    }
    if (top.asked == QUESTIONS)
        return false;
    if (!top.sent)
        top.sent = store_query_start(top.query, questions[top.asked].command,
                                     questions[top.asked].arguments) == STATUS_OK;
    enum status status = store_query_take(top.query, ms, &top.json_text);
    if (status == STATUS_OK) {
        take_answer();
        return top.asked == QUESTIONS;
    }
    if (now_ns - top.asked_ns < (int64_t)ANSWER_MS * CLOCK_NS_PER_MS)
        return false;
    snprintf(top.trouble, sizeof top.trouble, "it has not answered for %.0f s",
             (double)ANSWER_MS / 1000);
    top.asked = QUESTIONS;
    return true;
}

/* ---- the three ways ---- */

static enum status print_page(void)
{
    size_t unused;
    if (!top.json) {
        buffer_clear(&top.page);
        TRY(top_page(&top.view, &top.style, &unused, &top.page));
        fputs(buffer_string(&top.page), stdout);
        return STATUS_OK;
    }
    json_t *page = top_view_json(&top.view);
    int bad = json_dumpf(page, stdout, JSON_COMPACT);
    json_decref(page);
    putchar('\n');
    return bad == 0 ? STATUS_OK : FAIL(STATUS_IO, "standard output");
}

static enum status one_round(void)
{
    while (!ask(SLICE_MS) && run_folder_holder(top.known.folder, top.known.state) != 0)
        if (top.asked == QUESTIONS)
            clock_sleep_ms(SLICE_MS);
    return refresh();
}

static enum status lines(void)
{
    while (run_folder_holder(top.known.folder, top.known.state) != 0) {
        TRY(one_round());
        buffer_clear(&top.page);
        TRY(top_line(&top.view, &top.page));
        fputs(buffer_string(&top.page), stdout);
        if (fflush(stdout) != 0)
            return FAIL(STATUS_IO, "standard output is gone");
    }
    return STATUS_OK;
}

/* false: the user has seen enough. */
static bool take_key(enum terminal_key key, size_t scroll_max)
{
    size_t page = top.style.rows > 20 ? top.style.rows / 2 : 5,
           sets = TOP_CURVES / TOP_CURVES_SHOWN;
    size_t *at = &top.style.scroll;
    *at = *at < scroll_max ? *at : scroll_max;
    switch (key) {
    case KEY_UP:
        *at -= *at > 0;
        return true;
    case KEY_DOWN:
        *at += *at < scroll_max;
        return true;
    case KEY_PAGE_UP:
        *at -= *at < page ? *at : page;
        return true;
    case KEY_PAGE_DOWN:
        *at = *at + page < scroll_max ? *at + page : scroll_max;
        return true;
    case KEY_HOME:
        *at = 0;
        return true;
    case KEY_END:
        *at = scroll_max;
        return true;
    case KEY_LEFT:
    case KEY_RIGHT:
        top.style.curves = (top.style.curves + (key == KEY_LEFT ? sets - 1 : 1)) % sets;
        return true;
    case KEY_QUIT:
    case KEY_SIGNAL:
        return false;
    case KEY_NONE:
    case KEY_RESIZE:
    case KEY_OTHER:
        return true;
    }
    return true;
}

static enum status draw(struct terminal *terminal, size_t *scroll_max)
{
    top.style.columns = terminal->columns;
    top.style.rows = terminal->rows;
    buffer_clear(&top.page);
    TRY(top_page(&top.view, &top.style, scroll_max, &top.page));
    return terminal_draw(terminal, &top.page);
}

static enum status full_screen(struct terminal *terminal, bool *over)
{
    size_t scroll_max = 0;
    bool go_on = true;
    TRY(refresh());
    TRY(draw(terminal, &scroll_max));
    while (go_on && !*over) {
        bool changed = ask(0);
        if (changed)
            TRY(refresh());
        enum terminal_key key = terminal_wait(terminal, SLICE_MS);
        go_on = take_key(key, scroll_max);
        if (go_on && (changed || key != KEY_NONE))
            TRY(draw(terminal, &scroll_max));
        *over = run_folder_holder(top.known.folder, top.known.state) == 0;
    }
    return STATUS_OK;
}

/* ---- the command ---- */

static int parse(int argc, char **argv)
{
    const char *run = NULL;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--once") == 0)
            top.once = true;
        else if (strcmp(argv[i], "--json") == 0)
            top.json = top.once = true;
        else if (argv[i][0] == '-' || run != NULL)
            return command_usage("top", "unexpected argument %s", argv[i]);
        else
            run = argv[i];
    }
    enum status status = known_run_find(&top.known, run);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("top", status);
}

static enum status begin(void)
{
    char path[FILE_PATH_MAX];
    struct winsize size;
    buffer_init(&top.json_text, 0);
    buffer_init(&top.page, 0);
    top.asked = QUESTIONS;
    top.view.eta_s = top.view.attempt = top.view.up_s = NAN;
    top.style.columns = COLUMNS_PLAIN;
    if (isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 &&
        size.ws_col > 0)
        top.style.columns = size.ws_col;
    setlocale(LC_CTYPE, "");
    top.style.unicode = isatty(STDOUT_FILENO) == 1 && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    json_t *meta = NULL;
    if (run_meta_read(top.known.folder, &meta) == STATUS_OK)
        top.started_ms = json_integer_value(json_object_get(meta, "started_ms"));
    json_decref(meta);
    TRY(file_path(path, "%s/metrics.jsonl", top.known.folder));
    TRY(metrics_tail_open(&top.tail, path));
    return store_query_open(&top.query, top.known.endpoint, top.known.name, top.known.keys);
}

static void release(void)
{
    store_query_close(&top.query);
    metrics_tail_close(&top.tail);
    top_view_free(&top.view);
    for (size_t i = 0; i < QUESTIONS; i++)
        json_decref(top.answers[i]);
    json_decref(top.table);
    buffer_free(&top.json_text);
    buffer_free(&top.page);
}

static enum status show(bool *over, int *signal_number)
{
    struct terminal terminal = {.signal_fd = -1};
    if (top.once) {
        TRY(one_round());
        return print_page();
    }
    if (!terminal_possible()) {
        *over = true;
        return lines();
    }
    top.style.colour = getenv("NO_COLOR") == NULL;
    top.style.keys = true;
    TRY(terminal_open(&terminal));
    enum status status = full_screen(&terminal, over);
    terminal_close(&terminal);
    *signal_number = terminal.signal;
    return status;
}

int cmd_top(int argc, char **argv)
{
    bool over = false;
    int signal_number = 0;
    int code = parse(argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    if (top.known.supervisor == 0)
        return command_over(&top.known, top.json);
    enum status status = begin();
    if (status == STATUS_OK)
        status = show(&over, &signal_number);
    release();
    if (status != STATUS_OK)
        return command_failed("top", status);
    if (signal_number != 0) { /* the shell sees what ended it */
        sigset_t set;
        signal(signal_number, SIG_DFL);
        sigfillset(&set);
        raise(signal_number);
        sigprocmask(SIG_UNBLOCK, &set, NULL);
    }
    return over ? say_run_over(&top.known) : EXIT_CODE_OK;
}
