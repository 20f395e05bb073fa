/* links: text */
/* bench/bench_tokenizer.c - bytes of text a second that one core encodes and decodes with a model's tokenizer.
 *
 *     bench_tokenizer FOLDER english=FILE mixed=FILE [seconds]   JSON lines; limits: english 20 MB/s, mixed 10 MB/s
 *
 * A file is encoded in documents of at least 4 KiB that end with a line; the median CPU time of the passes that fit into
 * `seconds` (3) counts. bench/peers/tokenizers_speed.py makes such files and runs the Python package `tokenizers` beside this. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "bench/must.h"
#include "core/arena.h"
#include "core/file.h"
#include "text/tokenizer.h"

enum { DOCUMENT_BYTES = 4096, PASSES_MAX = 1000 };

/* Of this thread on its core: other processes do not count. */
static double cpu_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now); /* lint: allow(clock_gettime): CPU time */
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

struct totals {
    uint64_t documents, ids;
};

static size_t document_end(const struct buffer *text, size_t begin)
{
    if (text->size - begin <= DOCUMENT_BYTES)
        return text->size;
    const uint8_t *from = text->bytes + begin + DOCUMENT_BYTES;
    const uint8_t *line = memchr(from, '\n', text->size - begin - DOCUMENT_BYTES);
    return line == NULL ? text->size : (size_t)(line + 1 - text->bytes);
}

static void pass(struct tokenizer *tokenizer, const struct buffer *text, struct arena *arena,
                 bool decode, struct buffer *decoded, double ms[2], struct totals *totals)
{
    *totals = (struct totals){0};
    ms[0] = ms[1] = 0;
    decoded->size = 0;
    for (size_t begin = 0, end; begin < text->size; begin = end) {
        uint32_t *ids = NULL;
        size_t count = 0;
        end = document_end(text, begin);
        arena_reset(arena);
        double start = cpu_ms();
        must(tokenizer_encode(tokenizer, (const char *)text->bytes + begin, end - begin, arena,
                              &ids, &count),
             "encode");
        ms[0] += cpu_ms() - start;
        start = cpu_ms();
        if (decode)
            must(tokenizer_decode(tokenizer, ids, count, false, decoded), "decode");
        ms[1] += cpu_ms() - start;
        totals->ids += count;
        totals->documents++;
    }
}

static void bench_text(struct tokenizer *tokenizer, const char *folder, const char *name,
                       const char *path, double seconds)
{
    static double encode_ms[PASSES_MAX], decode_ms[PASSES_MAX];
    struct buffer text, decoded;
    struct arena *arena = NULL;
    struct totals totals;
    size_t passes = 0;
    double ms[2];
    buffer_init(&text, 0);
    buffer_init(&decoded, 0);
    must(file_read(path, &text), path);
    must(arena_create(&arena, (size_t)1 << 30), "arena");
    pass(tokenizer, &text, arena, true, &decoded, ms, &totals);
    bool same = decoded.size == text.size && memcmp(decoded.bytes, text.bytes, text.size) == 0;
    double first = ms[0];
    int64_t begin = clock_now_ns();
    while (passes < PASSES_MAX && (passes < 3 || since_ms(begin) < 1000 * seconds)) {
        pass(tokenizer, &text, arena, true, &decoded, ms, &totals);
        encode_ms[passes] = ms[0];
        decode_ms[passes++] = ms[1];
    }
    qsort(encode_ms, passes, sizeof *encode_ms, compare);
    qsort(decode_ms, passes, sizeof *decode_ms, compare);
    double size = (double)text.size / 1e3; /* kB a millisecond are MB a second */
    printf("{\"bench\":\"tokenizer\",\"program\":\"weir\",\"model\":\"%s\",\"text\":\"%s\","
           "\"bytes\":%zu,"
           "\"documents\":%" PRIu64 ",\"ids\":%" PRIu64 ",\"passes\":%zu,\"encode_mb_s\":%.1f,"
           "\"encode_mb_s_min\":%d,\"first_pass_mb_s\":%.1f,\"decode_mb_s\":%.1f,"
           "\"round_trip\":%s}\n",
           folder, name, text.size, totals.documents, totals.ids, passes,
           size / encode_ms[passes / 2], strcmp(name, "english") == 0 ? 20 : 10, size / first,
           size / decode_ms[passes / 2], same ? "true" : "false");
    arena_destroy(&arena);
    buffer_free(&text);
    buffer_free(&decoded);
}

int main(int argc, char **argv)
{
    struct tokenizer *tokenizer = NULL;
    double seconds = 3;
    if (argc < 3) {
        fprintf(stderr, "usage: bench_tokenizer FOLDER NAME=FILE ... [seconds]\n");
        return 2;
    }
    int64_t begin = clock_now_ns();
    must(tokenizer_open(&tokenizer, argv[1], TOKENIZER_JSON), argv[1]);
    printf("{\"bench\":\"tokenizer\",\"program\":\"weir\",\"model\":\"%s\",\"open_ms\":%.0f}\n",
           argv[1], since_ms(begin));
    if (strchr(argv[argc - 1], '=') == NULL)
        seconds = strtod(argv[argc - 1], NULL);
    for (int i = 2; i < argc; i++) {
        char *file = strchr(argv[i], '=');
        if (file == NULL)
            continue;
        *file = '\0';
        bench_text(tokenizer, argv[1], argv[i], file + 1, seconds);
    }
    tokenizer_close(&tokenizer);
    return 0;
}
