/* links: reward_code reward_answer sandbox */
/* Rows of programs and what programs print: the first line is a row (JSON of any form), the rest two outputs parted by a NUL.
 * A row is read or refused with a sentence; an output equals itself, and what is exactly equal has equal tokens. */
#include <math.h>
#include <string.h>

#include "core/check.h"
#include "core/memory.h"
#include "reward/code/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_row(const char *text, size_t size)
{
    json_t *row = json_loadb(text, size, 0, NULL);
    if (json_is_object(row)) {
        struct code_problem problem;
        char why[512] = "";
        const char *response = json_string_value(json_object_get(row, "response"));
        struct reward_case input = {.row = row,
                                    .truth = json_object_get(row, "ground_truth"),
                                    .response = response != NULL ? response : "",
                                    .response_size = response != NULL ? strlen(response) : 0,
                                    .prompt = "",
                                    .data_source = "",
                                    .deadline_ns = INT64_MAX};
        bool read = code_problem_read(&problem, &input, why, sizeof why);
        CHECK(read || why[0] != '\0');
        code_problem_free(&problem);
    }
    json_decref(row);
}

static void compare(struct code_text got, struct code_text wanted)
{
    struct code_compare exact = {.exact = true, .tolerance = -1}, tokens = {.tolerance = -1},
                        close = {.tolerance = 1e-6},
                        any_case = {.ignore_case = true, .tolerance = -1};
    CHECK(code_compare_outputs(&exact, got, got));
    CHECK(code_compare_outputs(&tokens, wanted, wanted));
    bool same = code_compare_outputs(&tokens, got, wanted);
    CHECK(!code_compare_outputs(&exact, got, wanted) || same);
    CHECK(!same || code_compare_outputs(&close, got, wanted));
    CHECK(!same || code_compare_outputs(&any_case, got, wanted));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const char *text = (const char *)bytes, *end = text + size;
    const char *line = size > 0 ? memchr(text, '\n', size) : NULL;
    read_row(text, line != NULL ? (size_t)(line - text) : size);
    if (line == NULL)
        return 0;
    const char *from = line + 1,
               *zero = from < end ? memchr(from, '\0', (size_t)(end - from)) : NULL;
    if (zero != NULL)
        compare((struct code_text){from, (size_t)(zero - from)},
                (struct code_text){zero + 1, (size_t)(end - zero - 1)});
    return 0;
}
