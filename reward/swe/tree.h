/* reward/swe/tree.h - the files of a repository in memory: path -> bytes.
 *
 * Paths are relative, without empty, "." or ".." parts; a tree holds regular files only, so no link of a repository
 * leads anywhere. One thread. */
#ifndef REWARD_SWE_TREE_H
#define REWARD_SWE_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/status.h"

enum { TREE_FILES_MAX = 20000, TREE_BYTES_MAX = 256 << 20, TREE_PATH_MAX = 512 };

struct tree_file {
    char *path;  /* owned */
    char *bytes; /* [size], owned; a NUL follows */
    size_t size;
    bool executable;
};

struct tree {
    struct tree_file *files; /* [count], in order of path */
    size_t count, capacity, bytes;
};

void tree_init(struct tree *tree);
void tree_free(struct tree *tree);
/* A path that may be in a tree. */
bool tree_path_ok(const char *path);
/* NULL: no such file. */
struct tree_file *tree_find(const struct tree *tree, const char *path);
/* Adds or replaces. INVALID: the path; LIMIT: too many files or bytes. */
MUST_CHECK enum status tree_put(struct tree *tree, const char *path, const void *bytes,
                                size_t size);
void tree_remove(struct tree *tree, const char *path); /* missing is fine */
/* From {"path": "text", ...}. INVALID names the member. */
MUST_CHECK enum status tree_from_json(struct tree *tree, const json_t *files);
/* From a folder of this machine, without version control (.git, .hg, .svn), caches and links. */
MUST_CHECK enum status tree_from_folder(struct tree *tree, const char *folder);
MUST_CHECK enum status tree_copy(struct tree *tree, const struct tree *from);

#endif
