/* tests/fuzz/temporary_folder.h - a folder in memory for readers that take folders; removed when the process ends. */
#ifndef TESTS_FUZZ_TEMPORARY_FOLDER_H
#define TESTS_FUZZ_TEMPORARY_FOLDER_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"
#include "core/file.h"

static char temporary_folder_path[64];

static inline void temporary_folder_remove(void)
{
    CHECK(file_remove_tree(temporary_folder_path) == STATUS_OK);
}

static inline const char *temporary_folder(void)
{
    if (temporary_folder_path[0] == '\0') {
        snprintf(temporary_folder_path, sizeof temporary_folder_path, "/dev/shm/weir-fuzz-XXXXXX");
        CHECK(mkdtemp(temporary_folder_path) != NULL);
        CHECK(atexit(temporary_folder_remove) == 0);
    }
    return temporary_folder_path;
}

/* Mode 0600, replaced whole. */
static inline void temporary_file(const char *name, const void *bytes, size_t size)
{
    char path[FILE_PATH_MAX];
    CHECK(file_path(path, "%s/%s", temporary_folder(), name) == STATUS_OK);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
}

static inline void temporary_remove(const char *name)
{
    char path[FILE_PATH_MAX];
    CHECK(file_path(path, "%s/%s", temporary_folder(), name) == STATUS_OK);
    CHECK(unlink(path) == 0);
}

#endif
