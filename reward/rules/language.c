#include "reward/rules/language.h"

#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"

enum {
    LANGUAGES_MAX = 40,
    SLOTS = 1 << 16,  /* of the hash table; about a third are used */
    TEXT_MAX = 10000, /* code points looked at */
    GRAMS_MAX = 4000, /* positions scored */
    WORD_MAX = 24,    /* letters of a word that is looked up */
};
/* Weights of the n-grams in a character's probability given the two before it, and of a whole word. */
static const double weight_three = 0.70, weight_two = 0.22, weight_one = 0.07, unseen = 1e-6,
                    word_weight = 0.6, word_unseen = 3e-4;

struct gram {
    uint64_t key; /* 0: free */
    uint16_t count[LANGUAGES_MAX];
};

struct language_model {
    struct gram *grams; /* [SLOTS], owned */
    size_t used;
    uint32_t letters[LANGUAGES_MAX], words[LANGUAGES_MAX];
};

/* ---- scripts ---- */

enum script {
    SCRIPT_NONE,
    SCRIPT_LATIN,
    SCRIPT_CYRILLIC,
    SCRIPT_ARABIC,
    SCRIPT_DEVANAGARI,
    SCRIPT_HAN,
    SCRIPT_KANA,
    SCRIPT_HANGUL,
    SCRIPT_ONE_LANGUAGE, /* and those of `alone` behind it */
    SCRIPT_COUNT = SCRIPT_ONE_LANGUAGE + 11
};

/* Scripts that are written for one language of the rules. */
static const struct {
    uint32_t from, to;
    const char *code;
} alone[SCRIPT_COUNT - SCRIPT_ONE_LANGUAGE] = {
    {0x0370, 0x03FF, "el"}, {0x0590, 0x05FF, "he"}, {0x0980, 0x09FF, "bn"}, {0x0A00, 0x0A7F, "pa"},
    {0x0A80, 0x0AFF, "gu"}, {0x0B80, 0x0BFF, "ta"}, {0x0C00, 0x0C7F, "te"}, {0x0C80, 0x0CFF, "kn"},
    {0x0D00, 0x0D7F, "ml"}, {0x0E00, 0x0E7F, "th"}, {0xFB1D, 0xFB4F, "he"},
};

static bool in(uint32_t rune, uint32_t from, uint32_t to)
{
    return rune >= from && rune <= to;
}

static enum script script_of(uint32_t rune)
{
    if (rune < 0x80)
        return rune_is_letter(rune) ? SCRIPT_LATIN : SCRIPT_NONE;
    if (in(rune, 0xC0, 0x24F) || in(rune, 0x1E00, 0x1EFF))
        return rune_is_letter(rune) ? SCRIPT_LATIN : SCRIPT_NONE;
    if (in(rune, 0x400, 0x52F))
        return SCRIPT_CYRILLIC;
    if (in(rune, 0x600, 0x77F) || in(rune, 0xFB50, 0xFDFF) || in(rune, 0xFE70, 0xFEFF))
        return rune_is_letter(rune) ? SCRIPT_ARABIC : SCRIPT_NONE;
    if (in(rune, 0x900, 0x97F)) /* the double danda too is used by all of them */
        return in(rune, 0x964, 0x96F) ? SCRIPT_NONE : SCRIPT_DEVANAGARI;
    if (in(rune, 0x3040, 0x30FF))
        return SCRIPT_KANA;
    if (in(rune, 0x3400, 0x9FFF) || in(rune, 0xF900, 0xFAFF) || in(rune, 0x20000, 0x2FA1F))
        return SCRIPT_HAN;
    if (in(rune, 0xAC00, 0xD7AF) || in(rune, 0x1100, 0x11FF) || in(rune, 0x3130, 0x318F))
        return SCRIPT_HANGUL;
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++) {
        if (in(rune, alone[i].from, alone[i].to))
            return (enum script)(SCRIPT_ONE_LANGUAGE + i);
    }
    return SCRIPT_NONE;
}

static bool counts_as_letter(uint32_t rune, enum script script)
{
    if (script == SCRIPT_DEVANAGARI)
        return script_of(rune) == script; /* vowel signs belong to the word */
    return script_of(rune) == script && rune_is_letter(rune);
}

/* ---- addresses say nothing ---- */

static bool is_address_rune(uint32_t rune)
{
    return rune < 0x80 && !rune_is_space(rune) && rune != '<' && rune != '>' && rune != '"';
}

/* The place behind "https://..." or "name@host" at `at`, or `at`. */
static size_t address_end(struct runes text, size_t at)
{
    bool begins = at == 0 || !is_address_rune(text.at[at - 1]);
    bool web = runes_have(text, at, "http://") || runes_have(text, at, "https://");
    if (!begins && !web)
        return at;
    size_t end = at;
    bool mail = false;
    while (end < text.size && is_address_rune(text.at[end])) {
        mail = mail || (text.at[end] == '@' && end > at);
        end++;
    }
    return web || mail ? end : at;
}

/* ---- the model ---- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= UINT64_C(0xFF51AFD7ED558CCD);
    x ^= x >> 33;
    x *= UINT64_C(0xC4CEB9FE1A85EC53);
    return x ^ (x >> 33);
}

static const struct gram *find(const struct language_model *model, uint64_t key)
{
    size_t slot = mix(key) % SLOTS;
    while (model->grams[slot].key != 0 && model->grams[slot].key != key)
        slot = (slot + 1) % SLOTS;
    return &model->grams[slot];
}

static void learn(struct language_model *model, uint64_t key, size_t language)
{
    struct gram *gram = &model->grams[find(model, key) - model->grams];
    if (gram->key == 0) {
        CHECK(model->used < SLOTS / 2);
        gram->key = key;
        model->used++;
    }
    gram->count[language]++;
}

/* Letters and the gaps between words, three at a time, and whole words. */
struct reader {
    struct runes text;
    enum script script;
    size_t at;
    uint64_t last, before; /* the two characters before: lower case, ' ' for a gap */
    uint64_t word;         /* hash of the letters of the word that is open */
    size_t word_letters;
};

struct step {
    uint64_t one, two, three; /* keys */
    uint64_t word;            /* of a word that ended here; 0: none */
};

static bool reader_next(struct reader *reader, struct step *step)
{
    uint64_t rune;
    do {
        if (reader->at > reader->text.size)
            return false;
        size_t end = reader->at < reader->text.size ? address_end(reader->text, reader->at) : 0;
        if (end > reader->at)
            reader->at = end;
        uint32_t raw = reader->at < reader->text.size ? reader->text.at[reader->at] : ' ';
        reader->at++;
        rune = counts_as_letter(raw, reader->script) ? rune_lower(raw) : ' ';
    } while (rune == ' ' && reader->last == ' ');
    *step = (struct step){.one = rune,
                          .two = rune | reader->last << 21,
                          .three = rune | reader->last << 21 | reader->before << 42};
    if (rune == ' ') {
        bool known = reader->word_letters > 0 && reader->word_letters <= WORD_MAX;
        step->word = known ? reader->word | UINT64_C(1) << 63 : 0;
        reader->word = reader->word_letters = 0;
    } else {
        reader->word = mix(reader->word * 31 + rune);
        reader->word_letters++;
    }
    reader->before = reader->last;
    reader->last = rune;
    return true;
}

static const enum script group_scripts[] = {SCRIPT_LATIN, SCRIPT_CYRILLIC, SCRIPT_ARABIC,
                                            SCRIPT_DEVANAGARI};

static enum status learn_sample(struct language_model *model, size_t language)
{
    const struct language_sample *sample = &language_samples[language];
    struct arena *arena = NULL;
    struct runes text;
    size_t size = strlen(sample->text);
    TRY(arena_create(&arena, 8 * size + 4096));
    if (!runes_decode(arena, sample->text, size, &text)) {
        arena_destroy(&arena);
        return FAIL(STATUS_NO_MEMORY, "no memory for the sample of %s", sample->code);
    }
    struct reader reader = {
        .text = text, .script = group_scripts[sample->group], .last = ' ', .before = ' '};
    struct step step;
    while (reader_next(&reader, &step)) {
        learn(model, step.one, language);
        learn(model, step.two, language);
        learn(model, step.three, language);
        model->letters[language]++;
        if (step.word != 0) {
            learn(model, step.word, language);
            model->words[language]++;
        }
    }
    arena_destroy(&arena);
    return STATUS_OK;
}

enum status language_model_create(struct language_model **model)
{
    CHECK(language_sample_count <= LANGUAGES_MAX);
    struct language_model *made = memory_alloc(sizeof *made);
    if (made != NULL)
        made->grams = memory_array(SLOTS, sizeof *made->grams);
    enum status status = STATUS_OK;
    if (made == NULL || made->grams == NULL)
        status = FAIL(STATUS_NO_MEMORY, "no memory for the language model");
    for (size_t i = 0; i < language_sample_count && status == STATUS_OK; i++)
        status = learn_sample(made, i);
    if (status != STATUS_OK)
        language_model_destroy(&made);
    else
        *model = made;
    return status;
}

void language_model_destroy(struct language_model **model)
{
    if (*model != NULL)
        memory_free((*model)->grams);
    memory_free(*model);
    *model = NULL;
}

/* ---- detection ---- */

static void add_scores(const struct language_model *model, const struct step *step,
                       enum language_group group, double *scores)
{
    const struct gram *one = find(model, step->one), *two = find(model, step->two);
    const struct gram *three = find(model, step->three), *pair = find(model, step->three >> 21);
    const struct gram *last = find(model, step->two >> 21);
    const struct gram *word = step->word != 0 ? find(model, step->word) : NULL;
    for (size_t i = 0; i < language_sample_count; i++) {
        if (language_samples[i].group != group)
            continue;
        double chance = unseen + weight_one * one->count[i] / model->letters[i];
        if (last->count[i] > 0)
            chance += weight_two * two->count[i] / (last->count[i] + 4.0);
        if (pair->count[i] > 0)
            chance += weight_three * three->count[i] / (pair->count[i] + 2.0);
        scores[i] += log(chance);
        if (word != NULL)
            scores[i] += word_weight * log(word_unseen + (double)word->count[i] / model->words[i]);
    }
}

static const char *best_of(const struct language_model *model, struct runes text,
                           enum language_group group)
{
    double scores[LANGUAGES_MAX] = {0};
    struct reader reader = {
        .text = text, .script = group_scripts[group], .last = ' ', .before = ' '};
    struct step step;
    for (size_t i = 0; i < GRAMS_MAX && reader_next(&reader, &step); i++)
        add_scores(model, &step, group, scores);
    size_t best = language_sample_count;
    for (size_t i = 0; i < language_sample_count; i++) {
        if (language_samples[i].group == group &&
            (best == language_sample_count || scores[i] > scores[best]))
            best = i;
    }
    return language_samples[best].code;
}

static void count_scripts(struct runes text, size_t *counts)
{
    for (size_t i = 0; i < text.size; i++) {
        size_t end = address_end(text, i);
        if (end > i)
            i = end - 1;
        else
            counts[script_of(text.at[i])]++;
    }
}

/* How much a letter says against Latin ones, which texts of all languages have: a name, a command, a quotation. */
static size_t script_weight(enum script script)
{
    if (script == SCRIPT_LATIN)
        return 1;
    return script == SCRIPT_HAN || script == SCRIPT_KANA || script == SCRIPT_HANGUL ? 4 : 2;
}

const char *language_detect(const struct language_model *model, struct runes text)
{
    size_t counts[SCRIPT_COUNT] = {0};
    text = runes_part(text, 0, TEXT_MAX);
    count_scripts(text, counts);
    size_t far_east = counts[SCRIPT_HAN] + counts[SCRIPT_KANA];
    enum script most = SCRIPT_NONE;
    size_t most_count = 0;
    for (size_t i = SCRIPT_LATIN; i < SCRIPT_COUNT; i++) {
        size_t count = i == SCRIPT_HAN || i == SCRIPT_KANA ? far_east : counts[i];
        count *= script_weight((enum script)i);
        if (count > most_count) {
            most = (enum script)i;
            most_count = count;
        }
    }
    if (most == SCRIPT_NONE)
        return NULL;
    if (most >= SCRIPT_ONE_LANGUAGE)
        return alone[most - SCRIPT_ONE_LANGUAGE].code;
    if (most == SCRIPT_HAN || most == SCRIPT_KANA) /* Japanese is never without kana for long */
        return counts[SCRIPT_KANA] * 20 >= far_east ? "ja" : "zh-cn";
    if (most == SCRIPT_HANGUL)
        return "ko";
    return best_of(model, text, (enum language_group)(most - SCRIPT_LATIN));
}
