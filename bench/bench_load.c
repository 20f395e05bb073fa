/* links: model */
/* Loading a model folder from the page cache: JSON lines with GB/s of the file, beside a plain read of the same files.
 *
 *     bench_load 3.0 bf16          a folder of 3 GB in shards below /tmp, read, loaded, removed
 *     bench_load 3.0 bf16 cuda     besides, into the weights of a model on a device
 *
 * plain_gb_s: read() of all shards into one buffer of 1 MiB, by one thread. fresh_gb_s: the same into memory that was
 * never touched, as weights are; *_cpu_s are processor seconds of the same. ratio = load / plain, limit 0.6 from below; peak_ratio = peak host memory / weights
 * held, limit 1.1 from above. Each measurement is a process of its own, so that its peak is its own; best of ROUNDS.
 *
 * Napkin: a read copies 2 bytes for each bf16 and writes 4, into pages that the kernel has to zero first: three times the
 * traffic of a plain read, divided by the cores. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/must.h"
#include "core/file.h"
#include "core/memory.h"
#include "model/folder.h"
#include "model/plan.h"

enum { ROUNDS = 3, SHARDS = 4, READ_BYTES = 1 << 20 };

static char base[FILE_PATH_MAX] = "/tmp/weir-load-XXXXXX";

struct result {
    double ms;
    double cpu_s; /* user and system time of all threads: what a busy machine cannot spoil */
    int64_t peak; /* bytes of host memory */
    int64_t held; /* bytes of weights */
};

struct load {
    struct model_shape shape;
    struct parameter_table table;
    const char *device;
    int64_t bytes; /* of the shards */
};

static enum status fill(void *self, int64_t row, int64_t first, int64_t count, float *out)
{
    (void)self;
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)((row * 31 + first + i) % 251 - 125) * 0x1p-10f;
    return STATUS_OK;
}

/* A dense model of about `parameters`. */
static void make_config(int64_t parameters)
{
    enum { HIDDEN = 2048, WIDE = 8192, VOCABULARY = 32768 };
    int64_t layer = (int64_t)HIDDEN * (3 * WIDE + 3 * HIDDEN);
    int64_t layers = (parameters - (int64_t)VOCABULARY * HIDDEN + layer / 2) / layer;
    char path[FILE_PATH_MAX], text[1024];
    int size = snprintf(
        text, sizeof text,
        "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"vocab_size\":%d,"
        "\"hidden_size\":%d,\"intermediate_size\":%d,\"num_hidden_layers\":%" PRId64
        ",\"num_attention_heads\":16,\"num_key_value_heads\":8,\"head_dim\":128,\"hidden_act\":"
        "\"silu\",\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"max_position_embeddings\":4096,"
        "\"tie_word_embeddings\":true}",
        VOCABULARY, HIDDEN, WIDE, layers > 0 ? layers : 1);
    must(file_path(path, "%s/config.json", base), "config");
    must(file_replace(path, text, (size_t)size), "config");
}

static void make_folder(struct load *load, enum safetensors_dtype dtype)
{
    const struct parameter_table *table = &load->table;
    struct safetensors_row *rows = memory_array((size_t)table->count, sizeof *rows);
    struct buffer index;
    char path[FILE_PATH_MAX];
    buffer_init(&index, 0);
    must(rows != NULL ? buffer_text(&index, "{\"weight_map\":{") : STATUS_NO_MEMORY, "rows");
    for (int64_t i = 0; i < table->count; i++) {
        rows[i] = (struct safetensors_row){
            .name = table->rows[i].name, .dtype = dtype, .dims = table->rows[i].dims};
        memcpy(rows[i].shape, table->rows[i].shape, sizeof table->rows[i].shape);
        load->bytes += table->rows[i].count * (dtype == ST_F32 ? 4 : 2);
    }
    int64_t each = (table->count + SHARDS - 1) / SHARDS;
    for (int64_t first = 0; first < table->count; first += each) {
        int64_t count = table->count - first < each ? table->count - first : each;
        for (int64_t i = first; i < first + count; i++)
            must(buffer_printf(&index, "%s\"%s\":\"model-%" PRId64 ".safetensors\"", i ? "," : "",
                               rows[i].name, first / each),
                 "index");
        must(file_path(path, "%s/model-%" PRId64 ".safetensors", base, first / each), "shard");
        must(safetensors_write_filled(path, rows + first, count, fill, NULL), "shard");
    }
    must(buffer_text(&index, "}}"), "index");
    must(file_path(path, "%s/model.safetensors.index.json", base), "index");
    must(file_replace(path, index.bytes, index.size), "index");
    buffer_free(&index);
    memory_free(rows);
}

/* ---- what is measured ---- */

/* Virtual machines give free memory back to their host, and its first use then costs 2 s a GB (measured), which says
 * nothing about loading. So the host is asked for as much as the measurement takes, just before it. */
static struct result touch(const struct load *load)
{
    size_t bytes = (size_t)load->table.elements * sizeof(float) + ((size_t)256 << 20);
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        exit(1);
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i += 4096)
        memory[i] = 1;
    return (struct result){.ms = 0};
}

static void read_files(const struct load *load, char *buffer, bool fresh)
{
    char path[FILE_PATH_MAX];
    (void)load;
    for (int k = 0; k < SHARDS; k++) {
        must(file_path(path, "%s/model-%d.safetensors", base, k), "read");
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t got = 0;
        while (fd >= 0 && (got = read(fd, buffer, READ_BYTES)) > 0)
            buffer += fresh ? got : 0;
        if (fd < 0 || got < 0)
            must(FAIL(STATUS_IO, "%s: %s", path, strerror(errno)), "read");
        (void)close(fd);
    }
}

static struct result plain_read(const struct load *load)
{
    char *buffer = memory_alloc(READ_BYTES);
    int64_t begin_ns = clock_now_ns();
    read_files(load, buffer, false);
    struct result result = {.ms = since_ms(begin_ns)};
    memory_free(buffer);
    return result;
}

static struct result fresh_read(const struct load *load)
{
    int64_t begin_ns = clock_now_ns();
    char *buffer = memory_alloc((size_t)load->bytes + (64 << 20));
    must(buffer != NULL ? STATUS_OK : STATUS_NO_MEMORY, "memory");
    read_files(load, buffer, true);
    struct result result = {.ms = since_ms(begin_ns)};
    memory_free(buffer);
    return result;
}

static struct result load_flat(const struct load *load)
{
    size_t bytes = (size_t)load->table.elements * sizeof(float);
    int64_t begin_ns = clock_now_ns();
    float *flat = memory_alloc(bytes);
    must(flat != NULL ? STATUS_OK : STATUS_NO_MEMORY, "flat");
    must(model_folder_load(base, &load->shape, &load->table, flat), "load");
    struct result result = {.ms = since_ms(begin_ns), .held = (int64_t)bytes};
    memory_free(flat);
    return result;
}

/* Everything that makes weights usable: digest and packed form, too. */
static struct result load_model(const struct load *load)
{
    struct op_table *ops = NULL;
    struct model *model = NULL;
    struct model_weights weights = {0};
    struct model_options options = {.rows_max = 16, .lightning_chunk = 64};
    must(op_table_create(&ops, load->device, (int32_t)sysconf(_SC_NPROCESSORS_ONLN)), "device");
    must(model_create(&model, &load->shape, ops, &options), "model");
    int64_t begin_ns = clock_now_ns();
    must(model_weights_create(model, &weights), "weights");
    must(model_weights_load_folder(model, &weights, base), "load");
    struct result result = {.ms = since_ms(begin_ns)};
    int64_t flat = 0, packed = 0;
    must(plan_weights_bytes(&load->shape, ops, options.lm_head, &flat, &packed), "plan");
    result.held = flat + packed;
    model_weights_destroy(model, &weights);
    model_destroy(&model);
    op_table_destroy(&ops);
    return result;
}

static double seconds(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec * 1e-6;
}

/* The fastest of ROUNDS, each in a child. */
static struct result measure(const struct load *load, struct result (*what)(const struct load *),
                             int rounds)
{
    struct result best = {.ms = 1e30};
    for (int i = 0; i < rounds; i++) {
        if (what != touch)
            (void)measure(load, touch, 1);
        int ends[2], ended = 0;
        if (pipe(ends) != 0)
            exit(1);
        pid_t child = fork();
        if (child == 0) {
            struct rusage usage;
            struct result result = what(load);
            (void)getrusage(RUSAGE_SELF, &usage);
            result.peak = (int64_t)usage.ru_maxrss * 1024;
            result.cpu_s = seconds(usage.ru_utime) + seconds(usage.ru_stime);
            _exit(write(ends[1], &result, sizeof result) == sizeof result ? 0 : 1);
        }
        (void)close(ends[1]);
        struct result result = {0};
        bool whole = child > 0 && read(ends[0], &result, sizeof result) == sizeof result;
        (void)close(ends[0]);
        if (!whole || waitpid(child, &ended, 0) != child || ended != 0)
            exit(1);
        best = result.ms < best.ms ? result : best;
    }
    return best;
}

static void bench(const struct load *load, const char *dtype)
{
    double mb = (double)load->bytes * 1e-6; /* over ms: GB/s */
    struct result plain = measure(load, plain_read, ROUNDS),
                  fresh = measure(load, fresh_read, ROUNDS);
    struct result flat = measure(load, load_flat, ROUNDS);
    printf("{\"bench\":\"load\",\"what\":\"folder to f32\",\"dtype\":\"%s\",\"bytes\":%" PRId64
           ",\"plain_gb_s\":%.2f,\"fresh_gb_s\":%.2f,\"load_gb_s\":%.2f,\"ratio\":%.2f,\"limit\":"
           "0.6,\"ratio_fresh\":%.2f,\"cpus\":%ld,\"plain_cpu_s\":%.2f,\"fresh_cpu_s\":%.2f,\"load_"
           "cpu_s\":%.2f,\"held_mb\":%.0f,\"peak_mb\":%.0f,\"peak_ratio\":%.3f,"
           "\"peak_limit\":1.1}\n",
           dtype, load->bytes, mb / plain.ms, mb / fresh.ms, mb / flat.ms, plain.ms / flat.ms,
           fresh.ms / flat.ms, sysconf(_SC_NPROCESSORS_ONLN), plain.cpu_s, fresh.cpu_s, flat.cpu_s,
           (double)flat.held * 1e-6, (double)flat.peak * 1e-6,
           (double)flat.peak / (double)flat.held);
    if (load->device == NULL)
        return;
    struct result model = measure(load, load_model, ROUNDS);
    printf("{\"bench\":\"load\",\"what\":\"folder to weights of a model\",\"device\":\"%s\","
           "\"dtype\":\"%s\",\"bytes\":%" PRId64
           ",\"plain_gb_s\":%.2f,\"load_gb_s\":%.2f,\"ratio\":%.2f,\"held_mb\":%.0f,\"peak_mb\":"
           "%.0f,\"peak_ratio\":%.3f,\"peak_limit\":1.1}\n",
           load->device, dtype, load->bytes, mb / plain.ms, mb / model.ms, plain.ms / model.ms,
           (double)model.held * 1e-6, (double)model.peak * 1e-6,
           (double)model.peak / (double)model.held);
}

int main(int argc, char **argv)
{
    double gb = argc > 1 ? strtod(argv[1], NULL) : 3.0;
    const char *dtype = argc > 2 ? argv[2] : "bf16";
    bool wide = strcmp(dtype, "f32") == 0;
    struct load load = {.device = argc > 3 ? argv[3] : NULL};
    char config[FILE_PATH_MAX];
    if (mkdtemp(base) == NULL)
        return 1;
    make_config((int64_t)(gb * 1e9) / (wide ? 4 : 2));
    must(file_path(config, "%s/config.json", base), "config");
    must(model_shape_load(&load.shape, config), "config");
    must(parameter_table_create(&load.table, &load.shape), "table");
    make_folder(&load, wide ? ST_F32 : ST_BF16);
    bench(&load, dtype);
    parameter_table_destroy(&load.table);
    must(file_remove_tree(base), "remove");
    return 0;
}
