/* reward/rules/read.h - members of rows and of settings, refused with a sentence that names them. Any thread. */
#ifndef REWARD_RULES_READ_H
#define REWARD_RULES_READ_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Where sentences go: the first one stays. */
struct read_note {
    char why[256];
    bool failed;
};

void read_fail(struct read_note *note, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A member that is absent or null is `otherwise`; read_needed_* notes it as missing. A wrong type is noted. */
double read_number(const json_t *object, const char *key, double otherwise, struct read_note *note);
double read_needed_number(const json_t *object, const char *key, struct read_note *note);
/* Within [low, high]. */
json_int_t read_integer(const json_t *object, const char *key, json_int_t otherwise, json_int_t low,
                        json_int_t high, struct read_note *note);
json_int_t read_needed_integer(const json_t *object, const char *key, json_int_t low,
                               json_int_t high, struct read_note *note);
bool read_boolean(const json_t *object, const char *key, bool otherwise, struct read_note *note);
/* Points into the object. */
const char *read_text(const json_t *object, const char *key, const char *otherwise,
                      struct read_note *note);
/* The place of a text among `words`, which are separated by '|': "all|fraction". */
unsigned read_choice(const json_t *object, const char *key, const char *words, unsigned otherwise,
                     struct read_note *note);
/* False, and a note, when the object has a member that is not in `words` (separated by '|'). */
bool read_only(const json_t *object, const char *words, struct read_note *note);

#endif
