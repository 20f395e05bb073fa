#include "learner/rollout_lines.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NUMBER_BYTES = 32 };
static const uint64_t DECIMAL_UNIT = 1000000;
static const double PLAIN_BELOW = 1e9; /* above it a number is written with %.9g */

/* Digits of n; returns the place behind them. */
static char *put_digits(char *at, uint64_t n)
{
    char digits[24];
    int count = 0;
    do
        digits[count++] = (char)('0' + n % 10);
    while ((n /= 10) > 0);
    while (count > 0)
        *at++ = digits[--count];
    return at;
}

/* Rounded to six decimals, without zeros at the end: snprintf would take most of the time of a file. */
static char *put_real(char *at, double value)
{
    if (!isfinite(value)) {
        memcpy(at, "null", 4);
        return at + 4;
    }
    if (!(fabs(value) < PLAIN_BELOW))
        return at + snprintf(at, NUMBER_BYTES, "%.9g", value);
    uint64_t units = (uint64_t)llrint(fabs(value) * (double)DECIMAL_UNIT);
    if (value < 0 && units > 0)
        *at++ = '-';
    at = put_digits(at, units / DECIMAL_UNIT);
    uint64_t rest = units % DECIMAL_UNIT;
    if (rest == 0)
        return at;
    *at++ = '.';
    for (uint64_t unit = DECIMAL_UNIT / 10; rest > 0; unit /= 10) {
        *at++ = (char)('0' + rest / unit);
        rest %= unit;
    }
    return at;
}

static enum status begin_array(struct buffer *text, const char *name, uint32_t count)
{
    TRY(buffer_printf(text, ",\"%s\":[", name));
    return buffer_reserve(text, (size_t)count * NUMBER_BYTES + NUMBER_BYTES);
}

/* The comma behind the last member becomes the bracket. */
static void end_array(struct buffer *text, char *at, uint32_t count)
{
    if (count > 0)
        at--;
    *at++ = ']';
    text->size = (size_t)((uint8_t *)at - text->bytes);
}

static enum status put_ids(struct buffer *text, const char *name, const uint32_t *ids,
                           uint32_t count)
{
    TRY(begin_array(text, name, count));
    char *at = (char *)text->bytes + text->size;
    for (uint32_t i = 0; i < count; i++) {
        at = put_digits(at, ids[i]);
        *at++ = ',';
    }
    end_array(text, at, count);
    return STATUS_OK;
}

static enum status put_reals(struct buffer *text, const char *name, const float *values,
                             uint32_t count)
{
    if (values == NULL)
        return STATUS_OK;
    TRY(begin_array(text, name, count));
    char *at = (char *)text->bytes + text->size;
    for (uint32_t i = 0; i < count; i++) {
        at = put_real(at, (double)values[i]);
        *at++ = ',';
    }
    end_array(text, at, count);
    return STATUS_OK;
}

static enum status put_flags(struct buffer *text, const char *name, const uint8_t *flags,
                             uint32_t count)
{
    if (flags == NULL)
        return STATUS_OK;
    TRY(begin_array(text, name, count));
    char *at = (char *)text->bytes + text->size;
    for (uint32_t i = 0; i < count; i++) {
        *at++ = flags[i] != 0 ? '1' : '0';
        *at++ = ',';
    }
    end_array(text, at, count);
    return STATUS_OK;
}

/* Which tokens are trained; left out when all are. */
static enum status put_mask(struct buffer *text, const float *mask, uint32_t count)
{
    uint32_t first = 0;
    while (first < count && mask[first] != 0)
        first++;
    if (first == count)
        return STATUS_OK;
    TRY(begin_array(text, "mask", count));
    char *at = (char *)text->bytes + text->size;
    for (uint32_t i = 0; i < count; i++) {
        *at++ = mask[i] != 0 ? '1' : '0';
        *at++ = ',';
    }
    end_array(text, at, count);
    return STATUS_OK;
}

static enum status put_pieces(struct buffer *text, const struct group_sample *sample)
{
    uint32_t from = 0;
    TRY(buffer_text(text, ",\"pieces\":["));
    for (uint32_t p = 0; p < sample->piece_count; from += sample->pieces[p++].count)
        TRY(buffer_printf(text, "%s{\"from\":%u,\"version\":%" PRIu64 "}", p > 0 ? "," : "", from,
                          sample->pieces[p].version));
    return buffer_text(text, "]");
}

static enum status put_number(struct buffer *text, const char *name, double value)
{
    char number[NUMBER_BYTES];
    *put_real(number, value) = 0;
    return buffer_printf(text, ",\"%s\":%s", name, number);
}

static enum status put_head(struct buffer *text, const struct rollout_line *line)
{
    static const char *const finish[SEGMENT_STATUS_COUNT] = {"more", "eos",  "length", "repetition",
                                                             "stop", "turn", "abort"};
    const struct group_sample *sample = &line->sample;
    TRY(buffer_printf(text,
                      "{\"step\":%" PRIu64 ",\"group\":%" PRIu64
                      ",\"sample\":%u,\"prompt_id\":%" PRIu64 ",\"attempt\":%u,\"source\":",
                      line->step, line->group, sample->sample, line->prompt_id, sample->attempt));
    TRY(buffer_json_text(text, line->source != NULL ? line->source : ""));
    TRY(buffer_printf(text, ",\"finish\":\"%s\",\"tokens\":%u", finish[sample->finish],
                      sample->count));
    TRY(put_number(text, "reward", sample->reward));
    TRY(put_number(text, "shaped", line->shaped));
    TRY(put_number(text, "advantage", line->advantage));
    return buffer_printf(text, ",\"masked\":%s", line->masked ? "true" : "false");
}

enum status rollout_line_put(struct buffer *text, const struct rollout_line *line)
{
    const struct group_sample *sample = &line->sample;
    TRY(put_head(text, line));
    TRY(put_pieces(text, sample));
    TRY(put_ids(text, "prompt", line->prompt_ids, line->prompt_count));
    TRY(put_ids(text, "ids", sample->ids, sample->count));
    TRY(put_reals(text, "logprobs", sample->logprobs, sample->count));
    TRY(put_mask(text, sample->mask, sample->count));
    TRY(put_reals(text, "trained", line->logprob, sample->count));
    TRY(put_reals(text, "weights", line->weight, sample->count));
    TRY(put_flags(text, "clipped", line->clipped, sample->count));
    TRY(put_reals(text, "entropy", line->entropy, sample->count));
    return buffer_text(text, "}\n");
}
