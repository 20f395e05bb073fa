/* reward/compose_read.c - a recipe's text becomes a struct compose; every refusal names file, line and key. */
#include <libfyaml.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "reward/compose.h"

struct reader {
    const char *path;
    struct compose *recipe;
};

/* ---- nodes ---- */

/* The line of a node, from 1; of a mapping or sequence that of its first scalar. */
static int line_of(struct fy_node *node)
{
    while (node != NULL && !fy_node_is_scalar(node)) {
        if (fy_node_is_mapping(node)) {
            void *at = NULL;
            struct fy_node_pair *pair = fy_node_mapping_iterate(node, &at);
            node = pair != NULL ? fy_node_pair_key(pair) : NULL;
        } else {
            void *at = NULL;
            node = fy_node_sequence_iterate(node, &at);
        }
    }
    struct fy_token *token = node != NULL ? fy_node_get_scalar_token(node) : NULL;
    const struct fy_mark *mark = token != NULL ? fy_token_start_mark(token) : NULL;
    return mark != NULL ? mark->line + 1 : 1;
}

#define WRONG(reader, node, key, ...) wrong((reader), (node), (key), __VA_ARGS__)

static enum status wrong(const struct reader *reader, struct fy_node *node, const char *key,
                         const char *fmt, ...) PRINTF_LIKE(4, 5);

static enum status wrong(const struct reader *reader, struct fy_node *node, const char *key,
                         const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return FAIL(STATUS_INVALID, "%s:%d: %s: %s", reader->path, line_of(node), key, text);
}

/* The text of a scalar, "" when it is none; cut to size. */
static bool scalar(struct fy_node *node, char *out, size_t size)
{
    size_t length = 0;
    const char *text =
        node != NULL && fy_node_is_scalar(node) ? fy_node_get_scalar(node, &length) : NULL;
    out[0] = '\0';
    if (text == NULL || length >= size || memchr(text, 0, length) != NULL)
        return false;
    memcpy(out, text, length);
    out[length] = '\0';
    return true;
}

static bool parse_number(const char *text, double *value)
{
    char *end = NULL;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value) && strpbrk(text, "xXnN") == NULL;
}

static enum status read_number(const struct reader *reader, struct fy_node *node, const char *key,
                               double *value)
{
    char text[64];
    return scalar(node, text, sizeof text) && parse_number(text, value)
               ? STATUS_OK
               : WRONG(reader, node, key, "wants a number");
}

static enum status read_text(const struct reader *reader, struct fy_node *node, const char *key,
                             char *out, size_t size)
{
    return scalar(node, out, size) && out[0] != '\0'
               ? STATUS_OK
               : WRONG(reader, node, key, "wants a text of 1 to %zu bytes", size - 1);
}

static enum status read_choice(const struct reader *reader, struct fy_node *node, const char *key,
                               const char *const names[], uint32_t *index)
{
    char text[64], known[256] = "";
    bool is_text = scalar(node, text, sizeof text);
    for (uint32_t i = 0; names[i] != NULL; i++) {
        if (is_text && strcmp(text, names[i]) == 0) {
            *index = i;
            return STATUS_OK;
        }
        size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    return WRONG(reader, node, key, "\"%s\" is none of: %s", text, known);
}

/* [low, high] */
static enum status read_range(const struct reader *reader, struct fy_node *node, const char *key,
                              double *low, double *high)
{
    if (!fy_node_is_sequence(node) || fy_node_sequence_item_count(node) != 2)
        return WRONG(reader, node, key, "wants [low, high]");
    TRY(read_number(reader, fy_node_sequence_get_by_index(node, 0), key, low));
    TRY(read_number(reader, fy_node_sequence_get_by_index(node, 1), key, high));
    return *low < *high ? STATUS_OK : WRONG(reader, node, key, "%g is not below %g", *low, *high);
}

/* ---- any YAML as JSON, for a plugin's config ---- */

static json_t *to_json(struct fy_node *node, int depth);

static json_t *scalar_to_json(struct fy_node *node)
{
    size_t length = 0;
    double number = 0;
    const char *text = fy_node_get_scalar(node, &length);
    char copy[64] = "";
    if (text == NULL)
        return json_null();
    bool plain = fy_node_get_style(node) == FYNS_PLAIN && length < sizeof copy;
    if (plain)
        memcpy(copy, text, length);
    if (plain && (length == 0 || strcmp(copy, "null") == 0 || strcmp(copy, "~") == 0))
        return json_null();
    if (plain && (strcmp(copy, "true") == 0 || strcmp(copy, "false") == 0))
        return json_boolean(copy[0] == 't');
    if (plain && parse_number(copy, &number))
        return strpbrk(copy, ".eE") == NULL && fabs(number) < 9e15
                   ? json_integer((json_int_t)number)
                   : json_real(number);
    return json_stringn(text, length);
}

static json_t *mapping_to_json(struct fy_node *node, int depth)
{
    json_t *object = json_object();
    struct fy_node_pair *pair;
    for (void *at = NULL; (pair = fy_node_mapping_iterate(node, &at)) != NULL;) {
        char key[256];
        if (scalar(fy_node_pair_key(pair), key, sizeof key))
            json_object_set_new(object, key, to_json(fy_node_pair_value(pair), depth + 1));
    }
    return object;
}

static json_t *to_json(struct fy_node *node, int depth)
{
    if (node == NULL || depth > 64)
        return json_null();
    if (fy_node_is_scalar(node))
        return scalar_to_json(node);
    if (fy_node_is_mapping(node))
        return mapping_to_json(node, depth);
    json_t *array = json_array();
    struct fy_node *item;
    for (void *at = NULL; (item = fy_node_sequence_iterate(node, &at)) != NULL;)
        json_array_append_new(array, to_json(item, depth + 1));
    return array;
}

static enum status read_config(const struct reader *reader, struct fy_node *node, char **config)
{
    if (!fy_node_is_mapping(node))
        return WRONG(reader, node, "config", "wants a mapping");
    json_t *json = to_json(node, 0);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    memory_free(*config);
    *config = text != NULL ? memory_text(text) : NULL;
    free(text); /* lint: allow(free): jansson's buffer */
    return *config != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "config of a part");
}

/* ---- status ---- */

static enum status read_rule(const struct reader *reader, struct fy_node *node, const char *key,
                             bool again, struct compose_rule *rule)
{
    char word[16];
    struct fy_node_pair *pair = NULL;
    void *at = NULL;
    if (scalar(node, word, sizeof word) && strcmp(word, "skip") == 0) {
        *rule = (struct compose_rule){.policy = COMPOSE_SKIP};
        return STATUS_OK;
    }
    if (strcmp(word, again ? "retry" : "drop") == 0) {
        *rule = (struct compose_rule){.policy = COMPOSE_PASS};
        return STATUS_OK;
    }
    if (node != NULL && fy_node_is_mapping(node) && fy_node_mapping_item_count(node) == 1 &&
        (pair = fy_node_mapping_iterate(node, &at)) != NULL &&
        scalar(fy_node_pair_key(pair), word, sizeof word) && strcmp(word, "value") == 0) {
        rule->policy = COMPOSE_VALUE;
        return read_number(reader, fy_node_pair_value(pair), key, &rule->value);
    }
    return WRONG(reader, node, key, "wants %s, skip or {value: NUMBER}", again ? "retry" : "drop");
}

static enum status read_rules(const struct reader *reader, struct fy_node *node,
                              struct compose_rule rules[COMPOSE_FAILURES])
{
    static const char *const names[] = {"timeout", "error", "skip", "unscorable", NULL};
    struct fy_node_pair *pair;
    if (node == NULL || !fy_node_is_mapping(node))
        return WRONG(reader, node, "status", "wants a mapping, as {timeout: retry}");
    for (void *at = NULL; (pair = fy_node_mapping_iterate(node, &at)) != NULL;) {
        uint32_t which = 0;
        TRY(read_choice(reader, fy_node_pair_key(pair), "status", names, &which));
        TRY(read_rule(reader, fy_node_pair_value(pair), names[which],
                      which == COMPOSE_TIMEOUT || which == COMPOSE_ERROR, &rules[which]));
    }
    return STATUS_OK;
}

/* ---- names of parts ---- */

static int find_part(const struct compose *recipe, uint32_t limit, const char *name)
{
    for (uint32_t i = 0; i < limit; i++)
        if (strcmp(recipe->parts[i].name, name) == 0)
            return (int)i;
    return -1;
}

static enum status read_part_name(const struct reader *reader, struct fy_node *node,
                                  const char *key, uint32_t limit, int *part)
{
    char name[COMPOSE_NAME_MAX];
    TRY(read_text(reader, node, key, name, sizeof name));
    *part = find_part(reader->recipe, limit, name);
    return *part >= 0 ? STATUS_OK
                      : WRONG(reader, node, key, "no %spart is called \"%s\"",
                              limit < reader->recipe->part_count ? "earlier " : "", name);
}

static enum status read_part_names(const struct reader *reader, struct fy_node *node,
                                   const char *key, uint32_t *parts)
{
    if (!fy_node_is_sequence(node))
        return WRONG(reader, node, key, "wants a list of names of parts");
    struct fy_node *item;
    *parts = 0;
    for (void *at = NULL; (item = fy_node_sequence_iterate(node, &at)) != NULL;) {
        int part = -1;
        TRY(read_part_name(reader, item, key, reader->recipe->part_count, &part));
        *parts |= 1U << part;
    }
    return STATUS_OK;
}

/* ---- parts ---- */

static enum status read_gate(const struct reader *reader, struct fy_node *node, uint32_t self,
                             struct compose_part *part)
{
    static const char *const names[] = {"part", "at_least", "at_most", NULL};
    struct fy_node_pair *pair;
    part->gate_low = 0.5;
    if (fy_node_is_scalar(node))
        return read_part_name(reader, node, "gate", self, &part->gate);
    if (!fy_node_is_mapping(node))
        return WRONG(reader, node, "gate",
                     "wants the name of an earlier part, or {part: NAME, "
                     "at_least: NUMBER, at_most: NUMBER}");
    bool bounded = false;
    for (void *at = NULL; (pair = fy_node_mapping_iterate(node, &at)) != NULL;) {
        struct fy_node *value = fy_node_pair_value(pair);
        uint32_t which = 0;
        TRY(read_choice(reader, fy_node_pair_key(pair), "gate", names, &which));
        if (which == 0)
            TRY(read_part_name(reader, value, "gate.part", self, &part->gate));
        else
            TRY(read_number(reader, value, names[which],
                            which == 1 ? &part->gate_low : &part->gate_high));
        if (which == 2 && !bounded)
            part->gate_low = -INFINITY;
        bounded = bounded || which == 1;
    }
    return part->gate >= 0 ? STATUS_OK : WRONG(reader, node, "gate", "has no part");
}

static enum status read_on(const struct reader *reader, struct fy_node *node,
                           struct compose_part *part)
{
    struct fy_node *item;
    if (!fy_node_is_sequence(node))
        return WRONG(reader, node, "on", "wants a list of patterns of data sources");
    for (void *at = NULL; (item = fy_node_sequence_iterate(node, &at)) != NULL;) {
        if (part->on_count == COMPOSE_PATTERNS_MAX)
            return WRONG(reader, item, "on", "more than %d patterns", COMPOSE_PATTERNS_MAX);
        TRY(read_text(reader, item, "on", part->on[part->on_count++], COMPOSE_PATTERN_MAX));
    }
    return STATUS_OK;
}

static const char *const part_keys[] = {"name", "plugin", "config", "weight",    "gate", "on",
                                        "clip", "style",  "status", "normalise", NULL};
static const char *const styles[] = {"auto",     "verl",  "verl_batch", "trl", "verifiers",
                                     "openrlhf", "areal", "slime",      NULL};

static enum status read_name(const struct reader *reader, struct fy_node *node, uint32_t self,
                             struct compose_part *part)
{
    TRY(read_text(reader, node, "name", part->name, sizeof part->name));
    size_t good =
        strspn(part->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    if (part->name[good] != '\0')
        return WRONG(reader, node, "name", "\"%s\" has more than letters, digits and _",
                     part->name);
    if (find_part(reader->recipe, self, part->name) >= 0)
        return WRONG(reader, node, "name", "two parts are called \"%s\"", part->name);
    return STATUS_OK;
}

static enum status read_plugin(const struct reader *reader, struct fy_node *node,
                               struct compose_part *part)
{
    char text[1024];
    TRY(read_text(reader, node, "plugin", text, sizeof text));
    memory_free(part->plugin);
    part->plugin = memory_text(text);
    return part->plugin != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "plugin of a part");
}

static enum status read_part_key(const struct reader *reader, uint32_t which, struct fy_node *value,
                                 uint32_t self, struct compose_part *part)
{
    switch (which) {
    case 0:
        return read_name(reader, value, self, part);
    case 1:
        return read_plugin(reader, value, part);
    case 2:
        return read_config(reader, value, &part->config);
    case 3:
        return read_number(reader, value, "weight", &part->weight);
    case 4:
        return read_gate(reader, value, self, part);
    case 5:
        return read_on(reader, value, part);
    case 6:
        return read_range(reader, value, "clip", &part->clip_low, &part->clip_high);
    case 7:
        return read_choice(reader, value, "style", styles, &part->style);
    case 8:
        return read_rules(reader, value, part->rules);
    default:
        part->normalises = true;
        return read_range(reader, value, "normalise", &part->low, &part->high);
    }
}

static enum status read_part(const struct reader *reader, struct fy_node *node, uint32_t self,
                             const struct compose_rule rules[COMPOSE_FAILURES])
{
    struct compose_part *part = &reader->recipe->parts[self];
    *part = (struct compose_part){.weight = 1,
                                  .gate = -1,
                                  .gate_high = INFINITY,
                                  .clip_low = -INFINITY,
                                  .clip_high = INFINITY,
                                  .line = (uint32_t)line_of(node),
                                  .config = memory_text("{}")};
    memcpy(part->rules, rules, sizeof part->rules);
    if (!fy_node_is_mapping(node))
        return WRONG(reader, node, "parts", "a part wants a mapping with name and plugin");
    struct fy_node_pair *pair;
    for (void *at = NULL; (pair = fy_node_mapping_iterate(node, &at)) != NULL;) {
        uint32_t which = 0;
        TRY(read_choice(reader, fy_node_pair_key(pair), "parts", part_keys, &which));
        TRY(read_part_key(reader, which, fy_node_pair_value(pair), self, part));
    }
    if (part->name[0] == '\0' || part->plugin == NULL)
        return WRONG(reader, node, "parts", "a part without %s",
                     part->name[0] == '\0' ? "name" : "plugin");
    if (part->gate >= 0)
        reader->recipe->gates |= 1U << part->gate;
    return part->config != NULL ? STATUS_OK : FAIL(STATUS_NO_MEMORY, "part of a recipe");
}

static enum status read_parts(const struct reader *reader, struct fy_node *node,
                              const struct compose_rule rules[COMPOSE_FAILURES])
{
    struct fy_node *item;
    if (node == NULL || !fy_node_is_sequence(node) || fy_node_sequence_item_count(node) == 0)
        return WRONG(reader, node, "parts", "a recipe wants a list of one part at least");
    for (void *at = NULL; (item = fy_node_sequence_iterate(node, &at)) != NULL;) {
        if (reader->recipe->part_count == COMPOSE_PARTS_MAX)
            return WRONG(reader, item, "parts", "more than %d", COMPOSE_PARTS_MAX);
        reader->recipe->part_count++;
        TRY(read_part(reader, item, reader->recipe->part_count - 1, rules));
    }
    return STATUS_OK;
}

/* ---- the recipe ---- */

static enum status read_sources(const struct reader *reader, struct fy_node *node)
{
    struct compose *recipe = reader->recipe;
    struct fy_node_pair *pair;
    if (!fy_node_is_mapping(node))
        return WRONG(reader, node, "sources", "wants a mapping, as {\"gsm8k*\": [correct]}");
    for (void *at = NULL; (pair = fy_node_mapping_iterate(node, &at)) != NULL;) {
        if (recipe->source_count == COMPOSE_PATTERNS_MAX)
            return WRONG(reader, node, "sources", "more than %d", COMPOSE_PATTERNS_MAX);
        struct compose_source *source = &recipe->sources[recipe->source_count++];
        TRY(read_text(reader, fy_node_pair_key(pair), "sources", source->pattern,
                      sizeof source->pattern));
        TRY(read_part_names(reader, fy_node_pair_value(pair), source->pattern, &source->parts));
    }
    return STATUS_OK;
}

enum {
    KEY_PARTS,
    KEY_STATUS,
    KEY_NAME,
    KEY_SOURCES,
    KEY_DEFAULT,
    KEY_CLIP,
    KEY_SCALE,
    KEY_COMBINE,
    KEY_VERIFIED,
    KEY_JUDGE,
    KEY_COUNT
};
static const char *const recipe_keys[] = {"parts",    "status", "name",  "sources",
                                          "default",  "clip",   "scale", "combine",
                                          "verified", "judge",  NULL};

static enum status read_key(const struct reader *reader, uint32_t which, struct fy_node *value)
{
    static const char *const scales[] = {"01", "pm1", NULL};
    static const char *const ways[] = {"sum", "product", "min", "first", NULL};
    struct compose *recipe = reader->recipe;
    uint32_t choice = 0, count = recipe->part_count;
    switch (which) {
    case KEY_NAME:
        return read_text(reader, value, "name", recipe->name, sizeof recipe->name);
    case KEY_SOURCES:
        return read_sources(reader, value);
    case KEY_DEFAULT:
        return read_part_names(reader, value, "default", &recipe->otherwise);
    case KEY_CLIP:
        return read_range(reader, value, "clip", &recipe->clip_low, &recipe->clip_high);
    case KEY_SCALE:
        TRY(read_choice(reader, value, "scale", scales, &choice));
        recipe->plus_minus = choice == 1;
        return STATUS_OK;
    case KEY_COMBINE:
        TRY(read_choice(reader, value, "combine", ways, &choice));
        recipe->combine = (enum compose_combine)choice;
        return STATUS_OK;
    case KEY_VERIFIED:
        return read_part_name(reader, value, "verified", count, &recipe->verified);
    case KEY_JUDGE:
        return read_part_name(reader, value, "judge", count, &recipe->judge);
    default:
        return STATUS_OK; /* parts and status were read before */
    }
}

/* The metric `verified` is the value of one part: not of two. */
static enum status check_metric(const struct reader *reader, struct fy_node *node, const char *name,
                                int part)
{
    int named = find_part(reader->recipe, reader->recipe->part_count, name);
    return part < 0 || named < 0 || named == part
               ? STATUS_OK
               : WRONG(reader, node, name, "names part \"%s\", but a part is called \"%s\" too",
                       reader->recipe->parts[part].name, name);
}

static enum status read_recipe(const struct reader *reader, struct fy_node *root)
{
    struct fy_node *values[KEY_COUNT] = {NULL};
    struct compose_rule rules[COMPOSE_FAILURES] = {[COMPOSE_SKIPPED] = {.policy = COMPOSE_SKIP}};
    struct fy_node_pair *pair;
    if (root == NULL || !fy_node_is_mapping(root))
        return WRONG(reader, root, "recipe", "wants a mapping with parts");
    for (void *at = NULL; (pair = fy_node_mapping_iterate(root, &at)) != NULL;) {
        uint32_t which = 0;
        TRY(read_choice(reader, fy_node_pair_key(pair), "recipe", recipe_keys, &which));
        values[which] = fy_node_pair_value(pair);
    }
    if (values[KEY_STATUS] != NULL)
        TRY(read_rules(reader, values[KEY_STATUS], rules));
    TRY(read_parts(reader, values[KEY_PARTS], rules));
    uint32_t count = reader->recipe->part_count;
    reader->recipe->otherwise = count == 32 ? UINT32_MAX : (1U << count) - 1;
    for (uint32_t i = 0; i < KEY_COUNT; i++)
        if (values[i] != NULL)
            TRY(read_key(reader, i, values[i]));
    TRY(check_metric(reader, values[KEY_VERIFIED], "verified", reader->recipe->verified));
    return check_metric(reader, values[KEY_JUDGE], "judge", reader->recipe->judge);
}

static enum status syntax_error(const struct reader *reader, struct fy_diag *diag)
{
    void *at = NULL;
    const struct fy_diag_error *error = fy_diag_errors_iterate(diag, &at);
    return FAIL(STATUS_INVALID, "%s:%d: %s", reader->path, error != NULL ? error->line : 1,
                error != NULL && error->msg != NULL ? error->msg : "not YAML or JSON");
}

static enum status parse(const struct reader *reader, const char *text, size_t size)
{
    struct fy_diag_cfg quiet;
    fy_diag_cfg_default(&quiet);
    quiet.fp = NULL;
    struct fy_diag *diag = fy_diag_create(&quiet);
    if (diag == NULL)
        return FAIL(STATUS_NO_MEMORY, "%s: YAML diagnostics", reader->path);
    fy_diag_set_collect_errors(diag, true);
    struct fy_parse_cfg config = {.flags = FYPCF_RESOLVE_DOCUMENT, .diag = diag};
    struct fy_document *document = fy_document_build_from_string(&config, text, size);
    enum status status = document == NULL ? syntax_error(reader, diag)
                                          : read_recipe(reader, fy_document_root(document));
    if (document != NULL)
        fy_document_destroy(document);
    fy_diag_destroy(diag);
    return status;
}

/* libfyaml guesses at encodings and may never return from bytes that are no text. */
static bool is_text(const char *text, size_t size)
{
    json_t *probe = memchr(text, 0, size) == NULL ? json_stringn(text, size) : NULL;
    json_decref(probe);
    return probe != NULL;
}

enum status compose_read(struct compose **out, const char *path, const char *text, size_t size)
{
    *out = NULL;
    if (size > 0 && !is_text(text, size))
        return FAIL(STATUS_INVALID, "%s:1: is not UTF-8 text; save it as UTF-8", path);
    struct compose *recipe = memory_alloc(sizeof *recipe);
    if (recipe == NULL)
        return FAIL(STATUS_NO_MEMORY, "recipe %s", path);
    recipe->clip_low = -INFINITY;
    recipe->clip_high = INFINITY;
    recipe->verified = recipe->judge = -1;
    struct reader reader = {.path = path, .recipe = recipe};
    enum status status = parse(&reader, text, size);
    if (status != STATUS_OK)
        compose_free(&recipe);
    *out = recipe;
    return status;
}
