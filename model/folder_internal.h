/* model/folder_internal.h - what the files of model folders share: folder_open.c checks one, folder_read.c reads
 * its weights, folder.c writes one, folder_files.c the small files in it. */
#ifndef MODEL_FOLDER_INTERNAL_H
#define MODEL_FOLDER_INTERNAL_H

#include <jansson.h>

#include "core/buffer.h"
#include "core/file.h"
#include "kernels/cpu_pool.h"
#include "model/folder.h"

/* Where the values of one row of the table are. */
struct folder_source {
    const struct safetensors *file; /* NULL: missing */
    const struct safetensor *tensor;
    int64_t first; /* element of the tensor where the row begins: > 0 inside fused experts */
};

struct model_folder {
    char path[FILE_PATH_MAX];
    const struct model_shape *shape;     /* borrowed */
    const struct parameter_table *table; /* borrowed */
    struct safetensors **files;          /* [file_count], owned */
    int64_t file_count;
    struct folder_source *sources; /* [table->count] */
    struct pool *pool;             /* made by the first large read */
};

/* What is wrong with a folder, all of it. The first finding decides the status. */
struct folder_findings {
    struct buffer text;
    enum status first;
    int64_t count, shown;
};

void folder_finding(struct folder_findings *findings, enum status status, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* OK without findings; otherwise one sentence, or a list, as the last error. */
MUST_CHECK enum status folder_findings_end(struct folder_findings *findings, const char *folder,
                                           const char *architecture);

/* ---- folder_files.c: what a written folder has besides weights ---- */
MUST_CHECK enum status folder_write_json(const char *path, const json_t *root);
MUST_CHECK enum status folder_write_config(const char *folder,
                                           const struct model_folder_content *content);
MUST_CHECK enum status folder_write_tokenizer(const char *folder,
                                              const struct model_folder_content *content);
/* What `like` says, with the ids and the sampling of this model over it. */
MUST_CHECK enum status folder_write_generation(const char *folder,
                                               const struct model_folder_content *content);

#endif
