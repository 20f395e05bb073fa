/* links: model */
/* Any bytes as the weights of a model folder: the first byte says whether the rest is model.safetensors, or the index of
 * one whole shard. Refused with a sentence, or every row of the table has its values. */
#include <string.h>

#include "core/memory.h"
#include "model/folder.h"
#include "tests/fuzz/temporary_folder.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char config[] =
    "{\"architectures\":[\"MixtralForCausalLM\"],\"model_type\":\"mixtral\",\"vocab_size\":3,"
    "\"hidden_size\":4,\"intermediate_size\":2,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"head_dim\":2,\"hidden_act\":\"silu\",\"rms_norm_eps\":1e-5,"
    "\"rope_theta\":10000.0,\"max_position_embeddings\":8,\"num_local_experts\":2,"
    "\"num_experts_per_tok\":1,\"tie_word_embeddings\":false}";

static struct model_shape shape;
static struct parameter_table table;

static void prepare(void)
{
    static float flat[1 << 12];
    char path[FILE_PATH_MAX];
    temporary_file("config.json", config, sizeof config - 1);
    CHECK(file_path(path, "%s/config.json", temporary_folder()) == STATUS_OK);
    CHECK(model_shape_load(&shape, path) == STATUS_OK);
    CHECK(parameter_table_create(&table, &shape) == STATUS_OK);
    CHECK(table.elements < 1 << 12);
    CHECK(file_path(path, "%s/whole", temporary_folder()) == STATUS_OK);
    CHECK(model_folder_save(path, &shape, &table, flat, ST_BF16, NULL, 0) == STATUS_OK);
    char shard[FILE_PATH_MAX];
    CHECK(file_path(shard, "%s/whole/model.safetensors", temporary_folder()) == STATUS_OK);
    CHECK(file_path(path, "%s/a", temporary_folder()) == STATUS_OK);
    CHECK(rename(shard, path) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static float flat[1 << 12];
    char path[FILE_PATH_MAX];
    if (table.count == 0)
        prepare();
    if (size == 0)
        return 0;
    CHECK(file_path(path, "%s/model.safetensors", temporary_folder()) == STATUS_OK);
    (void)unlink(path);
    temporary_file(bytes[0] % 2 ? "model.safetensors" : "model.safetensors.index.json", bytes + 1,
                   size - 1);
    int64_t blocks = memory_blocks_live();
    enum status status = model_folder_load(temporary_folder(), &shape, &table, flat);
    CHECK(status == STATUS_OK || status_last_error()[0] != '\0');
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
