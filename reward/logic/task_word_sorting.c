/* Word sorting by an alphabet in which some letters were moved to the front. The judge sorts the words of the
 * metadata itself; where they are missing it takes the stored answer. */
#include <ctype.h>
#include <string.h>

#include "reward/logic/board.h"
#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/reading.h"
#include "reward/logic/word_list.h"
#include "reward/logic/words.h"

enum { WORDS_MAX = 40 };

static const struct logic_knob knobs[] = {
    {"word_count", 3, 40, 7, "words to sort"},
    {"front_letters", 0, 10, 2, "letters moved to the front of the alphabet"},
    {"similar", 0, 1000, 300, "share of words drawn near another one of the dictionary, permille"},
    {0},
};

struct alphabet {
    int rank[256];
};

static void alphabet_of(const char *front, struct alphabet *alphabet)
{
    int next = 1;
    memset(alphabet, 0, sizeof *alphabet);
    for (const char *at = front; *at != '\0'; at++)
        if (isalpha((unsigned char)*at) && alphabet->rank[tolower((unsigned char)*at)] == 0)
            alphabet->rank[tolower((unsigned char)*at)] = next++;
    for (int c = 'a'; c <= 'z'; c++)
        if (alphabet->rank[c] == 0)
            alphabet->rank[c] = next++;
}

/* Letters of no alphabet come after all others; a word that begins another comes first. */
static int compare(const struct alphabet *alphabet, const char *a, const char *b, long *looks)
{
    for (size_t i = 0;; i++) {
        int x = (unsigned char)a[i], y = (unsigned char)b[i];
        int rank_x = alphabet->rank[x] != 0 ? alphabet->rank[x] : x == 0 ? 0 : 100 + x;
        int rank_y = alphabet->rank[y] != 0 ? alphabet->rank[y] : y == 0 ? 0 : 100 + y;
        (*looks)++;
        if (rank_x != rank_y || x == 0)
            return rank_x - rank_y;
    }
}

/* By insertion. looks: letters compared. */
static void sort_words(const struct alphabet *alphabet, bool decreasing, struct word_list *list,
                       long *looks)
{
    for (size_t i = 1; i < list->count; i++) {
        char word[WORD_BYTES_MAX];
        size_t at = i;
        memcpy(word, list->word[i], sizeof word);
        for (; at > 0; at--) {
            int order = compare(alphabet, list->word[at - 1], word, looks);
            if (decreasing ? order >= 0 : order <= 0)
                break;
            memcpy(list->word[at], list->word[at - 1], sizeof word);
        }
        memcpy(list->word[at], word, sizeof word);
    }
}

static void draw_words(int count, int similar, struct rng *rng, int *chosen)
{
    for (int i = 0; i < count;) {
        int word = (int)rng_below(rng, (uint32_t)words_common_count);
        if (i > 0 && draw_permille(rng, similar)) {
            word = chosen[rng_below(rng, (uint32_t)i)] + draw_between(rng, -6, 6);
            if (word < 0 || word >= (int)words_common_count)
                continue;
        }
        bool fresh = true;
        for (int j = 0; j < i; j++)
            fresh = fresh && chosen[j] != word;
        if (fresh)
            chosen[i++] = word;
    }
}

static void draw_front(int count, struct rng *rng, char front[64])
{
    int letters[26];
    draw_sample(rng, letters, count, 26);
    for (int i = 0; i < count; i++) {
        front[2 * i] = (char)('a' + letters[i]);
        front[2 * i + 1] = i + 1 < count ? ',' : '\0';
    }
    if (count == 0)
        front[0] = '\0';
}

static enum status write_question(const json_t *words, const char *front, bool decreasing,
                                  struct buffer *out)
{
    TRY(buffer_printf(out, "Sort these words in %s alphabetical order",
                      decreasing ? "decreasing (last to first)" : "increasing"));
    if (front[0] != '\0')
        TRY(buffer_printf(out,
                          ", by an alphabet that begins with the letters %s in this order and then"
                          " goes on with all other letters as usual",
                          front));
    TRY(buffer_text(out, ": "));
    for (size_t i = 0; i < json_array_size(words); i++)
        TRY(buffer_printf(out, "%s%s", i > 0 ? ", " : "",
                          json_string_value(json_array_get(words, i))));
    return buffer_text(out,
                       ".\n\nEnd your answer with the sorted words, separated by commas, in a box:"
                       " \\boxed{first,second,third}.");
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    int count = settings->value[0], chosen[WORDS_MAX];
    bool decreasing = draw_permille(rng, 500);
    char front[64];
    long looks = 0;
    struct word_list list = {.count = (size_t)count};
    struct alphabet alphabet;
    draw_words(count, settings->value[2], rng, chosen);
    draw_front(settings->value[1], rng, front);
    alphabet_of(front, &alphabet);
    json_t *words = json_array();
    for (int i = 0; i < count; i++) {
        const char *word = words_common[chosen[i]];
        (void)snprintf(list.word[i], WORD_BYTES_MAX, "%s", word);
        json_array_append_new(words, json_string(word));
    }
    sort_words(&alphabet, decreasing, &list, &looks);
    struct buffer answer;
    buffer_init(&answer, 0);
    enum status status = STATUS_OK;
    for (size_t i = 0; i < list.count && status == STATUS_OK; i++)
        status = buffer_printf(&answer, "%s%s", i > 0 ? ", " : "", list.word[i]);
    out->answer = json_string(buffer_string(&answer));
    buffer_free(&answer);
    out->metadata = json_pack("{s:o, s:s, s:i}", "words", words, "front_letters", front, "order",
                              decreasing ? -1 : 1);
    out->work = (double)looks;
    out->difficulty = logic_difficulty(out->work, 3, 500);
    TRY(status);
    if (out->answer == NULL || out->metadata == NULL)
        return FAIL(STATUS_NO_MEMORY, "a word sorting row");
    return write_question(words, front, decreasing, &out->question);
}

/* The sorted words out of the metadata; false when it does not hold them. */
static bool wanted_of(const json_t *metadata, struct word_list *list)
{
    const json_t *words = json_object_get(metadata, "words");
    const char *front = json_string_value(json_object_get(metadata, "front_letters"));
    struct alphabet alphabet;
    int order;
    long looks = 0;
    list->count = json_array_size(words);
    if (list->count == 0 || list->count > WORD_LIST_MAX || front == NULL ||
        !board_member(metadata, "order", -1, 1, &order))
        return false;
    for (size_t i = 0; i < list->count; i++) {
        const char *word = json_string_value(json_array_get(words, i));
        if (word == NULL || strlen(word) >= WORD_BYTES_MAX)
            return false;
        size_t n = strlen(word);
        for (size_t j = 0; j <= n; j++)
            list->word[i][j] = (char)tolower((unsigned char)word[j]);
    }
    alphabet_of(front, &alphabet);
    sort_words(&alphabet, order < 0, list, &looks);
    return true;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)question;
    struct word_list wanted, read;
    const char *text = json_string_value(answer);
    if (!wanted_of(metadata, &wanted) &&
        (text == NULL ||
         !word_list_read((struct answer_span){text, strlen(text)}, false, &wanted) ||
         wanted.count == 0)) {
        logic_broken(out, "metadata lacks words, front_letters and order, and answer is no list");
        return;
    }
    struct answer_span said = reading_short(response);
    const char *colon = said.size > 0 ? memrchr(said.at, ':', said.size) : NULL;
    if (colon != NULL)
        said = (struct answer_span){colon + 1, said.size - (size_t)(colon + 1 - said.at)};
    for (int spaces = 0; spaces < 2 && !out->correct; spaces++)
        out->correct = word_list_read(said, spaces == 1, &read) && word_list_equal(&read, &wanted);
    out->why = out->correct ? NULL : "the words are others or in another order";
}

const struct logic_task logic_task_word_sorting = {
    "word_sorting", "words in the order of a changed alphabet", knobs, generate, verify,
};
