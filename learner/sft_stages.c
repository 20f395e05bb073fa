#include "learner/sft_stages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct reader {
    const char *text, *at;
};

static void skip_blanks(struct reader *reader)
{
    reader->at += strspn(reader->at, " \t\r\n");
}

static enum status refuse(const struct reader *reader, const char *wanted)
{
    size_t length = strcspn(reader->at, " \t\r\n;:@");
    length = length > 0 || *reader->at == '\0' ? length : 1;
    return FAIL(STATUS_INVALID,
                "sft.context_stages, column %zu: \"%.*s\" is not %s; write "
                "\"4096@rope=10000: 100; 16384@rope=1e6: 50\"",
                (size_t)(reader->at - reader->text) + 1, length < 40 ? (int)length : 40, reader->at,
                wanted);
}

static enum status read_number(struct reader *reader, double least, double most, bool whole,
                               const char *wanted, double *number)
{
    char *end = NULL;
    skip_blanks(reader);
    if (*reader->at < '0' || *reader->at > '9')
        return refuse(reader, wanted);
    *number = strtod(reader->at, &end);
    if (strchr(" \t\r\n;:@", *end) == NULL || !(*number >= least && *number <= most) ||
        (whole && *number != floor(*number)))
        return refuse(reader, wanted);
    reader->at = end;
    skip_blanks(reader);
    return STATUS_OK;
}

static enum status read_stage(struct reader *reader, struct sft_stage *stage)
{
    double tokens = 0, updates = 0;
    TRY(read_number(reader, 2, 1 << 24, true, "a number of tokens from 2 to 16777216", &tokens));
    stage->rope_theta = 0;
    if (*reader->at == '@') {
        reader->at++;
        skip_blanks(reader);
        if (strncmp(reader->at, "rope", 4) != 0)
            return refuse(reader, "rope=BASE");
        reader->at += 4;
        skip_blanks(reader);
        if (*reader->at != '=')
            return refuse(reader, "= and a RoPE base");
        reader->at++;
        TRY(read_number(reader, 1, 1e30, false, "a RoPE base from 1 to 1e30", &stage->rope_theta));
    }
    if (*reader->at != ':')
        return refuse(reader, "a colon before the updates");
    reader->at++;
    TRY(read_number(reader, 1, 1e9, true, "a number of updates from 1 to 1e9", &updates));
    stage->tokens = (int64_t)tokens;
    stage->updates = (uint64_t)updates;
    return STATUS_OK;
}

enum status sft_stages_parse(struct sft_stages *stages, const char *text)
{
    struct reader reader = {.text = text != NULL ? text : "", .at = text != NULL ? text : ""};
    uint64_t first = 0;
    stages->count = 0;
    skip_blanks(&reader);
    while (*reader.at != '\0') {
        if (stages->count == SFT_STAGES_MAX)
            return FAIL(STATUS_INVALID, "sft.context_stages has more than %d stages",
                        SFT_STAGES_MAX);
        struct sft_stage *stage = &stages->rows[stages->count];
        TRY(read_stage(&reader, stage));
        stage->first = first;
        first += stage->updates;
        stages->count++;
        if (*reader.at != ';' && *reader.at != '\0')
            return refuse(&reader, "a semicolon or the end");
        reader.at += *reader.at == ';';
        skip_blanks(&reader);
    }
    return STATUS_OK;
}

const struct sft_stage *sft_stages_at(const struct sft_stages *stages, uint64_t update)
{
    uint32_t at = stages->count - 1;
    while (at > 0 && update < stages->rows[at].first)
        at--;
    return &stages->rows[at];
}

uint64_t sft_stages_updates(const struct sft_stages *stages)
{
    const struct sft_stage *last = &stages->rows[stages->count > 0 ? stages->count - 1 : 0];
    return stages->count > 0 ? last->first + last->updates : 0;
}

int64_t sft_stages_longest(const struct sft_stages *stages)
{
    int64_t longest = 0;
    for (uint32_t i = 0; i < stages->count; i++)
        longest = stages->rows[i].tokens > longest ? stages->rows[i].tokens : longest;
    return longest;
}
