#include "ops/jsonl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "text/content.h"

enum { LINE_BYTES_MAX = 256 << 20 };

enum status jsonl_open(struct jsonl *jsonl, const char *path)
{
    *jsonl = (struct jsonl){.path = path, .file = fopen(path, "r")};
    return jsonl->file != NULL ? STATUS_OK
                               : FAIL(STATUS_NOT_FOUND, "%s: %s", path, strerror(errno));
}

void jsonl_close(struct jsonl *jsonl)
{
    if (jsonl->file != NULL)
        fclose(jsonl->file);
    free(jsonl->line); /* lint: allow(free): getline's buffer */
    *jsonl = (struct jsonl){0};
}

enum status jsonl_next(struct jsonl *jsonl, json_t **row)
{
    *row = NULL;
    for (ssize_t size; (size = getline(&jsonl->line, &jsonl->capacity, jsonl->file)) >= 0;) {
        jsonl->number++;
        while (size > 0 && strchr("\r\n", jsonl->line[size - 1]) != NULL)
            jsonl->line[--size] = '\0';
        jsonl->size = (size_t)size;
        if (strspn(jsonl->line, " \t") == (size_t)size)
            continue;
        if (size > LINE_BYTES_MAX)
            return FAIL(STATUS_LIMIT, "%s:%" PRIu64 ": longer than 256 MiB", jsonl->path,
                        jsonl->number);
        json_error_t error = {0};
        *row =
            json_loadb(jsonl->line, (size_t)size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (json_is_object(*row))
            return STATUS_OK;
        bool none = *row == NULL;
        json_decref(*row);
        *row = NULL;
        return FAIL(STATUS_INVALID, "%s:%" PRIu64 ": %s", jsonl->path, jsonl->number,
                    none ? error.text : "the line is JSON but no object");
    }
    return ferror(jsonl->file) ? FAIL(STATUS_IO, "%s cannot be read", jsonl->path) : STATUS_OK;
}

enum status jsonl_write(FILE *out, const json_t *row)
{
    char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(17));
    bool written = text != NULL && fputs(text, out) >= 0 && fputc('\n', out) != EOF;
    free(text); /* lint: allow(free): jansson's buffer */
    return written ? STATUS_OK : FAIL(STATUS_IO, "a row cannot be written: %s", strerror(errno));
}

static enum status hash_id(const json_t *row, char id[JSONL_ID_MAX])
{
    json_t *copy = json_copy((json_t *)(uintptr_t)row);
    json_object_del(copy, "pass_rate");
    char *text = json_dumps(copy, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(copy);
    if (text == NULL)
        return FAIL(STATUS_NO_MEMORY, "a row");
    snprintf(id, JSONL_ID_MAX, "x%016" PRIx64, hash64(text, strlen(text), 0));
    free(text); /* lint: allow(free): jansson's buffer */
    return STATUS_OK;
}

enum status jsonl_id(const json_t *row, const char *key, char id[JSONL_ID_MAX])
{
    const json_t *value = json_object_get(row, key);
    if (json_is_integer(value)) {
        snprintf(id, JSONL_ID_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return STATUS_OK;
    }
    if (!json_is_string(value) || json_string_length(value) == 0)
        return hash_id(row, id);
    if (json_string_length(value) >= JSONL_ID_MAX)
        return FAIL(STATUS_INVALID, "\"%s\" has %zu bytes; %d are the most", key,
                    json_string_length(value), JSONL_ID_MAX - 1);
    snprintf(id, JSONL_ID_MAX, "%s", json_string_value(value));
    return STATUS_OK;
}

enum status jsonl_prompt_text(const json_t *prompt, const char *role, struct buffer *text)
{
    if (json_is_string(prompt))
        return buffer_append(text, json_string_value(prompt), json_string_length(prompt));
    bool first = true;
    for (size_t i = 0; i < json_array_size(prompt); i++) {
        const json_t *message = json_array_get(prompt, i),
                     *content = json_object_get(message, "content");
        const char *who = json_string_value(json_object_get(message, "role"));
        if (!content_is_text(content) || (role != NULL && (who == NULL || strcmp(who, role) != 0)))
            continue;
        if (!first)
            TRY(buffer_text(text, "\n"));
        first = false;
        TRY(content_append(content, text));
    }
    return STATUS_OK;
}

const json_t *jsonl_answer(const json_t *row, const char *key)
{
    static const char *const usual[] = {"answer", "solution", "label", "ground_truth"};
    if (key[0] != '\0')
        return json_object_get(row, key);
    const json_t *answer = json_object_get(json_object_get(row, "reward_model"), "ground_truth");
    for (size_t i = 0; answer == NULL && i < sizeof usual / sizeof usual[0]; i++)
        answer = json_object_get(row, usual[i]);
    return answer;
}
