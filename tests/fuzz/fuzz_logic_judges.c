/* links: reward_logic core */
/* Any bytes as a response to a problem of each logic task, and as its metadata: a verdict, the same one twice. The first
 * byte picks the task, the second what the rest is (even: the response; odd: metadata up to the first NUL, then
 * the response). */
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "reward/logic/logic.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { TASKS_MAX = 64 };

static json_t *row_of(const struct logic_task *task, size_t index)
{
    static json_t *rows[TASKS_MAX];
    if (rows[index] == NULL) {
        struct logic_settings settings;
        logic_settings_default(task, &settings);
        CHECK(logic_row(task, &settings, 1, 0, &rows[index]) == STATUS_OK);
    }
    return rows[index];
}

static void judge(const json_t *row, const char *response, size_t size)
{
    struct logic_verdict first, second;
    logic_verify_row(row, response, size, &first);
    logic_verify_row(row, response, size, &second);
    CHECK(first.correct == second.correct && first.unscorable == second.unscorable);
    CHECK(!(first.correct && first.unscorable));
    CHECK(first.correct || first.why != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    size_t count;
    const struct logic_task *const *tasks = logic_tasks(&count);
    if (size < 2)
        return 0;
    size_t index = bytes[0] % count;
    json_t *row = row_of(tasks[index], index);
    char *text = memory_alloc(size);
    CHECK(text != NULL && count <= TASKS_MAX);
    memcpy(text, bytes + 2, size - 2);
    if (bytes[1] % 2 == 0) {
        judge(row, text, size - 2);
    } else {
        size_t length = strlen(text), rest = length < size - 2 ? length + 1 : length;
        json_t *metadata = json_stringn(text, length);
        if (metadata != NULL) {
            json_t *copy = json_copy(row);
            json_object_set_new(copy, "metadata", metadata);
            judge(copy, text + rest, size - 2 - rest);
            json_decref(copy);
        }
    }
    memory_free(text);
    return 0;
}
