/* codec_common.c - shapes of the messages everybody speaks: hello to ack. */
#include "proto/codec_shape.h"
#include "proto/weir.pb-c.h"

_Static_assert(ROLE_CONTROL == (int)WEIR__ROLE__ROLE_CONTROL, "weir.proto lists the same roles");

// clang-format off
static const struct wire_field hello_fields[] = {
    TEXT(hello, Hello, run, WIRE_NAME_MAX),
    CHOICE(hello, Hello, role, ROLE_COUNT),
    NUMBER(hello, Hello, index),
    NUMBER(hello, Hello, incarnation),
    NUMBER(hello, Hello, pid),
    TEXT(hello, Hello, host, WIRE_HOST_MAX),
    NUMBER(hello, Hello, layout_hash),
    NUMBER(hello, Hello, numerics_id),
    TEXT(hello, Hello, numerics, WIRE_TEXT_MAX),
    NUMBER(hello, Hello, vocabulary),
};
static const struct wire_field welcome_fields[] = {
    NUMBER(welcome, Welcome, run_seed),
    NUMBER(welcome, Welcome, heartbeat_ms),
    NUMBER(welcome, Welcome, version),
    NUMBER(welcome, Welcome, digest),
    NUMBER(welcome, Welcome, branch),
    TEXT(welcome, Welcome, weights_path, WIRE_PATH_MAX),
};
static const struct wire_field refused_fields[] = {
    TEXT(refused, Refused, reason, WIRE_TEXT_MAX),
};
static const struct wire_field heartbeat_fields[] = {
    NUMBER(heartbeat, Heartbeat, incarnation),
    NUMBER(heartbeat, Heartbeat, version),
    TEXT(heartbeat, Heartbeat, stats_json, WIRE_TEXT_MAX),
    TEXT(heartbeat, Heartbeat, waits_json, WIRE_TEXT_MAX),
};
static const struct wire_field notice_fields[] = {
    NUMBER(notice, Notice, version),
    NUMBER(notice, Notice, digest),
    NUMBER(notice, Notice, branch),
    NUMBER(notice, Notice, draining),
    NUMBER(notice, Notice, stopping),
    TEXT(notice, Notice, reason, WIRE_TEXT_MAX),
    TEXT(notice, Notice, weights_path, WIRE_PATH_MAX),
};
static const struct wire_field bye_fields[] = {
    TEXT(bye, Bye, reason, WIRE_TEXT_MAX),
};
static const struct wire_field control_fields[] = {
    NUMBER(control, Control, request),
    TEXT(control, Control, command, WIRE_NAME_MAX),
    TEXT(control, Control, arguments_json, WIRE_TEXT_MAX),
};
static const struct wire_field control_reply_fields[] = {
    NUMBER(control_reply, ControlReply, request),
    NUMBER(control_reply, ControlReply, ok),
    TEXT(control_reply, ControlReply, json, WIRE_TEXT_MAX),
};
static const struct wire_field ack_fields[] = {
    NUMBER(ack, Ack, request),
    NUMBER(ack, Ack, ok),
    TEXT(ack, Ack, error, WIRE_TEXT_MAX),
};
// clang-format on

static enum status hello_check(const void *plain, const struct wire_path *path)
{
    const struct hello *hello = plain;
    if (hello->run == NULL || hello->run[0] == '\0')
        return wire_invalid(path, "run", "is empty: a process says which run it belongs to");
    if (hello->role == ROLE_NONE || hello->role == ROLE_STORE)
        return wire_invalid(path, "role", "%d cannot say hello to a store", (int)hello->role);
    return STATUS_OK;
}

static enum status welcome_check(const void *plain, const struct wire_path *path)
{
    const struct welcome *welcome = plain;
    if (welcome->heartbeat_ms == 0)
        return wire_invalid(path, "heartbeat_ms", "is 0, at least 1 is needed");
    return STATUS_OK;
}

const struct wire_shape shape_hello = SHAPE(hello, weir__hello__descriptor, hello_check);
const struct wire_shape shape_welcome = SHAPE(welcome, weir__welcome__descriptor, welcome_check);
const struct wire_shape shape_refused = SHAPE(refused, weir__refused__descriptor, NULL);
const struct wire_shape shape_heartbeat = SHAPE(heartbeat, weir__heartbeat__descriptor, NULL);
const struct wire_shape shape_notice = SHAPE(notice, weir__notice__descriptor, NULL);
const struct wire_shape shape_bye = SHAPE(bye, weir__bye__descriptor, NULL);
const struct wire_shape shape_control = SHAPE(control, weir__control__descriptor, NULL);
const struct wire_shape shape_control_reply =
    SHAPE(control_reply, weir__control_reply__descriptor, NULL);
const struct wire_shape shape_ack = SHAPE(ack, weir__ack__descriptor, NULL);

const char *role_name(enum role role)
{
    static const char *const names[ROLE_COUNT] = {"nobody", "store",   "actor",
                                                  "reward", "learner", "control"};
    return (unsigned)role < ROLE_COUNT ? names[role] : "nobody";
}
