/* links: core */
/* queue: order, back-pressure, closing, the eventfd, many threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "core/clock.h"
#include "core/memory.h"
#include "core/queue.h"

static struct queue *make(uint32_t capacity)
{
    struct queue *queue = NULL;
    assert_int_equal(queue_create(&queue, "test", capacity), STATUS_OK);
    return queue;
}

static bool readable(const struct queue *queue)
{
    struct pollfd fd = {.fd = queue_fd(queue), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void test_queue_items_come_out_in_order_around_the_ring(void **state)
{
    (void)state;
    struct queue *queue = make(3);
    int items[100];
    void *item = NULL;
    for (int i = 0; i < 100; i += 2) {
        assert_int_equal(queue_push(queue, &items[i]), STATUS_OK);
        assert_int_equal(queue_push(queue, &items[i + 1]), STATUS_OK);
        assert_int_equal(queue_pop(queue, 0, &item), STATUS_OK);
        assert_ptr_equal(item, &items[i]);
        assert_int_equal(queue_pop(queue, 0, &item), STATUS_OK);
        assert_ptr_equal(item, &items[i + 1]);
    }
    assert_int_equal(queue_depth_max(queue), 2);
    queue_destroy(&queue);
    assert_null(queue);
    queue_destroy(&queue);
}

static void test_queue_full_answers_limit_at_once(void **state)
{
    (void)state;
    struct queue *queue = make(2);
    assert_int_equal(queue_push(queue, queue), STATUS_OK);
    assert_int_equal(queue_push(queue, queue), STATUS_OK);
    assert_int_equal(queue_push(queue, queue), STATUS_LIMIT);
    assert_non_null(strstr(status_last_error(), "\"test\" is full with 2 items"));
    assert_int_equal(queue_depth(queue), 2);
    queue_destroy(&queue);
    assert_int_equal(queue_create(&queue, "none", 0), STATUS_INVALID);
}

static void test_queue_empty_pop_times_out_after_its_time(void **state)
{
    (void)state;
    struct queue *queue = make(2);
    void *item = queue;
    assert_int_equal(queue_pop(queue, 0, &item), STATUS_TIMEOUT);
    int64_t before = clock_now_ns();
    assert_int_equal(queue_pop(queue, 30, &item), STATUS_TIMEOUT);
    assert_true(clock_now_ns() - before >= 30 * CLOCK_NS_PER_MS);
    assert_ptr_equal(item, queue); /* untouched */
    queue_destroy(&queue);
}

static void test_queue_closed_drains_then_answers_cancelled(void **state)
{
    (void)state;
    struct queue *queue = make(2);
    void *item = NULL;
    assert_int_equal(queue_push(queue, queue), STATUS_OK);
    queue_close(queue);
    assert_int_equal(queue_push(queue, queue), STATUS_CANCELLED);
    assert_int_equal(queue_pop(queue, 1000, &item), STATUS_OK);
    assert_int_equal(queue_pop(queue, 1000, &item), STATUS_CANCELLED);
    assert_true(readable(queue)); /* so that a poll loop learns of the end */
    queue_destroy(&queue);
}

static void test_queue_fd_is_readable_while_an_item_is_there(void **state)
{
    (void)state;
    struct queue *queue = make(4);
    void *item;
    for (int round = 0; round < 3; round++) {
        assert_false(readable(queue));
        assert_int_equal(queue_push(queue, queue), STATUS_OK);
        assert_int_equal(queue_push(queue, queue), STATUS_OK);
        assert_true(readable(queue));
        assert_int_equal(queue_pop(queue, 0, &item), STATUS_OK);
        assert_true(readable(queue));
        assert_int_equal(queue_pop(queue, 0, &item), STATUS_OK);
    }
    queue_close(queue);
    assert_true(readable(queue));
    queue_destroy(&queue);
}

enum { THREADS = 4, ITEMS = 20000 };

struct shared {
    struct queue *queue;
    _Atomic uint8_t seen[THREADS * ITEMS];
    uint8_t bodies[THREADS * ITEMS];
    _Atomic uint32_t next_pusher;
};

static void *push_all(void *argument)
{
    struct shared *shared = argument;
    uint32_t pusher = atomic_fetch_add(&shared->next_pusher, 1);
    for (uint32_t i = 0; i < ITEMS;) {
        enum status status = queue_push(shared->queue, &shared->bodies[pusher * ITEMS + i]);
        if (status == STATUS_OK)
            i++;
        else if (status != STATUS_LIMIT)
            return NULL;
        else
            clock_sleep_ms(1);
    }
    return argument;
}

static void *pop_all(void *argument)
{
    struct shared *shared = argument;
    void *item;
    enum status status;
    while ((status = queue_pop(shared->queue, 5000, &item)) == STATUS_OK)
        atomic_fetch_add(&shared->seen[(uint8_t *)item - shared->bodies], 1);
    return status == STATUS_CANCELLED ? argument : NULL;
}

static void test_queue_many_threads_lose_and_double_nothing(void **state)
{
    (void)state;
    struct shared *shared = memory_alloc(sizeof *shared);
    pthread_t pushers[THREADS], poppers[THREADS];
    void *ended;
    shared->queue = make(256);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&pushers[i], NULL, push_all, shared), 0);
        assert_int_equal(pthread_create(&poppers[i], NULL, pop_all, shared), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(pushers[i], &ended), 0);
        assert_non_null(ended);
    }
    queue_close(shared->queue);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(poppers[i], &ended), 0);
        assert_non_null(ended);
    }
    for (int i = 0; i < THREADS * ITEMS; i++)
        assert_int_equal(shared->seen[i], 1);
    assert_in_range(queue_depth_max(shared->queue), 1, 256);
    queue_destroy(&shared->queue);
    memory_free(shared);
}

static void test_queue_create_every_failing_allocation_is_reported(void **state)
{
    (void)state;
    int64_t blocks = memory_blocks_live();
    for (int n = 1; n <= 3; n++) {
        struct queue *queue = NULL;
        memory_fail_after(n);
        assert_int_equal(queue_create(&queue, "test", 8), STATUS_NO_MEMORY);
        assert_null(queue);
        assert_int_equal(memory_blocks_live(), blocks);
    }
    memory_fail_after(-1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_items_come_out_in_order_around_the_ring),
        cmocka_unit_test(test_queue_full_answers_limit_at_once),
        cmocka_unit_test(test_queue_empty_pop_times_out_after_its_time),
        cmocka_unit_test(test_queue_closed_drains_then_answers_cancelled),
        cmocka_unit_test(test_queue_fd_is_readable_while_an_item_is_there),
        cmocka_unit_test(test_queue_many_threads_lose_and_double_nothing),
        cmocka_unit_test(test_queue_create_every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
