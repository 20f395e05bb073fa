/* links: learner */
/* Any bytes as state.json and manifest of a checkpoint, and as the list of shards of a model folder: passed over or refused
 * with a sentence, never loaded wrong. The manifest is made right for every other input, so that state.json is read. */
#include <string.h>

#include "core/memory.h"
#include "learner/checkpoint.h"
#include "learner/manifest.h"
#include "model/folder.h"
#include "tests/fuzz/temporary_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_shards(const uint8_t *bytes, size_t size)
{
    static struct parameter_table table;
    static struct model_shape shape;
    static float flat[1];
    temporary_file("model.safetensors.index.json", bytes, size);
    enum status status = model_folder_load(temporary_folder(), &shape, &table, flat);
    CHECK(status == STATUS_OK || status_last_error()[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char folder[FILE_PATH_MAX], path[FILE_PATH_MAX];
    uint64_t version = 0;
    CHECK(file_path(folder, "%s/step_3", temporary_folder()) == STATUS_OK);
    CHECK(file_make_dirs(folder) == STATUS_OK);
    int64_t blocks = memory_blocks_live();
    temporary_file("step_3/state.json", bytes, size);
    if (size % 2 == 0)
        CHECK(manifest_write(folder) == STATUS_OK);
    else
        temporary_file("step_3/manifest", bytes, size);
    if (size % 2 != 0)
        CHECK(manifest_verify(folder) != STATUS_OK); /* it would have to hold its own checksum */
    if (checkpoint_newest(temporary_folder(), UINT64_MAX, path, sizeof path, &version) == STATUS_OK)
        CHECK(version == 3);
    else
        CHECK(status_last_error()[0] != '\0');
    read_shards(bytes, size);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
