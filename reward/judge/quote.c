#include "reward/judge/quote.h"

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Broken by a blank after the first character. Compared without regard to case. */
static const char *const words[] = {"[RESULT]",
                                    "[INST]",
                                    "[/INST]",
                                    "<think",
                                    "</think",
                                    "<|",
                                    "|>",
                                    "<\xef\xbd\x9c", /* fullwidth bar */
                                    "\xef\xbd\x9c>",
                                    "<s>",
                                    "</s>",
                                    "<<SYS",
                                    "<start_of_turn",
                                    "<end_of_turn",
                                    "<beginning_of_sentence",
                                    "<end_of_sentence",
                                    "]~]",
                                    "]~b]",
                                    "]~!b["};

/* Bytes of the valid UTF-8 character at the start of [at, at + size), 0 when it is none. */
static size_t character(const unsigned char *at, size_t size)
{
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || size < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    bool overlong = (at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xf0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf4 && at[1] > 0x8f);
    return overlong || beyond ? 0 : length;
}

/* How many bytes to let through before a blank; 0: nothing to break here. */
static size_t broken_at(const char *at, size_t size)
{
    static const char runs[] = "[]<>";
    if (size >= 2 && at[0] == at[1] && strchr(runs, at[0]) != NULL && at[0] != '\0')
        return 1;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i]);
        if (size >= length && strncasecmp(at, words[i], length) == 0)
            return character((const unsigned char *)at, size);
    }
    return 0;
}

/* What stands for a character that is not let through. Nothing vanishes: what stood apart must not come together. */
static const char *stand_in(const char *text, size_t size)
{
    if (text[0] != '\r')
        return "\xef\xbf\xbd";
    return size > 1 && text[1] == '\n' ? "" : "\n"; /* a line's end of Windows, of old Macs */
}

static enum status append_disarmed(struct buffer *out, const char *text, size_t size)
{
    size_t from = 0, at = 0;
    while (at < size) {
        size_t length = character((const unsigned char *)text + at, size - at);
        unsigned char c = (unsigned char)text[at];
        bool strange = length == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7f;
        size_t broken = strange ? 0 : broken_at(text + at, size - at);
        if (!strange && broken == 0) {
            at += length;
            continue;
        }
        size_t kept = at + broken;
        TRY(buffer_append(out, text + from, kept - from));
        TRY(buffer_text(out, strange ? stand_in(text + at, size - at) : " "));
        at = from = strange ? at + 1 : kept;
    }
    return buffer_append(out, text + from, at - from);
}

/* Does not cut a character in two: moves back to its start. */
static size_t character_start(const char *text, size_t size, size_t at)
{
    for (int i = 0; i < 3 && at > 0 && at < size && ((unsigned char)text[at] & 0xc0) == 0x80; i++)
        at--;
    return at;
}

enum status quote_append(struct buffer *out, const char *text, size_t size, size_t most)
{
    if (size <= most)
        return append_disarmed(out, text, size);
    size_t head = character_start(text, size, most / 4);
    size_t tail =
        character_start(text, size, size - (most - most / 4)); /* the answer stands at the end */
    TRY(append_disarmed(out, text, head));
    TRY(buffer_printf(out, "\n(... %zu bytes left out ...)\n", tail - head));
    return append_disarmed(out, text + tail, size - tail);
}
