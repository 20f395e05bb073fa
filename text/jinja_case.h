/* text/jinja_case.h - upper and lower case of texts, and other changes that filters and methods share. For jinja_*.c. */
#ifndef TEXT_JINJA_CASE_H
#define TEXT_JINJA_CASE_H

#include "text/jinja_run.h"

enum jinja_case {
    JINJA_LOWER,
    JINJA_UPPER,
    JINJA_CAPITALIZE,
    JINJA_TITLE,
    JINJA_WORDS,
    JINJA_SWAP
};

/* TITLE: str.title, a letter after what is none; WORDS: the filter title, after blanks, -, ( { [ and <. */
MUST_CHECK enum status jinja_change_case(struct jinja_run *run, struct jinja_text text,
                                         enum jinja_case to, struct jinja_value *value);
/* count < 0: every place. */
MUST_CHECK enum status jinja_replace(struct jinja_run *run, struct jinja_text text,
                                     struct jinja_text old, struct jinja_text with, int64_t count,
                                     struct jinja_value *value);
MUST_CHECK enum status jinja_split_lines(struct jinja_run *run, struct jinja_text text, bool keep,
                                         struct jinja_list **lines);
MUST_CHECK enum status jinja_join(struct jinja_run *run, const struct jinja_list *items,
                                  struct jinja_text between, struct jinja_value *value);
/* A text argument, or why not. */
MUST_CHECK enum status jinja_need_text(struct jinja_run *run, const struct jinja_bound *args,
                                       size_t place, struct jinja_text *text);
MUST_CHECK enum status jinja_need_integer(struct jinja_run *run, const struct jinja_bound *args,
                                          size_t place, int64_t absent, int64_t *integer);

jinja_function jinja_text_format; /* str.format */

#endif
