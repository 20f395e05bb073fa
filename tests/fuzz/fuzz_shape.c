/* links: model */
/* Any bytes as config.json: refused with a sentence, or a shape whose own config.json gives the same shape. */
#include <string.h>

#include "core/memory.h"
#include "model/shape.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct memory_file file;
    static struct model_shape shape, again;
    int64_t blocks = memory_blocks_live();
    struct buffer first, second;
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    if (model_shape_load(&shape, memory_file_set(&file, bytes, size)) == STATUS_OK) {
        CHECK(shape.layers > 0 && shape.layers <= MODEL_LAYERS_MAX);
        CHECK(model_shape_json(&shape, &first) == STATUS_OK);
        CHECK(model_shape_load(&again, memory_file_set(&file, first.bytes, first.size)) ==
              STATUS_OK);
        CHECK(model_shape_json(&again, &second) == STATUS_OK);
        CHECK(first.size == second.size && memcmp(first.bytes, second.bytes, first.size) == 0);
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    buffer_free(&first);
    buffer_free(&second);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
