#include "transport/redis_view.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/memory.h"
#include "transport/redis_view_state.h"

enum { QUEUE_DEPTH = 4096, QUEUE_BYTES = 32 << 20, FLUSH_MS = 500 };

static void view_free(struct redis_view *view)
{
    void *item = NULL;
    while (view->queue != NULL && queue_pop(view->queue, 0, &item) == STATUS_OK)
        memory_free(item);
    queue_destroy(&view->queue);
    redis_rings_free(&view->rings);
    redis_refill_free(&view->refill);
    memory_free(view->run);
    memory_free((char *)(uintptr_t)view->settings.address);
    memory_free((char *)(uintptr_t)view->settings.user);
    memory_free((char *)(uintptr_t)view->settings.password);
    memory_free((char *)(uintptr_t)view->settings.sentinels);
    memory_free((char *)(uintptr_t)view->settings.master);
    memory_free(view);
}

static const char *copy(const char *text, bool *failed)
{
    char *made = memory_text(text != NULL ? text : "");
    *failed = *failed || made == NULL;
    return made;
}

static enum status copy_settings(struct redis_view *view, const char *run,
                                 const struct redis_settings *settings)
{
    bool failed = false;
    view->run = memory_text(run);
    view->settings = *settings;
    view->settings.address = copy(settings->address, &failed);
    view->settings.user = copy(settings->user, &failed);
    view->settings.password = copy(settings->password, &failed);
    view->settings.sentinels = copy(settings->sentinels, &failed);
    view->settings.master = copy(settings->master, &failed);
    return view->run == NULL || failed ? FAIL(STATUS_NO_MEMORY, "view of run %s", run) : STATUS_OK;
}

static void name_view(struct redis_view *view)
{
    static atomic_uint number;
    char host[64];
    if (gethostname(host, sizeof host - 1) != 0)
        snprintf(host, sizeof host, "localhost");
    host[sizeof host - 1] = '\0';
    snprintf(view->name, sizeof view->name, "%s.%ld.%u.%lld", host, (long)getpid(),
             atomic_fetch_add(&number, 1), (long long)clock_wall_ns());
}

/* Signals are for the threads that wait for them: one that our thread took would be lost, or deadly. */
static bool start_thread(struct redis_view *view)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&view->thread, NULL, redis_view_thread, view) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

enum status redis_view_open(struct redis_view **view, const char *run,
                            const struct redis_settings *settings)
{
    TRY(redis_settings_parse(settings));
    struct redis_view *made = memory_alloc(sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "view of run %s", run);
    name_view(made);
    enum status status = copy_settings(made, run, settings);
    if (status == STATUS_OK)
        status = queue_create(&made->queue, "redis view", QUEUE_DEPTH);
    if (status == STATUS_OK && !start_thread(made))
        status = FAIL(STATUS_NO_MEMORY, "thread of the view of run %s", run);
    if (status != STATUS_OK) {
        view_free(made);
        return status;
    }
    *view = made;
    return STATUS_OK;
}

enum status redis_view_open_set(struct redis_view **view, const char *run,
                                const struct redis_settings *settings)
{
    *view = NULL;
    if (settings->mode == REDIS_OFF ||
        (settings->address[0] == '\0' && settings->sentinels[0] == '\0'))
        return STATUS_OK;
    return redis_view_open(view, run, settings);
}

void redis_view_close(struct redis_view **view)
{
    if (*view == NULL)
        return;
    char kept[STATUS_TEXT_MAX]; /* emptying the queue ends in CANCELLED, which is no news */
    status_keep(kept);
    atomic_store(&(*view)->flush_until_ns, clock_now_ns() + FLUSH_MS * CLOCK_NS_PER_MS);
    atomic_store(&(*view)->closing, true);
    queue_close((*view)->queue);
    pthread_join((*view)->thread, NULL);
    view_free(*view);
    *view = NULL;
    status_restore(kept);
}

static void push(struct redis_view *view, const char *key, const char *json,
                 struct redis_command head)
{
    struct redis_command *command = NULL;
    if (atomic_load(&view->queued_bytes) < QUEUE_BYTES)
        command = redis_command_make(head, key, json);
    uint32_t size = command != NULL ? command->size : 0;
    atomic_fetch_add(&view->queued_bytes, size); /* before the thread can subtract it */
    if (command != NULL && queue_push(view->queue, command) == STATUS_OK)
        return;
    atomic_fetch_sub(&view->queued_bytes, size);
    atomic_fetch_add(&view->dropped, 1);
    memory_free(command);
}

void redis_view_hash(struct redis_view *view, const char *key, const char *json_object,
                     int expire_s)
{
    if (view != NULL)
        push(view, key, json_object,
             (struct redis_command){.kind = REDIS_HASH, .expire_s = expire_s});
}

void redis_view_stream(struct redis_view *view, const char *key, const char *json_object,
                       uint32_t maxlen)
{
    if (view != NULL)
        push(view, key, json_object,
             (struct redis_command){.kind = REDIS_STREAM, .maxlen = maxlen});
}

void redis_view_refill(struct redis_view *view, const char *key, const char *path, uint32_t maxlen)
{
    if (view != NULL)
        push(view, key, path, (struct redis_command){.kind = REDIS_REFILL, .maxlen = maxlen});
}

void redis_view_trims_shared(struct redis_view *view)
{
    if (view != NULL)
        atomic_store(&view->trims_shared, true);
}

uint64_t redis_view_dropped(const struct redis_view *view)
{
    return view == NULL ? 0 : atomic_load(&view->dropped);
}

enum status redis_probe(const struct redis_settings *settings)
{
    redisContext *context = NULL;
    TRY(redis_connection_open(&context, settings, NULL));
    redis_connection_close(&context);
    return STATUS_OK;
}
