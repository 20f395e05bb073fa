/* rollout_store/book_control.c - what operators ask for: status, why, drain, rescore, stop. */
#include <fnmatch.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout_store/book_state.h"

enum { SOURCES_SAID = 20 };

static enum status reply(struct book *book, struct peer *peer, const struct control *control,
                         bool ok, struct book_out *out)
{
    char *json = arena_text(out->arena, buffer_string(&book->report));
    if (json == NULL)
        return FAIL(STATUS_LIMIT, "no room for a reply of %zu bytes", book->report.size);
    struct message message = {.type = MESSAGE_control_reply,
                              .control_reply = {control->request, ok, json}};
    return book_send(out, peer->id, &message);
}

static enum status write_error(struct book *book, const char *text)
{
    TRY(buffer_text(&book->report, "{\"error\":"));
    TRY(buffer_json_text(&book->report, text));
    return buffer_text(&book->report, "}");
}

/* ---- drain ---- */

/* "actor.3" and the like of the processes that are here; NULL: nobody. */
static struct peer *find_process(const struct book *book, const char *name)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        char own[WIRE_NAME_MAX];
        if (peer == NULL || peer->role == ROLE_CONTROL || peer->leaving)
            continue;
        snprintf(own, sizeof own, "%s.%" PRIu32, role_name(peer->role), peer->index);
        if (strcmp(own, name) == 0)
            return peer;
    }
    return NULL;
}

static enum status say_unknown(struct book *book, const char *name)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = buffer_printf(&text, "there is no %.80s here; there are", name);
    bool some = false;
    for (uint32_t i = 0; i < book->peer_limit && status == STATUS_OK; i++) {
        const struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role == ROLE_CONTROL || peer->leaving)
            continue;
        status = buffer_printf(&text, "%s %s.%" PRIu32, some ? "," : "", role_name(peer->role),
                               peer->index);
        some = true;
    }
    if (status == STATUS_OK)
        status = write_error(book, some ? buffer_string(&text) : "no process is connected");
    buffer_free(&text);
    return status;
}

static enum status drain_one(struct book *book, const char *name, bool *ok)
{
    struct peer *peer = find_process(book, name);
    *ok = peer != NULL && peer->role != ROLE_LEARNER;
    if (peer == NULL)
        return say_unknown(book, name);
    if (!*ok)
        return write_error(book, "the learner cannot be drained alone: the run would wait for it; "
                                 "`weir drain` without a name ends the run");
    peer->draining = true;
    TRY(buffer_text(&book->report, "{\"draining\":"));
    TRY(buffer_json_text(&book->report, name));
    return buffer_printf(&book->report, ",\"pid\":%" PRIu32 ",\"leases\":%" PRIu32 "}", peer->pid,
                         peer->holder != NULL ? peer->holder->leases : peer->scoring);
}

/* {"process":"actor.3"} that one; nothing, or no process: all. */
static enum status drain(struct book *book, const struct control *control, bool *ok)
{
    const char *text = control->arguments_json != NULL ? control->arguments_json : "";
    json_t *arguments = json_loads(text[0] != '\0' ? text : "{}", 0, NULL);
    const json_t *process = json_object_get(arguments, "process");
    const char *name = json_string_value(process);
    enum status status;
    if (arguments == NULL || !json_is_object(arguments) || (process != NULL && name == NULL)) {
        *ok = false;
        status =
            write_error(book, "drain takes {\"process\":\"actor.3\"}, or {} for the whole run");
    } else if (name != NULL && name[0] != '\0') {
        status = drain_one(book, name, ok);
    } else {
        book_drain(book, "an operator asked for it");
        status = buffer_text(&book->report, "{\"draining\":true}");
    }
    json_decref(arguments);
    return status;
}

/* ---- rescore ---- */

static bool is_of_source(const struct book *book, const struct group *group, const char *glob)
{
    const struct prompt *prompt = prompts_at(book->config.prompts, group->prompt_id);
    json_t *row = json_loads(prompt->record_json, 0, NULL);
    const char *source = json_string_value(json_object_get(row, "data_source"));
    bool matches = fnmatch(glob, source != NULL ? source : "", 0) == 0;
    json_decref(row);
    return matches;
}

static uint32_t scored_samples(const struct group *group)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < group->size; i++)
        count += group->samples[i].state == SAMPLE_SCORED;
    return count;
}

/* The groups of one list that have a score; what is planned stays as it is. */
static enum status reopen(struct book *book, enum group_state state, const char *glob,
                          struct book_out *out, struct book_voided *voided)
{
    for (struct group *group = book->lists[state].first, *next; group != NULL; group = next) {
        next = group->next; /* an eligible one leaves this list */
        uint32_t scored = scored_samples(group);
        if (scored == 0 || !is_of_source(book, group, glob))
            continue;
        voided->groups++;
        voided->rollouts += scored;
        struct record record = {.type = RECORD_REOPENED, .reopened = {group->group_id}};
        TRY(book_emit(book, out, &record));
    }
    return STATUS_OK;
}

enum status book_rescore(struct book *book, const char *glob, struct book_out *out,
                         struct book_voided *voided)
{
    *voided = (struct book_voided){0};
    uint32_t resumed;
    TRY(book_pause(book, glob, false, out, &resumed)); /* its judge is sound again */
    TRY(reopen(book, GROUP_OPEN, glob, out, voided));
    return reopen(book, GROUP_ELIGIBLE, glob, out, voided);
}

/* {"source":"genrm*"} or {}: the judge changed, so what it said of groups that no plan has yet is void. */
static enum status rescore(struct book *book, const struct control *control, bool *ok,
                           struct book_out *out)
{
    const char *text = control->arguments_json != NULL ? control->arguments_json : "";
    json_t *arguments = json_loads(text[0] != '\0' ? text : "{}", 0, NULL);
    const json_t *source = json_object_get(arguments, "source");
    struct book_voided voided;
    enum status status;
    *ok = json_is_object(arguments) && (source == NULL || json_is_string(source));
    if (!*ok) {
        status = write_error(book, "rescore takes {\"source\":\"glob\"}, or {} for all sources");
    } else {
        status = book_rescore(book, source != NULL ? json_string_value(source) : "*", out, &voided);
        if (status == STATUS_OK)
            status =
                buffer_printf(&book->report, "{\"groups\":%" PRIu64 ",\"rollouts\":%" PRIu64 "}",
                              voided.groups, voided.rollouts);
    }
    json_decref(arguments);
    return status;
}

/* ---- pause ---- */

static bool matches(const char *glob, const char *name)
{
    return strcmp(glob, name) == 0 || fnmatch(glob, name, 0) == 0;
}

enum status book_pause(struct book *book, const char *glob, bool paused, struct book_out *out,
                       uint32_t *count)
{
    const struct prompts *prompts = book->config.prompts;
    *count = 0;
    for (uint32_t i = 0; i < prompts_source_count(prompts); i++) {
        const char *name = prompts_source(prompts, i);
        if (curriculum_paused(book->curriculum, i) == paused || !matches(glob, name))
            continue;
        struct record record = {.type = RECORD_PAUSED, .paused = {name, paused}};
        TRY(book_emit(book, out, &record));
        (*count)++;
    }
    return STATUS_OK;
}

static bool matches_any(const struct book *book, const char *glob)
{
    const struct prompts *prompts = book->config.prompts;
    for (uint32_t i = 0; i < prompts_source_count(prompts); i++)
        if (matches(glob, prompts_source(prompts, i)))
            return true;
    return false;
}

/* A typo that holds nothing must not read like success. */
static enum status say_no_source(struct book *book, const char *glob)
{
    const struct prompts *prompts = book->config.prompts;
    uint32_t count = prompts_source_count(prompts);
    struct buffer text;
    buffer_init(&text, 0);
    enum status status =
        buffer_printf(&text, "no data source matches \"%.200s\"; this run has", glob);
    for (uint32_t i = 0; i < count && i < SOURCES_SAID && status == STATUS_OK; i++)
        status = buffer_printf(&text, "%s %s", i > 0 ? "," : "", prompts_source(prompts, i));
    if (status == STATUS_OK && count > SOURCES_SAID)
        status = buffer_printf(&text, " and %" PRIu32 " more", count - SOURCES_SAID);
    if (status == STATUS_OK)
        status = write_error(book, buffer_string(&text));
    buffer_free(&text);
    return status;
}

/* {"source":"glob"}: no new prompt of it is drawn, or again; what is open goes on. */
static enum status pause_sources(struct book *book, const struct control *control, bool paused,
                                 bool *ok, struct book_out *out)
{
    json_t *arguments =
        json_loads(control->arguments_json != NULL ? control->arguments_json : "{}", 0, NULL);
    const char *glob = json_string_value(json_object_get(arguments, "source"));
    uint32_t count = 0;
    enum status status;
    *ok = glob != NULL;
    if (!*ok) {
        status = write_error(book, "pause and resume take {\"source\":\"glob\"}");
    } else if (!matches_any(book, glob)) {
        *ok = false;
        status = say_no_source(book, glob);
    } else {
        status = book_pause(book, glob, paused, out, &count);
        if (status == STATUS_OK)
            status = buffer_printf(&book->report, "{\"sources\":%" PRIu32 "}", count);
    }
    json_decref(arguments);
    return status;
}

/* ---- commands ---- */

enum status book_control(struct book *book, struct peer *peer, const struct control *control,
                         struct book_out *out)
{
    buffer_clear(&book->report);
    bool ok = true;
    const char *command = control->command != NULL ? control->command : "";
    if (strcmp(command, "status") == 0) {
        TRY(book_status_json(book, book->clock_ns, &book->report));
    } else if (strcmp(command, "counters") == 0) {
        TRY(book_counters_json(book, &book->report));
    } else if (strcmp(command, "why") == 0) {
        TRY(book_why_json(book, book->clock_ns, &book->report));
    } else if (strcmp(command, "drain") == 0) {
        TRY(drain(book, control, &ok));
    } else if (strcmp(command, "rescore") == 0) {
        TRY(rescore(book, control, &ok, out));
    } else if (strcmp(command, "pause") == 0 || strcmp(command, "resume") == 0) {
        TRY(pause_sources(book, control, command[0] == 'p', &ok, out));
    } else if (strcmp(command, "stop") == 0) {
        TRY(book_stop(book, out, "an operator asked for it", false));
        TRY(buffer_text(&book->report, "{\"stopping\":true}"));
    } else {
        ok = false;
        TRY(write_error(book, "the store knows the commands status, counters, why, tail, events, "
                              "drain, rescore, pause, resume, stop"));
    }
    return reply(book, peer, control, ok, out);
}
