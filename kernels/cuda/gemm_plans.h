/* kernels/cuda/gemm_plans.h - which kernel does which product, in memory (gemm_library.cu) and on disk (gemm_plans.cu). */
#ifndef KERNELS_CUDA_GEMM_PLANS_H
#define KERNELS_CUDA_GEMM_PLANS_H

#include "core/file.h"
#include "kernels/cuda/cuda_context.h"

enum { PLANS_MAX = 1024 };

struct gemm_key {
    int64_t m, n, k; /* the number of rows rounded up */
    uint64_t flags;
};

enum gemm_choice : uint64_t { GEMM_BY_TILE, GEMM_BY_LIBRARY, GEMM_BY_SMALL };

struct gemm_plan {
    struct gemm_key key;
    cublasLtMatmulAlgo_t algorithm; /* GEMM_BY_LIBRARY */
    enum gemm_choice choice;        /* GEMM_BY_TILE: no algorithm of the library passes */
};

struct gemm_plans {
    struct gemm_plan plan[PLANS_MAX];
    int count;
    void *workspace; /* made by the first backward product */
    cudaEvent_t begin, end;
    char path[FILE_PATH_MAX]; /* "" when choices are not kept on disk */
    int64_t saved_ns;
    bool changed;
};

/* $XDG_CACHE_HOME/weir/gemm-<GPU>-<cublasLt version>.txt, or "" (WEIR_GEMM_CACHE=off, no home). */
void gemm_plans_find(const struct cuda_context *cuda, struct gemm_plans *plans);
void gemm_plans_load(struct gemm_plans *plans);
void gemm_plans_save(struct gemm_plans *plans);

#endif
