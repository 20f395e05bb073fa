/* actor/http.h - the endpoint of an actor and of `weir serve`: OpenAI's completions protocol over HTTP/1.1.
 *
 * One thread (libmicrohttpd's) reads requests, tokenizes, makes texts and JSON; the engine's thread only sees ids, through
 * the hub of actor/serve.h. A connection that waits for tokens is suspended and costs nothing; a second thread looks a few
 * times a second which clients have gone, and their sequences end. docs/serve.md says what is offered.
 *
 *     TRY(http_open(&server, &config));       after engine_open_desk
 *     each turn: serve_turn(http_hub(server), engine); engine_decode; serve_publish(...)
 *     http_close(&server, &engine, "leaving");
 */
#ifndef ACTOR_HTTP_H
#define ACTOR_HTTP_H

#include "actor/serve.h"

struct http_server;

struct http_config {
    const struct settings *settings; /* actor.http_*, model.*; borrowed */
    struct engine *engine;           /* its desk is open; borrowed */
    const char *address;             /* host:port; port 0: any that is free */
    uint32_t index;                  /* added to a port that is not 0 */
    const char *model;               /* name of the model; borrowed */
};

/* INVALID: an address that is none, or that leaves this machine without a token. IO: it cannot be bound. */
MUST_CHECK enum status http_open(struct http_server **server, const struct http_config *config);
/* Requests in flight are answered 503; NULL is fine. On the engine's thread. */
void http_close(struct http_server **server, struct engine *engine, const char *why);
struct serve_hub *http_hub(struct http_server *server);
/* "127.0.0.1:8000", as bound. */
const char *http_address(const struct http_server *server);
/* Connections that are open now. */
uint32_t http_connections(struct http_server *server);

#endif
