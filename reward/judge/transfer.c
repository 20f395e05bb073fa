#include "reward/judge/transfer.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { RETRY_AFTER_MAX_S = 86400 };

enum status transfer_create(struct transfer *transfer, const struct judge_settings *settings)
{
    buffer_init(&transfer->body, (size_t)settings->body_bytes_max);
    transfer->easy = curl_easy_init();
    return transfer->easy != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "a libcurl handle");
}

void transfer_destroy(struct transfer *transfer)
{
    if (transfer->easy != NULL)
        curl_easy_cleanup(transfer->easy);
    buffer_free(&transfer->body);
}

static size_t receive(char *bytes, size_t one, size_t count, void *self)
{
    struct transfer *transfer = self;
    if (buffer_append(&transfer->body, bytes, one * count) == STATUS_OK)
        return one * count;
    transfer->too_large = true;
    return 0;
}

/* Programs that this process starts inherit no connection with a key in it. */
static curl_socket_t open_socket(void *self, curlsocktype purpose, struct curl_sockaddr *address)
{
    (void)self;
    (void)purpose;
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

enum status transfer_prepare(struct transfer *transfer, const struct judge_settings *settings,
                             struct curl_slist *headers, const char *body, size_t size,
                             int64_t timeout_ms)
{
    CURL *easy = transfer->easy;
    buffer_clear(&transfer->body);
    transfer->too_large = false;
    transfer->error[0] = '\0';
    curl_easy_reset(easy); /* keeps its connection */
    int bad = 0;
#define SET(option, value) bad |= curl_easy_setopt(easy, option, value) != CURLE_OK
    SET(CURLOPT_URL, settings->url);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L); /* the key stays with the host it is for */
    SET(CURLOPT_HTTPHEADER, headers);
    SET(CURLOPT_POST, 1L);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)size);
    SET(CURLOPT_POSTFIELDS, body);
    SET(CURLOPT_WRITEFUNCTION, receive);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_OPENSOCKETFUNCTION, open_socket);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TIMEOUT_MS, (long)(timeout_ms > 0 ? timeout_ms : 1));
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)settings->connect_timeout_ms);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_USERAGENT, "weir");
    SET(CURLOPT_PRIVATE, transfer);
    if (settings->loopback)
        SET(CURLOPT_PROXY, "");
#undef SET
    return bad ? FAIL(STATUS_UNSUPPORTED, "this libcurl refuses an option") : STATUS_OK;
}

/* No failure's text may show the key, whoever repeats it. */
static void hide_key(char *text, const char *key)
{
    size_t size = strlen(key);
    for (char *at = text; size > 0 && (at = strstr(at, key)) != NULL;)
        memset(at, '*', size);
}

static void end_as(struct attempt_end *end, enum status status, bool retry, bool sick)
{
    end->status = status;
    end->retry = retry;
    end->sick = sick;
}

static void end_by_code(const struct transfer *transfer, long code, struct attempt_end *end)
{
    curl_off_t after = 0;
    char message[256];
    curl_easy_getinfo(transfer->easy, CURLINFO_RETRY_AFTER, &after);
    after = after < 0 ? 0 : after > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : after;
    end->retry_after_ms = after * 1000;
    reply_error((const char *)transfer->body.bytes, transfer->body.size, message, sizeof message);
    snprintf(end->why, sizeof end->why, "the judge answers with HTTP %ld%s%s", code,
             message[0] != '\0' ? ": " : "", message);
    if (code == 429 || code == 408 || code == 425) /* busy, not ill */
        end_as(end, STATUS_NETWORK, true, false);
    else if (code >= 500)
        end_as(end, STATUS_NETWORK, true, true);
    else /* a redirect too: the address is wrong */
        end_as(end, STATUS_INVALID, false, false);
}

static void end_by_curl(const struct transfer *transfer, const struct judge_settings *settings,
                        CURLcode code, struct attempt_end *end)
{
    const char *text = transfer->error[0] != '\0' ? transfer->error : curl_easy_strerror(code);
    if (transfer->too_large) {
        snprintf(end->why, sizeof end->why, "the judge's answer is larger than %.0f bytes",
                 settings->body_bytes_max);
        end_as(end, STATUS_LIMIT, false, true);
        return;
    }
    snprintf(end->why, sizeof end->why, "the judge cannot be asked: %s", text);
    bool ours = code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_URL_MALFORMAT ||
                code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    end_as(end,
           ours                          ? STATUS_INVALID
           : code == CURLE_OUT_OF_MEMORY ? STATUS_NO_MEMORY
                                         : STATUS_NETWORK,
           !ours, true);
}

void transfer_end(struct transfer *transfer, const struct judge_settings *settings, CURLcode code,
                  struct attempt_end *end)
{
    long http = 0;
    *end = (struct attempt_end){0};
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &http);
    if (code != CURLE_OK) {
        end_by_curl(transfer, settings, code, end);
    } else if (http != 200) {
        end_by_code(transfer, http, end);
    } else {
        enum status status =
            reply_read(&end->reply, (const char *)transfer->body.bytes, transfer->body.size);
        end_as(end, status, true, true);
        if (status != STATUS_OK)
            snprintf(end->why, sizeof end->why, "%s", status_sentence(status_last_error()));
    }
    hide_key(end->why, settings->key);
    buffer_free(&transfer->body); /* one large answer is not kept for the life of the process */
}
