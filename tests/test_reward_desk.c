/* links: reward core */
/* label: unit */
/* The reward worker's conversation from a script: what is kept, said again and asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "reward/desk.h"

enum { SAID_MAX = 64, QUEUE = 10 };

struct script {
    struct reward_desk desk;
    uint64_t frames[SAID_MAX]; /* said, by frame id */
    uint32_t scores[SAID_MAX], frame_count;
    uint32_t frees[SAID_MAX], request_count;
    uint32_t taken;
    bool refuses; /* the next item */
    enum status answer;
};

static enum status say(void *self, const struct message *message)
{
    struct script *script = self;
    if (script->answer != STATUS_OK)
        return script->answer;
    if (message->type == MESSAGE_score_request)
        script->frees[script->request_count++] = message->score_request.free;
    if (message->type == MESSAGE_score_result) {
        script->scores[script->frame_count] = message->score_result.count;
        script->frames[script->frame_count++] = message->score_result.frame_id;
    }
    return STATUS_OK;
}

static enum status take(void *self, const struct score_item *item)
{
    struct script *script = self;
    (void)item;
    if (script->refuses)
        return FAIL(STATUS_INVALID, "scripted");
    script->taken++;
    return STATUS_OK;
}

static int setup(void **state)
{
    struct script *script = memory_alloc(sizeof *script);
    *state = script;
    return reward_desk_open(&script->desk, 7, QUEUE) == STATUS_OK ? 0 : 1;
}

static int teardown(void **state)
{
    struct script *script = *state;
    reward_desk_close(&script->desk);
    memory_free(script);
    return 0;
}

static void work(struct script *script, uint32_t count)
{
    struct score_item items[QUEUE] = {{0}};
    struct message message = {.type = MESSAGE_score_work, .score_work = {count, items}};
    assert_int_equal(reward_desk_hear(&script->desk, &message, take, script), STATUS_OK);
}

static void result(struct script *script)
{
    struct score score = {.status = SCORE_OK, .value = 1};
    assert_int_equal(reward_desk_add(&script->desk, &score, memory_text("{\"a\":1}")), STATUS_OK);
}

static void talk(struct script *script, uint32_t connection)
{
    assert_int_equal(reward_desk_say(&script->desk, connection, say, script), STATUS_OK);
}

static void acknowledge(struct script *script, uint64_t frame)
{
    struct message message = {.type = MESSAGE_score_ack, .score_ack = {frame}};
    assert_int_equal(reward_desk_hear(&script->desk, &message, take, script), STATUS_OK);
}

static void test_reward_desk_capacity_is_said_once_a_connection(void **state)
{
    struct script *script = *state;
    talk(script, 1);
    talk(script, 1);
    assert_int_equal(script->request_count, 1);
    assert_int_equal(script->frees[0], QUEUE);
    work(script, 4);
    result(script);
    talk(script, 2); /* three inside, one result not acknowledged */
    assert_int_equal(script->request_count, 2);
    assert_int_equal(script->frees[1], QUEUE - 4);
    result(script);
    result(script);
    result(script);
    acknowledge(script, 1);
    talk(script, 2);
    acknowledge(script, 2);
    talk(script, 2); /* nothing left: all of it again */
    assert_int_equal(script->frees[script->request_count - 1], QUEUE);
    assert_true(reward_desk_empty(&script->desk));
}

static void test_reward_desk_results_are_said_again_on_a_new_connection(void **state)
{
    struct script *script = *state;
    work(script, 2);
    result(script);
    talk(script, 1);
    result(script); /* the frame that was sent stays as it was */
    talk(script, 1);
    assert_int_equal(script->frame_count, 2);
    talk(script, 2);
    assert_int_equal(script->frame_count, 4);
    assert_int_equal(script->frames[2], 1);
    assert_int_equal(script->frames[3], 2);
    assert_int_equal(script->scores[2], 1);
}

/* The frame before the acknowledged one may have come damaged. */
static void test_reward_desk_an_acknowledgement_is_of_one_frame(void **state)
{
    struct script *script = *state;
    work(script, 2);
    result(script);
    talk(script, 1);
    result(script);
    talk(script, 1);
    acknowledge(script, 2);
    assert_int_equal(script->desk.frame_count, 1);
    talk(script, 2);
    assert_int_equal(script->frames[script->frame_count - 1], 1);
    acknowledge(script, 9); /* of nothing */
    acknowledge(script, 1);
    assert_true(reward_desk_empty(&script->desk));
}

static void test_reward_desk_an_item_that_fails_at_once_is_an_error(void **state)
{
    struct script *script = *state;
    script->refuses = true;
    work(script, 1);
    assert_int_equal(script->desk.working, 0);
    assert_int_equal(script->desk.frame_count, 1);
    assert_int_equal(script->desk.frames[0]->scores[0].status, SCORE_ERROR);
    script->desk.leaving = true;
    script->refuses = false;
    work(script, 3); /* the store gives them to others */
    assert_int_equal(script->taken, 0);
}

static void test_reward_desk_a_full_connection_loses_nothing(void **state)
{
    struct script *script = *state;
    work(script, 1);
    result(script);
    script->answer = STATUS_AGAIN;
    talk(script, 1);
    assert_int_equal(script->frame_count, 0);
    script->answer = STATUS_OK;
    talk(script, 1);
    assert_int_equal(script->frame_count, 1);
    assert_int_equal(script->request_count, 1);
    struct message refused = {.type = MESSAGE_refused, .refused = {"another run"}};
    assert_int_equal(reward_desk_hear(&script->desk, &refused, take, script), STATUS_INVALID);
    assert_non_null(strstr(status_last_error(), "another run"));
}

int main(void)
{
    // clang-format off
#define CASE(name) cmocka_unit_test_setup_teardown(test_reward_desk_##name, setup, teardown)
    // clang-format on
    const struct CMUnitTest tests[] = {
        CASE(capacity_is_said_once_a_connection), CASE(results_are_said_again_on_a_new_connection),
        CASE(an_acknowledgement_is_of_one_frame), CASE(an_item_that_fails_at_once_is_an_error),
        CASE(a_full_connection_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
