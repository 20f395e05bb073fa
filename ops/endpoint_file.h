/* ops/endpoint_file.h - where the store of a run is to be found when its port was left open.
 *
 * store.endpoint=tcp://INTERFACE:0 (or ":*") binds a free port; the store writes what it got, with this host's name for
 * an address of all interfaces, into FOLDER/endpoint: one line. The supervisor removes the file before a start and at
 * the end, so that it is there exactly while a run listens (or after a supervisor was killed with -9). One thread. */
#ifndef OPS_ENDPOINT_FILE_H
#define OPS_ENDPOINT_FILE_H

#include <stdbool.h>

#include "core/file.h"

/* The port is not known before the store listens: tcp with port 0 or "*". */
bool endpoint_is_open(const char *endpoint);
/* NOT_FOUND: no run listens, or not yet; CORRUPT: no endpoint stands there. */
MUST_CHECK enum status endpoint_file_read(const char *folder, char out[FILE_PATH_MAX]);
void endpoint_file_remove(const char *folder);
/* What processes of this machine connect to: `published`, with loopback where the store listens on all addresses of
 * this host (its name need not resolve here). */
MUST_CHECK enum status endpoint_for_here(const char *wanted, const char *published,
                                         char out[FILE_PATH_MAX]);
/* What the store binds when it is started again: the host of `wanted`, the port of `published`. */
MUST_CHECK enum status endpoint_with_port(const char *wanted, const char *published,
                                          char out[FILE_PATH_MAX]);

#endif
