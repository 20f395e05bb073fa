/* links: actor */
/* timeout: 60 */
/* The replay of a rollout against rollouts made here, token by token: one prefill, kept caches across versions, a cache
 * rebuilt, a second lease, weights that changed within a prefill; and what it says of one that is not as recorded. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/replay.h"
#include "core/checksum.h"
#include "core/file.h"
#include "model/folder.h"
#include "model/model.h"
#include "proto/tape.h"

#define CONFIG SOURCE_DIR "/tests/golden/model/minimax-m1-format/config.json"

enum { VERSIONS = 2, PROMPT = 41, TOKENS = 40, SEGMENTS = 4, EACH = TOKENS / SEGMENTS, CUT = 13 };

static char folders[VERSIONS][FILE_PATH_MAX], base[FILE_PATH_MAX], tape[FILE_PATH_MAX];
static char folder_list[2 * FILE_PATH_MAX + 16];
static struct settings settings;

/* Our own actor: one sequence. */
static struct {
    struct op_table *ops;
    struct model_shape shape;
    struct model *model;
    struct model_cache *cache;
    struct model_weights weights[VERSIONS];
    int32_t ids[PROMPT + TOKENS];
    float logprobs[TOKENS], truncated[TOKENS];
    uint32_t length, cached;
} maker;

static void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static int setup(void **state)
{
    (void)state;
    must(file_path(base, "%s/test_actor_replay", BUILD_DIR));
    must(file_remove_tree(base));
    must(file_make_dirs(base));
    must(file_path(tape, "%s/tape", base));
    for (int v = 0; v < VERSIONS; v++) {
        must(file_path(folders[v], "%s/model_%d", base, v));
        must(model_folder_init(CONFIG, folders[v], 3 + (uint64_t)v, ST_F32, NULL));
    }
    snprintf(folder_list, sizeof folder_list, "0=%s,1=%s", folders[0], folders[1]);
    settings.run.threads = 1;
    settings.run.seed = 77;
    settings.model.path = folders[0];
    settings.model.lightning_chunk = 8;
    settings.data.prompt_tokens_max = PROMPT;
    settings.sampling.response_tokens_max = TOKENS;
    settings.sampling.repetition_probability = 0.99;
    settings.actor.device = "";
    settings.run.device = "cpu";
    must(model_shape_load(&maker.shape, CONFIG));
    must(op_table_create(&maker.ops, "cpu", 1));
    struct model_options options = {.rows_max = PROMPT + TOKENS, .lightning_chunk = 8};
    must(model_create(&maker.model, &maker.shape, maker.ops, &options));
    must(model_cache_create(maker.model, 1, 64, PROMPT + TOKENS, &maker.cache));
    const struct parameter_table *table = model_parameters(maker.model);
    float *flat = malloc((size_t)table->elements * sizeof *flat);
    assert_non_null(flat);
    for (int v = 0; v < VERSIONS; v++) {
        must(model_weights_create(maker.model, &maker.weights[v]));
        must(model_folder_load(folders[v], &maker.shape, table, flat));
        must(model_weights_round(maker.model, &maker.weights[v], flat, false));
    }
    free(flat);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    model_cache_destroy(&maker.cache);
    for (int v = 0; v < VERSIONS; v++)
        model_weights_destroy(maker.model, &maker.weights[v]);
    model_destroy(&maker.model);
    op_table_destroy(&maker.ops);
    return 0;
}

/* ---- rollouts ---- */

static void begin_rollout(void)
{
    for (int i = 0; i < PROMPT; i++)
        maker.ids[i] = (i * 7 + 3) % 100;
    maker.length = PROMPT;
    maker.cached = 0;
}

static void empty_cache(void)
{
    model_cache_close(maker.cache, 0);
    must(model_cache_open(maker.cache, 0, PROMPT + TOKENS));
    maker.cached = 0;
}

/* Tokens up to `to` go into the cache; the hidden states of the last call. */
static act *feed(int version, uint32_t to, int32_t *row)
{
    act *hidden = NULL;
    struct op_segment segment = {.position = (int32_t)maker.cached,
                                 .count = (int32_t)(to - maker.cached)};
    struct model_batch batch = {.rows = segment.count,
                                .ids = maker.ids + maker.cached,
                                .segments = &segment,
                                .segment_count = 1};
    must(model_forward(maker.model, &maker.weights[version], maker.cache, &batch, false, &hidden));
    maker.cached = to;
    *row = segment.count - 1;
    return hidden;
}

static void make_tokens(int version, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        int32_t row = 0;
        const act *hidden = feed(version, maker.length, &row);
        uint32_t at = maker.length - PROMPT;
        uint8_t confident;
        struct op_sample_row sampling = {.seed = settings.run.seed,
                                         .group = 5,
                                         .sample = 2,
                                         .position = maker.length,
                                         .temperature = 1,
                                         .top_p = 0.9F};
        struct model_sample sample = {.rows = 1,
                                      .row_index = &row,
                                      .row = &sampling,
                                      .repetition_probability = 0.99F,
                                      .token = &maker.ids[maker.length],
                                      .logprob = &maker.logprobs[at],
                                      .logprob_truncated = &maker.truncated[at],
                                      .confident = &confident};
        must(model_sample(maker.model, &maker.weights[version], hidden, &sample));
        maker.length++;
    }
}

static struct segment segment_of(uint64_t lease, uint32_t index, int version, int kv)
{
    static char numerics[256];
    model_numerics(maker.model, numerics, sizeof numerics);
    return (struct segment){.lease_id = lease,
                            .group_id = 5,
                            .sample = 2,
                            .attempt = 1,
                            .first_position = index * EACH,
                            .count = EACH,
                            .ids = (const uint32_t *)maker.ids + PROMPT + index * EACH,
                            .logprobs = maker.logprobs + index * EACH,
                            .logprobs_truncated = maker.truncated + index * EACH,
                            .version = (uint64_t)version,
                            .digest = maker.weights[version].digest,
                            .kv_version_min = (uint64_t)kv,
                            .rebuilt_at = UINT32_MAX,
                            .numerics_id = hash64(numerics, strlen(numerics), 0),
                            .proof = PROOF_OWN,
                            .status = index + 1 == SEGMENTS ? SEGMENT_LENGTH : SEGMENT_MORE};
}

static void write_tape(const struct segment *segments)
{
    struct buffer out;
    uint32_t prompt[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = (uint32_t)maker.ids[i];
    struct span span = {.source = SPAN_PROMPT, .count = PROMPT, .ids = prompt};
    struct lease lease = {.lease_id = 1,
                          .group_id = 5,
                          .sample = 2,
                          .attempt = 1,
                          .budget = TOKENS,
                          .temperature = 1,
                          .top_p = 0.9F,
                          .kv_version_min = UINT64_MAX,
                          .span_count = 1,
                          .spans = &span};
    buffer_init(&out, 0);
    must(
        tape_put(&out, &(struct message){.type = MESSAGE_lease_grant, .lease_grant = {1, &lease}}));
    must(tape_put(&out, &(struct message){.type = MESSAGE_segment_frame,
                                          .segment_frame = {.frame_id = 1,
                                                            .incarnation = 1,
                                                            .count = SEGMENTS,
                                                            .segments = segments}}));
    must(file_replace(tape, out.bytes, out.size));
    buffer_free(&out);
}

/* ---- judging ---- */

static enum status replay(const struct segment *segments, bool *equal, char text[1000])
{
    FILE *out = tmpfile();
    assert_non_null(out);
    write_tape(segments);
    struct actor_replay request = {
        .settings = &settings, .file = tape, .folders = folder_list, .out = out};
    enum status status = actor_replay(&request, equal);
    rewind(out);
    size_t got = fread(text, 1, 999, out);
    text[got] = '\0';
    fclose(out);
    return status;
}

static void expect(const struct segment *segments, bool wanted, const char *said)
{
    char text[1000];
    bool equal = !wanted;
    must(replay(segments, &equal, text));
    if (equal != wanted || strstr(text, said) == NULL)
        fail_msg("%s", text);
}

/* ---- cases ---- */

static void make_plain(struct segment segments[SEGMENTS])
{
    begin_rollout();
    empty_cache();
    for (uint32_t s = 0; s < SEGMENTS; s++) {
        make_tokens(0, EACH);
        segments[s] = segment_of(1, s, 0, 0);
    }
}

static void test_actor_replay_one_version_is_equal(void **state)
{
    (void)state;
    struct segment segments[SEGMENTS];
    make_plain(segments);
    expect(segments, true, "40 tokens of versions 0 to 0, 1 lease, cache rebuilt 0 times");
}

static void test_actor_replay_kept_cache_rebuilt_cache_and_second_lease_are_equal(void **state)
{
    (void)state;
    struct segment segments[SEGMENTS];
    begin_rollout();
    empty_cache();
    make_tokens(0, EACH);
    segments[0] = segment_of(1, 0, 0, 0);
    make_tokens(1, EACH); /* kept */
    segments[1] = segment_of(1, 1, 1, 0);
    empty_cache();
    make_tokens(1, EACH); /* rebuilt */
    segments[2] = segment_of(1, 2, 1, 1);
    segments[2].rebuilt_at = 2 * EACH;
    empty_cache();
    make_tokens(0, EACH); /* another actor, whose weights are older */
    segments[3] = segment_of(2, 3, 0, 0);
    expect(segments, true, "versions 0 to 0, 2 leases, cache rebuilt 1 times, 0 prefills across");
    /* Taken for what it was not, each of them differs. */
    segments[2].rebuilt_at = UINT32_MAX;
    expect(segments, false, "DIFFERENT at token 20 ");
    segments[2].rebuilt_at = 2 * EACH;
    segments[3].lease_id = 1;
    expect(segments, false, "DIFFERENT at token 30 ");
}

static void test_actor_replay_finds_where_weights_changed_within_a_prefill(void **state)
{
    (void)state;
    struct segment segments[SEGMENTS];
    int32_t row;
    begin_rollout();
    empty_cache();
    feed(0, CUT, &row);
    make_tokens(1, EACH);
    segments[0] = segment_of(1, 0, 1, 0);
    make_tokens(1, EACH);
    segments[1] = segment_of(1, 1, 1, 0);
    empty_cache();
    feed(0, PROMPT + EACH + 2, &row); /* a second lease, cut in what the first one wrote */
    make_tokens(1, EACH);
    segments[2] = segment_of(2, 2, 1, 0);
    make_tokens(1, EACH);
    segments[3] = segment_of(2, 3, 1, 0);
    expect(segments, true, "2 leases, cache rebuilt 0 times, 2 prefills across versions: equal");
}

static void test_actor_replay_one_bit_or_another_token_is_found(void **state)
{
    (void)state;
    struct segment segments[SEGMENTS];
    uint32_t bits;
    make_plain(segments);
    memcpy(&bits, &maker.logprobs[17], sizeof bits);
    bits ^= 1;
    memcpy(&maker.logprobs[17], &bits, sizeof bits);
    expect(segments, false, "DIFFERENT at token 17 (version 0): recorded id");
    make_plain(segments);
    memcpy(&bits, &maker.truncated[23], sizeof bits);
    bits ^= 1;
    memcpy(&maker.truncated[23], &bits, sizeof bits);
    expect(segments, false, "DIFFERENT at token 23 ");
    make_plain(segments);
    maker.ids[PROMPT + 29] ^= 1;
    expect(segments, false, "DIFFERENT at token 29 ");
}

static void test_actor_replay_other_weights_or_numerics_are_named(void **state)
{
    (void)state;
    struct segment segments[SEGMENTS];
    char text[1000];
    bool equal;
    make_plain(segments);
    segments[1].digest ^= 1;
    assert_int_equal(replay(segments, &equal, text), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "the weights of version 0 that made these tokens"));
    make_plain(segments);
    segments[2].version = segments[2].kv_version_min = 7;
    assert_int_equal(replay(segments, &equal, text), STATUS_NOT_FOUND);
    assert_non_null(strstr(status_last_error(), "version 7"));
    make_plain(segments);
    segments[0].numerics_id ^= 1;
    assert_int_equal(replay(segments, &equal, text), STATUS_UNSUPPORTED);
    assert_int_equal(truncate(tape, 30), 0);
    struct actor_replay request = {
        .settings = &settings, .file = tape, .folders = folder_list, .out = stdout};
    assert_int_equal(actor_replay(&request, &equal), STATUS_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_actor_replay_one_version_is_equal),
        cmocka_unit_test(test_actor_replay_kept_cache_rebuilt_cache_and_second_lease_are_equal),
        cmocka_unit_test(test_actor_replay_finds_where_weights_changed_within_a_prefill),
        cmocka_unit_test(test_actor_replay_one_bit_or_another_token_is_found),
        cmocka_unit_test(test_actor_replay_other_weights_or_numerics_are_named)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
