/* links: ops */
/* Any bytes as the answer of a store and as the files of a run folder that the commands read: text for people, or refused
 * with a sentence. */
#include <string.h>

#include "ops/json_text.h"
#include "ops/process_table.h"
#include "ops/scale_file.h"
#include "ops/why.h"
#include "tests/fuzz/temporary_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void show(const json_t *value, const json_t *table)
{
    struct buffer text;
    buffer_init(&text, 0);
    struct why_case why = {.run = "f",
                           .answer = json_is_object(value) ? value : NULL,
                           .trouble = "none",
                           .table = table};
    CHECK(json_text(value, &text) == STATUS_OK);
    json_t *merged = why_merge(&why);
    CHECK(merged != NULL && why_text(merged, &text) == STATUS_OK);
    for (size_t i = 0; i < text.size; i++)
        CHECK(text.bytes[i] >= ' ' || text.bytes[i] == '\n' || text.bytes[i] == '\t');
    json_decref(merged);
    buffer_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct scale_wish wish;
    json_t *table = NULL;
    temporary_file("scale.json", bytes, size);
    temporary_file("processes.json", bytes, size);
    if (scale_file_read(temporary_folder(), &wish) == STATUS_OK)
        CHECK(wish.actors <= SCALE_ACTORS_MAX && wish.drain_count <= SCALE_DRAIN_MAX);
    else
        CHECK(status_last_error()[0] != '\0');
    if (process_table_read(temporary_folder(), &table) != STATUS_OK)
        table = NULL;
    json_t *value = json_loadb((const char *)bytes, size, 0, NULL);
    if (value != NULL)
        show(value, table);
    json_decref(value);
    json_decref(table);
    return 0;
}
