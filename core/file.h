/* core/file.h - files that are either whole or absent.
 * Errors name the path, the call and errno's text; a full disk says so with the bytes wanted. Any thread. */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/status.h"

C_BEGIN

enum { FILE_PATH_MAX = 1024 };

MUST_CHECK enum status file_read(const char *path,
                                 struct buffer *contents); /* appends; NOT_FOUND, LIMIT, IO */
MUST_CHECK enum status file_write_all(int fd, const void *bytes, size_t size, const char *path);
/* The same to a file that other writers may not be at: what a failure left of it is taken back. */
MUST_CHECK enum status file_append_all(int fd, const void *bytes, size_t size, const char *path);
/* path.tmp, fsync, rename, fsync of the directory. */
MUST_CHECK enum status file_replace(const char *path, const void *bytes, size_t size);
MUST_CHECK enum status file_make_dirs(const char *path); /* mkdir -p */
MUST_CHECK enum status file_sync_dir(const char *path);
MUST_CHECK enum status file_remove_tree(const char *path); /* rm -r; missing is OK */
/* False: the disk under `path` has less than 64 MiB left, or less than 1 GiB and a hundredth of it. What only people look at
 * leaves that to what a run needs. true, too, when the disk cannot be asked. */
bool file_has_room(const char *path);
bool file_exists(const char *path);
/* The next path of a list between commas, without the blanks around it; *list moves on. NOT_FOUND: there is none.
 * INVALID: nothing stands before a comma. */
MUST_CHECK enum status file_list_next(const char **list, char path[FILE_PATH_MAX]);
/* each(self, path) for the *.jsonl and *.jsonl.zst files of a folder in the order of their names, until one fails. setting: whose folder
 * it is, for errors. NOT_FOUND: it has none. IO: it cannot be read. */
MUST_CHECK enum status file_each_jsonl(const char *setting, const char *folder,
                                       enum status (*each)(void *self, const char *path),
                                       void *self);
/* snprintf that fails with LIMIT instead of cutting. */
MUST_CHECK enum status file_path(char out[FILE_PATH_MAX], const char *fmt, ...) PRINTF_LIKE(2, 3);

C_END
#endif
