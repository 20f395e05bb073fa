/* text/chat_template.h - the chat template of a model folder: a message list becomes text as transformers makes it.
 *
 * A template is a Jinja program (text/jinja.h). The folder's chat_template.jinja wins over "chat_template" in
 * tokenizer_config.json, which is one text or a list of {"name", "template"}. It sees `messages`,
 * `add_generation_prompt`, `tools`, `documents`, the special tokens of tokenizer_config.json and
 * special_tokens_map.json by their names (bos_token, eos_token, ...), and the variables of open and of the call.
 *
 * Message contents may be texts or lists of parts ({"type": "text", "text": ...}). Some templates read only one of the
 * two; which one is found once, at open, by rendering a probe in both forms, and contents are brought into it:
 * texts become one part, parts of type text are joined by newlines.
 *
 *     TRY(chat_template_open(&template, folder, "", "{\"enable_thinking\": false}"));
 *     TRY(chat_template_render(template, &(struct chat_request){.messages = list}, &text, NULL));
 *
 * A made template is constant: any thread may render. */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/status.h"

struct chat_template;

/* Bytes [begin, end) of the rendered text that the assistant says ({% generation %} blocks). */
struct chat_span {
    size_t begin, end;
};
struct chat_spans {
    struct chat_span *spans; /* [count], memory of core/memory.h: chat_spans_free */
    size_t count, capacity;
};
void chat_spans_free(struct chat_spans *spans);

struct chat_request {
    const json_t *messages;  /* list of objects with "role" and, mostly, "content" */
    const json_t *tools;     /* list, or NULL */
    const json_t *documents; /* list, or NULL */
    const json_t *variables; /* object, or NULL: win over those of open */
    bool add_generation_prompt;
};

/* name: of a list of templates; "": the one called default. variables: text of a JSON object, "" for none.
 * NOT_FOUND: the folder has no template (of that name); INVALID names file, line and construct. */
MUST_CHECK enum status chat_template_open(struct chat_template **made, const char *folder,
                                          const char *name, const char *variables);
/* The same from the template's text. tokens: an object with the special tokens, or NULL. file: for errors. */
MUST_CHECK enum status chat_template_open_text(struct chat_template **made, const char *file,
                                               const char *source, size_t size,
                                               const json_t *tokens, const char *variables);
void chat_template_close(struct chat_template **made); /* NULL is fine; sets *made to NULL */

/* Appends the text. spans: NULL, or where the assistant's parts go (offsets from the start of this text).
 * INVALID: the template refuses the messages (raise_exception) or reads what is not there; LIMIT: it runs too long,
 * too deep or writes too much. `text` is unchanged after an error. */
MUST_CHECK enum status chat_template_render(const struct chat_template *made,
                                            const struct chat_request *request, struct buffer *text,
                                            struct chat_spans *spans);
bool chat_template_has_generation(const struct chat_template *made); /* {% generation %} is in it */
bool chat_template_wants_parts(const struct chat_template *made);
const char *chat_template_name(const struct chat_template *made);   /* file, for messages */
const char *chat_template_source(const struct chat_template *made); /* its text */

#endif
