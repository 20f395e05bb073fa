/* text/tokenizer_steps.c - what stands around the model in tokenizer.json: normalizer, pre-tokenizer, decoder and
 * post-processor. Each part is read by its "type"; what changes ids or text and is not done here is refused by name. */
#include <inttypes.h>
#include <string.h>

#include "text/tokenizer_parts.h"

/* A part or the parts of its Sequence, one after the other. */
static enum status each_part(const struct source *source, const json_t *part, const char *list,
                             int depth,
                             enum status (*read)(const struct source *source, const json_t *part))
{
    if (part == NULL || json_is_null(part))
        return STATUS_OK;
    if (strcmp(part_type(part), "Sequence") != 0)
        return read(source, part);
    if (depth == NESTED_MAX)
        return source_refuse(source, "a Sequence", "nested so deep");
    size_t i;
    json_t *inner;
    json_array_foreach(json_object_get(part, list), i, inner)
        TRY(each_part(source, inner, list, depth + 1, read));
    return STATUS_OK;
}

/* true unless the key is there and not true */
static bool is_default(const json_t *part, const char *key)
{
    return json_object_get(part, key) == NULL || part_is_set(part, key);
}

/* {"Regex": ...} or {"String": ...} */
static enum status read_pattern(const struct source *source, const json_t *part,
                                const char **pattern, bool *literal)
{
    const json_t *item = json_object_get(part, "pattern");
    const char *regex = json_string_value(json_object_get(item, "Regex"));
    const char *text = json_string_value(json_object_get(item, "String"));
    if (regex == NULL && text == NULL)
        return source_refuse(source, part_type(part), "without a Regex or String pattern");
    *pattern = regex ? regex : text;
    *literal = regex == NULL;
    return STATUS_OK;
}

static const char *text_of(const json_t *part, const char *key)
{
    const char *text = json_string_value(json_object_get(part, key));
    return text ? text : "";
}

/* ---- normalizer ---- */

static enum status read_normalizer(const struct source *source, const json_t *part)
{
    struct normalizer *normalizer = &source->tokenizer->normalizer;
    const char *type = part_type(part), *pattern = "";
    bool literal = false;
    if (strcmp(type, "NFC") == 0 || strcmp(type, "NFD") == 0 || strcmp(type, "NFKC") == 0 ||
        strcmp(type, "NFKD") == 0)
        return normalizer_form(normalizer, type);
    if (strcmp(type, "Prepend") == 0)
        return normalizer_prepend(normalizer, text_of(part, "prepend"));
    if (strcmp(type, "Strip") == 0)
        return normalizer_strip(normalizer, is_default(part, "strip_left"),
                                is_default(part, "strip_right"));
    if (strcmp(type, "Lowercase") == 0)
        return normalizer_lowercase(normalizer);
    if (strcmp(type, "Replace") != 0)
        return source_refuse(source, "normalizer", type);
    TRY(read_pattern(source, part, &pattern, &literal));
    return normalizer_replace(normalizer, pattern, literal, text_of(part, "content"));
}

/* ---- pre-tokenizer ---- */

static const char gpt2_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static enum status read_behavior(const struct source *source, const json_t *part,
                                 const char *fallback, enum split_behavior *behavior)
{
    static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous"};
    const char *name = json_string_value(json_object_get(part, "behavior"));
    name = name ? name : fallback;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0) {
            *behavior = (enum split_behavior)i;
            return STATUS_OK;
        }
    return source_refuse(source, "pre-tokenizer behavior", name);
}

static enum status add_split(const struct source *source, const json_t *part)
{
    const char *pattern = "";
    bool literal = false;
    enum split_behavior behavior = SPLIT_ISOLATED;
    TRY(read_pattern(source, part, &pattern, &literal));
    TRY(read_behavior(source, part, "(none)", &behavior));
    return pretokenizer_split(&source->tokenizer->pretokenizer, pattern, literal, behavior,
                              part_is_set(part, "invert"));
}

static enum status add_byte_level(const struct source *source, const json_t *part)
{
    struct pretokenizer *pretokenizer = &source->tokenizer->pretokenizer;
    if (is_default(part, "add_prefix_space"))
        TRY(pretokenizer_space(pretokenizer));
    if (is_default(part, "use_regex"))
        TRY(pretokenizer_split(pretokenizer, gpt2_pattern, false, SPLIT_ISOLATED, false));
    pretokenizer->byte_level = true;
    return STATUS_OK;
}

/* Where Metaspace puts its mark in front: prepend_scheme, in older files add_prefix_space. */
static enum status read_front(const struct source *source, const json_t *part,
                              enum mark_front *front)
{
    const char *scheme = json_string_value(json_object_get(part, "prepend_scheme"));
    if (scheme == NULL)
        scheme = is_default(part, "add_prefix_space") ? "always" : "never";
    *front = strcmp(scheme, "always") == 0  ? MARK_ALWAYS
             : strcmp(scheme, "first") == 0 ? MARK_FIRST
                                            : MARK_NEVER;
    if (*front == MARK_NEVER && strcmp(scheme, "never") != 0)
        return source_refuse(source, "Metaspace prepend_scheme", scheme);
    return STATUS_OK;
}

static enum status add_metaspace(const struct source *source, const json_t *part)
{
    struct pretokenizer *pretokenizer = &source->tokenizer->pretokenizer;
    const char *mark = text_of(part, "replacement");
    enum mark_front front;
    TRY(read_front(source, part, &front));
    TRY(pretokenizer_mark(pretokenizer, mark, front));
    return is_default(part, "split")
               ? pretokenizer_split(pretokenizer, mark, true, SPLIT_MERGED_WITH_NEXT, false)
               : STATUS_OK;
}

/* Punctuation asks the Unicode 8 tables of the package's unicode_categories, other parts newer ones: what came later is none
 * here, and two that have become a symbol and a mark since still are. */
static const char punctuation[] =
    "(?!["
    "\\x{61d}\\x{9fd}\\x{a76}\\x{c77}\\x{c84}\\x{1b4e}-\\x{1b4f}"
    "\\x{1b7d}-\\x{1b7f}\\x{2e43}-\\x{2e4f}\\x{2e52}-\\x{2e5d}\\x{10d6e}"
    "\\x{10ead}\\x{10f55}-\\x{10f59}\\x{10f86}-\\x{10f89}"
    "\\x{113d4}-\\x{113d5}\\x{113d7}-\\x{113d8}\\x{1144b}-\\x{1144f}"
    "\\x{1145a}-\\x{1145b}\\x{1145d}\\x{11660}-\\x{1166c}\\x{116b9}"
    "\\x{1183b}\\x{11944}-\\x{11946}\\x{119e2}\\x{11a3f}-\\x{11a46}"
    "\\x{11a9a}-\\x{11a9c}\\x{11a9e}-\\x{11aa2}\\x{11b00}-\\x{11b09}"
    "\\x{11be1}\\x{11c41}-\\x{11c45}\\x{11c70}-\\x{11c71}"
    "\\x{11ef7}-\\x{11ef8}\\x{11f43}-\\x{11f4f}\\x{11fff}"
    "\\x{12ff1}-\\x{12ff2}\\x{16d6d}-\\x{16d6f}\\x{16e97}-\\x{16e9a}"
    "\\x{16fe2}\\x{1e5ff}\\x{1e95e}-\\x{1e95f}"
    "])[\\p{P}\\x{166d}\\x{111c9}$+<=>^`|~]";

static enum status add_punctuation(const struct source *source, const json_t *part)
{
    enum split_behavior behavior = SPLIT_ISOLATED;
    TRY(read_behavior(source, part, "Isolated", &behavior));
    return pretokenizer_split(&source->tokenizer->pretokenizer, punctuation, false, behavior,
                              false);
}

static enum status read_pretokenizer(const struct source *source, const json_t *part)
{
    struct pretokenizer *pretokenizer = &source->tokenizer->pretokenizer;
    const char *type = part_type(part);
    if (pretokenizer->byte_level) /* it would see the alphabet, not the text */
        return source_refuse(source, "after ByteLevel, pre-tokenizer", type);
    if (strcmp(type, "Split") == 0)
        return add_split(source, part);
    if (strcmp(type, "ByteLevel") == 0)
        return add_byte_level(source, part);
    if (strcmp(type, "Metaspace") == 0)
        return add_metaspace(source, part);
    if (strcmp(type, "Digits") == 0)
        return pretokenizer_split(pretokenizer,
                                  part_is_set(part, "individual_digits") ? "\\p{N}" : "\\p{N}+",
                                  false, SPLIT_ISOLATED, false);
    if (strcmp(type, "Whitespace") == 0)
        return pretokenizer_split(pretokenizer, "\\w+|[^\\w\\s]+", false, SPLIT_REMOVED, true);
    if (strcmp(type, "WhitespaceSplit") == 0)
        return pretokenizer_split(pretokenizer, "\\s", false, SPLIT_REMOVED, false);
    if (strcmp(type, "CharDelimiterSplit") == 0)
        return pretokenizer_split(pretokenizer, text_of(part, "delimiter"), true, SPLIT_REMOVED,
                                  false);
    if (strcmp(type, "Punctuation") == 0)
        return add_punctuation(source, part);
    return source_refuse(source, "pre-tokenizer", type);
}

/* ---- decoder ---- */

static enum status copy_text(const struct source *source, const char *type, const char *from,
                             char to[DECODER_TEXT_MAX])
{
    if (strlen(from) >= DECODER_TEXT_MAX)
        return source_refuse(source, type, "with such a long text");
    memcpy(to, from, strlen(from) + 1);
    return STATUS_OK;
}

static enum status read_strip(const struct source *source, const json_t *part,
                              struct decoder_step *step)
{
    json_int_t start = json_integer_value(json_object_get(part, "start"));
    json_int_t stop = json_integer_value(json_object_get(part, "stop"));
    const char *content = text_of(part, "content");
    if (start < 0 || stop < 0 || start > UINT16_MAX || stop > UINT16_MAX || content[0] == '\0')
        return FAIL(STATUS_INVALID,
                    "%s: decoder Strip: content \"%.16s\", start %" PRId64 ", stop %" PRId64,
                    source->name, content, (int64_t)start, (int64_t)stop);
    step->kind = DECODE_STRIP;
    step->start = (uint32_t)start;
    step->stop = (uint32_t)stop;
    return copy_text(source, "decoder Strip", content, step->from);
}

static enum status read_replace(const struct source *source, const json_t *part,
                                struct decoder_step *step)
{
    const char *pattern = "";
    bool literal = false;
    TRY(read_pattern(source, part, &pattern, &literal));
    if (!literal || pattern[0] == '\0')
        return source_refuse(source, "decoder Replace", "with this pattern");
    step->kind = DECODE_REPLACE;
    TRY(copy_text(source, "decoder Replace", pattern, step->from));
    return copy_text(source, "decoder Replace", text_of(part, "content"), step->to);
}

static enum status read_decoder(const struct source *source, const json_t *part)
{
    struct tokenizer *tokenizer = source->tokenizer;
    struct decoder_step step = {.kind = DECODE_FUSE};
    const char *type = part_type(part);
    enum mark_front front = MARK_NEVER;
    if (strcmp(type, "ByteLevel") == 0) {
        if (tokenizer->decoder.count > 0)
            return source_refuse(source, "decoder ByteLevel", "after others");
        tokenizer->decoder_bytes = true;
    } else if (strcmp(type, "ByteFallback") == 0) {
        step.kind = DECODE_BYTES;
    } else if (strcmp(type, "Strip") == 0) {
        TRY(read_strip(source, part, &step));
    } else if (strcmp(type, "Replace") == 0) {
        TRY(read_replace(source, part, &step));
    } else if (strcmp(type, "Metaspace") == 0) {
        TRY(read_front(source, part, &front));
        step.kind = DECODE_MARK;
        memcpy(step.to, front == MARK_NEVER ? "" : "first", front == MARK_NEVER ? 1 : 6);
        if (text_of(part, "replacement")[0] == '\0')
            return source_refuse(source, "decoder Metaspace", "without a replacement");
        TRY(copy_text(source, "decoder Metaspace", text_of(part, "replacement"), step.from));
    } else if (strcmp(type, "Fuse") != 0) {
        return source_refuse(source, "decoder", type);
    }
    return decoder_add(&tokenizer->decoder, &step);
}

/* ---- post-processor ---- */

static enum status push_around(const struct source *source, bool behind, int64_t id)
{
    struct tokenizer *tokenizer = source->tokenizer;
    size_t *count = behind ? &tokenizer->behind_count : &tokenizer->before_count;
    if (id < 0 || id >= tokenizer->bpe.vocabulary)
        return FAIL(STATUS_INVALID, "%s: post_processor: id %" PRId64 " is not in the vocabulary",
                    source->name, id);
    if (*count == AROUND_MAX)
        return source_refuse(source, "post_processor", "with so many tokens");
    (behind ? tokenizer->behind : tokenizer->before)[(*count)++] = (uint32_t)id;
    return STATUS_OK;
}

static enum status read_template(const struct source *source, const json_t *part)
{
    const json_t *known = json_object_get(part, "special_tokens"), *item, *single;
    bool behind = false;
    size_t i, k;
    json_t *piece;
    single = json_object_get(part, "single");
    if (!json_is_array(single))
        return source_refuse(source, "post-processor TemplateProcessing", "with such a single");
    json_array_foreach(single, i, piece)
    {
        if (json_object_get(piece, "Sequence") != NULL) {
            if (behind)
                return source_refuse(source, "post-processor TemplateProcessing",
                                     "with the text twice");
            behind = true;
            continue;
        }
        const char *name = text_of(json_object_get(piece, "SpecialToken"), "id");
        const json_t *ids = json_object_get(json_object_get(known, name), "ids");
        if (!json_is_array(ids))
            return FAIL(STATUS_INVALID, "%s: post_processor: special_tokens has no \"%.64s\"",
                        source->name, name);
        for (k = 0; k < json_array_size(ids); k++) {
            item = json_array_get(ids, k);
            TRY(push_around(source, behind, json_is_integer(item) ? json_integer_value(item) : -1));
        }
    }
    return behind ? STATUS_OK
                  : source_refuse(source, "post-processor TemplateProcessing", "without the text");
}

/* cls text sep: ["[CLS]", 101] */
static enum status read_pair(const struct source *source, const json_t *part)
{
    const json_t *cls = json_array_get(json_object_get(part, "cls"), 1);
    const json_t *sep = json_array_get(json_object_get(part, "sep"), 1);
    TRY(push_around(source, false, json_is_integer(cls) ? json_integer_value(cls) : -1));
    return push_around(source, true, json_is_integer(sep) ? json_integer_value(sep) : -1);
}

static enum status read_post(const struct source *source, const json_t *part)
{
    const char *type = part_type(part);
    if (strcmp(type, "ByteLevel") == 0) /* offsets only */
        return STATUS_OK;
    if (source->tokenizer->before_count + source->tokenizer->behind_count > 0)
        return source_refuse(source, "a second post-processor", type);
    if (strcmp(type, "TemplateProcessing") == 0)
        return read_template(source, part);
    if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0)
        return read_pair(source, part);
    return source_refuse(source, "post-processor", type);
}

/* ---- all ---- */

enum status tokenizer_read_parts(const struct source *source, const json_t *root)
{
    struct tokenizer *tokenizer = source->tokenizer;
    const json_t *decoder = json_object_get(root, "decoder");
    TRY(each_part(source, json_object_get(root, "normalizer"), "normalizers", 0, read_normalizer));
    TRY(each_part(source, json_object_get(root, "pre_tokenizer"), "pretokenizers", 0,
                  read_pretokenizer));
    if (!json_is_object(decoder))
        return source_refuse(source, "decoder", "null (it joins tokens with spaces)");
    TRY(each_part(source, decoder, "decoders", 0, read_decoder));
    if (tokenizer->decoder.count == 0)
        return source_refuse(source, "decoder", "that joins tokens with spaces");
    if (tokenizer->decoder_bytes != tokenizer->pretokenizer.byte_level)
        return source_refuse(source, "ByteLevel in only one of", "pre_tokenizer and decoder");
    decoder_finish(&tokenizer->decoder);
    return STATUS_OK;
}

enum status tokenizer_read_around(const struct source *source, const json_t *root)
{
    return each_part(source, json_object_get(root, "post_processor"), "processors", 0, read_post);
}
