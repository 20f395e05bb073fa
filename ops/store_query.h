/* ops/store_query.h - questions of operators to the store of a run: control messages over its endpoint.
 *
 *     TRY(store_query_open(&query, endpoint, run, keys_folder));
 *     TRY(store_query_ask(query, "status", "{}", STORE_QUERY_MS, &json));
 *
 * The supervisor asks without waiting (store_query_start, store_query_take); commands wait with a
 * deadline. One question at a time. One thread. */
#ifndef OPS_STORE_QUERY_H
#define OPS_STORE_QUERY_H

#include "core/buffer.h"
#include "core/file.h"
#include "core/settings.h"

enum { STORE_QUERY_MS = 2000 };

struct store_query;
/* Connects in the background: no store is needed yet. INVALID on a bad endpoint, and on a socket that this user may not
 * open (it names whose it is). keys_folder: run.keys,
 * NULL or "" for none. */
MUST_CHECK enum status store_query_open(struct store_query **query, const char *endpoint,
                                        const char *run, const char *keys_folder);
void store_query_close(struct store_query **query);

/* Replaces what `json` holds. TIMEOUT: no answer in time; INVALID: the store's refusal as text. */
MUST_CHECK enum status store_query_ask(struct store_query *query, const char *command,
                                       const char *arguments_json, int64_t timeout_ms,
                                       struct buffer *json);

/* Sends a question, forgetting an older one. AGAIN while there is no connection. */
MUST_CHECK enum status store_query_start(struct store_query *query, const char *command,
                                         const char *arguments_json);
/* Grows when the connection was lost and is back: an open question may be lost with it. */
uint32_t store_query_reconnects(const struct store_query *query);
/* Reads what came, for at most timeout_ms (0: only what is there). AGAIN: no answer yet. */
MUST_CHECK enum status store_query_take(struct store_query *query, int64_t timeout_ms,
                                        struct buffer *json);

/* store.endpoint, or the socket in the run folder; where the store published what it bound (ops/endpoint_file.h), that.
 * LIMIT when the path is too long for a socket. */
MUST_CHECK enum status store_endpoint(const struct settings *settings, const char *folder,
                                      char out[FILE_PATH_MAX]);

#endif
