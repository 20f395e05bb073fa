/* rollout_store/server_view.h - what the server shows people: recent rollouts with their text, events, Redis. */
#ifndef ROLLOUT_STORE_SERVER_VIEW_H
#define ROLLOUT_STORE_SERVER_VIEW_H

#include "core/settings.h"
#include "rollout_store/book.h"
#include "rollout_store/server_bias.h"
#include "text/tokenizer.h"
#include "transport/redis_view.h"

enum { VIEW_ROLLOUTS = 256, VIEW_EVENTS = 256, VIEW_TEXT_BYTES = 16384, VIEW_SOURCES = 256 };

struct view_ring {
    struct buffer *lines; /* [capacity] JSON objects */
    size_t capacity, first, count;
};

struct server_view {
    const struct settings *settings;   /* borrowed */
    const struct prompts *prompts;     /* borrowed */
    const struct tokenizer *tokenizer; /* borrowed */
    struct redis_view *redis;          /* NULL: off */
    struct view_ring rollouts, events;
    struct server_bias bias;
    struct buffer text, utf8;
    int64_t published_ns;
};

MUST_CHECK enum status server_view_open(struct server_view *view, const struct settings *settings,
                                        const struct prompts *prompts,
                                        const struct tokenizer *tokenizer, const char *run,
                                        const char *run_folder);
void server_view_close(struct server_view *view);
/* Takes the book's new rollouts and, every redis.publish_ms, its counters. */
MUST_CHECK enum status server_view_round(struct server_view *view, struct book *book,
                                         int64_t now_ns);
MUST_CHECK enum status server_view_event(struct server_view *view, const char *kind,
                                         const char *text);
/* A step_report: an event of kind step when it is of a step, and one of kind alarm when it has the key "alarm". */
MUST_CHECK enum status server_view_step(struct server_view *view, const char *metrics_json);
/* Answers `tail` and `events` ({"n": how many}); false: another command. *json is an object. */
MUST_CHECK enum status server_view_control(const struct server_view *view,
                                           const struct control *control, struct buffer *json,
                                           bool *answered);

#endif
