/* links: learner */
/* The learner's errands to the store from a script: what is said when, what counts as an answer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "learner/errand.h"

enum { GROUPS = 50, SAID_MAX = 256 };
static const int64_t MS = 1000000;

struct script {
    struct message said[SAID_MAX];
    uint32_t count;
    uint32_t room; /* messages the connection still takes */
};

static enum status send_script(void *self, const struct message *message)
{
    struct script *script = self;
    if (script->room == 0)
        return STATUS_AGAIN;
    script->room--;
    assert_true(script->count < SAID_MAX);
    script->said[script->count++] = *message;
    return STATUS_OK;
}

static void say(struct errand *errand, struct script *script, int64_t ms, uint32_t welcomes)
{
    assert_int_equal(errand_say(errand, ms * MS, welcomes, send_script, script), STATUS_OK);
}

static enum status hear_ack(struct errand *errand, uint64_t request, bool ok)
{
    struct message ack = {.type = MESSAGE_ack, .ack = {request, ok, ok ? "" : "no such version"}};
    return errand_hear(errand, &ack);
}

static void test_errand_request_is_said_once_a_second_and_after_a_new_connection(void **state)
{
    (void)state;
    struct script script = {.room = SAID_MAX};
    struct errand errand;
    errand_register(&errand, &(struct version_register){.request = 7, .version = 3});
    say(&errand, &script, 0, 0);
    assert_int_equal(script.count, 0); /* not welcomed yet */
    say(&errand, &script, 10, 1);
    say(&errand, &script, 500, 1);
    assert_int_equal(script.count, 1);
    assert_int_equal(errand_due_ns(&errand), (10 + ERRAND_AGAIN_MS) * MS);
    say(&errand, &script, 10 + ERRAND_AGAIN_MS, 1);
    assert_int_equal(script.count, 2);
    say(&errand, &script, 1011, 2); /* the store was restarted */
    assert_int_equal(script.count, 3);
    assert_int_equal(script.said[2].version_register.version, 3);
    assert_false(errand_done(&errand));
    assert_int_equal(hear_ack(&errand, 6, true), STATUS_OK);
    assert_false(errand_done(&errand));
    assert_int_equal(hear_ack(&errand, 7, true), STATUS_OK);
    assert_true(errand_done(&errand));
    say(&errand, &script, 100000, 3);
    assert_int_equal(script.count, 3);
}

static void test_errand_full_connection_is_tried_again_soon(void **state)
{
    (void)state;
    struct script script = {.room = 0};
    struct errand errand;
    errand_checkpoint(&errand, &(struct checkpoint_report){.request = 2, .path = ""});
    say(&errand, &script, 0, 1);
    script.room = 1;
    say(&errand, &script, ERRAND_FULL_MS - 1, 1);
    assert_int_equal(script.count, 0);
    say(&errand, &script, ERRAND_FULL_MS, 1);
    assert_int_equal(script.count, 1);
}

static void test_errand_refusal_is_the_stores_sentence(void **state)
{
    (void)state;
    struct errand errand;
    errand_checkpoint(&errand, &(struct checkpoint_report){.request = 2, .path = ""});
    assert_int_equal(hear_ack(&errand, 2, false), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "no such version"));
}

static void test_errand_plan_of_another_version_is_no_answer(void **state)
{
    (void)state;
    struct plan plan = {0};
    struct errand errand;
    errand_plan(&errand, &(struct plan_request){.version = 4}, &plan);
    struct message message = {.type = MESSAGE_plan, .plan = {.version = 4}};
    assert_int_equal(errand_hear(&errand, &message), STATUS_OK);
    assert_false(errand_done(&errand));
    message.plan.version = 5;
    assert_int_equal(errand_hear(&errand, &message), STATUS_OK);
    assert_true(errand_done(&errand));
    assert_int_equal(plan.version, 5);
}

static void hear_group(struct errand *errand, uint64_t id)
{
    struct message message = {.type = MESSAGE_group_data, .group_data = {.group_id = id}};
    assert_int_equal(errand_hear(errand, &message), STATUS_OK);
}

/* Newest first and each twice, with a store that forgets everything half-way. */
static void test_errand_groups_come_in_any_order_within_the_window(void **state)
{
    (void)state;
    struct script script = {.room = SAID_MAX};
    struct group_data groups[GROUPS] = {0};
    uint64_t ids[GROUPS];
    for (uint32_t i = 0; i < GROUPS; i++)
        ids[i] = 100 + i;
    struct plan plan = {.version = 2, .group_count = GROUPS, .group_ids = ids};
    struct errand errand;
    uint32_t heard = 0;
    errand_groups(&errand, &plan, groups);
    say(&errand, &script, 0, 1);
    assert_int_equal(script.count, ERRAND_WINDOW);
    for (uint32_t welcomes = 1; !errand_done(&errand);) {
        assert_true(errand.pending_count <= ERRAND_WINDOW);
        uint64_t id = ids[errand.pending[errand.pending_count - 1]];
        hear_group(&errand, id);
        hear_group(&errand, id);
        hear_group(&errand, 9999);
        assert_int_equal(errand.answers, ++heard);
        if (heard == GROUPS / 2) {
            uint32_t before = script.count;
            say(&errand, &script, 1, ++welcomes);
            assert_int_equal(script.count, before + errand.pending_count);
        }
        say(&errand, &script, 1, welcomes);
    }
    assert_int_equal(heard, GROUPS);
    for (uint32_t i = 0; i < GROUPS; i++)
        assert_int_equal(groups[i].group_id, ids[i]);
}

static void test_errand_group_that_is_in_no_plan_ends_it(void **state)
{
    (void)state;
    struct script script = {.room = SAID_MAX};
    uint64_t ids[1] = {8};
    struct group_data groups[1];
    struct plan plan = {.version = 2, .group_count = 1, .group_ids = ids};
    struct errand errand;
    errand_groups(&errand, &plan, groups);
    say(&errand, &script, 0, 1);
    assert_int_equal(hear_ack(&errand, 8, false), STATUS_INVALID);
}

static void test_errand_notice_and_empty_plan_say_nothing(void **state)
{
    (void)state;
    struct script script = {.room = SAID_MAX};
    struct plan plan = {0};
    struct errand errand;
    errand_groups(&errand, &plan, NULL);
    assert_true(errand_done(&errand));
    errand_notice(&errand);
    say(&errand, &script, 0, 1);
    assert_int_equal(script.count, 0);
    assert_int_equal(errand_due_ns(&errand), INT64_MAX);
    struct message notice = {.type = MESSAGE_notice};
    assert_int_equal(errand_hear(&errand, &notice), STATUS_OK);
    assert_true(errand_done(&errand));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errand_request_is_said_once_a_second_and_after_a_new_connection),
        cmocka_unit_test(test_errand_full_connection_is_tried_again_soon),
        cmocka_unit_test(test_errand_refusal_is_the_stores_sentence),
        cmocka_unit_test(test_errand_plan_of_another_version_is_no_answer),
        cmocka_unit_test(test_errand_groups_come_in_any_order_within_the_window),
        cmocka_unit_test(test_errand_group_that_is_in_no_plan_ends_it),
        cmocka_unit_test(test_errand_notice_and_empty_plan_say_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
