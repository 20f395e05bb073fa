/* tests/data_case.h - what the tests of weir-data share: a folder of small files, written and compared. */
#ifndef TESTS_DATA_CASE_H
#define TESTS_DATA_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "core/buffer.h"
#include "core/file.h"

static inline void must(enum status status)
{
    if (status != STATUS_OK)
        fail_msg("%s", status_last_error());
}

static char folder[128];

static inline void write_file(const char *name, const char *text)
{
    char path[FILE_PATH_MAX];
    must(file_path(path, "%s/%s", folder, name));
    must(file_replace(path, text, strlen(text)));
}

static inline void expect_file(const char *name, const char *wanted)
{
    char path[FILE_PATH_MAX];
    struct buffer bytes;
    buffer_init(&bytes, 0);
    must(file_path(path, "%s/%s", folder, name));
    must(file_read(path, &bytes));
    assert_string_equal(buffer_string(&bytes), wanted);
    buffer_free(&bytes);
}

#endif
