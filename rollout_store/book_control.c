/* rollout_store/book_control.c - what operators ask for: status, why, drain, stop. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rollout_store/book_state.h"

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
        snprintf(own, sizeof own, "%s.%" PRIu32, book_role_name(peer->role), peer->index);
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
        status = buffer_printf(&text, "%s %s.%" PRIu32, some ? "," : "", book_role_name(peer->role),
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
    } else if (strcmp(command, "stop") == 0) {
        TRY(book_stop(book, out, "an operator asked for it", false));
        TRY(buffer_text(&book->report, "{\"stopping\":true}"));
    } else {
        ok = false;
        TRY(write_error(book, "the store knows the commands status, counters, why, tail, events, "
                              "drain, stop"));
    }
    return reply(book, peer, control, ok, out);
}
