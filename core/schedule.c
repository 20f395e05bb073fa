#include "core/schedule.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "core/config_internal.h"
#include "core/loss_rules.h"
#include "core/stage_lengths.h"

/* ---- reading ---- */

enum { NAME_MAX = 80, DIGITS_MAX = 12 };
static const char blanks[] = " \t\r\n";

struct reading {
    const char *text, *at;
    struct schedule *schedule;
};

static void skip_blanks(struct reading *reading)
{
    reading->at += strspn(reading->at, blanks);
}

static int column(const struct reading *reading)
{
    return (int)(reading->at - reading->text) + 1;
}

/* Of the word at hand, for an error text. */
static int word_size(const struct reading *reading)
{
    size_t size = strcspn(reading->at, " \t\r\n;");
    return size < 60 ? (int)size : 60;
}

static enum status unexpected(const struct reading *reading, const char *wanted)
{
    bool end = *reading->at == '\0';
    return FAIL(STATUS_INVALID,
                "schedule.changes, column %d: \"%.*s\" where %s is due; write \"step 200: "
                "loss.weight_max=2 optim.grad_clip=0.5; stage 3: loss.kind=dapo\"",
                column(reading),
                end                   ? (int)sizeof "the end" - 1
                : *reading->at == ';' ? 1
                                      : word_size(reading),
                end ? "the end" : reading->at, wanted);
}

static enum status read_unit(struct reading *reading, enum schedule_unit *unit)
{
    static const char *const names[] = {"step", "stage"};
    for (int i = 0; i < 2; i++) {
        size_t size = strlen(names[i]);
        if (strncmp(reading->at, names[i], size) == 0 && reading->at[size] != '\0' &&
            strchr(blanks, reading->at[size]) != NULL) {
            reading->at += size;
            *unit = (enum schedule_unit)i;
            return STATUS_OK;
        }
    }
    return unexpected(reading, "step or stage");
}

static enum status read_number(struct reading *reading, uint64_t *number)
{
    size_t digits = strspn(reading->at, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX)
        return unexpected(reading, "a whole number of at most 12 digits");
    *number = 0;
    for (size_t i = 0; i < digits; i++)
        *number = *number * 10 + (uint64_t)(reading->at[i] - '0');
    reading->at += digits;
    skip_blanks(reading);
    if (*reading->at != ':')
        return unexpected(reading, "a colon");
    reading->at++;
    return STATUS_OK;
}

/* Steps rise, and so do stages: a change that could never be told from another is a slip. */
static enum status check_order(const struct reading *reading, const struct schedule_change *change)
{
    const struct schedule *schedule = reading->schedule;
    const char *name = change->unit == SCHEDULE_STEP ? "step" : "stage";
    for (uint32_t i = 0; i < schedule->change_count; i++)
        if (schedule->changes[i].unit == change->unit && schedule->changes[i].from >= change->from)
            return FAIL(STATUS_INVALID,
                        "schedule.changes, column %d: %s %" PRIu64 " follows %s %" PRIu64
                        ": write each %s once, in rising order",
                        column(reading), name, change->from, name, schedule->changes[i].from, name);
    return STATUS_OK;
}

static const struct config_section *section_named(const char *name, size_t size)
{
    for (size_t i = 0; i < settings_section_count; i++)
        if (strlen(settings_sections[i].name) == size &&
            strncmp(settings_sections[i].name, name, size) == 0)
            return &settings_sections[i];
    return NULL;
}

static enum status unknown_name(const struct reading *reading, const char *name)
{
    enum { KNOWN_MAX = 128 };
    char names[KNOWN_MAX][NAME_MAX];
    const char *known[KNOWN_MAX];
    size_t count = 0;
    for (size_t s = 0; s < settings_section_count; s++) {
        const struct config_section *section = &settings_sections[s];
        if (strcmp(section->name, "loss") != 0 && strcmp(section->name, "optim") != 0)
            continue;
        for (size_t f = 0; f < section->count && count < KNOWN_MAX; f++, count++) {
            snprintf(names[count], sizeof names[count], "%s.%s", section->name,
                     section->fields[f].name);
            known[count] = names[count];
        }
    }
    const char *nearest = config_nearest(name, known, count);
    return FAIL(
        STATUS_INVALID,
        "schedule.changes, column %d: \"%s\" is no setting of loss or optim, which alone can "
        "change during a run%s%s%s",
        column(reading), name, nearest != NULL ? "; nearest is \"" : "",
        nearest != NULL ? nearest : "", nearest != NULL ? "\"" : "");
}

/* section.name before the '='. */
static enum status read_name(struct reading *reading, struct schedule_set *set)
{
    char name[NAME_MAX];
    size_t size = strcspn(reading->at, "= \t\r\n;:"), dot = strcspn(reading->at, ".=");
    if (reading->at[size] != '=' || size == 0 || size >= sizeof name)
        return unexpected(reading, "section.name=value");
    snprintf(name, sizeof name, "%.*s", (int)size, reading->at);
    const struct config_section *section = dot < size ? section_named(name, dot) : NULL;
    bool loss = section != NULL && strcmp(section->name, "loss") == 0;
    set->optim = section != NULL && strcmp(section->name, "optim") == 0;
    if (loss || set->optim)
        set->field = config_field_find(section, name + dot + 1);
    if (set->field == NULL)
        return unknown_name(reading, name);
    if (set->field->type == CONFIG_TEXT)
        return FAIL(STATUS_INVALID, "schedule.changes, column %d: %s is a text and cannot change",
                    column(reading), name);
    return STATUS_OK;
}

static enum status read_value(struct reading *reading, const char *name, int name_size,
                              struct schedule_set *set)
{
    struct config_value value = {0};
    char why[CONFIG_WHY_BYTES];
    size_t size = strcspn(reading->at, " \t\r\n;");
    if (size >= sizeof set->text)
        return unexpected(reading, "a value of less than 64 characters");
    memcpy(set->text, reading->at, size);
    set->text[size] = '\0';
    if (!config_is_utf8(set->text))
        return FAIL(STATUS_INVALID, "schedule.changes, column %d: not UTF-8", column(reading));
    if (!config_parse(set->field, set->text, &value, why))
        return FAIL(STATUS_INVALID, "schedule.changes, column %d: %.*s %s", column(reading),
                    name_size, name, why);
    switch (set->field->type) {
    case CONFIG_F64:
        set->f64 = value.f64;
        break;
    case CONFIG_U64:
        set->u64 = value.u64;
        break;
    case CONFIG_FLAG:
        set->flag = value.flag;
        break;
    default:
        set->u32 = value.u32;
    }
    reading->at += size;
    return STATUS_OK;
}

static enum status read_set(struct reading *reading, uint32_t first)
{
    struct schedule *schedule = reading->schedule;
    struct schedule_set set = {0};
    const char *name = reading->at;
    TRY(read_name(reading, &set));
    for (uint32_t i = first; i < schedule->set_count; i++)
        if (schedule->sets[i].field == set.field)
            return FAIL(STATUS_INVALID, "schedule.changes, column %d: %s.%s twice in one change",
                        column(reading), set.optim ? "optim" : "loss", set.field->name);
    int size = (int)strcspn(name, "=");
    reading->at += size + 1;
    TRY(read_value(reading, name, size, &set));
    if (schedule->set_count == SCHEDULE_SETS_MAX)
        return FAIL(STATUS_LIMIT, "schedule.changes, column %d: more than %d settings",
                    column(reading), SCHEDULE_SETS_MAX);
    schedule->sets[schedule->set_count++] = set;
    return STATUS_OK;
}

static enum status read_change(struct reading *reading)
{
    struct schedule *schedule = reading->schedule;
    struct schedule_change change = {.first = schedule->set_count};
    struct reading begin = *reading;
    TRY(read_unit(reading, &change.unit));
    skip_blanks(reading);
    TRY(read_number(reading, &change.from));
    TRY(check_order(&begin, &change));
    if (schedule->change_count == SCHEDULE_CHANGES_MAX)
        return FAIL(STATUS_LIMIT, "schedule.changes, column %d: more than %d changes",
                    column(&begin), SCHEDULE_CHANGES_MAX);
    for (skip_blanks(reading); *reading->at != '\0' && *reading->at != ';'; skip_blanks(reading))
        TRY(read_set(reading, change.first));
    if (schedule->set_count == change.first)
        return unexpected(reading, "section.name=value");
    change.last = schedule->set_count;
    schedule->changes[schedule->change_count++] = change;
    return STATUS_OK;
}

enum status schedule_parse(struct schedule *schedule, const char *text)
{
    *schedule = (struct schedule){0};
    text = text != NULL ? text : ""; /* settings made by hand */
    struct reading reading = {.text = text, .at = text, .schedule = schedule};
    for (skip_blanks(&reading); *reading.at != '\0'; skip_blanks(&reading)) {
        TRY(read_change(&reading));
        if (*reading.at == ';')
            reading.at++;
    }
    return STATUS_OK;
}

/* ---- applying ---- */

static void apply_set(const struct schedule_set *set, struct schedule_settings_now *now)
{
    char *section = set->optim ? (char *)&now->optim : (char *)&now->loss;
    char *at = section + set->field->offset;
    switch (set->field->type) {
    case CONFIG_F64:
        memcpy(at, &set->f64, sizeof set->f64);
        break;
    case CONFIG_U64:
        memcpy(at, &set->u64, sizeof set->u64);
        break;
    case CONFIG_FLAG:
        memcpy(at, &set->flag, sizeof set->flag);
        break;
    default:
        memcpy(at, &set->u32, sizeof set->u32);
    }
}

void schedule_apply(const struct schedule *schedule, uint64_t version, uint64_t stage,
                    struct schedule_settings_now *now)
{
    for (uint32_t c = 0; c < schedule->change_count; c++) {
        const struct schedule_change *change = &schedule->changes[c];
        if ((change->unit == SCHEDULE_STEP ? version : stage) < change->from)
            continue;
        for (uint32_t i = change->first; i < change->last; i++)
            apply_set(&schedule->sets[i], now);
    }
}

struct schedule_settings_now schedule_begin(const struct settings *settings)
{
    return (struct schedule_settings_now){.loss = settings->loss, .optim = settings->optim};
}

/* ---- checking ---- */

/* The sentence of a contradiction that changes bring about, with the place where they do. */
static enum status name_point(enum status status, uint64_t version, uint64_t stage)
{
    char kept[STATUS_TEXT_MAX];
    if (status == STATUS_OK)
        return status;
    status_keep(kept);
    return FAIL(status, "schedule.changes, at step %" PRIu64 " in stage %" PRIu64 ": %.900s",
                version, stage, status_sentence(kept));
}

/* One point of the run; with_changes: it can only be reached by them, so the sentence says when. */
static enum status check_point(const struct settings *settings, const struct schedule *schedule,
                               uint64_t version, uint64_t stage, unsigned *reads)
{
    struct schedule_settings_now now = schedule_begin(settings);
    schedule_apply(schedule, version, stage, &now);
    *reads |= loss_reads(&now.loss);
    enum status status = loss_check(settings, &now.loss);
    return version == 0 && stage == 0 ? status : name_point(status, version, stage);
}

/* Versions, or stages, at which something changes, and 0. */
static uint32_t points(const struct schedule *schedule, enum schedule_unit unit,
                       uint64_t at[SCHEDULE_CHANGES_MAX + 1])
{
    uint32_t count = 1;
    at[0] = 0;
    for (uint32_t i = 0; i < schedule->change_count; i++)
        if (schedule->changes[i].unit == unit && schedule->changes[i].from > 0)
            at[count++] = schedule->changes[i].from;
    return count;
}

/* A change at a stage that the run has not would never apply. */
static enum status check_stages(const struct settings *settings, const struct schedule *schedule)
{
    struct stage_lengths lengths;
    TRY(stage_lengths_parse(settings->stages.lengths, settings->sampling.response_tokens_max,
                            &lengths));
    for (uint32_t i = 0; i < schedule->change_count; i++)
        if (schedule->changes[i].unit == SCHEDULE_STAGE &&
            schedule->changes[i].from >= lengths.count)
            return FAIL(STATUS_INVALID,
                        "schedule.changes: stage %" PRIu64 " never comes: the run has %u stage%s, "
                        "counted from 0 (stages.lengths)",
                        schedule->changes[i].from, lengths.count, lengths.count == 1 ? "" : "s");
    return STATUS_OK;
}

/* Each length stage that the run can be in, with what may hold in it. */
static enum status check_lengths(const struct settings *settings, const struct schedule *schedule,
                                 const uint64_t *steps, uint32_t step_count)
{
    struct stage_lengths lengths;
    TRY(stage_lengths_parse(settings->stages.lengths, settings->sampling.response_tokens_max,
                            &lengths));
    for (uint32_t g = settings->stages.start; g < lengths.count; g++)
        for (uint32_t s = 0; s < step_count; s++) {
            struct schedule_settings_now now = schedule_begin(settings);
            schedule_apply(schedule, steps[s], g, &now);
            enum status status = loss_check_stage(&now.loss, &lengths, g);
            if (now.loss.overlong_buffer == settings->loss.overlong_buffer)
                TRY(status);
            TRY(name_point(status, steps[s], g));
        }
    return STATUS_OK;
}

enum status schedule_check(const struct settings *settings)
{
    struct schedule schedule;
    uint64_t steps[SCHEDULE_CHANGES_MAX + 1], stages[SCHEDULE_CHANGES_MAX + 1];
    unsigned reads = 0;
    TRY(schedule_parse(&schedule, settings->schedule.changes));
    TRY(check_stages(settings, &schedule));
    uint32_t step_count = points(&schedule, SCHEDULE_STEP, steps),
             stage_count = points(&schedule, SCHEDULE_STAGE, stages);
    for (uint32_t g = 0; g < stage_count; g++)
        for (uint32_t s = 0; s < step_count; s++)
            TRY(check_point(settings, &schedule, steps[s], stages[g], &reads));
    TRY(check_lengths(settings, &schedule, steps, step_count));
    for (uint32_t g = 0; g < stage_count; g++)
        for (uint32_t s = 0; s < step_count; s++) {
            struct schedule_settings_now now = schedule_begin(settings);
            schedule_apply(&schedule, steps[s], stages[g], &now);
            TRY(loss_check_unread(&now.loss, reads));
        }
    return STATUS_OK;
}

bool schedule_needs_reference(const struct settings *settings)
{
    struct schedule schedule;
    bool needs = settings->loss.kl_coefficient > 0;
    if (schedule_parse(&schedule, settings->schedule.changes) != STATUS_OK)
        return needs;
    for (uint32_t i = 0; i < schedule.set_count; i++)
        needs = needs || (!schedule.sets[i].optim && schedule.sets[i].f64 > 0 &&
                          strcmp(schedule.sets[i].field->name, "kl_coefficient") == 0);
    return needs;
}
