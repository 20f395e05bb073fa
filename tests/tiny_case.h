/* tests/tiny_case.h - a trainer whose checkpoint has about 64 KiB in all its files, tokenizer files included. */
#ifndef TESTS_TINY_CASE_H
#define TESTS_TINY_CASE_H

#include "learner/checkpoint.h"
#include "tests/trainer_case.h"

static const char tiny_config[] =
    "{\"architectures\":[\"Qwen2ForCausalLM\"],\"hidden_act\":\"silu\",\"hidden_size\":16,"
    "\"initializer_range\":0.02,\"intermediate_size\":32,\"max_position_embeddings\":256,"
    "\"model_type\":\"qwen2\",\"num_attention_heads\":1,\"num_hidden_layers\":1,"
    "\"num_key_value_heads\":1,\"rms_norm_eps\":1e-06,\"rope_theta\":10000.0,"
    "\"tie_word_embeddings\":true,\"torch_dtype\":\"float32\",\"vocab_size\":96}";

struct tiny {
    char base[FILE_PATH_MAX], model[FILE_PATH_MAX], checkpoints[FILE_PATH_MAX];
    struct settings settings;
};

static inline void tiny_file(const char *folder, const char *name, size_t bytes)
{
    char path[FILE_PATH_MAX];
    struct buffer text;
    buffer_init(&text, 0);
    assert_int_equal(file_path(path, "%s/%s", folder, name), STATUS_OK);
    assert_int_equal(buffer_text(&text, "{\"token\": 0"), STATUS_OK);
    for (size_t i = 0; text.size < bytes; i++)
        assert_int_equal(buffer_printf(&text, ",\n \"token %zu\": %zu", i, i * i), STATUS_OK);
    assert_int_equal(buffer_text(&text, "}\n"), STATUS_OK);
    assert_int_equal(file_replace(path, text.bytes, text.size), STATUS_OK);
    buffer_free(&text);
}

/* An empty folder BUILD_DIR/<name> with a model that has tokenizer files. */
static inline void tiny_create(struct tiny *tiny, const char *name)
{
    char config[FILE_PATH_MAX];
    tiny->settings = case_settings();
    tiny->settings.learner.microbatch_tokens = 64;
    case_folder(tiny->base, name);
    assert_int_equal(file_path(config, "%s/config.json", tiny->base), STATUS_OK);
    assert_int_equal(file_path(tiny->checkpoints, "%s/checkpoints", tiny->base), STATUS_OK);
    assert_int_equal(file_make_dirs(tiny->checkpoints), STATUS_OK);
    assert_int_equal(file_replace(config, tiny_config, sizeof tiny_config - 1), STATUS_OK);
    case_model(tiny->model, tiny->base, config);
    tiny_file(tiny->model, "tokenizer.json", 13000);
    tiny_file(tiny->model, "tokenizer_config.json", 700);
    tiny_file(tiny->model, "generation_config.json", 100);
}

static inline void tiny_open(const struct tiny *tiny, struct trainer *trainer)
{
    if (trainer_create(trainer, &tiny->settings, tiny->model, 2 * CASE_TOKENS) != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static inline enum status tiny_save(const struct tiny *tiny, struct trainer *trainer,
                                    uint64_t version, uint32_t keep)
{
    char path[FILE_PATH_MAX];
    struct checkpoint_state state = {.version = version,
                                     .branch = 3,
                                     .digest = trainer->weights.digest,
                                     .updates = version,
                                     .skipped = trainer->skipped};
    return checkpoint_save(tiny->checkpoints, trainer, &state, tiny->model, keep, path,
                           sizeof path);
}

/* The newest checkpoint, loaded: every digest is checked. */
static inline enum status tiny_load(const struct tiny *tiny, struct trainer *trainer,
                                    struct checkpoint_state *state)
{
    char path[FILE_PATH_MAX], hf[FILE_PATH_MAX];
    uint64_t version;
    TRY(checkpoint_newest(tiny->checkpoints, UINT64_MAX, path, sizeof path, &version));
    TRY(file_path(hf, "%s/hf", path));
    TRY(trainer_create(trainer, &tiny->settings, hf, 2 * CASE_TOKENS));
    TRY(checkpoint_load(path, trainer, state));
    return state->version == version ? STATUS_OK : FAIL(STATUS_CORRUPT, "version %d", (int)version);
}

#endif
