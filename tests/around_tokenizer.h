/* tests/around_tokenizer.h - a tokenizer of a few letters whose post-processor puts <s> (9) before a text and <e> (8)
 * behind it. */
#ifndef TESTS_AROUND_TOKENIZER_H
#define TESTS_AROUND_TOKENIZER_H

#include <string.h>

#include "text/tokenizer.h"

enum { AROUND_BEGIN = 9, AROUND_END = 8 };

/* Letters a to e are 1 to 5, "ab" is 6. */
static const char around_json[] =
    "{\"added_tokens\":[{\"id\":8,\"content\":\"<e>\",\"special\":true,\"normalized\":false},"
    "{\"id\":9,\"content\":\"<s>\",\"special\":true,\"normalized\":false}],"
    "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":"
    "\"<s>\"}},{\"Sequence\":{\"id\":\"A\"}},{\"SpecialToken\":{\"id\":\"<e>\"}}],"
    "\"special_tokens\":{\"<s>\":{\"ids\":[9]},\"<e>\":{\"ids\":[8]}}},\"decoder\":{\"type\":"
    "\"Fuse\"},\"model\":{\"type\":\"BPE\","
    "\"unk_token\":\"?\",\"vocab\":{\"?\":0,\"a\":1,\"b\":2,\"c\":3,\"d\":4,\"e\":5,\"ab\":6},"
    "\"merges\":[[\"a\",\"b\"]]}}";

/* config: tokenizer_config.json, or NULL. */
static inline enum status around_open(struct tokenizer **tokenizer, const char *config)
{
    return tokenizer_open_json(tokenizer, "around.json", around_json, sizeof around_json - 1,
                               config, config != NULL ? strlen(config) : 0);
}

#endif
