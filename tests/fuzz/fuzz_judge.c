/* links: reward_judge */
/* Any bytes as a judge's answer: the body of a completion, the text of a verdict, the sentence of an error; and as a
 * policy's answer that is quoted to a judge. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "reward/judge/quote.h"
#include "reward/judge/reply.h"
#include "reward/judge/verdict.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_all(const char *text, size_t size)
{
    for (int mode = VERDICT_GRADE5; mode <= VERDICT_PAIR5; mode++) {
        int verdict = 99, least = mode <= VERDICT_PROMETHEUS ? 1 : -2,
            most = mode <= VERDICT_PROMETHEUS ? 5 : 2;
        bool read = verdict_read((enum verdict_mode)mode, text, size, &verdict);
        CHECK(read ? verdict >= least && verdict <= most : verdict == 99);
    }
}

static void quote(const char *text, size_t size, size_t most)
{
    struct buffer out;
    int verdict;
    buffer_init(&out, 0);
    CHECK(quote_append(&out, text, size, most) == STATUS_OK);
    const char *quoted = buffer_string(&out);
    for (int mode = VERDICT_GRADE5; mode <= VERDICT_PAIR5; mode++)
        CHECK(!verdict_read((enum verdict_mode)mode, quoted, out.size, &verdict));
    CHECK(strlen(quoted) == out.size && strstr(quoted, QUOTE_OPEN) == NULL &&
          strstr(quoted, QUOTE_CLOSE) == NULL);
    buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes;
    char sentence[64];
    struct reply reply;
    if (reply_read(&reply, text, size) == STATUS_OK) {
        read_all(reply.text, strlen(reply.text));
        memory_free(reply.text);
    }
    reply_error(text, size, sentence, sizeof sentence);
    CHECK(strlen(sentence) < sizeof sentence);
    read_all(text, size);
    quote(text, size, size);
    quote(text, size, size / 2);
    return 0;
}
