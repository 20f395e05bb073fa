/* codec_walk.c - one walk over plain structs and generated messages, led by shapes. */
#include "proto/codec_shape.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "bulk arrays are copied as they are");
_Static_assert(sizeof(enum role) == 4 && sizeof(protobuf_c_boolean) == 4, "walked as 32 bits");

/* ---- sentences ---- */

static void path_text(const struct wire_path *path, char *out, size_t size)
{
    if (path->up == NULL) {
        snprintf(out, size, "%s", path->name);
        return;
    }
    path_text(path->up, out, size);
    size_t used = strlen(out);
    snprintf(out + used, size - used, ".%s[%" PRIu32 "]", path->name, path->index);
}

static enum status wire_refuse(enum status status, const struct wire_path *path, const char *field,
                               const char *fmt, va_list args)
{
    char where[256], what[256];
    path_text(path, where, sizeof where);
    vsnprintf(what, sizeof what, fmt, args);
    return FAIL(status, "%s.%s %s", where, field, what);
}

enum status wire_invalid(const struct wire_path *path, const char *field, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    codec_note(REFUSAL_BAD_FIELD);
    enum status status = wire_refuse(STATUS_INVALID, path, field, fmt, args);
    va_end(args);
    return status;
}

static enum status PRINTF_LIKE(3, 4)
    wire_limit(const struct wire_path *path, const char *field, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    codec_note(REFUSAL_OVERSIZE);
    enum status status = wire_refuse(STATUS_LIMIT, path, field, fmt, args);
    va_end(args);
    return status;
}

/* ---- reading members by offset ---- */

static uint32_t read_u32(const void *base, size_t offset)
{
    uint32_t value;
    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

static const void *read_pointer(const void *base, size_t offset)
{
    const void *value;
    memcpy(&value, (const char *)base + offset, sizeof value);
    return value;
}

static void write_bytes(void *base, size_t offset, const void *value, size_t size)
{
    memcpy((char *)base + offset, value, size);
}

static size_t element_bytes(enum field_kind kind)
{
    return kind == FIELD_U64S ? 8 : 4;
}

/* ---- check ---- */

/* Length of the UTF-8 sequence at text (NUL-terminated), 0 when it is not valid (RFC 3629 table 3). */
static size_t utf8_step(const unsigned char *text)
{
    unsigned char lead = text[0];
    if (lead < 0x80)
        return 1;
    size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    unsigned char least = 0x80, most = 0xbf; /* of the second byte */
    if (lead == 0xe0)
        least = 0xa0; /* overlong */
    else if (lead == 0xed)
        most = 0x9f; /* surrogates */
    else if (lead == 0xf0)
        least = 0x90; /* overlong */
    else if (lead == 0xf4)
        most = 0x8f; /* past U+10FFFF */
    if (text[1] < least || text[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

static enum status check_text(const struct wire_field *field, const char *text,
                              const struct wire_path *path)
{
    if (text == NULL)
        return STATUS_OK; /* packs as "" */
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while (bytes[at] != '\0') {
        size_t step = utf8_step(bytes + at);
        if (step == 0)
            return wire_invalid(path, field->name, "is not UTF-8 at byte %zu", at);
        at += step;
        if (at > field->limit)
            return wire_limit(path, field->name, "is longer than %" PRIu64 " bytes", field->limit);
    }
    return STATUS_OK;
}

static enum status check_floats(const struct wire_field *field, const float *values, uint32_t count,
                                const struct wire_path *path)
{
    bool mask = field->kind == FIELD_MASK;
    float least = mask ? 0.0F : -FLT_MAX, most = mask ? 1.0F : 0.0F;
    for (uint32_t i = 0; i < count; i++) {
        if ((values[i] >= least) & (values[i] <= most))
            continue; /* NaN compares false */
        if (!mask)
            codec_note(values[i] > 0 && values[i] <= FLT_MAX ? REFUSAL_LOGPROB_POSITIVE
                                                             : REFUSAL_LOGPROB_NOT_FINITE);
        return wire_invalid(path, field->name, "[%" PRIu32 "] is %g, %s", i, (double)values[i],
                            mask ? "a mask is in [0, 1]" : "a logprob is finite and <= 0");
    }
    return STATUS_OK;
}

static enum status check_array(const struct wire_field *field, const void *plain,
                               const struct wire_path *path)
{
    uint32_t count = read_u32(plain, field->count);
    const void *values = read_pointer(plain, field->plain);
    if (count > field->limit) {
        if (field->kind == FIELD_U32S || field->kind == FIELD_LOGPROBS)
            codec_note(REFUSAL_TOO_LONG);
        return wire_limit(path, field->name, "has %" PRIu32 " elements, limit %" PRIu64, count,
                          field->limit);
    }
    if (values == NULL && count > 0 && !field->optional) {
        codec_note(REFUSAL_LENGTHS_DIFFER);
        return wire_invalid(path, field->name, "is missing for %" PRIu32 " elements", count);
    }
    if (values == NULL)
        return STATUS_OK;
    if (field->kind == FIELD_LOGPROBS || field->kind == FIELD_MASK)
        return check_floats(field, values, count, path);
    if (field->kind != FIELD_MESSAGES)
        return STATUS_OK;
    for (uint32_t i = 0; i < count; i++) {
        struct wire_path item = {path, field->name, i};
        TRY(shape_check(field->item, (const char *)values + i * field->item->plain_bytes, &item));
    }
    return STATUS_OK;
}

static enum status check_field(const struct wire_field *field, const void *plain,
                               const struct wire_path *path)
{
    switch (field->kind) {
    case FIELD_U32:
    case FIELD_U64:
    case FIELD_BOOL:
        return STATUS_OK;
    case FIELD_F32:
    case FIELD_F64: {
        float single = 0;
        double value = 0;
        if (field->kind == FIELD_F32) {
            memcpy(&single, (const char *)plain + field->plain, sizeof single);
            value = (double)single;
        } else {
            memcpy(&value, (const char *)plain + field->plain, sizeof value);
        }
        if (isfinite(value))
            return STATUS_OK;
        if (field->kind == FIELD_F64) /* all of them are rewards */
            codec_note(REFUSAL_REWARD_NOT_FINITE);
        return wire_invalid(path, field->name, "is %g, not finite", value);
    }
    case FIELD_ENUM: {
        uint32_t value = read_u32(plain, field->plain);
        return value < field->limit ? STATUS_OK
                                    : wire_invalid(path, field->name, "is %d, known are 0 to %d",
                                                   (int32_t)value, (int)field->limit - 1);
    }
    case FIELD_TEXT:
        return check_text(field, read_pointer(plain, field->plain), path);
    case FIELD_U32S:
    case FIELD_U64S:
    case FIELD_LOGPROBS:
    case FIELD_MASK:
    case FIELD_MESSAGES:
        break;
    }
    return check_array(field, plain, path);
}

enum status shape_check(const struct wire_shape *shape, const void *plain,
                        const struct wire_path *path)
{
    for (size_t i = 0; i < shape->field_count; i++)
        TRY(check_field(&shape->fields[i], plain, path));
    return shape->check == NULL ? STATUS_OK : shape->check(plain, path);
}

/* ---- plain struct to generated message ---- */

static enum status messages_to_wire(const struct wire_field *field, const void *plain,
                                    struct arena *arena, ProtobufCMessage *wire)
{
    size_t count = read_u32(plain, field->count);
    const char *items = read_pointer(plain, field->plain);
    ProtobufCMessage **made = arena_array(arena, count, sizeof *made);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "packing %zu %s", count, field->name);
    for (size_t i = 0; i < count; i++)
        TRY(shape_to_wire(field->item, items + i * field->item->plain_bytes, arena, &made[i]));
    write_bytes(wire, field->wire_n, &count, sizeof count);
    write_bytes(wire, field->wire, &made, sizeof made);
    return STATUS_OK;
}

static void bytes_to_wire(const struct wire_field *field, const void *plain, ProtobufCMessage *wire)
{
    const void *values = read_pointer(plain, field->plain);
    size_t size = 0;
    if (values != NULL)
        size = field->kind == FIELD_TEXT
                   ? strlen(values)
                   : (size_t)read_u32(plain, field->count) * element_bytes(field->kind);
    ProtobufCBinaryData data = {size, NULL};
    memcpy(&data.data, &values, sizeof values); /* packing only reads it */
    write_bytes(wire, field->wire, &data, sizeof data);
}

enum status shape_to_wire(const struct wire_shape *shape, const void *plain, struct arena *arena,
                          ProtobufCMessage **wire)
{
    ProtobufCMessage *made = arena_alloc(arena, shape->descriptor->sizeof_message);
    if (made == NULL)
        return FAIL(STATUS_NO_MEMORY, "packing a %s", shape->name);
    protobuf_c_message_init(shape->descriptor, made);
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct wire_field *field = &shape->fields[i];
        const char *from = (const char *)plain + field->plain;
        bool flag = false;
        switch (field->kind) {
        case FIELD_U32:
        case FIELD_F32:
        case FIELD_ENUM:
            write_bytes(made, field->wire, from, 4);
            break;
        case FIELD_U64:
        case FIELD_F64:
            write_bytes(made, field->wire, from, 8);
            break;
        case FIELD_BOOL:
            memcpy(&flag, from, sizeof flag);
            write_bytes(made, field->wire, &(protobuf_c_boolean){flag}, sizeof(protobuf_c_boolean));
            break;
        case FIELD_MESSAGES:
            TRY(messages_to_wire(field, plain, arena, made));
            break;
        case FIELD_TEXT:
        case FIELD_U32S:
        case FIELD_U64S:
        case FIELD_LOGPROBS:
        case FIELD_MASK:
            bytes_to_wire(field, plain, made);
            break;
        }
    }
    *wire = made;
    return STATUS_OK;
}

/* ---- generated message to plain struct ---- */

static enum status text_from_wire(const struct wire_field *field, const ProtobufCBinaryData *data,
                                  struct arena *arena, void *plain, const struct wire_path *path)
{
    if (data->len > field->limit)
        return wire_limit(path, field->name, "has %zu bytes, limit %" PRIu64, data->len,
                          field->limit);
    if (data->len > 0 && memchr(data->data, '\0', data->len) != NULL)
        return wire_invalid(path, field->name, "has a NUL inside");
    char *text = arena_alloc(arena, data->len + 1);
    if (text == NULL)
        return wire_limit(path, field->name, "does not fit the arena (%zu bytes)", data->len);
    if (data->len > 0)
        memcpy(text, data->data, data->len);
    write_bytes(plain, field->plain, &text, sizeof text);
    return STATUS_OK;
}

static enum status array_from_wire(const struct wire_field *field, const ProtobufCBinaryData *data,
                                   void *plain, const struct wire_path *path)
{
    uint32_t count = read_u32(plain, field->count);
    bool left_out = field->optional && data->len == 0;
    if (!left_out && data->len != (uint64_t)count * element_bytes(field->kind)) {
        codec_note(REFUSAL_LENGTHS_DIFFER);
        return wire_invalid(path, field->name, "has %zu bytes for %" PRIu32 " elements of %zu",
                            data->len, count, element_bytes(field->kind));
    }
    const void *values = data->len == 0 ? NULL : data->data;
    write_bytes(plain, field->plain, &values, sizeof values);
    return STATUS_OK;
}

static enum status messages_from_wire(const struct wire_field *field, const ProtobufCMessage *wire,
                                      struct arena *arena, void *plain,
                                      const struct wire_path *path)
{
    size_t count;
    memcpy(&count, (const char *)wire + field->wire_n, sizeof count);
    const ProtobufCMessage *const *from = read_pointer(wire, field->wire);
    if (count > field->limit)
        return wire_limit(path, field->name, "has %zu items, limit %" PRIu64, count, field->limit);
    char *items = NULL;
    if (count > 0)
        items = arena_array(arena, count, field->item->plain_bytes);
    if (items == NULL && count > 0)
        return wire_limit(path, field->name, "do not fit the arena (%zu items)", count);
    for (size_t i = 0; i < count; i++) {
        struct wire_path item = {path, field->name, (uint32_t)i};
        TRY(shape_from_wire(field->item, from[i], arena, items + i * field->item->plain_bytes,
                            &item));
    }
    write_bytes(plain, field->count, &(uint32_t){(uint32_t)count}, sizeof(uint32_t));
    write_bytes(plain, field->plain, &items, sizeof items);
    return STATUS_OK;
}

enum status shape_from_wire(const struct wire_shape *shape, const ProtobufCMessage *wire,
                            struct arena *arena, void *plain, const struct wire_path *path)
{
    for (size_t i = 0; i < shape->field_count; i++) {
        const struct wire_field *field = &shape->fields[i];
        const char *from = (const char *)wire + field->wire;
        ProtobufCBinaryData data = {0, NULL};
        bool flag = false;
        switch (field->kind) {
        case FIELD_U32:
        case FIELD_F32:
        case FIELD_ENUM:
            write_bytes(plain, field->plain, from, 4);
            break;
        case FIELD_U64:
        case FIELD_F64:
            write_bytes(plain, field->plain, from, 8);
            break;
        case FIELD_BOOL:
            flag = read_u32(from, 0) != 0;
            write_bytes(plain, field->plain, &flag, sizeof flag);
            break;
        case FIELD_MESSAGES:
            TRY(messages_from_wire(field, wire, arena, plain, path));
            break;
        case FIELD_TEXT:
            memcpy(&data, from, sizeof data);
            TRY(text_from_wire(field, &data, arena, plain, path));
            break;
        case FIELD_U32S:
        case FIELD_U64S:
        case FIELD_LOGPROBS:
        case FIELD_MASK:
            memcpy(&data, from, sizeof data);
            TRY(array_from_wire(field, &data, plain, path));
            break;
        }
    }
    return STATUS_OK;
}
