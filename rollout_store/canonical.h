/* rollout_store/canonical.h - JSON texts in one form: no blanks, numbers and strings written in one way.
 *
 *     TRY(canonical_json(line, size, &text));             any row of a file of prompts
 *     struct canonical prompt = canonical_member(canonical_of(&text), "prompt");
 *     if (canonical_is_text(prompt))
 *         TRY(canonical_text(prompt, &out));
 *
 * The form is what jansson dumps compactly, byte for byte: the ledger knows the data by its hash. A row is copied into
 * it in one pass; only what is rare in rows (fractions, hundreds of keys, mistakes) takes jansson's tree. */
#ifndef ROLLOUT_STORE_CANONICAL_H
#define ROLLOUT_STORE_CANONICAL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"

struct canonical { /* a value within such a text; size 0: absent */
    const char *text;
    size_t size;
};

/* Replaces what `out` holds. INVALID: no JSON object or array, or a key twice; the sentence begins with "column N: ". */
MUST_CHECK enum status canonical_json(const char *text, size_t size, struct buffer *out);

struct canonical canonical_of(const struct buffer *text);
/* Absent when `object` is none or has no such key. */
struct canonical canonical_member(struct canonical object, const char *key);
static inline bool canonical_is_object(struct canonical value)
{
    return value.size > 0 && value.text[0] == '{';
}
static inline bool canonical_is_array(struct canonical value)
{
    return value.size > 0 && value.text[0] == '[';
}
static inline bool canonical_is_text(struct canonical value)
{
    return value.size > 0 && value.text[0] == '"';
}
/* Appends a string's characters, UTF-8 without NUL. */
MUST_CHECK enum status canonical_text(struct canonical string, struct buffer *out);
/* Appends `text` as a JSON string. INVALID: no UTF-8. */
MUST_CHECK enum status canonical_quote(const char *text, struct buffer *out);

#endif
