/* model/folder.h - Hugging Face model folders in and out.
 *
 * Reads config.json and model.safetensors or model.safetensors.index.json with its shards; every row of
 * the parameter table must be there with its shape; tensors that are no row are refused unless they are
 * known to be buffers (native minimax: slope_rate, query_decay, key_decay, diagonal_decay; rotary
 * inv_freq; lm_head.weight of a tied model). Writes the same names, so transformers and vLLM load it. */
#ifndef MODEL_FOLDER_H
#define MODEL_FOLDER_H

#include <stdbool.h>

#include "model/model.h"
#include "model/parameters.h"
#include "model/safetensors.h"

/* An open folder: headers of all its files, checked. shape and table are borrowed until close. */
struct model_folder;
/* Everything that does not fit is in the one error: missing files and tensors, tensors that are no part of the model,
 * wrong shapes and dtypes, an index that disagrees with its shards; at most 20, then "and N more". Status of the first:
 * NOT_FOUND (a file), CORRUPT (a header or the index), UNSUPPORTED, INVALID; NO_MEMORY, IO. */
MUST_CHECK enum status model_folder_open(struct model_folder **folder, const char *path,
                                         const struct model_shape *shape,
                                         const struct parameter_table *table);
void model_folder_close(struct model_folder **folder); /* NULL is fine */
/* Elements first .. first + count - 1 of the flat layout as f32, paddings 0; large spans by all cores of the process. One
 * thread calls a folder at a time. */
MUST_CHECK enum status model_folder_read(struct model_folder *folder, int64_t first, int64_t count,
                                         float *out);
/* open, read all, close. flat [table->elements] f32, zeroed paddings. */
MUST_CHECK enum status model_folder_load(const char *folder, const struct model_shape *shape,
                                         const struct parameter_table *table, float *flat);
/* The same into device memory [table->elements]; the host holds 32 MB of it at a time. */
MUST_CHECK enum status model_folder_load_device(const char *folder, const struct model_shape *shape,
                                                const struct parameter_table *table,
                                                const struct op_table *ops, float *device);
/* The same rounded to the weights of a model (second planes, digest and packed form included); on the host straight
 * into them. */
MUST_CHECK enum status model_weights_load_folder(struct model *model, struct model_weights *weights,
                                                 const char *folder);
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
