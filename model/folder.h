/* model/folder.h - Hugging Face model folders in and out.
 *
 * Reads config.json and model.safetensors or model.safetensors.index.json with its shards; every row of
 * the parameter table must be there with its shape; tensors that are no row are refused unless they are
 * known to be buffers (native minimax: slope_rate, query_decay, key_decay, diagonal_decay; rotary
 * inv_freq; lm_head.weight of a tied model). Writes the same names, so transformers and vLLM load it. */
#ifndef MODEL_FOLDER_H
#define MODEL_FOLDER_H

#include <stdbool.h>

#include "model/parameters.h"
#include "model/safetensors.h"

/* flat [table->elements] f32, zeroed paddings. */
MUST_CHECK enum status model_folder_load(const char *folder, const struct model_shape *shape,
                                         const struct parameter_table *table, float *flat);
/* Writes config.json, model.safetensors (sharded with an index above shard_bytes; 0 = 5 GB) and copies the
 * tokenizer and generation files of `like` (may be NULL). dtype ST_F32 for checkpoints, ST_BF16 for export
 * (STORAGE_F32 rows stay F32). The folder appears under its name only when complete (folder.tmp, fsync, rename);
 * a folder that exists already is refused, what a failed save left in folder.tmp goes with the next one. */
MUST_CHECK enum status model_folder_save(const char *folder, const struct model_shape *shape,
                                         const struct parameter_table *table, const float *flat,
                                         enum safetensors_dtype dtype, const char *like,
                                         int64_t shard_bytes);
/* `weir init CONFIG OUT`: random folder from a config.json. */
MUST_CHECK enum status model_folder_init(const char *config_path, const char *out, uint64_t seed,
                                         enum safetensors_dtype dtype, const char *like);

#endif
