#include "transport/redis_command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/memory.h"

enum { ARGUMENTS_MAX = 8 + 2 * (REDIS_FIELDS_MAX + 1), NUMBER_MAX = 32 };

struct arguments {
    int count;
    const char *text[ARGUMENTS_MAX];
    size_t size[ARGUMENTS_MAX];
    char *made[REDIS_FIELDS_MAX]; /* texts of jansson's allocator */
    int made_count;
    char numbers[REDIS_FIELDS_MAX][NUMBER_MAX];
    int number_count;
};

struct redis_command *redis_command_make(struct redis_command head, const char *key,
                                         const char *json)
{
    size_t key_size = strlen(key) + 1, json_size = strlen(json) + 1;
    if (json_size > REDIS_JSON_MAX || key_size > REDIS_KEY_MAX)
        return NULL;
    struct redis_command *command = memory_alloc(sizeof *command + key_size + json_size);
    if (command == NULL)
        return NULL;
    *command = head;
    command->size = (uint32_t)(sizeof *command + key_size + json_size);
    command->key = (char *)(command + 1);
    command->json = command->key + key_size;
    memcpy(command->key, key, key_size);
    memcpy(command->json, json, json_size);
    return command;
}

void redis_command_name(struct redis_command *command, const char *id)
{
    snprintf(command->id, sizeof command->id, "%.*s", REDIS_ID_MAX - 1, id);
}

bool redis_key(char *out, const char *run, const char *key)
{
    int size = snprintf(out, REDIS_KEY_MAX, "weir:{%s}:%s", run, key);
    return size > 0 && size < REDIS_KEY_MAX;
}

static void add(struct arguments *arguments, const char *text, size_t size)
{
    arguments->text[arguments->count] = text;
    arguments->size[arguments->count++] = size;
}

static void add_text(struct arguments *arguments, const char *text)
{
    add(arguments, text, strlen(text));
}

static void add_value(struct arguments *arguments, const json_t *value)
{
    if (json_is_string(value)) {
        add(arguments, json_string_value(value), json_string_length(value));
        return;
    }
    if (json_is_object(value) || json_is_array(value)) {
        char *text = json_dumps(value, JSON_COMPACT);
        if (text != NULL)
            arguments->made[arguments->made_count++] = text;
        add_text(arguments, text != NULL ? text : "");
        return;
    }
    char *out = arguments->numbers[arguments->number_count++];
    int size = 0;
    if (json_is_integer(value))
        size = snprintf(out, NUMBER_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        size = snprintf(out, NUMBER_MAX, "%.17g", json_real_value(value));
    else if (!json_is_null(value))
        size = snprintf(out, NUMBER_MAX, "%d", json_is_true(value) ? 1 : 0);
    add(arguments, out, (size_t)size);
}

static uint64_t mix(uint64_t digest, const char *text, size_t size)
{
    return digest * 0x9e3779b97f4a7c15u + hash64(text, size, 0) + 1;
}

uint64_t redis_entry_digest(const redisReply *fields)
{
    uint64_t digest = 1;
    for (size_t i = 0; fields->type == REDIS_REPLY_ARRAY && i < fields->elements; i++)
        if (fields->element[i]->type == REDIS_REPLY_STRING)
            digest = mix(digest, fields->element[i]->str, fields->element[i]->len);
    return digest;
}

bool redis_command_append(redisContext *context, const char *full_key,
                          struct redis_command *command, uint64_t dropped)
{
    struct arguments arguments;
    arguments.count = arguments.made_count = arguments.number_count = 0;
    json_t *object = json_loads(command->json, JSON_REJECT_DUPLICATES, NULL);
    size_t members = json_object_size(object);
    char maxlen[16], lost[NUMBER_MAX];
    bool stream = command->kind == REDIS_STREAM;
    if (members == 0 || members > REDIS_FIELDS_MAX) {
        json_decref(object);
        return false;
    }
    add_text(&arguments, stream ? "XADD" : "HSET");
    add_text(&arguments, full_key);
    if (stream && command->maxlen > 0) {
        snprintf(maxlen, sizeof maxlen, "%" PRIu32, command->maxlen);
        add_text(&arguments, "MAXLEN");
        add_text(&arguments, "~");
        add_text(&arguments, maxlen);
    }
    if (stream)
        add_text(&arguments, "*");
    int begin = arguments.count;
    const char *name;
    json_t *value;
    json_object_foreach(object, name, value)
    {
        add_text(&arguments, name);
        add_value(&arguments, value);
    }
    if (!stream && strncmp(command->key, "proc:", 5) == 0) {
        snprintf(lost, sizeof lost, "%" PRIu64, dropped);
        add_text(&arguments, "view_dropped");
        add_text(&arguments, lost);
    }
    command->digest = 1;
    for (int i = begin; i < arguments.count; i++)
        command->digest = mix(command->digest, arguments.text[i], arguments.size[i]);
    bool ok = redisAppendCommandArgv(context, arguments.count, arguments.text, arguments.size) ==
              REDIS_OK;
    for (int i = 0; i < arguments.made_count; i++)
        free(arguments.made[i]); /* lint: allow(free): jansson hands over its own allocation */
    json_decref(object);
    return ok;
}
