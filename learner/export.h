/* learner/export.h - `weir export`: a checkpoint as a model folder that transformers, vLLM and SGLang load. */
#ifndef LEARNER_EXPORT_H
#define LEARNER_EXPORT_H

#include <stdio.h>

#include "core/file.h"
#include "model/folder.h"

struct export_options {
    const char *
        from; /* model folder, checkpoint (step_N), folder of checkpoints, or run folder: its newest whole one */
    const char *out;              /* must not exist */
    const char *like;             /* folder with the tokenizer files; NULL: those of `from` */
    enum safetensors_dtype dtype; /* ST_BF16 or ST_F32; routers are F32 in both */
    enum model_naming naming;
    int64_t shard_bytes; /* 0: 5 GB */
};

/* model: the folder that `from` stands for; a checkpoint is first checked against its manifest. */
MUST_CHECK enum status export_find(const char *from, char model[FILE_PATH_MAX]);
/* Weights go through little memory, whatever their size. text: a line about what was written. */
MUST_CHECK enum status export_run(const struct export_options *options, struct buffer *text);
/* weir export FROM OUT [--dtype bf16|f32] [--naming hf|minimax|native] [--like DIR] [--shard-gb N] */
int export_main(int argc, char **argv, FILE *out);

#endif
