/* text/chat.c - see chat.h. A format is one row: what opens and closes a turn, and what each role is
 * called; formats differ in nothing else. */
#include "text/chat.h"

#include <string.h>

#include "core/check.h"

enum chat_role { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_COUNT };
static const char *const role_names[ROLE_COUNT] = {"system", "user", "assistant"};

static const struct {
    const char *begin;
    const char *open[ROLE_COUNT];
    const char *close;
} formats[] = {
    [CHAT_NONE] = {"", {"", "", ""}, ""},
    [CHAT_CHATML] = {"",
                     {"<|im_start|>system\n", "<|im_start|>user\n", "<|im_start|>assistant\n"},
                     "<|im_end|>\n"},
    [CHAT_MINIMAX] = {"<begin_of_document>",
                      {"<beginning_of_sentence>system ai_setting=assistant\n",
                       "<beginning_of_sentence>user name=user\n",
                       "<beginning_of_sentence>ai name=assistant\n"},
                      "<end_of_sentence>\n"},
};

static enum status find_role(const char *name, size_t index, enum chat_role *role)
{
    for (int i = 0; i < ROLE_COUNT; i++)
        if (strcmp(role_names[i], name) == 0) {
            *role = (enum chat_role)i;
            return STATUS_OK;
        }
    return FAIL(STATUS_INVALID, "message %zu has role \"%.64s\"; known are system, user, assistant",
                index, name);
}

enum status chat_render(enum setting_chat_format format, const struct chat_message *messages,
                        size_t count, bool add_generation_prompt, struct buffer *text)
{
    CHECK((size_t)format < sizeof formats / sizeof formats[0]);
    TRY(buffer_text(text, formats[format].begin));
    for (size_t i = 0; i < count; i++) {
        enum chat_role role = ROLE_USER;
        TRY(find_role(messages[i].role, i, &role));
        TRY(buffer_text(text, formats[format].open[role]));
        TRY(buffer_text(text, messages[i].content));
        TRY(buffer_text(text, formats[format].close));
    }
    return add_generation_prompt ? buffer_text(text, formats[format].open[ROLE_ASSISTANT])
                                 : STATUS_OK;
}
