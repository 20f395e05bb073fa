/* links: text */
/* Any bytes as a chat template, run over a fixed conversation with small limits: refused with a sentence that names a
 * line, or a text within its limit. Parsing and rendering give the same twice. */
#include <string.h>

#include "core/buffer.h"
#include "core/check.h"
#include "core/memory.h"
#include "text/jinja.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { OUTPUT_MAX = 1 << 16 };

static const json_t *variables(void)
{
    static json_t *made;
    if (made == NULL)
        made = json_loads(
            "{\"messages\": [{\"role\": \"system\", \"content\": \"be\"}, {\"role\": \"user\", "
            "\"content\": [{\"type\": \"text\", \"text\": \"hi\"}]}, {\"role\": \"assistant\", "
            "\"content\": \" yo\\n\", \"n\": 3, \"f\": 2.5, \"none\": null, \"t\": true}], "
            "\"x\": -7, \"s\": \"a\xc3\xa9 b,c\", \"d\": {\"b\": 1, \"a\": [1, 2]}, "
            "\"add_generation_prompt\": true}",
            0, NULL);
    CHECK(made != NULL);
    return made;
}

static enum status render(const uint8_t *bytes, size_t size, struct buffer *text)
{
    struct jinja *jinja = NULL;
    const json_t *list = variables();
    struct jinja_call call = {.variables = &list,
                              .variable_count = 1,
                              .limits = {.steps = 20000,
                                         .memory = 4 << 20,
                                         .output = OUTPUT_MAX,
                                         .wall_ns = INT64_C(1700000000000000000)}};
    enum status status = jinja_parse(&jinja, "t", (const char *)bytes, size);
    if (status == STATUS_OK)
        status = jinja_render(jinja, &call, text);
    jinja_free(&jinja);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct buffer first, second;
    (void)variables();
    int64_t blocks = memory_blocks_live();
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    enum status status = render(bytes, size, &first);
    if (status != STATUS_OK) {
        CHECK(first.size == 0);
        CHECK(strstr(status_last_error(), "t:") != NULL);
    }
    CHECK(render(bytes, size, &second) == status && second.size == first.size);
    CHECK(first.size == 0 || memcmp(first.bytes, second.bytes, first.size) == 0);
    CHECK(first.size <= 2 * OUTPUT_MAX + (1 << 20));
    buffer_free(&first);
    buffer_free(&second);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
