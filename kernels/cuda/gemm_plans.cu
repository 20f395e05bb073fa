/* kernels/cuda/gemm_plans.cu - the choices of gemm_library.cu on disk.
 *
 * One line for each: the words of its struct gemm_plan and their CRC32C, hexadecimal. A line that does not add up is
 * ignored. A file is replaced whole; when several processes write, the last one wins, and what is lost is chosen again. */
#include "kernels/cuda/gemm_plans.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "core/clock.h"

enum : size_t { CACHE_BYTES_MAX = (size_t)1 << 20 };
enum { LINE_WORDS = sizeof(struct gemm_plan) / sizeof(uint64_t) };
static_assert(sizeof(struct gemm_plan) % sizeof(uint64_t) == 0, "a plan is written as words");

static bool parse_line(const char *line, struct gemm_plan *plan)
{
    uint64_t word[LINE_WORDS];
    char *end = NULL;
    for (int i = 0; i < LINE_WORDS; i++, line = end) {
        word[i] = strtoull(line, &end, 16);
        if (end == line)
            return false;
    }
    uint64_t crc = strtoull(line, &end, 16);
    memcpy(plan, word, sizeof *plan);
    return end != line && *end == '\n' && crc == crc32c(0, word, sizeof word);
}

void gemm_plans_load(struct gemm_plans *plans)
{
    struct buffer text;
    int damaged = 0;
    buffer_init(&text, CACHE_BYTES_MAX);
    if (file_read(plans->path, &text) == STATUS_OK) {
        const char *line = buffer_string(&text);
        for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            struct gemm_plan plan;
            if (!parse_line(line, &plan))
                damaged++;
            else if (plans->count < PLANS_MAX)
                plans->plan[plans->count++] = plan;
        }
        damaged += *line != '\0';
    }
    if (damaged > 0)
        fprintf(stderr, "%s: %d damaged lines ignored; their products are tried again\n",
                plans->path, damaged);
    buffer_free(&text);
}

/* Whole or not at all: another process may write at the same time, the last one wins. */
static enum status write_plans(struct gemm_plans *plans, struct buffer *text)
{
    for (int i = 0; i < plans->count; i++) {
        uint64_t word[LINE_WORDS];
        if (plans->plan[i].choice == GEMM_BY_TILE)
            continue; /* tried again by the next process */
        memcpy(word, &plans->plan[i], sizeof word);
        for (int j = 0; j < LINE_WORDS; j++)
            TRY(buffer_printf(text, "%llx ", (unsigned long long)word[j]));
        TRY(buffer_printf(text, "%x\n", crc32c(0, word, sizeof word)));
    }
    return file_replace(plans->path, text->bytes, text->size);
}

void gemm_plans_save(struct gemm_plans *plans)
{
    struct buffer text;
    plans->changed = false;
    plans->saved_ns = clock_now_ns();
    if (plans->path[0] == '\0')
        return;
    buffer_init(&text, CACHE_BYTES_MAX);
    if (write_plans(plans, &text) != STATUS_OK)
        plans->path[0] = '\0'; /* a full or read-only disk: choices live as long as this process */
    buffer_free(&text);
}

static enum status find_path(const struct cuda_context *cuda, char path[FILE_PATH_MAX])
{
    const char *off = getenv("WEIR_GEMM_CACHE"), *base = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");
    char folder[FILE_PATH_MAX], name[sizeof cuda->gpu_name];
    if (off != NULL && strcmp(off, "off") == 0)
        return STATUS_OK;
    if (base != NULL && base[0] == '/')
        TRY(file_path(folder, "%s/weir", base));
    else if (home != NULL && home[0] == '/')
        TRY(file_path(folder, "%s/.cache/weir", home));
    else
        return STATUS_OK;
    memcpy(name, cuda->gpu_name, sizeof name);
    for (char *c = name; *c != '\0'; c++)
        *c = *c == ' ' || *c == '/' ? '-' : *c;
    TRY(file_make_dirs(folder));
    return file_path(path, "%s/gemm-%s-%zu.txt", folder, name, cublasLtGetVersion());
}

void gemm_plans_find(const struct cuda_context *cuda, struct gemm_plans *plans)
{
    if (find_path(cuda, plans->path) != STATUS_OK)
        plans->path[0] = '\0';
}
