/* reward/plugins/addition.c - the quickstart task: the text after the last ';' must be the sum.
 *
 * Score 1 when the answer equals the ground truth digit by digit, else 0. Metrics: steps_right (share of the
 * worked steps "a+b+c=ss" whose sum is right), answered (1 when there is an answer of five digits). */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "reward/weir_reward.h"

static int create(const char *config_json, const weir_reward_host *host, void **instance, char *err,
                  size_t errlen)
{
    (void)host;
    static const char space[] = " \t\r\n";
    const char *at = config_json + strspn(config_json, space);
    int empty = *at == '{';
    at += empty;
    at += strspn(at, space);
    empty = empty && *at == '}';
    at += empty;
    if (!empty || at[strspn(at, space)] != '\0') {
        snprintf(err, errlen, "addition has no settings; write {}");
        return EINVAL;
    }
    *instance = NULL;
    return 0;
}

/* "a+b+c=ss" with single digits a, b and carry c. */
static int step_is_right(const char *s)
{
    for (int i = 0; i < 8; i++) {
        int wants_digit = i != 1 && i != 3 && i != 5;
        if (wants_digit ? !isdigit((unsigned char)s[i]) : s[i] != (i == 5 ? '=' : '+'))
            return 0;
    }
    return (s[0] - '0') + (s[2] - '0') + (s[4] - '0') == 10 * (s[6] - '0') + (s[7] - '0');
}

static double steps_right(const char *text, size_t size)
{
    int steps = 0, right = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, ';', size - at);
        if (end == NULL)
            break;
        steps++;
        right += (size_t)(end - text) - at == 8 && step_is_right(text + at);
        at = (size_t)(end - text) + 1;
    }
    return steps > 0 ? (double)right / steps : 0;
}

static int is_answer(const char *text, size_t size)
{
    size_t digits = 0;
    while (digits < size && isdigit((unsigned char)text[digits]))
        digits++;
    return size == 5 && digits == 5;
}

static int submit(void *instance, const weir_reward_item *items, uint32_t n,
                  weir_reward_done_fn done, void *user)
{
    (void)instance;
    for (uint32_t i = 0; i < n; i++) {
        const weir_reward_item *item = &items[i];
        size_t start = item->response.len;
        while (start > 0 && item->response.ptr[start - 1] != ';')
            start--;
        const char *answer = item->response.ptr + start, *truth = item->ground_truth_json.ptr;
        size_t size = item->response.len - start, truth_size = item->ground_truth_json.len;
        if (truth_size >= 2 && truth[0] == '"') { /* a JSON string */
            truth++;
            truth_size -= 2;
        }
        int right = item->finish_reason == WEIR_REWARD_FIN_EOS && truth_size > 0 &&
                    size == truth_size && memcmp(answer, truth, size) == 0;
        weir_reward_metric metrics[2] = {
            {{"steps_right", 11}, steps_right(item->response.ptr, item->response.len)},
            {{"answered", 8}, is_answer(answer, size)}};
        weir_reward_result result = {.struct_size = sizeof result,
                                     .status =
                                         truth_size > 0 ? WEIR_REWARD_OK : WEIR_REWARD_UNSCORABLE,
                                     .item_id = item->item_id,
                                     .score = right,
                                     .n_metrics = 2,
                                     .metrics = metrics};
        done(user, &result, 1);
    }
    return 0;
}

static void destroy(void *instance)
{
    (void)instance;
}

const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)
{
    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,
                                              .abi_major = WEIR_REWARD_ABI_MAJOR,
                                              .abi_minor = WEIR_REWARD_ABI_MINOR,
                                              .name = "addition",
                                              .version = "1.0",
                                              .caps = WEIR_REWARD_CAP_BATCH |
                                                      WEIR_REWARD_CAP_THREADSAFE,
                                              .create = create,
                                              .submit = submit,
                                              .destroy = destroy};
    (void)host_minor;
    return host_major == WEIR_REWARD_ABI_MAJOR ? &plugin : NULL;
}
