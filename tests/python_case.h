/* tests/python_case.h - is there a Python for tests of Python rewards? Without one they skip. */
#ifndef TESTS_PYTHON_CASE_H
#define TESTS_PYTHON_CASE_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Says so when there is none. */
static inline bool python_is_here(void)
{
    const char *at = getenv("PATH");
    while (at != NULL && *at != '\0') {
        char path[1024];
        size_t size = strcspn(at, ":");
        snprintf(path, sizeof path, "%.*s/python3", (int)size, at);
        if (access(path, X_OK) == 0)
            return true;
        at += size + (at[size] == ':');
    }
    printf("no python3 in PATH: skipped\n");
    return false;
}

#endif
