/* actor/openai.h - what OpenAI's completions protocol asks for, and how it is answered.
 *
 * Requests are read here, from bytes that may be anything, into plain structs; whatever is wrong becomes one error with
 * the HTTP status, the member's name and a sentence. Members that nobody here knows are ignored, as other servers do;
 * members that are known, would change the answer and are not supported are refused by name.
 *
 * Pure but for the tokenizer's scratch: one thread for each source. */
#ifndef ACTOR_OPENAI_H
#define ACTOR_OPENAI_H

#include <jansson.h>

#include "actor/openai_text.h"
#include "core/arena.h"
#include "text/chat.h"
#include "text/tokenizer.h"

enum {
    OPENAI_CHOICES_MAX = 1024, /* prompts times n of one request */
    OPENAI_TOP_MAX = 20,
    OPENAI_STOP_BYTES_MAX = 1024
};

struct openai_error {
    int status; /* HTTP */
    char message[640];
    const char *type;
    char param[64];   /* "": null */
    const char *code; /* NULL: null */
};
/* status 400, type invalid_request_error, code NULL; false, so that a reader can return it. */
bool openai_refuse(struct openai_error *error, const char *param, const char *fmt, ...)
    PRINTF_LIKE(3, 4);
/* The same with another status, type and code. */
bool openai_refuse_as(struct openai_error *error, int status, const char *type, const char *code,
                      const char *fmt, ...) PRINTF_LIKE(5, 6);
json_t *openai_error_json(const struct openai_error *error);

/* What requests are read with; everything is borrowed. */
struct openai_source {
    struct tokenizer *tokenizer;
    const struct chat *chat;     /* none: requests with messages are refused */
    const char *model;           /* its name */
    const char *path;            /* of its folder: requests may name that, too; or NULL */
    uint32_t context;            /* tokens of prompt and answer together */
    uint32_t vocabulary;         /* ids are below it */
    uint64_t (*draw_seed)(void); /* for requests without one */
};

struct openai_prompt {
    const uint32_t *ids; /* [count] at least 1 */
    uint32_t count;
    uint32_t
        added; /* of them, first: what the tokenizer put before the text; they are none of it */
    uint32_t budget;  /* tokens it may be answered with; 0: none (echo) */
    const char *text; /* as it was given; NULL: as ids */
    size_t text_size;
};

struct openai_request {
    bool chat;
    struct openai_prompt *prompts; /* [prompt_count] */
    uint32_t prompt_count, n;
    bool stream, include_usage, echo, ignore_eos;
    bool logprobs;
    uint32_t top;
    float temperature, top_p;
    int32_t top_k;
    uint64_t seed;
    const char **stops; /* [stop_count] */
    uint32_t stop_count;
};

/* The body of POST /v1/completions or /v1/chat/completions; what the request holds lies in the arena. */
bool openai_read_request(const struct openai_source *source, bool chat, const char *body,
                         size_t size, struct arena *arena, struct openai_request *request,
                         struct openai_error *error);
/* The body of POST /tokenize: one prompt, as text or as messages. */
bool openai_read_tokenize(const struct openai_source *source, const char *body, size_t size,
                          struct arena *arena, struct openai_prompt *prompt,
                          struct openai_error *error);
/* The body of POST /detokenize. */
bool openai_read_detokenize(const struct openai_source *source, const char *body, size_t size,
                            struct arena *arena, struct openai_prompt *prompt,
                            struct openai_error *error);

/* openai_fields.c: members of a request by type. Absent and null give `otherwise`; another type is refused. */
json_t *openai_parse(const char *body, size_t size, struct openai_error *error); /* NULL: refused */
bool openai_flag(const json_t *json, const char *name, bool otherwise, bool *value,
                 struct openai_error *error);
bool openai_integer(const json_t *json, const char *name, int64_t least, int64_t most,
                    int64_t otherwise, int64_t *value, struct openai_error *error);
bool openai_number(const json_t *json, const char *name, double least, double most,
                   double otherwise, double *value, struct openai_error *error);
/* Members that would change the answer and are not supported: refused unless they say what happens anyway. */
bool openai_refuse_unsupported(const json_t *json, bool chat, struct openai_error *error);
/* openai_prompts.c */
bool openai_read_prompts(const struct openai_source *source, const json_t *json,
                         struct arena *arena, struct openai_request *request,
                         struct openai_error *error);
bool openai_read_text(const struct openai_source *source, const char *text, size_t size,
                      bool specials, struct arena *arena, struct openai_prompt *prompt,
                      struct openai_error *error);
bool openai_read_ids(const struct openai_source *source, const char *name, const json_t *list,
                     struct arena *arena, struct openai_prompt *prompt, struct openai_error *error);
bool openai_read_messages(const struct openai_source *source, const json_t *json,
                          bool generation_default, struct arena *arena,
                          struct openai_prompt *prompt, struct openai_error *error);

#endif
