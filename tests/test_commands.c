/* links: ops */
/* The texts made from the tables of commands and options: help within 80 columns, manual pages without a warning, every
 * option explained once, and the words that completion offers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/command_text.h"

static struct buffer text;

static int begin(void **state)
{
    (void)state;
    buffer_init(&text, 0);
    return 0;
}

static int end(void **state)
{
    (void)state;
    buffer_free(&text);
    return 0;
}

static size_t widest(const char *page)
{
    size_t most = 0;
    for (const char *at = page; *at != 0; at += *at == '\n') {
        size_t size = strcspn(at, "\n");
        most = size > most ? size : most;
        at += size;
    }
    return most;
}

static bool has_option(const char *command, const char *flag)
{
    for (size_t i = 0; i < command_option_count; i++)
        if (strcmp(command_options[i].command, command) == 0 &&
            strcmp(command_options[i].flag, flag) == 0)
            return true;
    return false;
}

/* ---- tables ---- */

static void test_commands_every_option_of_a_usage_line_is_explained(void **state)
{
    (void)state;
    unsigned missing = 0;
    for (size_t i = 0; i < command_count; i++) {
        char flag[64];
        const char *usage = commands[i].usage;
        while (command_text_next_flag(&usage, flag, sizeof flag)) {
            if (!has_option(commands[i].name, flag)) {
                print_message("weir %s %s has no row in ops/cmd_options.c\n", commands[i].name,
                              flag);
                missing++;
            }
        }
    }
    assert_int_equal(missing, 0);
}

static void test_commands_every_explained_option_is_in_its_usage_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_option_count; i++) {
        const struct command *command = command_find(command_options[i].command);
        assert_non_null(command);
        char flag[64];
        bool found = false;
        for (const char *usage = command->usage; command_text_next_flag(&usage, flag, sizeof flag);)
            found |= strcmp(flag, command_options[i].flag) == 0;
        if (!found)
            print_message("weir %s: %s is not in its usage line\n", command->name,
                          command_options[i].flag);
        assert_true(found);
        for (size_t k = 0; k < i; k++)
            assert_false(strcmp(command_options[k].command, command_options[i].command) == 0 &&
                         strcmp(command_options[k].flag, command_options[i].flag) == 0);
    }
}

static void test_commands_names_differ_and_have_a_group(void **state)
{
    (void)state;
    for (size_t i = 0; i < command_count; i++) {
        assert_true((unsigned)commands[i].group < COMMAND_GROUPS);
        assert_ptr_equal(command_find(commands[i].name), &commands[i]);
    }
    assert_null(command_find("no-such-command"));
}

/* ---- help ---- */

static void test_commands_fold_breaks_between_words_and_keeps_brackets(void **state)
{
    (void)state;
    assert_int_equal(command_text_fold("one two [a b] three", 0, 2, 12, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "one two\n  [a b]\n  three\n");
    buffer_clear(&text);
    assert_int_equal(command_text_fold("unbreakable", 0, 4, 6, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "unbreakable\n");
    buffer_clear(&text);
    assert_int_equal(command_text_fold("", 0, 4, 6, &text), STATUS_OK);
    assert_string_equal(buffer_string(&text), "\n");
}

static void test_commands_help_fits_eighty_columns(void **state)
{
    (void)state;
    assert_int_equal(command_text_overview(&text), STATUS_OK);
    assert_in_range(widest(buffer_string(&text)), 40, 80);
    for (size_t i = 0; i < command_count; i++) {
        assert_non_null(strstr(buffer_string(&text), commands[i].name));
        struct buffer one;
        buffer_init(&one, 0);
        assert_int_equal(command_text_help(&commands[i], &one), STATUS_OK);
        if (widest(buffer_string(&one)) > 80)
            print_message("%s", buffer_string(&one));
        assert_in_range(widest(buffer_string(&one)), 10, 80);
        buffer_free(&one);
    }
}

/* ---- manual pages ---- */

/* groff with all its warnings says nothing about a sound page. */
static void test_commands_manual_pages_pass_groff(void **state)
{
    (void)state;
    if (system("groff --version > /dev/null 2>&1") != 0) {
        print_message("SKIPPED: groff is missing (apt-get install groff)\n");
        skip();
    }
    char path[] = "/tmp/weir-man-XXXXXX", command[256];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i <= command_count; i++) {
        buffer_clear(&text);
        assert_int_equal(command_text_man(i < command_count ? &commands[i] : NULL, &text),
                         STATUS_OK);
        assert_int_equal(write(fd, text.bytes, text.size), (ssize_t)text.size);
    }
    close(fd);
    snprintf(command, sizeof command,
             "test -z \"$(groff -ww -man -K utf8 -z %s 2>&1 | tee /dev/stderr)\"", path);
    int code = system(command);
    unlink(path);
    assert_int_equal(code, 0);
}

static void test_commands_manual_page_escapes_what_roff_reads(void **state)
{
    (void)state;
    struct command odd = {"odd", NULL, ".x 'y' a\\b", "-what .", GROUP_RUNS};
    assert_int_equal(command_text_man(&odd, &text), STATUS_OK);
    assert_non_null(strstr(buffer_string(&text), "\n\\&.x \\(aqy\\(aq a\\eb\n"));
    assert_non_null(strstr(buffer_string(&text), "weir\\-odd \\- \\-what ."));
}

/* ---- completion ---- */

static const char *complete(const char *root, const char *line)
{
    char copy[200];
    const char *words[8];
    size_t count = 0;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *at = copy;;) {
        words[count++] = at;
        char *blank = strchr(at, ' ');
        if (blank == NULL)
            break;
        *blank = 0;
        at = blank + 1;
    }
    buffer_clear(&text);
    assert_int_equal(completion_words(root, words, count, count - 1, &text), STATUS_OK);
    return buffer_string(&text);
}

static void test_commands_completion_offers_what_may_stand_there(void **state)
{
    (void)state;
    char root[] = "/tmp/weir-complete-XXXXXX", path[FILE_PATH_MAX];
    assert_non_null(mkdtemp(root));
    snprintf(path, sizeof path, "%s/alpha", root);
    assert_int_equal(file_make_dirs(path), STATUS_OK);
    snprintf(path, sizeof path, "%s/alpha/lock", root);
    assert_int_equal(file_replace(path, "1 running\n", 10), STATUS_OK);
    static const char table[] = "{\"processes\":[{\"name\":\"actor.0\"},{\"name\":\"learner.0\"}]}";
    snprintf(path, sizeof path, "%s/alpha/processes.json", root);
    assert_int_equal(file_replace(path, table, sizeof table - 1), STATUS_OK);

    assert_string_equal(complete(root, "resc"), "rescore\n");
    assert_string_equal(complete(root, "stop "), "alpha\n");
    assert_string_equal(complete(root, "stop -"), "--now\n");
    assert_string_equal(complete(root, "drain alpha act"), "actor.0\n");
    assert_string_equal(complete(root, "fork alpha b --s"), "--step\n");
    assert_string_equal(complete(root, "completion "), "bash\nzsh\n");
    assert_string_equal(complete(root, "export alpha out --dtype "), "bf16\nf32\n");
    assert_string_equal(complete(root, "run x.yaml run.resume=t"), "run.resume=true\n");
    assert_string_equal(complete(root, "run x.yaml loss.kind=gr"), "loss.kind=grpo\n");
    assert_non_null(strstr(complete(root, "run x.yaml redi"), "redis.\n"));
    assert_non_null(strstr(complete(root, "run x.yaml run.st"), "run.steps=\n"));
    assert_non_null(strstr(complete(root, "run "), ":files\n"));
    assert_string_equal(complete(root, "no-such-command "), "");
    assert_string_equal(complete("/no/such/root", "stop "), "");
    assert_int_equal(file_remove_tree(root), STATUS_OK);
}

/* The script in a real bash, '=' being a word break there. */
static void test_commands_completion_works_in_bash(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-bash-XXXXXX", command[2048];
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(completion_script("bash", &text), STATUS_OK);
    assert_int_equal(write(fd, text.bytes, text.size), (ssize_t)text.size);
    close(fd);
    snprintf(command, sizeof command,
             "exec bash --norc -c 'source %s; compopt() { :; }\n"
             "weir() { [[ \"$1 $2\" == \"completion words\" && $3 == 1 && $4 == run ]] && "
             "echo loss.kind=cispo; }\n"
             "COMP_LINE=\"weir run loss.kind=ci\"; COMP_POINT=21; _weir\n"
             "[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == cispo ]]'",
             path);
    int code = system(command);
    unlink(path);
    assert_int_equal(code, 0);
    assert_int_equal(completion_script("fish", &text), STATUS_INVALID);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_commands_every_option_of_a_usage_line_is_explained),
        CASE(test_commands_every_explained_option_is_in_its_usage_line),
        CASE(test_commands_names_differ_and_have_a_group),
        CASE(test_commands_fold_breaks_between_words_and_keeps_brackets),
        CASE(test_commands_help_fits_eighty_columns),
        CASE(test_commands_manual_pages_pass_groff),
        CASE(test_commands_manual_page_escapes_what_roff_reads),
        CASE(test_commands_completion_offers_what_may_stand_there),
        CASE(test_commands_completion_works_in_bash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
