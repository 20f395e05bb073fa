/* Cryptarithm: letters stand for different digits in a sum. The generator keeps sums with one solution only (a search over
 * all assignments proves it); the judge checks letters, lengths, leading digits and the sum. */
#include <string.h>

#include "reward/logic/draw.h"
#include "reward/logic/logic.h"
#include "reward/logic/literal.h"
#include "reward/logic/reading.h"

enum { WORDS_MAX = 8, WORD_MAX = 12, LETTERS = 26, NODES_MAX = 60000 };

static const struct logic_knob knobs[] = {
    {"digits", 2, 5, 3, "digits of the longest number on the left"},
    {"terms", 2, 4, 2, "numbers on the left"},
    {0},
};

struct sum {
    int words; /* the last one is the result */
    char word[WORDS_MAX][WORD_MAX + 1];
    char operator_[WORDS_MAX]; /* operator_[i] stands before word i + 1; all + - or * */
};

static bool is_leading(const struct sum *sum, char letter)
{
    for (int i = 0; i < sum->words; i++)
        if (sum->word[i][0] == letter && sum->word[i][1] != '\0')
            return true;
    return false;
}

/* ---- generating: + and - only, so the sum is linear in the letters ---- */

struct search {
    int count;
    char letter[10];
    long long weight[10]; /* of the letter's digit in left - right; the largest come first */
    bool leading[10];
    int fixed[10]; /* the digit that a hint tells, or -1 */
    int nodes, solutions;
    bool complete;
};

static void add_letter(struct search *search, char letter, long long weight)
{
    int k = 0;
    while (k < search->count && search->letter[k] != letter)
        k++;
    if (k == search->count) {
        search->letter[search->count++] = letter;
        search->weight[k] = 0;
        search->fixed[k] = -1;
    }
    search->weight[k] += weight;
}

static void weigh(const struct sum *sum, struct search *search)
{
    for (int i = 0; i < sum->words; i++) {
        long long sign = i == sum->words - 1 || (i > 0 && sum->operator_[i - 1] == '-') ? -1 : 1;
        for (size_t k = strlen(sum->word[i]); k-- > 0; sign *= 10)
            add_letter(search, sum->word[i][k], sign);
    }
    for (int i = 0; i < search->count; i++)
        for (int k = i + 1; k < search->count; k++)
            if (llabs(search->weight[k]) > llabs(search->weight[i])) {
                long long weight = search->weight[i];
                char letter = search->letter[i];
                search->weight[i] = search->weight[k];
                search->letter[i] = search->letter[k];
                search->weight[k] = weight;
                search->letter[k] = letter;
            }
    for (int i = 0; i < search->count; i++)
        search->leading[i] = is_leading(sum, search->letter[i]);
}

/* Digits for the letters from `at` on; false: stop. */
static bool search_on(struct search *search, int at, unsigned used, long long total)
{
    if (at == search->count) {
        search->solutions += total == 0;
        return search->solutions < 2;
    }
    long long low = total, high = total; /* what the rest can still add */
    for (int k = at; k < search->count; k++) {
        low += search->weight[k] < 0 ? 9 * search->weight[k] : 0;
        high += search->weight[k] > 0 ? 9 * search->weight[k] : 0;
    }
    if (low > 0 || high < 0)
        return true;
    for (int digit = search->leading[at] ? 1 : 0; digit < 10; digit++) {
        if ((used >> digit & 1) != 0 || (search->fixed[at] >= 0 && search->fixed[at] != digit))
            continue;
        if (++search->nodes > NODES_MAX) {
            search->complete = false;
            return false;
        }
        if (!search_on(search, at + 1, used | 1u << digit, total + digit * search->weight[at]))
            return false;
    }
    return true;
}

/* Random numbers and their result; false: the result is no positive number of a fitting length. */
static bool draw_numbers(struct rng *rng, const struct logic_settings *settings, struct sum *sum,
                         long long *numbers)
{
    int terms = settings->value[1];
    long long result = 0;
    sum->words = terms + 1;
    for (int i = 0; i < terms; i++) {
        long long low = 1;
        for (int k = draw_between(rng, i == 0 ? settings->value[0] : 2, settings->value[0]); k > 1;
             k--)
            low *= 10;
        numbers[i] = low + rng_below(rng, (uint32_t)(9 * low));
        bool minus = i > 0 && rng_below(rng, 3) == 0;
        if (i > 0)
            sum->operator_[i - 1] = minus ? '-' : '+';
        result += minus ? -numbers[i] : numbers[i];
    }
    numbers[terms] = result;
    return result >= 10;
}

static void write_words(struct rng *rng, const long long *numbers, struct sum *sum)
{
    int letters[LETTERS];
    draw_permutation(rng, letters, LETTERS);
    for (int i = 0; i < sum->words; i++) {
        char *word = sum->word[i];
        (void)snprintf(word, sizeof sum->word[i], "%lld", numbers[i]);
        for (; *word != '\0'; word++)
            *word = (char)('A' + letters[*word - '0']);
    }
}

static enum status write_sum(const struct sum *sum, const long long *numbers, struct buffer *text)
{
    for (int i = 0; i < sum->words; i++) {
        if (i > 0)
            TRY(buffer_printf(text, " %c ", i == sum->words - 1 ? '=' : sum->operator_[i - 1]));
        if (numbers != NULL)
            TRY(buffer_printf(text, "%lld", numbers[i]));
        else
            TRY(buffer_text(text, sum->word[i]));
    }
    return STATUS_OK;
}

static bool is_unique(struct search *search)
{
    search->nodes = search->solutions = 0;
    search->complete = true;
    (void)search_on(search, 0, 0, 0);
    return search->complete && search->solutions == 1;
}

/* The digit that a letter stands for. */
static int digit_behind(const struct sum *sum, const long long *numbers, char letter)
{
    for (int i = 0; i < sum->words; i++) {
        char digits[24];
        (void)snprintf(digits, sizeof digits, "%lld", numbers[i]);
        const char *at = strchr(sum->word[i], letter);
        if (at != NULL)
            return digits[at - sum->word[i]] - '0';
    }
    return -1;
}

/* Tells letters until one solution is left, and takes back those that were not needed; false: too many nodes. */
static bool draw_hints(struct rng *rng, const struct sum *sum, const long long *numbers,
                       struct search *search)
{
    int order[10];
    draw_permutation(rng, order, search->count);
    for (int i = 0; i < search->count && !is_unique(search); i++)
        search->fixed[order[i]] = digit_behind(sum, numbers, search->letter[order[i]]);
    for (int i = 0; i < search->count; i++) {
        int told = search->fixed[order[i]];
        search->fixed[order[i]] = -1;
        if (told >= 0 && !is_unique(search))
            search->fixed[order[i]] = told;
    }
    return is_unique(search);
}

static enum status write_hints(const struct search *search, struct buffer *text)
{
    for (int i = 0; i < search->count; i++)
        if (search->fixed[i] >= 0)
            TRY(buffer_printf(text, " %c stands for %d.", search->letter[i], search->fixed[i]));
    return STATUS_OK;
}

static json_t *metadata_of(const struct sum *sum, const long long *numbers,
                           const struct search *search)
{
    json_t *hints = json_object();
    for (int i = 0; i < search->count; i++) {
        char letter[2] = {search->letter[i], '\0'};
        if (search->fixed[i] >= 0)
            json_object_set_new(hints, letter, json_integer(search->fixed[i]));
    }
    json_t *values = json_array(), *words = json_array(), *operators = json_array();
    for (int i = 0; i < sum->words; i++) {
        char operator_[2] = {sum->operator_[i], '\0'};
        json_array_append_new(values, json_integer(numbers[i]));
        json_array_append_new(words, json_string(sum->word[i]));
        if (i + 2 < sum->words)
            json_array_append_new(operators, json_string(operator_));
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "numbers", values, "letter_words", words, "operators",
                     operators, "hints", hints);
}

static enum status generate(const struct logic_settings *settings, struct rng *rng,
                            struct logic_problem *out)
{
    struct sum sum = {0};
    struct search search = {.complete = true};
    long long numbers[WORDS_MAX];
    if (!draw_numbers(rng, settings, &sum, numbers))
        return STATUS_AGAIN;
    write_words(rng, numbers, &sum);
    weigh(&sum, &search);
    if (!draw_hints(rng, &sum, numbers, &search))
        return STATUS_AGAIN;
    struct buffer equation;
    buffer_init(&equation, 0);
    enum status status;
    TRY_GOTO(out, write_sum(&sum, numbers, &equation));
    out->answer = json_string(buffer_string(&equation));
    TRY_GOTO(out, buffer_text(&out->question, "Solve this puzzle: "));
    TRY_GOTO(out, write_sum(&sum, NULL, &out->question));
    TRY_GOTO(out,
             buffer_text(&out->question,
                         "\n\nEach letter stands for one digit, different letters for different"
                         " digits, and no number begins with 0. There is exactly one solution."));
    TRY_GOTO(out, write_hints(&search, &out->question));
    TRY_GOTO(out, buffer_text(&out->question,
                              " End with a last line of this form: The answer is $YOUR_ANSWER. Here"
                              " $YOUR_ANSWER is the equation with digits for its letters."));
    out->metadata = metadata_of(&sum, numbers, &search);
    out->work = search.nodes;
    out->difficulty = logic_difficulty(out->work, 20, NODES_MAX);
out:
    buffer_free(&equation);
    return status;
}

/* ---- judging ---- */

static bool read_sum(const json_t *metadata, struct sum *sum)
{
    const json_t *words = json_object_get(metadata, "letter_words"),
                 *operators = json_object_get(metadata, "operators");
    size_t count = json_array_size(words);
    if (count < 2 || count > WORDS_MAX || json_array_size(operators) != count - 2)
        return false;
    memset(sum, 0, sizeof *sum);
    sum->words = (int)count;
    for (size_t i = 0; i < count; i++) {
        const char *word = json_string_value(json_array_get(words, i)),
                   *operator_ = json_string_value(json_array_get(operators, i));
        if (word == NULL || strlen(word) > WORD_MAX || word[0] == '\0')
            return false;
        (void)snprintf(sum->word[i], sizeof sum->word[i], "%s", word);
        if (i + 2 < count) {
            if (operator_ == NULL || operator_[0] == '\0' || strchr("+-*", operator_[0]) == NULL)
                return false;
            sum->operator_[i] = operator_[0];
        }
    }
    return true;
}

/* Reads the digits that stand for one word and settles its letters; NULL when they do not fit. */
static const char *read_word(const struct sum *sum, int word, const char *at, int *digit_of,
                             long long *value)
{
    *value = 0;
    long long sign = 1;
    for (const char *letter = sum->word[word]; *letter != '\0'; letter++, at++) {
        if (*letter == '-') { /* a negative result */
            if (*at != '-' || letter != sum->word[word])
                return NULL;
            sign = -1;
            continue;
        }
        if (*at < '0' || *at > '9')
            return NULL;
        int *digit = &digit_of[(unsigned char)*letter];
        if (*digit >= 0 && *digit != *at - '0')
            return NULL;
        *digit = *at - '0';
        *value = *value * 10 + *digit;
    }
    *value *= sign;
    return at;
}

static bool letters_differ(const struct sum *sum, const int *digit_of)
{
    unsigned used = 0;
    for (int letter = 0; letter < 256; letter++) {
        if (digit_of[letter] < 0)
            continue;
        if ((used >> digit_of[letter] & 1) != 0 ||
            (digit_of[letter] == 0 && is_leading(sum, (char)letter)))
            return false;
        used |= 1u << digit_of[letter];
    }
    return true;
}

/* * before + and -. */
static bool sum_holds(const struct sum *sum, const long long *value)
{
    long long total = 0, product = value[0], sign = 1;
    for (int i = 1; i < sum->words - 1; i++) {
        if (sum->operator_[i - 1] == '*') {
            if (__builtin_mul_overflow(product, value[i], &product))
                return false;
            continue;
        }
        if (__builtin_add_overflow(total, sign * product, &total))
            return false;
        sign = sum->operator_[i - 1] == '-' ? -1 : 1;
        product = value[i];
    }
    return !__builtin_add_overflow(total, sign * product, &total) && total == value[sum->words - 1];
}

/* `text` (digits and operators only) is the sum with digits for its letters. */
static bool is_solution(const struct sum *sum, const json_t *hints, const char *text)
{
    int digit_of[256];
    long long value[WORDS_MAX];
    for (int i = 0; i < 256; i++)
        digit_of[i] = -1;
    for (int i = 0; i < sum->words; i++) {
        char wanted = i == sum->words - 1 ? '=' : i > 0 ? sum->operator_[i - 1] : '\0';
        if (i > 0 && *text++ != wanted)
            return false;
        text = read_word(sum, i, text, digit_of, &value[i]);
        if (text == NULL)
            return false;
    }
    const char *letter;
    json_t *digit;
    json_object_foreach((json_t *)hints, letter, digit)
    {
        int told;
        if (!literal_int(digit, &told) || digit_of[(unsigned char)letter[0]] != told)
            return false;
    }
    return *text == '\0' && letters_differ(sum, digit_of) && sum_holds(sum, value);
}

/* Digits and operators of the last line that has an equation; false: none. */
static bool read_equation(struct answer_span text, char *equation, size_t capacity)
{
    text = answer_trimmed(text);
    const char *equals = text.size > 0 ? memrchr(text.at, '=', text.size) : NULL;
    if (equals == NULL)
        return false;
    const char *from = equals, *end = equals + 1, *limit = text.at + text.size;
    static const char digits[] = "0123456789 +-*=\t", times[] = "×";
    for (;;) {
        if (from > text.at && from[-1] != '\0' && strchr(digits, from[-1]) != NULL)
            from--;
        else if (from - text.at >= 2 && memcmp(from - 2, times, 2) == 0)
            from -= 2;
        else if (from - text.at >= 6 && memcmp(from - 6, "\\times", 6) == 0)
            from -= 6;
        else
            break;
    }
    while (end < limit && *end != '\0' && strchr(digits, *end) != NULL)
        end++;
    while (from < equals && strchr(" \t+-*", *from) != NULL) /* list marks and ** */
        from++;
    while (end > equals + 1 && strchr(" \t+-*=", end[-1]) != NULL)
        end--;
    size_t size = 0;
    for (; from < end && size + 1 < capacity; from++) {
        if (end - from > 1 && memcmp(from, times, 2) == 0) {
            equation[size++] = '*';
            from++;
        } else if (*from == '\\') {
            equation[size++] = '*';
            from += 5;
        } else if (*from != ' ' && *from != '\t') {
            equation[size++] = *from;
        }
    }
    equation[size] = '\0';
    return from == end;
}

static void verify(const json_t *metadata, const json_t *answer, const char *question,
                   struct answer_span response, struct logic_verdict *out)
{
    (void)answer;
    (void)question;
    struct sum sum;
    char equation[256];
    if (!read_sum(metadata, &sum)) {
        logic_broken(out, "metadata: letter_words or operators are missing or wrong");
        return;
    }
    bool found = read_equation(reading_short(response), equation, sizeof equation) ||
                 read_equation(response, equation, sizeof equation);
    out->correct = found && is_solution(&sum, json_object_get(metadata, "hints"), equation);
    out->why = out->correct ? NULL
               : found      ? "the equation does not solve the puzzle"
                            : "no equation was found";
}

const struct logic_task logic_task_cryptarithm = {"cryptarithm", "digits for letters", knobs,
                                                  generate, verify};
