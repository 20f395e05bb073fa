/* ops/dash/page.h - the files of the page, inside the program (ops/dash/embed.cmake writes the table from ops/dash/web/). */
#ifndef OPS_DASH_PAGE_H
#define OPS_DASH_PAGE_H

#include <stddef.h>

struct page_file {
    const char *name; /* "index.html" */
    const char *etag; /* quoted */
    const unsigned char *bytes;
    size_t size;
};

extern const struct page_file page_files[];
extern const size_t page_file_count;

#endif
