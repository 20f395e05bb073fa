/* links: learner */
/* Any bytes as rows of `weir sft` (the first byte chooses mode, chat format and limit) or, behind '@', as context stages:
 * refused with a sentence, or batches whose sequences are within their limits. */
#include <string.h>

#include "core/memory.h"
#include "learner/sft_batch.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { STAGES_TEXT_MAX = 512, LIMIT = 40, SEQUENCE = 7, BATCH = 5 };

static struct tokenizer *warm_tokenizer(void)
{
    struct tokenizer *made = NULL;
    struct arena *arena = NULL;
    uint32_t *ids;
    size_t count;
    CHECK(tokenizer_open(&made, "", TOKENIZER_BYTE) == STATUS_OK);
    CHECK(arena_create(&arena, 1 << 20) == STATUS_OK);
    CHECK(tokenizer_encode(made, "a", 1, arena, &ids, &count) == STATUS_OK);
    arena_destroy(&arena);
    return made;
}

static void read_stages(const uint8_t *bytes, size_t size)
{
    char text[STAGES_TEXT_MAX];
    struct sft_stages stages;
    size = size < sizeof text - 1 ? size : sizeof text - 1;
    memcpy(text, bytes, size);
    text[size] = '\0';
    if (sft_stages_parse(&stages, text) != STATUS_OK) {
        CHECK(status_last_error()[0] != '\0');
        return;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < stages.count; i++) {
        CHECK(stages.rows[i].tokens >= 2 && stages.rows[i].updates > 0);
        CHECK(stages.rows[i].rope_theta == 0 || stages.rows[i].rope_theta >= 1);
        CHECK(stages.rows[i].first == sum && sft_stages_at(&stages, sum) == &stages.rows[i]);
        sum += stages.rows[i].updates;
    }
    CHECK(sft_stages_updates(&stages) == sum);
}

static void check_batches(const struct settings *settings, const struct sft_rows *rows)
{
    struct sft_stages stages;
    struct sft_batch batch = {0};
    CHECK(sft_stages_parse(&stages, rows->count % 2 ? "" : "3: 2; 9: 1") == STATUS_OK);
    int64_t longest = sft_batch_longest(settings, rows, &stages);
    if (sft_batch_create(&batch, settings, rows, &stages, BATCH) == STATUS_OK)
        for (uint64_t update = 0; update < 4; update++) {
            sft_batch_fill(&batch, update);
            for (uint32_t i = 0; i < BATCH; i++) {
                const struct train_sequence *row = &batch.sequences[i];
                CHECK(row->prompt_count > 0 && row->response_count > 0);
                CHECK((int64_t)row->prompt_count + row->response_count <= longest);
                for (uint32_t t = 0; t < row->response_count; t++)
                    CHECK(row->response_ids[t] <= 256 && (row->mask[t] == 0 || row->mask[t] == 1));
            }
        }
    sft_batch_destroy(&batch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct memory_file file;
    static struct tokenizer *tokenizer;
    static struct settings settings;
    if (size == 0)
        return 0;
    if (bytes[0] == '@') {
        read_stages(bytes + 1, size - 1);
        return 0;
    }
    if (tokenizer == NULL)
        tokenizer = warm_tokenizer();
    settings.sft.mode = bytes[0] & 1 ? SFT_MODE_PRETRAIN : SFT_MODE_SFT;
    settings.model.chat_format = bytes[0] & 2 ? CHAT_CHATML : CHAT_NONE;
    settings.sft.too_long = bytes[0] & 4   ? TOO_LONG_CUT
                            : bytes[0] & 8 ? TOO_LONG_SKIP
                                           : TOO_LONG_REFUSE;
    settings.sft.sequence_tokens = SEQUENCE;
    int64_t blocks = memory_blocks_live();
    const char *path = memory_file_set(&file, bytes + 1, size - 1);
    struct sft_rows rows = {0};
    enum status status =
        sft_rows_load(&rows, &settings, tokenizer, "sft.train", path, bytes[0] & 16 ? LIMIT : 0);
    if (status == STATUS_OK)
        check_batches(&settings, &rows);
    else
        CHECK(status_last_error()[0] != '\0');
    sft_rows_free(&rows);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
