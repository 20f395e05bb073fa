/* links: learner core */
/* timeout: 30 */
/* metrics.jsonl when a learner begins again: lines of steps that will be made again and a line cut off by a kill go,
 * every other byte stays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/file.h"
#include "learner/learner_state.h"
#include "learner/lines.h"

static char folder[64], path[FILE_PATH_MAX];

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_report.XXXXXX");
    return mkdtemp(folder) != NULL && file_path(path, "%s/metrics.jsonl", folder) == STATUS_OK ? 0
                                                                                               : -1;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(folder) == STATUS_OK ? 0 : -1;
}

/* Opens the file as a learner at `version` does and writes one more line. */
static void begin_at(uint64_t version)
{
    static struct learner learner;
    memset(&learner, 0, sizeof learner);
    snprintf(learner.folder, sizeof learner.folder, "%s", folder);
    learner.version = version;
    assert_int_equal(learner_metrics_open(&learner), STATUS_OK);
    assert_true(fputs("next\n", learner.metrics_file) >= 0);
    assert_int_equal(fclose(learner.metrics_file), 0);
}

static void expect(const struct buffer *before, size_t kept)
{
    struct buffer after;
    buffer_init(&after, 0);
    assert_int_equal(file_read(path, &after), STATUS_OK);
    assert_int_equal(after.size, kept + 5);
    assert_memory_equal(after.bytes, before->bytes, kept);
    assert_memory_equal(after.bytes + kept, "next\n", 5);
    buffer_free(&after);
}

static void write_file(const struct buffer *text, size_t size)
{
    assert_int_equal(file_replace(path, text->size > 0 ? (const char *)text->bytes : "", size),
                     STATUS_OK);
}

/* Steps 1..count, the line of step s with (s * 977) % 9000 more bytes: shorter and longer than what is read at once. */
static void make_lines(struct buffer *text, size_t *ends, uint64_t count)
{
    buffer_init(text, 0);
    ends[0] = 0;
    for (uint64_t step = 1; step <= count; step++) {
        assert_int_equal(buffer_printf(text, "{\"step\":%llu,\"x\":\"", (unsigned long long)step),
                         STATUS_OK);
        for (uint64_t i = 0; i < step * 977 % 9000; i++)
            assert_int_equal(buffer_text(text, "x"), STATUS_OK);
        assert_int_equal(buffer_text(text, "\"}\n"), STATUS_OK);
        ends[step] = text->size;
    }
}

static void test_report_lines_of_later_steps_go(void **state)
{
    (void)state;
    enum { STEPS = 40 };
    struct buffer text;
    size_t ends[STEPS + 1];
    make_lines(&text, ends, STEPS);
    for (uint64_t version = 0; version <= STEPS + 1; version++) {
        write_file(&text, text.size);
        begin_at(version);
        expect(&text, ends[version < STEPS ? version : STEPS]);
    }
    buffer_free(&text);
}

static void test_report_old_lines_go_whole(void **state)
{
    (void)state;
    enum { STEPS = 40 };
    struct buffer text, rest;
    size_t ends[STEPS + 1];
    make_lines(&text, ends, STEPS);
    for (size_t kept = 3; kept <= STEPS + 1; kept += STEPS) {
        size_t from = kept < STEPS ? ends[STEPS - kept] : 0;
        write_file(&text, text.size);
        assert_int_equal(lines_keep_last(path, kept), STATUS_OK);
        begin_at(100);
        rest = (struct buffer){.bytes = text.bytes + from, .size = text.size - from};
        expect(&rest, rest.size);
    }
    assert_int_equal(lines_keep_last("/nowhere/x.jsonl", 3), STATUS_OK);
    buffer_free(&text);
}

static void test_report_a_line_cut_off_goes_wherever_it_was_cut(void **state)
{
    (void)state;
    enum { STEPS = 5 };
    struct buffer text;
    size_t ends[STEPS + 1];
    make_lines(&text, ends, STEPS);
    for (size_t cut = ends[STEPS - 1]; cut < ends[STEPS]; cut++) {
        write_file(&text, cut);
        begin_at(100);
        expect(&text, ends[STEPS - 1]);
    }
    buffer_free(&text);
}

static void test_report_new_and_foreign_files_are_begun_again(void **state)
{
    (void)state;
    struct buffer none;
    buffer_init(&none, 0);
    begin_at(0); /* no file */
    expect(&none, 0);
    begin_at(7); /* whose only line, "next", is no step */
    expect(&none, 0);
    buffer_free(&none);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_report_lines_of_later_steps_go),
        TEST(test_report_old_lines_go_whole),
        TEST(test_report_a_line_cut_off_goes_wherever_it_was_cut),
        TEST(test_report_new_and_foreign_files_are_begun_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
