/* codec_shape.h - how the codec describes a message: private to proto/.
 *
 * A shape lists the fields of one plain struct (messages.h) beside those of its generated struct
 * (weir.pb-c.h). One walker (codec.c) packs, unpacks and checks by these tables, so a rule such as
 * "byte length agrees with count" exists once. What a table cannot say is in the shape's check. */
#ifndef PROTO_CODEC_SHAPE_H
#define PROTO_CODEC_SHAPE_H

#include <protobuf-c/protobuf-c.h>

#include "core/arena.h"
#include "proto/messages.h"
#include "proto/refusal.h"

enum field_kind {
    FIELD_U32,
    FIELD_U64,
    FIELD_BOOL,
    FIELD_F32, /* finite */
    FIELD_F64, /* finite */
    FIELD_ENUM,
    FIELD_TEXT,
    FIELD_U32S, /* arrays: their count is a FIELD_U32 of the same shape, listed before them */
    FIELD_U64S,
    FIELD_LOGPROBS, /* f32, finite, <= 0 */
    FIELD_MASK,     /* f32 in [0, 1] */
    FIELD_MESSAGES, /* repeated sub-messages; sets its count itself */
};

struct wire_shape;

struct wire_field {
    const char *name;
    enum field_kind kind;
    size_t plain;   /* offset in the plain struct */
    size_t wire;    /* offset in the generated struct */
    size_t count;   /* arrays: offset of the uint32_t count in the plain struct */
    size_t wire_n;  /* FIELD_MESSAGES: offset of size_t n_<name> in the generated struct */
    uint64_t limit; /* enum: values; text: bytes; arrays: elements */
    bool optional;  /* array may be NULL although count > 0 */
    const struct wire_shape *item; /* FIELD_MESSAGES */
};

/* Where we are in a message, for sentences: segment_frame.segments[3]. */
struct wire_path {
    const struct wire_path *up; /* NULL at the message itself */
    const char *name;
    uint32_t index;
};

struct wire_shape {
    const char *name;
    size_t plain_bytes;
    const ProtobufCMessageDescriptor *descriptor;
    const struct wire_field *fields;
    size_t field_count;
    /* Rules between fields; NULL when there are none. */
    enum status (*check)(const void *plain, const struct wire_path *path);
};

/* INVALID: "<path>.<field>: <what is wrong>". */
enum status wire_invalid(const struct wire_path *path, const char *field, const char *fmt, ...)
    PRINTF_LIKE(3, 4);

/* Notes the kind of the refusal that is on its way; the first note of a message stays. */
void codec_note(enum refusal kind);

/* The walker (codec_walk.c). `plain` is a struct of shape->plain_bytes.
 * shape_check: every promise of messages.h. shape_to_wire: builds a generated message in `arena` that
 * borrows texts and arrays from `plain` (checked before). shape_from_wire: fills `plain`, arrays
 * borrowed from `wire`; lengths and texts are checked, the rest is for shape_check. */
MUST_CHECK enum status shape_check(const struct wire_shape *shape, const void *plain,
                                   const struct wire_path *path);
MUST_CHECK enum status shape_to_wire(const struct wire_shape *shape, const void *plain,
                                     struct arena *arena, ProtobufCMessage **wire);
MUST_CHECK enum status shape_from_wire(const struct wire_shape *shape, const ProtobufCMessage *wire,
                                       struct arena *arena, void *plain,
                                       const struct wire_path *path);

#define MEMBER_(Type, member) (((Type *)0)->member)

#define OFFSETS_(plain_, Wire_, member_)                         \
    .name = #member_, .plain = offsetof(struct plain_, member_), \
    .wire = offsetof(Weir__##Wire_, member_)

/* A number: its kind follows from the plain type. */
#define NUMBER(plain_, Wire_, member_)                                 \
    {                                                                  \
        OFFSETS_(plain_, Wire_, member_),                              \
            .kind = _Generic(MEMBER_(struct plain_, member_), uint32_t \
                             : FIELD_U32, uint64_t                     \
                             : FIELD_U64, bool                         \
                             : FIELD_BOOL, float                       \
                             : FIELD_F32, double                       \
                             : FIELD_F64)                              \
    }
#define CHOICE(plain_, Wire_, member_, values_)                                  \
    {                                                                            \
        OFFSETS_(plain_, Wire_, member_), .kind = FIELD_ENUM, .limit = (values_) \
    }
#define TEXT(plain_, Wire_, member_, bytes_max_)                                    \
    {                                                                               \
        OFFSETS_(plain_, Wire_, member_), .kind = FIELD_TEXT, .limit = (bytes_max_) \
    }
#define ARRAY(plain_, Wire_, member_, kind_, count_, elements_max_)                             \
    {                                                                                           \
        OFFSETS_(plain_, Wire_, member_),                                                       \
            .kind = (kind_), .count = offsetof(struct plain_, count_), .limit = (elements_max_) \
    }
#define ARRAY_OPTIONAL(plain_, Wire_, member_, kind_, count_, elements_max_)                     \
    {                                                                                            \
        OFFSETS_(plain_, Wire_, member_),                                                        \
            .kind = (kind_), .count = offsetof(struct plain_, count_), .limit = (elements_max_), \
            .optional = true                                                                     \
    }
#define MESSAGES(plain_, Wire_, member_, count_, items_max_, item_)                \
    {                                                                              \
        OFFSETS_(plain_, Wire_, member_),                                          \
            .kind = FIELD_MESSAGES, .count = offsetof(struct plain_, count_),      \
            .wire_n = offsetof(Weir__##Wire_, n_##member_), .limit = (items_max_), \
            .item = &shape_##item_                                                 \
    }

/* Defines shape_<plain> from <plain>_fields. */
#define SHAPE(plain_, descriptor_, check_)                                                   \
    {                                                                                        \
        .name = #plain_, .plain_bytes = sizeof(struct plain_), .descriptor = &(descriptor_), \
        .fields = plain_##_fields,                                                           \
        .field_count = sizeof plain_##_fields / sizeof plain_##_fields[0], .check = (check_) \
    }

enum { WIRE_PATH_MAX = 4096, WIRE_HOST_MAX = 256 };

#define ROW(name) extern const struct wire_shape shape_##name;
MESSAGE_ROWS(ROW)
#undef ROW

#endif
