/* Ciphers: Caesar, Vigenere, substitution and rail fence, alone or one after another; the keys are told, the text is to be
 * written in cipher or read. The generator undoes its own cipher as a check. Only letters and digits are compared. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/words.h"

enum { TEXT_MAX = 256, LAYERS_MAX = 4 };

static const struct logic_knob knobs[] = {
    {"words", 1, 20, 3, "words of the message"},
    {"layers", 1, 4, 1, "ciphers, one after another"},
    {0},
};

enum kind { CAESAR, VIGENERE, SUBSTITUTION, RAIL_FENCE, KINDS };
struct cipher {
    enum kind kind;
    int number;        /* shift or rails */
    const char *word;  /* of VIGENERE */
    char alphabet[27]; /* of SUBSTITUTION: what stands for A, B, ... */
};

/* The places of the letters in the order in which a rail fence reads them. */
static void rail_order(int rails, size_t length, size_t order[TEXT_MAX])
{
    size_t count = 0, period = 2 * ((size_t)rails - 1);
    for (size_t rail = 0; rail < (size_t)rails; rail++)
        for (size_t i = 0; i < length; i++) {
            size_t phase = i % period;
            if ((phase < (size_t)rails ? phase : period - phase) == rail)
                order[count++] = i;
        }
}

static char substitute(const struct cipher *cipher, char letter, size_t at, bool undo)
{
    int value = letter - 'A', shift = cipher->number;
    if (cipher->kind == SUBSTITUTION)
        return undo ? (char)('A' + (strchr(cipher->alphabet, letter) - cipher->alphabet))
                    : cipher->alphabet[value];
    if (cipher->kind == VIGENERE)
        shift = cipher->word[at % strlen(cipher->word)] - 'a';
    return (char)('A' + (undo ? value + 26 - shift : value + shift) % 26);
}

static void apply(const struct cipher *cipher, bool undo, char text[TEXT_MAX])
{
    size_t length = strlen(text), order[TEXT_MAX];
    char from[TEXT_MAX];
    memcpy(from, text, sizeof from);
    if (cipher->kind == RAIL_FENCE)
        rail_order(cipher->number, length, order);
    for (size_t i = 0; i < length; i++) {
        if (cipher->kind != RAIL_FENCE)
            text[i] = substitute(cipher, from[i], i, undo);
        else if (undo)
            text[order[i]] = from[i];
        else
            text[i] = from[order[i]];
    }
}

static void draw_cipher(struct rng *rng, struct cipher *cipher)
{
    int letters[26];
    cipher->kind = (enum kind)rng_below(rng, KINDS);
    cipher->number =
        cipher->kind == RAIL_FENCE ? draw_between(rng, 2, 5) : draw_between(rng, 1, 25);
    cipher->word = draw_text(rng, words_common, words_common_count);
    draw_permutation(rng, letters, 26);
    for (int i = 0; i < 26; i++)
        cipher->alphabet[i] = (char)('A' + letters[i]);
    cipher->alphabet[26] = '\0';
}

static enum status write_cipher(const struct cipher *cipher, int number, struct buffer *out)
{
    TRY(buffer_printf(out, "%d. ", number));
    if (cipher->kind == CAESAR)
        return buffer_printf(out,
                             "Caesar: replace each letter by the one %d place%s later in the"
                             " alphabet; after Z comes A.\n",
                             cipher->number, cipher->number == 1 ? "" : "s");
    if (cipher->kind == VIGENERE)
        return buffer_printf(
            out,
            "Vigenere with the key %s: write the key again and again under the text;"
            " a letter above key letter A stays, above B it moves one place later in"
            " the alphabet, above C two, and so on; after Z comes A.\n",
            cipher->word);
    if (cipher->kind == SUBSTITUTION)
        return buffer_printf(
            out,
            "Substitution: replace ABCDEFGHIJKLMNOPQRSTUVWXYZ letter by letter by\n"
            "                     %s.\n",
            cipher->alphabet);
    return buffer_printf(out,
                         "Rail fence with %d rails: write the letters in a zigzag down and up over"
                         " %d lines, one letter a column, starting on the first line; then read the"
                         " lines one after another.\n",
                         cipher->number, cipher->number);
}

static enum status write_question(const struct cipher *ciphers, int layers, bool decode,
                                  const char *given, struct buffer *out)
{
    TRY(buffer_printf(out, "A message without spaces is put into cipher by %s:\n\n",
                      layers == 1 ? "this step" : "these steps, one after another"));
    for (int i = 0; i < layers; i++)
        TRY(write_cipher(&ciphers[i], i + 1, out));
    return buffer_printf(out,
                         "\n%s: %s\n\n%s End your answer with the text in capital letters in a box,"
                         " like \\boxed{TEXT}.",
                         decode ? "The text in cipher" : "The message", given,
                         decode ? "What was the message?" : "What is the text in cipher?");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    char plain[TEXT_MAX] = "", text[TEXT_MAX], back[TEXT_MAX];
    struct cipher ciphers[LAYERS_MAX];
    size_t length = 0;
    int layers = settings->value[1];
    for (int i = 0; i < settings->value[0]; i++)
        for (const char *at = draw_text(rng, words_common, words_common_count);
             *at != '\0' && length < TEXT_MAX - 1; at++)
            plain[length++] = (char)toupper((unsigned char)*at);
    memcpy(text, plain, sizeof text);
    for (int i = 0; i < layers; i++) {
        draw_cipher(rng, &ciphers[i]);
        apply(&ciphers[i], false, text);
    }
    memcpy(back, text, sizeof back);
    for (int i = layers - 1; i >= 0; i--)
        apply(&ciphers[i], true, back);
    if (strcmp(back, plain) != 0 || strcmp(text, plain) == 0)
        return STATUS_AGAIN;
    bool decode = draw_permille(rng, 500);
    TRY(write_question(ciphers, layers, decode, decode ? text : plain, &out->question));
    out->answer = json_string(decode ? plain : text);
    out->metadata = json_pack("{s:s, s:i, s:s, s:s}", "direction", decode ? "decode" : "encode",
                              "layers", layers, "plain", plain, "cipher", text);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a cipher row");
    out->work = (double)length * layers;
    out->difficulty = logic_difficulty(out->work, 4, 500);
    return STATUS_OK;
}

/* Letters and digits in upper case; false when there are too many or none. */
static bool letters_of(struct answer_span text, char letters[2048])
{
    size_t count = 0;
    for (size_t i = 0; i < text.size; i++)
        if (isalnum((unsigned char)text.at[i])) {
            if (count == 2047)
                return false;
            letters[count++] = (char)toupper((unsigned char)text.at[i]);
        }
    letters[count] = '\0';
    return count > 0;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)metadata;
    (void)question;
    char wanted[2048], read[2048];
    const char *text = json_string_value(answer);
    if (text == NULL || !letters_of((struct answer_span){text, strlen(text)}, wanted)) {
        logic_broken(out, "answer is to be a text with letters or digits");
        return;
    }
    struct answer_span said = reading_short(response);
    const char *colon = said.size > 0 ? memrchr(said.at, ':', said.size) : NULL;
    if (colon != NULL)
        said = (struct answer_span){colon + 1, said.size - (size_t)(colon + 1 - said.at)};
    if (letters_of(reading_unwrapped(said), read) && strcmp(read, wanted) == 0)
        out->correct = true;
    else
        logic_wrong(out, "the text is another one");
}

const struct logic_task logic_task_cipher = {
    "cipher", "texts in and out of classical ciphers with given keys", knobs, generate, verify,
};
