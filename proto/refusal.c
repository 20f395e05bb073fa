/* refusal.c - names and sentences of the kinds of poison. */
#include "proto/refusal.h"

static const struct {
    const char *name, *sentence;
} rows[REFUSAL_COUNT] = {[REFUSAL_NONE] = {"none", ""},
#define ROW(upper, lower, sentence) [REFUSAL_##upper] = {#lower, sentence},
                         REFUSAL_ROWS(ROW)
#undef ROW
};

const char *refusal_name(enum refusal kind)
{
    return (unsigned)kind < REFUSAL_COUNT ? rows[kind].name : "none";
}

const char *refusal_sentence(enum refusal kind)
{
    return (unsigned)kind < REFUSAL_COUNT ? rows[kind].sentence : "";
}
