#include "ops/data/dedup.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"
#include "core/memory.h"
#include "ops/data/hash_map.h"
#include "ops/data/normal.h"

enum { HASHES = 128, CHAIN_MAX = 64, ROWS_MAX = INT32_MAX };

const struct dedup_options dedup_options_default = {
    .threshold = 0.5, .shingle = 3, .ngram = 13, .common = 4, .memory_bytes = (uint64_t)4 << 30};

/* Ascending 32-bit hashes in the pool. */
struct set {
    uint64_t at;
    uint32_t count;
};

struct row {
    enum dedup_role role;
    uint64_t exact, signature, answer; /* answer 0: none */
    struct set shingles, words, names;
};

struct link_entry {
    uint32_t row, next; /* next: 1 + index; 0 ends */
};

struct ngram {
    uint32_t row, last, rows; /* the first row with it, the last one, how many */
};

struct dedup {
    struct dedup_options options;
    uint32_t bands, band_hashes;
    uint64_t a[HASHES], b[HASHES];
    struct row *rows;
    uint32_t row_count, row_limit;
    uint32_t *pool;
    uint64_t pool_count, pool_limit;
    struct hash_map exact;   /* to 1 + row */
    struct hash_map buckets; /* of (band, hashes, signature) to 1 + entry */
    struct link_entry *entries;
    uint32_t entry_count, entry_limit;
    struct hash_map ngram_map; /* to 1 + ngram */
    struct ngram *ngrams;
    uint32_t ngram_count, ngram_limit;
    struct normal normal, answer;
    uint32_t *scratch; /* [scratch_limit] */
    uint64_t scratch_limit;
    uint32_t *seen; /* [row_limit] 1 + the row that was compared with it last */
    uint64_t capped;
    bool training;
};

/* ---- memory ---- */

uint64_t dedup_bytes(const struct dedup *dedup)
{
    return (uint64_t)dedup->row_limit * (sizeof *dedup->rows + sizeof *dedup->seen) +
           dedup->pool_limit * sizeof *dedup->pool +
           (uint64_t)dedup->entry_limit * sizeof *dedup->entries +
           (uint64_t)dedup->ngram_limit * sizeof *dedup->ngrams + hash_map_bytes(&dedup->exact) +
           hash_map_bytes(&dedup->buckets) + hash_map_bytes(&dedup->ngram_map);
}

static enum status grow(void **items, uint64_t wanted, uint64_t limit, uint64_t *wider,
                        size_t item_bytes)
{
    *wider = limit;
    if (wanted <= limit)
        return STATUS_OK;
    *wider = limit > 0 ? limit * 2 : 4096;
    while (*wider < wanted)
        *wider *= 2;
    void *grown = memory_grow(*items, limit * item_bytes, *wider * item_bytes);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%" PRIu64 " items", *wider);
    *items = grown;
    return STATUS_OK;
}

static enum status grow_32(void **items, uint64_t wanted, uint32_t *limit, size_t item_bytes)
{
    uint64_t wider = 0;
    if (wanted > ROWS_MAX)
        return FAIL(STATUS_LIMIT, "more than %d items", ROWS_MAX);
    TRY(grow(items, wanted, *limit, &wider, item_bytes));
    *limit = (uint32_t)wider;
    return STATUS_OK;
}

static enum status check_memory(const struct dedup *dedup)
{
    uint64_t bytes = dedup_bytes(dedup);
    return bytes <= dedup->options.memory_bytes
               ? STATUS_OK
               : FAIL(STATUS_LIMIT,
                      "%" PRIu64 " MB for %u rows, more than --memory-mb: raise it, or give fewer "
                      "files at a time",
                      bytes >> 20, dedup->row_count);
}

/* ---- sets of hashes ---- */

static int compare_hashes(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

/* The scratch's first `count` hashes, sorted, once each, into the pool. */
static enum status store_set(struct dedup *dedup, uint64_t count, struct set *set)
{
    uint64_t wider = 0;
    qsort(dedup->scratch, count, sizeof *dedup->scratch, compare_hashes);
    TRY(grow((void **)&dedup->pool, dedup->pool_count + count, dedup->pool_limit, &wider,
             sizeof *dedup->pool));
    dedup->pool_limit = wider;
    *set = (struct set){.at = dedup->pool_count};
    for (uint64_t i = 0; i < count; i++)
        if (i == 0 || dedup->scratch[i] != dedup->scratch[i - 1])
            dedup->pool[set->at + set->count++] = dedup->scratch[i];
    dedup->pool_count += set->count;
    return STATUS_OK;
}

static uint32_t common_count(const struct dedup *dedup, const struct set *a, const struct set *b)
{
    const uint32_t *left = dedup->pool + a->at, *right = dedup->pool + b->at;
    uint32_t i = 0, j = 0, common = 0;
    while (i < a->count && j < b->count) {
        common += left[i] == right[j];
        uint32_t before = left[i];
        i += before <= right[j];
        j += before >= right[j];
    }
    return common;
}

static double jaccard(const struct dedup *dedup, const struct set *a, const struct set *b)
{
    uint32_t common = common_count(dedup, a, b);
    return (double)common / (a->count + b->count - common);
}

/* A hash of `from` that `of` lacks. */
static bool lacks(const struct dedup *dedup, const struct set *from, const struct set *of)
{
    return common_count(dedup, from, of) < from->count;
}

/* ---- what a row is ---- */

/* Numbers as words, but "one", which mostly stands for a thing. */
static bool is_number_word(const char *word, size_t size, const char **digits)
{
    static const char *const words[][2] = {
        {"zero", "0"},        {"two", "2"},           {"three", "3"},     {"four", "4"},
        {"five", "5"},        {"six", "6"},           {"seven", "7"},     {"eight", "8"},
        {"nine", "9"},        {"ten", "10"},          {"eleven", "11"},   {"twelve", "12"},
        {"thirteen", "13"},   {"fourteen", "14"},     {"fifteen", "15"},  {"sixteen", "16"},
        {"seventeen", "17"},  {"eighteen", "18"},     {"nineteen", "19"}, {"twenty", "20"},
        {"thirty", "30"},     {"forty", "40"},        {"fifty", "50"},    {"sixty", "60"},
        {"seventy", "70"},    {"eighty", "80"},       {"ninety", "90"},   {"hundred", "100"},
        {"thousand", "1000"}, {"million", "1000000"}, {"half", "1/2"},    {"third", "1/3"},
        {"quarter", "1/4"},   {"twice", "x2"},        {"double", "x2"},   {"triple", "x3"},
        {"thrice", "x3"},     {"dozen", "12"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i][0]) == size && memcmp(words[i][0], word, size) == 0) {
            *digits = words[i][1];
            return true;
        }
    return false;
}

/* Words whose change turns a question into another one. */
static bool is_turning(const char *word, size_t size)
{
    static const char *const words[] = {
        "more",       "less",     "fewer",     "most",     "least",      "maximum",  "minimum",
        "max",        "min",      "largest",   "smallest", "greatest",   "lowest",   "highest",
        "maximize",   "minimize", "odd",       "even",     "not",        "no",       "without",
        "before",     "after",    "sum",       "product",  "difference", "quotient", "ratio",
        "positive",   "negative", "longer",    "shorter",  "older",      "younger",  "increasing",
        "decreasing", "increase", "decrease",  "sin",      "cos",        "tan",      "inside",
        "outside",    "area",     "perimeter", "volume",   "mean",       "median",   "left",
        "right",      "up",       "down",      "first",    "last"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strlen(words[i]) == size && memcmp(words[i], word, size) == 0)
            return true;
    return false;
}

/* Hash of what decides the answer in this token; 0: nothing. */
static uint64_t deciding_hash(const struct normal *normal, const struct normal_token *token)
{
    const char *text = (const char *)normal->text.bytes + token->at, *digits = NULL;
    if (token->kind == NORMAL_NUMBER)
        return token->hash;
    if (token->kind == NORMAL_SIGN) /* brackets and ! (it ends sentences) may come and go */
        return token->size == 1 && strchr("()[]!&#", text[0]) != NULL ? 0 : token->hash;
    if (is_number_word(text, token->size, &digits))
        return hash64(digits, strlen(digits), 0);
    return is_turning(text, token->size) ? token->hash : 0;
}

/* A sum: the order in which a rewording puts them is free. */
static uint64_t signature_of(const struct dedup *dedup, const struct normal *normal)
{
    uint64_t signature = 0;
    for (uint32_t i = 0; i < normal->count && !dedup->options.any_numbers; i++) {
        uint64_t hash = deciding_hash(normal, &normal->tokens[i]);
        signature += hash != 0 ? hash64(&hash, sizeof hash, 1) : 0;
    }
    return signature;
}

static enum status reserve_scratch(struct dedup *dedup, uint64_t count)
{
    return grow((void **)&dedup->scratch, count, dedup->scratch_limit, &dedup->scratch_limit,
                sizeof *dedup->scratch);
}

/* Hash of tokens [at, at + count). */
static uint64_t window_hash(const struct normal *normal, uint32_t at, uint32_t count, bool mask)
{
    static const uint64_t any_number = 0x6e756d626572;
    uint64_t hash = count;
    for (uint32_t i = at; i < at + count; i++) {
        const struct normal_token *token = &normal->tokens[i];
        uint64_t one = mask && token->kind == NORMAL_NUMBER ? any_number : token->hash;
        hash = (hash ^ one) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 29;
    }
    return hash;
}

/* Drawing code is alike in figures that have nothing in common. */
static bool has_figure(const struct normal *normal, uint32_t at, uint32_t count)
{
    return normal->tokens[at].figure || normal->tokens[at + count - 1].figure;
}

static enum status store_shingles(struct dedup *dedup, struct set *set)
{
    const struct normal *normal = &dedup->normal;
    uint32_t size = dedup->options.shingle < normal->count ? dedup->options.shingle : normal->count;
    uint32_t count = normal->count - size + 1;
    TRY(reserve_scratch(dedup, count));
    for (uint32_t i = 0; i < count; i++)
        dedup->scratch[i] = (uint32_t)(window_hash(normal, i, size, false) >> 32);
    return store_set(dedup, count, set);
}

/* names: words with a capital, except those that often open sentences; else all words. */
static enum status store_words(struct dedup *dedup, bool names, struct set *set)
{
    const struct normal *normal = &dedup->normal;
    uint64_t count = 0;
    TRY(reserve_scratch(dedup, normal->count));
    for (uint32_t i = 0; i < normal->count; i++) {
        const struct normal_token *token = &normal->tokens[i];
        const char *text = (const char *)normal->text.bytes + token->at;
        bool name = token->capital && token->size > 1 && !normal_is_common(text, token->size);
        if (token->kind == NORMAL_WORD && (!names || name))
            dedup->scratch[count++] = (uint32_t)(token->hash >> 32);
    }
    return store_set(dedup, count, set);
}

/* GSM8K's answers end in "#### 18": that is the answer. */
static enum status hash_answer(struct dedup *dedup, const char *answer, uint64_t *hash)
{
    *hash = 0;
    if (answer == NULL)
        return STATUS_OK;
    for (const char *mark; (mark = strstr(answer, "####")) != NULL;)
        answer = mark + 4;
    TRY(normal_read(&dedup->answer, answer, strlen(answer)));
    if (dedup->answer.count > 0)
        *hash = normal_hash(&dedup->answer) | 1;
    return STATUS_OK;
}

/* ---- MinHash ---- */

static void minhash(const struct dedup *dedup, const struct set *set, uint32_t hashes[HASHES])
{
    for (int h = 0; h < HASHES; h++) {
        uint64_t a = dedup->a[h], b = dedup->b[h];
        uint32_t least = UINT32_MAX;
        for (uint32_t i = 0; i < set->count; i++) {
            uint32_t value = (uint32_t)((a * dedup->pool[set->at + i] + b) >> 32);
            least = value < least ? value : least;
        }
        hashes[h] = least;
    }
}

/* The most hashes a band can have so that rows at the threshold meet in a bucket with probability 0.985. */
static void choose_bands(struct dedup *dedup)
{
    double threshold = dedup->options.threshold < 1 ? dedup->options.threshold : 1;
    dedup->band_hashes = 1;
    for (uint32_t r = 1; r <= 16; r++) {
        double misses = pow(1 - pow(threshold, r), HASHES / r);
        if (misses <= 0.015)
            dedup->band_hashes = r;
    }
    dedup->bands = dedup->options.threshold <= 1 ? HASHES / dedup->band_hashes : 0;
}

static uint64_t bucket_of(const struct dedup *dedup, const uint32_t *hashes, uint32_t band,
                          uint64_t signature)
{
    return hash64(hashes + (size_t)band * dedup->band_hashes, dedup->band_hashes * sizeof *hashes,
                  signature ^ (uint64_t)band << 56);
}

/* ---- comparing ---- */

static bool is_near(const struct dedup *dedup, const struct row *row, const struct row *other,
                    double *similarity)
{
    const struct dedup_options *options = &dedup->options;
    if (row->signature != other->signature)
        return false;
    *similarity = jaccard(dedup, &row->shingles, &other->shingles);
    if (*similarity < options->threshold)
        return false;
    if (other->role == DEDUP_EVAL) /* rather one training row too few */
        return true;
    bool renamed =
        lacks(dedup, &row->names, &other->words) && lacks(dedup, &other->names, &row->words);
    bool answered = row->answer != 0 && other->answer != 0 && row->answer != other->answer;
    return (options->any_names || !renamed) && (options->any_answers || !answered);
}

static enum dedup_reason near_reason(enum dedup_role role)
{
    return role == DEDUP_EVAL ? DEDUP_EVAL_NEAR : role == DEDUP_SFT ? DEDUP_SFT_NEAR : DEDUP_NEAR;
}

static enum dedup_reason exact_reason(const struct row *row, const struct row *other)
{
    bool conflict = row->answer != 0 && other->answer != 0 && row->answer != other->answer;
    return other->role == DEDUP_EVAL  ? DEDUP_EVAL_EXACT
           : other->role == DEDUP_SFT ? DEDUP_SFT_EXACT
           : conflict                 ? DEDUP_CONFLICT
                                      : DEDUP_EXACT;
}

/* The listed row of the lowest number that is near; rows of a bucket beyond CHAIN_MAX are left out and counted. */
static void find_near(struct dedup *dedup, uint32_t number, const uint32_t *hashes,
                      struct dedup_verdict *verdict)
{
    const struct row *row = &dedup->rows[number];
    for (uint32_t band = 0; band < dedup->bands; band++) {
        uint32_t at = hash_map_get(&dedup->buckets, bucket_of(dedup, hashes, band, row->signature));
        for (int steps = 0; at != 0; at = dedup->entries[at - 1].next, steps++) {
            uint32_t other = dedup->entries[at - 1].row;
            double similarity = 0;
            if (steps == CHAIN_MAX) {
                dedup->capped++;
                break;
            }
            if (dedup->seen[other] == number + 1)
                continue;
            dedup->seen[other] = number + 1;
            bool first = verdict->reason == DEDUP_KEPT || other < verdict->other;
            if (first && is_near(dedup, row, &dedup->rows[other], &similarity))
                *verdict =
                    (struct dedup_verdict){near_reason(dedup->rows[other].role), other, similarity};
        }
    }
}

static enum status list_row(struct dedup *dedup, uint32_t number, const uint32_t *hashes)
{
    const struct row *row = &dedup->rows[number];
    for (uint32_t band = 0; band < dedup->bands; band++) {
        uint32_t *head = NULL;
        TRY(grow_32((void **)&dedup->entries, (uint64_t)dedup->entry_count + 1, &dedup->entry_limit,
                    sizeof *dedup->entries));
        TRY(hash_map_put(&dedup->buckets, bucket_of(dedup, hashes, band, row->signature), &head));
        dedup->entries[dedup->entry_count] = (struct link_entry){number, *head};
        *head = ++dedup->entry_count;
    }
    return STATUS_OK;
}

/* ---- n-grams ---- */

static enum status list_ngrams(struct dedup *dedup, uint32_t number)
{
    uint32_t n = dedup->options.ngram;
    for (uint32_t i = 0; n > 0 && i + n <= dedup->normal.count; i++) {
        if (has_figure(&dedup->normal, i, n))
            continue;
        uint32_t *value = NULL;
        uint64_t hash = window_hash(&dedup->normal, i, n, dedup->options.mask_numbers);
        TRY(hash_map_put(&dedup->ngram_map, hash, &value));
        if (*value == 0) {
            TRY(grow_32((void **)&dedup->ngrams, (uint64_t)dedup->ngram_count + 1,
                        &dedup->ngram_limit, sizeof *dedup->ngrams));
            dedup->ngrams[dedup->ngram_count] = (struct ngram){number, number, 1};
            *value = ++dedup->ngram_count;
            continue;
        }
        struct ngram *ngram = &dedup->ngrams[*value - 1];
        ngram->rows += ngram->last != number;
        ngram->last = number;
    }
    return STATUS_OK;
}

static void find_ngram(const struct dedup *dedup, struct dedup_verdict *verdict)
{
    uint32_t n = dedup->options.ngram;
    for (uint32_t i = 0; n > 0 && i + n <= dedup->normal.count; i++) {
        if (has_figure(&dedup->normal, i, n))
            continue;
        uint64_t hash = window_hash(&dedup->normal, i, n, dedup->options.mask_numbers);
        uint32_t at = hash_map_get(&dedup->ngram_map, hash);
        if (at == 0 || dedup->ngrams[at - 1].rows > dedup->options.common)
            continue;
        *verdict = (struct dedup_verdict){DEDUP_EVAL_NGRAM, dedup->ngrams[at - 1].row, NAN};
        return;
    }
}

/* ---- life ---- */

enum status dedup_create(struct dedup **out, const struct dedup_options *options)
{
    struct dedup *dedup = memory_alloc(sizeof *dedup);
    *out = NULL;
    if (dedup == NULL)
        return FAIL(STATUS_NO_MEMORY, "dedup");
    CHECK(options->shingle > 0 && options->threshold > 0);
    dedup->options = *options;
    normal_init(&dedup->normal);
    normal_init(&dedup->answer);
    choose_bands(dedup);
    for (uint64_t h = 0; h < HASHES;
         h++) { /* h(x) = (a x + b) / 2^32 mod 2^32: universal for odd a of 64 bits */
        uint64_t even = 2 * h, odd = 2 * h + 1;
        dedup->a[h] = hash64(&even, sizeof even, 0) | 1;
        dedup->b[h] = hash64(&odd, sizeof odd, 0);
    }
    *out = dedup;
    return STATUS_OK;
}

void dedup_destroy(struct dedup **pointer)
{
    struct dedup *dedup = *pointer;
    if (dedup == NULL)
        return;
    hash_map_free(&dedup->exact);
    hash_map_free(&dedup->buckets);
    hash_map_free(&dedup->ngram_map);
    normal_free(&dedup->normal);
    normal_free(&dedup->answer);
    memory_free(dedup->rows);
    memory_free(dedup->seen);
    memory_free(dedup->pool);
    memory_free(dedup->entries);
    memory_free(dedup->ngrams);
    memory_free(dedup->scratch);
    memory_free(dedup);
    *pointer = NULL;
}

static enum status new_row(struct dedup *dedup, enum dedup_role role, uint32_t *number)
{
    uint32_t limit = dedup->row_limit;
    TRY(check_memory(dedup));
    TRY(grow_32((void **)&dedup->rows, (uint64_t)dedup->row_count + 1, &dedup->row_limit,
                sizeof *dedup->rows));
    TRY(grow_32((void **)&dedup->seen, (uint64_t)dedup->row_count + 1, &limit,
                sizeof *dedup->seen));
    *number = dedup->row_count++;
    dedup->rows[*number] = (struct row){.role = role};
    return STATUS_OK;
}

static enum status fill_row(struct dedup *dedup, struct row *row, const char *answer)
{
    row->exact = normal_hash(&dedup->normal);
    row->signature = signature_of(dedup, &dedup->normal);
    TRY(hash_answer(dedup, answer, &row->answer));
    TRY(store_shingles(dedup, &row->shingles));
    TRY(store_words(dedup, false, &row->words));
    return store_words(dedup, true, &row->names);
}

/* What a dropped row had in the pool is not needed any more: it was the last. */
static void forget_sets(struct dedup *dedup, struct row *row)
{
    dedup->pool_count = row->shingles.at;
    row->shingles = row->words = row->names = (struct set){0};
}

static enum status judge(struct dedup *dedup, uint32_t number, const uint32_t *hashes,
                         struct dedup_verdict *verdict)
{
    struct row *row = &dedup->rows[number];
    uint32_t *same = NULL;
    TRY(hash_map_put(&dedup->exact, row->exact, &same));
    bool known = *same != 0;
    if (!known)
        *same = number + 1;
    if (row->role != DEDUP_TRAIN)
        return STATUS_OK;
    if (known) {
        const struct row *other = &dedup->rows[*same - 1];
        *verdict = (struct dedup_verdict){exact_reason(row, other), *same - 1, 1};
        return STATUS_OK;
    }
    find_near(dedup, number, hashes, verdict);
    if (verdict->reason != DEDUP_EVAL_NEAR && verdict->reason != DEDUP_SFT_NEAR) {
        struct dedup_verdict found = *verdict;
        find_ngram(dedup, &found);
        *verdict = found;
    }
    return STATUS_OK;
}

enum status dedup_add(struct dedup *dedup, enum dedup_role role, const char *prompt,
                      const char *answer, uint32_t *number, struct dedup_verdict *verdict)
{
    uint32_t hashes[HASHES];
    *verdict = (struct dedup_verdict){.reason = DEDUP_KEPT, .similarity = NAN};
    if (role != DEDUP_TRAIN && dedup->training)
        return FAIL(STATUS_INVALID, "reference rows come before training rows");
    dedup->training = role == DEDUP_TRAIN;
    TRY(normal_read(&dedup->normal, prompt, strlen(prompt)));
    TRY(new_row(dedup, role, number));
    if (dedup->normal.count == 0) {
        verdict->reason = role == DEDUP_TRAIN ? DEDUP_EMPTY : DEDUP_KEPT;
        return STATUS_OK;
    }
    struct row *row = &dedup->rows[*number];
    TRY(fill_row(dedup, row, answer));
    minhash(dedup, &row->shingles, hashes);
    enum status status = judge(dedup, *number, hashes, verdict);
    if (status == STATUS_OK && role == DEDUP_EVAL)
        status = list_ngrams(dedup, *number);
    if (status == STATUS_OK && verdict->reason == DEDUP_KEPT)
        status = list_row(dedup, *number, hashes);
    else
        forget_sets(dedup, row);
    return status;
}

const char *dedup_reason_name(enum dedup_reason reason)
{
    static const char *const names[] = {
#define ROW(name, text) text,
        DEDUP_REASONS(ROW)
#undef ROW
    };
    return (unsigned)reason < DEDUP_REASON_COUNT ? names[reason] : "?";
}

uint64_t dedup_capped(const struct dedup *dedup)
{
    return dedup->capped;
}
