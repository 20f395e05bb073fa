/* links: model */
/* Any bytes as a .safetensors file: refused with a sentence, or every tensor can be converted. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/check.h"
#include "core/memory.h"
#include "model/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void convert(const struct safetensors *file, const struct safetensor *tensor)
{
    double *values = memory_array((size_t)tensor->count + 1, sizeof *values);
    if (values == NULL)
        return;
    bool known = tensor->dtype != ST_F8_E4M3 && tensor->dtype != ST_F8_E5M2;
    enum status wanted = known ? STATUS_OK : STATUS_UNSUPPORTED;
    CHECK(safetensor_to_f64(tensor, values) == wanted);
    CHECK(safetensor_to_f32(tensor, (float *)values) == wanted);
    CHECK(safetensors_read_f32(file, tensor, 0, tensor->count, (float *)values) == wanted);
    enum status status = safetensor_to_i32(tensor, (int32_t *)values);
    CHECK(status == wanted || (known && status == STATUS_INVALID));
    memory_free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    int64_t blocks = memory_blocks_live();
    struct safetensors *file = NULL;
    if (safetensors_open_bytes(&file, bytes, size, "fuzz") == STATUS_OK) {
        for (int64_t i = 0; i < safetensors_count(file); i++) {
            const struct safetensor *tensor = safetensors_at(file, i);
            CHECK(safetensors_find(file, tensor->name) == tensor);
            convert(file, tensor);
        }
        safetensors_close(&file);
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
