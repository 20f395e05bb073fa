/* rollout_store/book_why.c - the wait graph of the fleet, and the one sentence at its end.
 *
 * Edges say who waits for whom, since when and until when. They start at "run" and go over the learner, its plan, the
 * processes that hold samples of it, to a process that is stopped, cut off or missing. The sentence names the worst end
 * that can be reached. What processes themselves report as waits (heartbeats) are edges too. */
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/checksum.h"
#include "rollout_store/book_state.h"

enum { EDGES_MAX = 8192, NODE_MAX = 96, NO_DEADLINE = -1 };

/* How bad the end of an edge is; the sentence names the worst one. */
enum gravity { OWN_WAIT, WORKS, LACKS, SILENT, DEAD, HOLDS_ALL };

struct edge {
    char who[NODE_MAX], whom[NODE_MAX];
    char what[384];
    uint64_t who_hash, whom_hash;
    int64_t since_ms, left_ms; /* left: until something is done about it; NO_DEADLINE */
    enum gravity gravity;
    bool own;            /* reported by the process itself */
    char name[NODE_MAX]; /* of its own wait */
};

struct graph {
    struct edge *edges; /* [count] */
    size_t count, capacity;
    uint64_t left_out;
    enum status status; /* of the first failure */
};

static int64_t ms_since(const struct book *book, int64_t then_ns)
{
    return then_ns == 0 ? 0 : (book->now_ns - then_ns) / CLOCK_NS_PER_MS;
}

static struct edge *add(struct graph *graph, enum gravity gravity, const char *who,
                        const char *whom, int64_t since_ms, int64_t left_ms, const char *fmt, ...)
    PRINTF_LIKE(7, 8);

/* NULL when there is no room: counted. */
static struct edge *add(struct graph *graph, enum gravity gravity, const char *who,
                        const char *whom, int64_t since_ms, int64_t left_ms, const char *fmt, ...)
{
    if (graph->count >= EDGES_MAX) {
        graph->left_out++;
        return NULL;
    }
    void *edges = graph->edges;
    enum status status =
        book_reserve(&edges, &graph->capacity, graph->count + 1, sizeof *graph->edges);
    if (status != STATUS_OK) {
        graph->status = status;
        return NULL;
    }
    graph->edges = edges;
    struct edge *edge = &graph->edges[graph->count++];
    *edge = (struct edge){.since_ms = since_ms, .left_ms = left_ms, .gravity = gravity};
    snprintf(edge->who, sizeof edge->who, "%s", who);
    snprintf(edge->whom, sizeof edge->whom, "%s", whom);
    edge->who_hash = hash64(edge->who, strlen(edge->who), 0);
    edge->whom_hash = hash64(edge->whom, strlen(edge->whom), 0);
    va_list args;
    va_start(args, fmt);
    vsnprintf(edge->what, sizeof edge->what, fmt, args);
    va_end(args);
    return edge;
}

void book_hold_for(struct book *book, int64_t now_ns, const char *what)
{
    book_advance(book, now_ns);
    if (what != NULL && book->hold[0] == '\0')
        book->hold_ns = book->now_ns;
    for (uint32_t i = 0; i < book->peer_limit && what == NULL; i++) { /* nobody was listened to */
        struct peer *peer = book->peers[i];
        if (peer == NULL || !peer->connected)
            continue;
        peer->heard_ns = book->now_ns;
        if (peer->holder != NULL)
            peer->holder->heard_ns = book->now_ns;
    }
    snprintf(book->hold, sizeof book->hold, "%s", what != NULL ? what : "");
}

static void name_peer(const struct peer *peer, char name[NODE_MAX])
{
    snprintf(name, NODE_MAX, "%s.%" PRIu32, role_name(peer->role), peer->index);
}

static uint32_t count_role(const struct book *book, enum role role)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < book->peer_limit; i++)
        count += book->peers[i] != NULL && book->peers[i]->role == role;
    return count;
}

/* ---- processes ---- */

/* What becomes of what a silent or dead process holds. */
static int64_t describe_loss(const struct book *book, const struct peer *peer, char *text,
                             size_t size)
{
    int64_t left_ms = (book_lease_ns(book) - (book->now_ns - peer->heard_ns)) / CLOCK_NS_PER_MS;
    uint32_t held = peer->holder != NULL ? peer->holder->leases : peer->scoring;
    const char *what = peer->role == ROLE_REWARD ? "rollouts to score" : "leases";
    text[0] = '\0';
    if (held == 0 || peer->role == ROLE_LEARNER)
        return NO_DEADLINE;
    left_ms = left_ms > 0 ? left_ms : 0;
    snprintf(text, size, "; its %" PRIu32 " %s are given to others in %" PRId64 " ms", held, what,
             left_ms);
    return left_ms;
}

static void add_ill(const struct book *book, struct graph *graph, const struct peer *peer,
                    const char *name)
{
    char process[NODE_MAX], loss[128];
    snprintf(process, sizeof process, "pid %" PRIu32 " on host %.60s", peer->pid, peer->host);
    int64_t left_ms = describe_loss(book, peer, loss, sizeof loss);
    int64_t silent_ms = ms_since(book, peer->heard_ns);
    if (!peer->connected)
        add(graph, DEAD, name, process, ms_since(book, peer->disconnected_ns), left_ms,
            "%s (%s) is stopped or cut off since %" PRId64 " ms%s", name, process,
            ms_since(book, peer->disconnected_ns), loss);
    else if (silent_ms > book->config.store.lease_ms)
        add(graph, SILENT, name, process, silent_ms, left_ms,
            "%s (%s) is connected but says nothing since %" PRId64
            " ms, longer than store.lease_ms: it computes or hangs%s",
            name, process, silent_ms, loss);
}

/* The waits that a process reports of itself: [{name, peer, since_ms, left_ms}]. */
static void add_own_waits(struct graph *graph, struct peer *peer, const char *name)
{
    const char *text = buffer_string(&peer->waits);
    json_t *waits = text[0] == '[' ? json_loads(text, 0, NULL) : NULL;
    size_t at;
    json_t *wait;
    json_array_foreach(waits, at, wait)
    {
        const char *what = json_string_value(json_object_get(wait, "name"));
        const char *whom = json_string_value(json_object_get(wait, "peer"));
        const json_t *left = json_object_get(wait, "left_ms");
        if (what == NULL || whom == NULL)
            continue;
        struct edge *edge =
            add(graph, OWN_WAIT, name, whom, json_integer_value(json_object_get(wait, "since_ms")),
                json_is_integer(left) ? json_integer_value(left) : NO_DEADLINE, "%s", what);
        if (edge == NULL)
            break;
        edge->own = true;
        snprintf(edge->name, sizeof edge->name, "%s", what);
    }
    json_decref(waits);
}

static void add_peers(const struct book *book, struct graph *graph)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role == ROLE_CONTROL)
            continue;
        name_peer(peer, name);
        add_ill(book, graph, peer, name);
        if (peer->role == ROLE_ACTOR && peer->version < book_version(book))
            add(graph, OWN_WAIT, name, "weights", 0, NO_DEADLINE,
                "%s has version %" PRIu64 ", the newest is %" PRIu64, name, peer->version,
                book_version(book));
        add_own_waits(graph, peer, name);
    }
    for (size_t i = 0; i < book->newcomer_count; i++) {
        const struct newcomer *newcomer = &book->newcomers[i];
        char who[NODE_MAX], whom[NODE_MAX];
        int64_t since_ms = ms_since(book, newcomer->first_ns),
                left_ms = 2 * (int64_t)book->config.store.lease_ms - since_ms;
        snprintf(who, sizeof who, "newcomer (pid %" PRIu32 " on host %.40s)", newcomer->pid,
                 newcomer->host);
        snprintf(whom, sizeof whom, "%s.%" PRIu32, role_name(newcomer->role), newcomer->index);
        add(graph, WORKS, who, whom, since_ms, left_ms > 0 ? left_ms : 0,
            "it wants the place of %s, whose process lives", whom);
    }
}

/* ---- the plan that the learner wants ---- */

static const struct peer *peer_of_holder(const struct book *book, const struct holder *holder)
{
    for (uint32_t i = 0; i < book->peer_limit; i++)
        if (book->peers[i] != NULL && book->peers[i]->holder == holder)
            return book->peers[i];
    return NULL;
}

/* An incarnation with leases that nobody speaks for: it was there before the store was restarted. */
static void add_lost_holders(const struct book *book, struct graph *graph, const char *plan,
                             int64_t since_ms)
{
    for (size_t i = 0; i < book->holder_count; i++) {
        const struct holder *holder = book->holders[i];
        char name[NODE_MAX];
        if (holder->leases == 0 || peer_of_holder(book, holder) != NULL)
            continue;
        snprintf(name, sizeof name, "earlier actor.%" PRIu32, holder->index);
        int64_t left_ms =
            (book_lease_ns(book) - (book->now_ns - holder->heard_ns)) / CLOCK_NS_PER_MS;
        add(graph, DEAD, plan, name, since_ms, left_ms > 0 ? left_ms : 0,
            "%s has %" PRIu32 " leases and has not come back; they are given to others in %" PRId64
            " ms",
            name, holder->leases, left_ms > 0 ? left_ms : 0);
    }
}

/* Those that could help, were they well. */
static void add_sick(const struct book *book, struct graph *graph, enum role role, const char *whom)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role != role || book_alive_peer(book, peer))
            continue;
        name_peer(peer, name);
        add(graph, WORKS, whom, name, ms_since(book, peer->heard_ns), NO_DEADLINE,
            "%s is here but takes nothing", name);
    }
}

static void add_actors(const struct book *book, struct graph *graph, const char *plan,
                       int64_t since_ms)
{
    uint32_t room = 0, actors = count_role(book, ROLE_ACTOR);
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role != ROLE_ACTOR || peer->holder == NULL)
            continue;
        room += book_alive_peer(book, peer) && peer->holder->leases < peer->slots;
        if (peer->holder->leases == 0)
            continue;
        name_peer(peer, name);
        add(graph, WORKS, plan, name, since_ms, NO_DEADLINE,
            "%" PRIu32 " samples are being generated by %s", peer->holder->leases, name);
    }
    add_lost_holders(book, graph, plan, since_ms);
    if (book->queued == 0)
        return;
    add(graph, actors == 0 ? LACKS : WORKS, plan, "actors", ms_since(book, book->queued_since_ns),
        NO_DEADLINE,
        actors == 0 ? "%" PRIu64 " samples are queued and no actor is connected (%" PRIu32
                      " with room)"
                    : "%" PRIu64 " samples are queued, %" PRIu32 " actors have room",
        book->queued, room);
    if (room == 0)
        add_sick(book, graph, ROLE_ACTOR, "actors");
}

static void add_rewards(const struct book *book, struct graph *graph, const char *plan,
                        int64_t since_ms)
{
    uint64_t assigned = 0;
    uint32_t rewards = count_role(book, ROLE_REWARD);
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role != ROLE_REWARD || peer->scoring == 0)
            continue;
        assigned += peer->scoring;
        name_peer(peer, name);
        add(graph, WORKS, plan, name, since_ms, NO_DEADLINE,
            "%" PRIu32 " rollouts are being scored by %s", peer->scoring, name);
    }
    if (book->finished <= assigned)
        return;
    add_sick(book, graph, ROLE_REWARD, "reward workers");
    add(graph, rewards == 0 ? LACKS : WORKS, plan, "reward workers",
        ms_since(book, book->finished_since_ns), NO_DEADLINE,
        "%" PRIu64 " rollouts wait for a reward worker; %" PRIu32 " are connected",
        book->finished - assigned, rewards);
}

static void add_plan(const struct book *book, struct graph *graph, const struct peer *learner,
                     const char *name)
{
    char plan[NODE_MAX];
    int64_t since_ms = ms_since(book, learner->wanted_ns);
    uint64_t eligible = book->lists[GROUP_ELIGIBLE].count;
    uint32_t needed = book->config.store.groups_per_publish;
    snprintf(plan, sizeof plan, "plan %" PRIu64, learner->wanted_version);
    if (book->version_count == 0)
        add(graph, WORKS, name, plan, since_ms, NO_DEADLINE, "no version is registered yet");
    else if (eligible < needed)
        add(graph, WORKS, name, plan, since_ms, NO_DEADLINE,
            "plan %" PRIu64 " needs %" PRIu32 " eligible groups, there are %" PRIu64 "; %" PRIu64
            " are open with %" PRIu64 " samples queued, %zu generating, %" PRIu64 " unscored",
            learner->wanted_version, needed, eligible, book->lists[GROUP_OPEN].count, book->queued,
            book->leases.count, book->finished);
    else
        add(graph, WORKS, name, plan, since_ms, NO_DEADLINE,
            "plan %" PRIu64 " waits for %" PRIu64
            " open groups that would pass store.max_staleness (over_age=hold)",
            learner->wanted_version, book_held_by(book));
    if (book->empty[0] != '\0')
        add(graph, LACKS, plan, "operator", since_ms, NO_DEADLINE, "%s", book->empty);
    add_actors(book, graph, plan, since_ms);
    add_rewards(book, graph, plan, since_ms);
}

/* ---- the run ---- */

static void add_last_ones(const struct book *book, struct graph *graph, const char *what)
{
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role == ROLE_CONTROL)
            continue;
        name_peer(peer, name);
        add(graph, WORKS, "run", name, 0, NO_DEADLINE,
            "%s; %s has not said bye yet, it holds %" PRIu32 " leases", what, name,
            peer->holder != NULL ? peer->holder->leases : 0);
    }
}

static void add_learners(const struct book *book, struct graph *graph)
{
    if (count_role(book, ROLE_LEARNER) == 0)
        add(graph, LACKS, "run", "learner", 0, NO_DEADLINE, "no learner is connected");
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        const struct peer *peer = book->peers[i];
        char name[NODE_MAX];
        if (peer == NULL || peer->role != ROLE_LEARNER)
            continue;
        name_peer(peer, name);
        if (peer->wants_plan)
            add(graph, WORKS, "run", name, ms_since(book, peer->wanted_ns), NO_DEADLINE,
                "%s waits for plan %" PRIu64, name, peer->wanted_version);
        else
            add(graph, WORKS, "run", name, 0, NO_DEADLINE, "%s %s version %" PRIu64, name,
                book->version_count == 0 ? "loads or registers" : "trains",
                book->version_count == 0 ? 0 : book_version(book) + 1);
        if (peer->wants_plan)
            add_plan(book, graph, peer, name);
    }
}

/* The same once more as seen by the store, whoever waits for the plan. */
static void add_store(const struct book *book, struct graph *graph)
{
    if (count_role(book, ROLE_LEARNER) == 0)
        add(graph, LACKS, "store", "learner", 0, NO_DEADLINE, "no learner is connected");
    if (book->queued > 0 && book->queued_since_ns > 0)
        add(graph, WORKS, "store", "actors", ms_since(book, book->queued_since_ns), NO_DEADLINE,
            "%" PRIu64 " samples are queued; %" PRIu32 " actors are connected, none with room",
            book->queued, count_role(book, ROLE_ACTOR));
    if (book->finished > 0 && book->finished_since_ns > 0)
        add(graph, WORKS, "store", "reward workers", ms_since(book, book->finished_since_ns),
            NO_DEADLINE,
            "%" PRIu64 " rollouts wait for a score; %" PRIu32 " reward workers are connected",
            book->finished, count_role(book, ROLE_REWARD));
}

/* ---- the sentence ---- */

/* Marks what "run" waits for, over any number of edges; a process's own idle waits lead nowhere. */
static bool leads_on(const struct edge *edge)
{
    return !edge->own || (edge->left_ms >= 0 && strcmp(edge->whom, "store") != 0);
}

/* Room for what find_root remembers, one entry per edge and one more. */
struct walk {
    bool *reached;
    uint64_t *nodes; /* hashes of nodes that are reached, in that order */
    size_t node_count;
};

static void reach(struct walk *walk, uint64_t node)
{
    for (size_t i = 0; i < walk->node_count; i++)
        if (walk->nodes[i] == node)
            return;
    walk->nodes[walk->node_count++] = node;
}

static void walk_graph(const struct graph *graph, struct walk *walk)
{
    reach(walk, hash64("run", 3, 0));
    for (size_t n = 0; n < walk->node_count; n++)
        for (size_t i = 0; i < graph->count; i++) {
            if (graph->edges[i].who_hash != walk->nodes[n] || !leads_on(&graph->edges[i]))
                continue;
            walk->reached[i] = true;
            reach(walk, graph->edges[i].whom_hash);
        }
}

static const struct edge *find_root(const struct graph *graph, const bool *reached)
{
    const struct edge *root = NULL;
    for (size_t i = 0; i < graph->count; i++) {
        const struct edge *edge = &graph->edges[i];
        bool sink = reached[i]; /* of those that merely work, the last ones count */
        for (size_t k = 0; k < graph->count && sink && edge->gravity <= WORKS; k++)
            sink = !reached[k] || graph->edges[k].who_hash != edge->whom_hash;
        if (sink && (root == NULL || edge->gravity > root->gravity ||
                     (edge->gravity == root->gravity && edge->since_ms > root->since_ms)))
            root = edge;
    }
    return root;
}

static enum status write_sentence(const struct graph *graph, struct buffer *json)
{
    char text[1024] = "the run waits for nothing that the store knows of";
    struct walk walk = {.reached = memory_array(graph->count + 1, sizeof *walk.reached),
                        .nodes = memory_array(graph->count + 2, sizeof *walk.nodes)};
    const struct edge *root = NULL;
    bool room = walk.reached != NULL && walk.nodes != NULL;
    if (room) {
        walk_graph(graph, &walk);
        root = find_root(graph, walk.reached);
    }
    memory_free(walk.reached);
    memory_free(walk.nodes);
    if (!room)
        return FAIL(STATUS_NO_MEMORY, "%zu waits", graph->count);
    if (root != NULL && root->own)
        snprintf(text, sizeof text,
                 "the run waits for %s because it waits for %s (%s) since %" PRId64
                 " ms, and %" PRId64 " ms longer at most",
                 root->who, root->whom, root->what, root->since_ms, root->left_ms);
    else if (root != NULL)
        snprintf(text, sizeof text, "the run waits for %s because %s",
                 root->gravity == DEAD || root->gravity == SILENT ? root->who : root->whom,
                 root->what);
    TRY(buffer_text(json, "{\"because\":"));
    return buffer_json_text(json, text);
}

/* ---- JSON ---- */

static enum status write_edge(const struct edge *edge, bool first, struct buffer *json)
{
    TRY(buffer_text(json, first ? "{\"who\":" : ",{\"who\":"));
    TRY(buffer_json_text(json, edge->who));
    TRY(buffer_text(json, ",\"for\":"));
    TRY(buffer_json_text(json, edge->whom));
    TRY(buffer_printf(json, ",\"since_ms\":%" PRId64 ",\"what\":", edge->since_ms));
    TRY(buffer_json_text(json, edge->what));
    if (edge->left_ms >= 0)
        TRY(buffer_printf(json, ",\"deadline_ms\":%" PRId64, edge->left_ms));
    if (edge->own) {
        TRY(buffer_text(json, ",\"name\":"));
        TRY(buffer_json_text(json, edge->name));
        TRY(buffer_text(json, ",\"peer\":"));
        TRY(buffer_json_text(json, edge->whom));
        TRY(buffer_printf(json, ",\"left_ms\":%" PRId64, edge->left_ms));
    }
    return buffer_text(json, "}");
}

static enum status write_processes(const struct book *book, struct buffer *json)
{
    bool first = true;
    TRY(buffer_text(json, "],\"processes\":{"));
    for (uint32_t i = 0; i < book->peer_limit; i++) {
        struct peer *peer = book->peers[i];
        if (peer == NULL || peer->role == ROLE_CONTROL)
            continue;
        json_t *own = json_loads(buffer_string(&peer->waits), 0, NULL);
        TRY(buffer_printf(json, "%s\"%s.%" PRIu32 "\":%s", first ? "" : ",", role_name(peer->role),
                          peer->index, json_is_array(own) ? buffer_string(&peer->waits) : "[]"));
        json_decref(own);
        first = false;
    }
    return buffer_text(json, "}}");
}

static void collect(const struct book *book, struct graph *graph)
{
    if (book->hold[0] != '\0')
        add(graph, HOLDS_ALL, "run", "store", ms_since(book, book->hold_ns), NO_DEADLINE, "%s",
            book->hold);
    if (book->stopped)
        add_last_ones(book, graph, "the run is over");
    else if (book->draining)
        add_last_ones(book, graph, "the run drains");
    else
        add_learners(book, graph);
    add_store(book, graph);
    add_peers(book, graph);
}

enum status book_why_json(const struct book *book, int64_t now_ns, struct buffer *json)
{
    (void)now_ns;
    struct graph graph = {0};
    collect(book, &graph);
    enum status status = graph.status;
    if (status == STATUS_OK)
        status = write_sentence(&graph, json);
    if (status == STATUS_OK)
        status = buffer_text(json, ",\"stage\":");
    if (status == STATUS_OK)
        status = book_stage_json(book, json);
    if (status == STATUS_OK)
        status = buffer_printf(json, ",\"left_out\":%" PRIu64 ",\"waits\":[", graph.left_out);
    for (size_t i = 0; i < graph.count && status == STATUS_OK; i++)
        status = write_edge(&graph.edges[i], i == 0, json);
    if (status == STATUS_OK)
        status = write_processes(book, json);
    memory_free(graph.edges);
    return status;
}
