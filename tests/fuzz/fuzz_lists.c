/* links: data_tools core */
/* Any bytes as one of the small languages of settings and commands; the first byte chooses: 's' schedule.changes, 'm' a
 * mix, 'l' stages.lengths, 'e' a condition of `weir filter`, 'n' a problem's normal text. Refused with a sentence, or
 * values that keep what their headers promise, and the same twice. */
#include <string.h>

#include "core/check.h"
#include "core/mix.h"
#include "core/schedule.h"
#include "core/stage_lengths.h"
#include "ops/data/expression.h"
#include "ops/data/normal.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TEXT_MAX = 4096, CAP = 81920, MOST = 1000 };

static bool refused(enum status status)
{
    CHECK(status == STATUS_OK || status_last_error()[0] != '\0');
    return status != STATUS_OK;
}

static void read_schedule(const char *text)
{
    static struct schedule schedule;
    if (refused(schedule_parse(&schedule, text)))
        return;
    CHECK(schedule.change_count <= SCHEDULE_CHANGES_MAX && schedule.set_count <= SCHEDULE_SETS_MAX);
    uint64_t from[2] = {0, 0};
    for (uint32_t i = 0; i < schedule.change_count; i++) {
        const struct schedule_change *change = &schedule.changes[i];
        CHECK(change->first <= change->last && change->last <= schedule.set_count);
        CHECK(change->from >= from[change->unit]);
        from[change->unit] = change->from;
    }
    static struct schedule_settings_now now, again;
    schedule_apply(&schedule, UINT64_MAX, UINT64_MAX, &now);
    schedule_apply(&schedule, UINT64_MAX, UINT64_MAX, &again);
    CHECK(memcmp(&now, &again, sizeof now) == 0);
}

static void read_mix(const char *text)
{
    static struct mix mix;
    if (refused(mix_parse(&mix, "curriculum.mix", text, MOST, true)))
        return;
    CHECK(mix.count <= MIX_ENTRIES_MAX);
    for (uint32_t i = 0; i < mix.count; i++) {
        CHECK(mix.entries[i].knot_count >= 1 && mix.entries[i].knot_count <= MIX_KNOTS_MAX);
        for (uint64_t version = 0; version < 2000; version += 97) {
            double value = mix_value(&mix.entries[i], version);
            CHECK(value >= 0 && value <= MOST);
        }
    }
    (void)mix_match(&mix, "logic/zebra");
}

static void read_lengths(const char *text)
{
    struct stage_lengths lengths;
    if (refused(stage_lengths_parse(text, CAP, &lengths)))
        return;
    CHECK(lengths.count >= 1 && lengths.count <= STAGE_LENGTHS_MAX);
    for (uint32_t i = 1; i < lengths.count; i++)
        CHECK(lengths.tokens[i] > lengths.tokens[i - 1]);
    CHECK(lengths.tokens[lengths.count - 1] == CAP);
}

/* Names that begin with n are numbers, with t texts, with u unknown; no others. */
static bool look_up(void *self, const char *name, struct expression_value *value)
{
    (void)self;
    *value = (struct expression_value){name[0] != 'u', name[0] == 't' ? "synlogic/a" : NULL, 0.5};
    return name[0] == 'n' || name[0] == 't' || name[0] == 'u';
}

static void read_expression(const char *text)
{
    struct expression *expression = NULL;
    enum expression_truth truth, again;
    const char *unknown;
    if (refused(expression_parse(&expression, text)))
        return;
    for (unsigned i = 0; expression_name(expression, i) != NULL; i++)
        CHECK(strlen(expression_name(expression, i)) < EXPRESSION_NAME_MAX);
    if (!refused(expression_evaluate(expression, look_up, NULL, &truth, &unknown))) {
        CHECK((truth == EXPRESSION_UNKNOWN) <= (unknown != NULL));
        CHECK(expression_evaluate(expression, look_up, NULL, &again, &unknown) == STATUS_OK);
        CHECK(truth == again);
    }
    expression_free(&expression);
}

static void read_normal(const char *text, size_t size)
{
    struct normal normal, again;
    normal_init(&normal);
    normal_init(&again);
    if (!refused(normal_read(&normal, text, size))) {
        for (uint32_t i = 0; i < normal.count; i++)
            CHECK((size_t)normal.tokens[i].at + normal.tokens[i].size <= normal.text.size);
        CHECK(normal_read(&again, text, size) == STATUS_OK);
        CHECK(normal_hash(&normal) == normal_hash(&again));
    }
    normal_free(&normal);
    normal_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static char text[TEXT_MAX];
    if (size == 0)
        return 0;
    char kind = (char)bytes[0];
    size = size - 1 < TEXT_MAX - 1 ? size - 1 : TEXT_MAX - 1;
    memcpy(text, bytes + 1, size);
    text[size] = '\0';
    switch (kind) {
    case 's':
        read_schedule(text);
        break;
    case 'm':
        read_mix(text);
        break;
    case 'l':
        read_lengths(text);
        break;
    case 'e':
        read_expression(text);
        break;
    case 'n':
        read_normal(text, size);
        break;
    default:
        break;
    }
    return 0;
}
