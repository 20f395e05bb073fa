/* rollout_store/server_state.h - what the store's process remembers; private to server*.c.
 *
 * server.c opens, runs and closes; server_round.c is one round; server_send.c what could not leave yet; server_hold.c
 * waits for room on the disk; server_quarantine.c writes down what was refused. */
#ifndef ROLLOUT_STORE_SERVER_STATE_H
#define ROLLOUT_STORE_SERVER_STATE_H

#include <stdatomic.h>

#include "rollout_store/book.h"
#include "rollout_store/index.h"
#include "rollout_store/ledger.h"
#include "rollout_store/prompts.h"
#include "rollout_store/server.h"
#include "rollout_store/server_view.h"
#include "rollout_store/snapshots.h"
#include "rollout_store/store_metrics.h"
#include "transport/link.h"
#include "transport/monitor.h"

enum {
    KEPT_MAX = 16384,            /* messages whose peers take nothing, all together, */
    KEPT_PEER_BYTES = 64 << 20,  /* and bytes of one peer, before it is dropped */
    INBOX_MAX = 4096,            /* messages taken while the disk is full, */
    INBOX_BYTES = 64 << 20,      /* and their bytes, before the socket is not read any more */
    QUARANTINE_LINES = 1000,     /* of quarantine.jsonl, */
    QUARANTINE_KIND_LINES = 100, /* and of one kind; more are counted only */
    SERVER_TEXT_MAX = 64 << 10,  /* of a report or a wait that people read */
    ALARM_EVERY_MS = 10000,
    METRICS_EVERY_MS = 500,
    HOLD_RETRY_MS = 200
};

/* A message, packed: one whose peer took nothing, or one that waits for the disk. */
struct kept {
    uint32_t peer;
    struct buffer bytes;
};

struct inbox {
    struct kept *kept;      /* [INBOX_MAX], from `first` `count` in use */
    struct hub_peer *peers; /* [INBOX_MAX] who said it */
    size_t first, count, bytes;
};

struct quarantine {
    char path[1024];
    int fd; /* -1: not open */
    uint32_t lines, of_kind[REFUSAL_COUNT];
    uint64_t wire[REFUSAL_COUNT]; /* of the hub, as written down */
    bool failed;
};

struct server {
    const struct settings *settings;
    struct tokenizer *tokenizer;
    struct prompts *prompts;
    struct buffer settings_json;
    struct book *book;
    struct ledger *ledger;
    struct snapshots snapshots;
    struct index *index;
    struct hub *hub;
    struct server_view view;
    struct monitor *monitor; /* borrowed */
    struct store_metrics metrics;
    int64_t measured_ns, published_ns;
    struct book_out out;
    struct arena *out_arena, *in_arena;
    struct kept *kept; /* [KEPT_MAX], first kept_count in use */
    size_t kept_count;
    struct inbox inbox;
    struct quarantine quarantine;
    uint64_t traced_plan; /* the newest plan that has its span */
    uint64_t records, seen_version;
    uint32_t seen_branch;
    struct book_stage seen_stage;
    int64_t turned_ns, awake_ns;    /* the last round; since when rounds follow each other */
    const atomic_int *stop_signals; /* NULL: none can come */
};

/* ---- server_send.c ---- */
/* To a peer that is gone it is forgotten: what it would have said is said again after the next hello. */
MUST_CHECK enum status server_send(struct server *server, uint32_t peer,
                                   const struct message *message);
MUST_CHECK enum status server_send_kept(struct server *server);
void server_drop_kept(struct server *server, uint32_t peer);
/* The hub forgets it too: it says hello again, or never. */
void server_forget(struct server *server, uint32_t peer);

/* ---- server_hold.c ---- */
MUST_CHECK enum status inbox_create(struct inbox *inbox);
void inbox_destroy(struct inbox *inbox);
/* The oldest message that was taken while the disk was full; false: none. It lives in `arena`. */
MUST_CHECK enum status inbox_take(struct inbox *inbox, struct arena *arena, struct hub_peer *peer,
                                  struct message *message, bool *taken);
/* ledger_append of the round's records, tried until there is room; CANCELLED after a stop signal. */
MUST_CHECK enum status server_append(struct server *server);

/* ---- server_quarantine.c ---- */
MUST_CHECK enum status quarantine_open(struct quarantine *quarantine, const char *run_folder);
void quarantine_close(struct quarantine *quarantine);
/* Writes down what hub and book refused since the last call. Never fails the run. */
void quarantine_round(struct quarantine *quarantine, struct book *book, const struct hub *hub);

/* ---- server_metrics.c ---- */
void server_metrics_open(struct server *server);
/* The main loop turned; every METRICS_EVERY_MS its figures are brought up to date. */
void server_metrics_round(struct server *server, int64_t now_ns);

/* ---- server_round.c ---- */
/* *busy: something was sent, so more may be possible at once. */
MUST_CHECK enum status server_turn(struct server *server, bool *busy);
void server_take_events(struct server *server);
MUST_CHECK enum status server_answer_view(struct server *server, uint32_t peer,
                                          const struct control *control, bool *answered);

#endif
