/* reward/judge/transfer.h - one attempt to ask: an HTTP request on a libcurl handle, and what its end means.
 * Used by the thread of the client (reward/judge/client.c) only. */
#ifndef REWARD_JUDGE_TRANSFER_H
#define REWARD_JUDGE_TRANSFER_H

#include <curl/curl.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"
#include "reward/judge/reply.h"
#include "reward/judge/settings.h"

struct transfer {
    CURL *easy; /* kept between attempts, with its connection */
    struct buffer body;
    bool too_large;
    char error[CURL_ERROR_SIZE];
    void *request; /* whose attempt it is; NULL: idle */
};

/* What the end of an attempt means. */
struct attempt_end {
    enum status status; /* OK: reply is set */
    struct reply reply;
    bool retry;             /* another attempt may help */
    bool sick;              /* counts towards "down" */
    int64_t retry_after_ms; /* what the server asks for, 0: nothing */
    char why[400];
};

MUST_CHECK enum status transfer_create(struct transfer *transfer,
                                       const struct judge_settings *settings);
void transfer_destroy(struct transfer *transfer);
/* Sets everything for one attempt. body and headers are borrowed until its end. */
MUST_CHECK enum status transfer_prepare(struct transfer *transfer,
                                        const struct judge_settings *settings,
                                        struct curl_slist *headers, const char *body, size_t size,
                                        int64_t timeout_ms);
void transfer_end(struct transfer *transfer, const struct judge_settings *settings, CURLcode code,
                  struct attempt_end *end);

#endif
