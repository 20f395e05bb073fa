/* rollout_store/book_filter.c - what of a score the filter looks at: accuracy, before any shaping.
 *
 * A reward made of parts may take off for length or add for style: then no two rewards of a group are equal though all of
 * its answers are right. store.filter_on names the sub-metric that says whether an answer is right. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "rollout_store/book_state.h"

static enum status say_missing(const struct book *book, const json_t *detail)
{
    char names[256] = "";
    size_t used = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)detail, key,
                        value) if ((json_is_number(value) || json_is_boolean(value)) &&
                                   used < sizeof names) used +=
        (size_t)snprintf(names + used, sizeof names - used, "%s%.60s", used > 0 ? ", " : "", key);
    return FAIL(STATUS_NOT_FOUND,
                "the score has no sub-metric \"%s\" (store.filter_on); it has: %s; name one that "
                "every data source has, several between commas, or value for the score itself",
                book->config.store.filter_on, used > 0 ? names : "none");
}

/* One name of the list, found in the detail. */
static bool read_metric(const json_t *detail, const char *name, size_t length, double value,
                        double *filter)
{
    char key[256];
    if (length == 5 && strncmp(name, "value", 5) == 0) {
        *filter = value;
        return true;
    }
    if (length == 0 || length >= sizeof key)
        return false;
    memcpy(key, name, length);
    key[length] = '\0';
    const json_t *found = json_object_get(detail, key);
    if (json_is_boolean(found))
        *filter = json_is_true(found) ? 1 : 0;
    else if (json_is_number(found))
        *filter = json_number_value(found);
    return json_is_boolean(found) || json_is_number(found);
}

enum status book_filter_value(const struct book *book, double value, const char *detail_json,
                              double *filter)
{
    const char *names = book->config.store.filter_on;
    *filter = value;
    if (names == NULL || names[0] == '\0')
        return STATUS_OK;
    json_t *detail = json_loads(detail_json, 0, NULL);
    bool found = false;
    for (const char *at = names; *at != '\0' && !found;) {
        at += strspn(at, " \t");
        size_t length = strcspn(at, ",");
        const char *next = at + length + (at[length] == ',');
        while (length > 0 && (at[length - 1] == ' ' || at[length - 1] == '\t'))
            length--;
        found = read_metric(detail, at, length, value, filter);
        at = next;
    }
    enum status status = found ? STATUS_OK : say_missing(book, detail);
    json_decref(detail);
    return status;
}

/* Scores of before the setting was changed may lack it: then the score itself. */
static double filter_of(const struct book *book, const struct sample *sample)
{
    double filter = sample->reward;
    const char *detail = sample->detail_json != NULL ? sample->detail_json : "{}";
    if (book_filter_value(book, sample->reward, detail, &filter) != STATUS_OK)
        filter = sample->reward;
    return filter;
}

bool book_filter_equal(const struct book *book, const struct group *group)
{
    double first = filter_of(book, &group->samples[0]);
    for (uint32_t i = 1; i < group->size; i++)
        if (filter_of(book, &group->samples[i]) != first)
            return false;
    return true;
}

uint32_t book_passed(const struct book *book, const struct group *group)
{
    uint32_t passed = 0;
    for (uint32_t i = 0; i < group->size; i++)
        passed += filter_of(book, &group->samples[i]) >= book->config.curriculum.pass_value;
    return passed;
}
