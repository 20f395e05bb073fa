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
/* ---- out ---- */

/* What generation_config.json says about sampling. */
struct model_generation {
    double temperature; /* 0: greedy */
    double top_p;
    int64_t top_k; /* 0: all */
};
struct model_folder_content {
    const struct model_shape *shape;
    const struct parameter_table *table;
    const float *flat; /* [table->elements]; NULL: the weights of `source` */
    struct model_folder *
        source; /* of the same layout; read as it is written, so any size goes through little memory */
    enum safetensors_dtype
        dtype;        /* ST_F32 for checkpoints, ST_BF16 for export (STORAGE_F32 rows stay F32) */
    const char *like; /* folder with the tokenizer files and chat template; NULL: none */
    int64_t shard_bytes;                       /* a file's; 0: 5 GB */
    const struct model_generation *generation; /* NULL: as in `like` */
};
/* Writes config.json, generation_config.json, model.safetensors (above shard_bytes in shards with an index) and the
 * tokenizer files of `like`; tokenizer_config.json and special_tokens_map.json are made where only tokenizer.json is
 * there. The folder appears under its name only when complete (NAME.tmp, fsync, rename); one that exists already is
 * refused, and a failed save leaves nothing (a killed one leaves NAME.tmp, which goes with the next one). */
MUST_CHECK enum status model_folder_write(const char *folder,
                                          const struct model_folder_content *content);
MUST_CHECK enum status model_folder_save(const char *folder, const struct model_shape *shape,
                                         const struct parameter_table *table, const float *flat,
                                         enum safetensors_dtype dtype, const char *like,
                                         int64_t shard_bytes);
/* `weir init CONFIG OUT`: random folder from a config.json. */
MUST_CHECK enum status model_folder_init(const char *config_path, const char *out, uint64_t seed,
                                         enum safetensors_dtype dtype, const char *like);

/* ---- naming ---- */
enum model_naming { NAMING_HF, NAMING_MINIMAX, NAMING_NATIVE };
/* The same network as another architecture: MiniMaxAI's (minimax_m1) and native `minimax` into each other; hf: as it is.
 * UNSUPPORTED with the reason where the other one computes something else. */
MUST_CHECK enum status model_shape_rename(const struct model_shape *shape, enum model_naming naming,
                                          struct model_shape *renamed);

#endif
