/* tests/fuzz/memory_file.h - bytes as a file with a path, without a disk: for readers that open files. */
#ifndef TESTS_FUZZ_MEMORY_FILE_H
#define TESTS_FUZZ_MEMORY_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/check.h"

struct memory_file {
    int fd;
    char path[32];
};

/* One file for the whole life of the process; each input replaces what it holds. */
static inline const char *memory_file_set(struct memory_file *file, const void *bytes, size_t size)
{
    if (file->path[0] == '\0') {
        file->fd = memfd_create("fuzz", MFD_CLOEXEC);
        CHECK(file->fd >= 0);
        snprintf(file->path, sizeof file->path, "/proc/self/fd/%d", file->fd);
    }
    CHECK(ftruncate(file->fd, 0) == 0);
    CHECK(pwrite(file->fd, bytes, size, 0) == (ssize_t)size);
    return file->path;
}

#endif
