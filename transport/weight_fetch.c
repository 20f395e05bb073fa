#include "transport/weight_fetch.h"

#include <inttypes.h>
#include <string.h>

#include "core/check.h"
#include "core/checksum.h"

void weight_tcp_seal(struct weight_tcp_head *head, const void *piece, size_t size)
{
    head->magic = WEIGHT_TCP_MAGIC;
    head->crc = 0;
    head->crc = crc32c(crc32c(0, head, sizeof *head), piece, size);
}

bool weight_tcp_check(const struct weight_tcp_head *head, const void *piece, size_t size)
{
    struct weight_tcp_head bare = *head;
    bare.crc = 0;
    return head->crc == crc32c(crc32c(0, &bare, sizeof bare), piece, size);
}

void weight_fetch_init(struct weight_fetch *fetch, const struct weight_fetch_config *config)
{
    CHECK(config->piece_bytes > 0 && config->piece_bytes % 8 == 0 && config->credits > 0 &&
          config->credits <= WEIGHT_FETCH_CREDITS_MAX);
    *fetch = (struct weight_fetch){.config = *config};
    size_t pieces = (config->bytes + config->piece_bytes - 1) / config->piece_bytes;
    CHECK(pieces > 0 && pieces < UINT32_MAX);
    fetch->pieces = (uint32_t)pieces;
}

/* ---- asking ---- */

static struct weight_tcp_head make_head(const struct weight_fetch *fetch, enum weight_tcp_kind kind)
{
    return (struct weight_tcp_head){
        .kind = kind, .layout_hash = fetch->config.layout_hash, .bytes = fetch->config.bytes};
}

static enum status ask(struct weight_fetch *fetch, struct weight_tcp_head *head)
{
    weight_tcp_seal(head, NULL, 0);
    return fetch->config.ask(fetch->config.self, head);
}

static size_t piece_offset(const struct weight_fetch *fetch, uint32_t piece)
{
    return (size_t)piece * fetch->config.piece_bytes;
}

static size_t piece_length(const struct weight_fetch *fetch, uint32_t piece)
{
    size_t left = fetch->config.bytes - piece_offset(fetch, piece);
    return left < fetch->config.piece_bytes ? left : fetch->config.piece_bytes;
}

static enum status ask_piece(struct weight_fetch *fetch, int64_t now_ns,
                             struct weight_fetch_credit *credit)
{
    struct weight_tcp_head head = make_head(fetch, WEIGHT_TCP_ASK);
    head.version = fetch->fetching.version;
    head.digest = fetch->fetching.digest;
    head.offset = piece_offset(fetch, credit->piece);
    head.length = (uint32_t)piece_length(fetch, credit->piece);
    TRY(ask(fetch, &head));
    fetch->stats.asked_again += credit->asked_ns != 0;
    credit->asked_ns = now_ns;
    return STATUS_OK;
}

static enum status ask_pieces(struct weight_fetch *fetch, int64_t now_ns)
{
    for (uint32_t c = 0; c < fetch->config.credits; c++) {
        struct weight_fetch_credit *credit = &fetch->credits[c];
        if (!credit->used && fetch->next < fetch->pieces)
            *credit = (struct weight_fetch_credit){.used = true, .piece = fetch->next++};
        bool due = credit->asked_ns == 0 || now_ns - credit->asked_ns >= fetch->config.timeout_ns;
        if (credit->used && due)
            TRY(ask_piece(fetch, now_ns, credit));
    }
    return STATUS_OK;
}

enum status weight_fetch_turn(struct weight_fetch *fetch, int64_t now_ns)
{
    enum status status = STATUS_OK;
    if (fetch->looked_ns == 0 || now_ns - fetch->looked_ns >= fetch->config.look_ns) {
        struct weight_tcp_head head = make_head(fetch, WEIGHT_TCP_LOOK);
        head.digest = fetch->newest.digest;
        status = ask(fetch, &head);
        if (status == STATUS_OK)
            fetch->looked_ns = now_ns;
    }
    if (status == STATUS_OK && fetch->state == WEIGHT_FETCH_BUSY)
        status = ask_pieces(fetch, now_ns);
    return status == STATUS_AGAIN ? STATUS_OK : status;
}

bool weight_fetch_begin(struct weight_fetch *fetch, int64_t now_ns)
{
    CHECK(fetch->state == WEIGHT_FETCH_IDLE);
    bool refused = fetch->newest.digest == fetch->refused_digest && now_ns < fetch->retry_at_ns;
    if (fetch->newest.digest == 0 || refused)
        return false;
    fetch->fetching = fetch->newest;
    fetch->state = WEIGHT_FETCH_BUSY;
    fetch->next = fetch->done = 0;
    fetch->sum = 0;
    memset(fetch->credits, 0, sizeof fetch->credits);
    return true;
}

void weight_fetch_done(struct weight_fetch *fetch)
{
    fetch->state = WEIGHT_FETCH_IDLE;
}

/* ---- answers ---- */

static void take_newest(struct weight_fetch *fetch, const struct weight_tcp_head *head)
{
    fetch->newest = (struct weight_fetch_version){
        .version = head->version, .digest = head->digest, .branch = head->branch};
    fetch->looked_ns = 0; /* ask for the next one */
}

static void finish(struct weight_fetch *fetch, int64_t now_ns)
{
    if (fetch->sum == fetch->fetching.digest) {
        fetch->stats.versions++;
        fetch->state = WEIGHT_FETCH_ARRIVED;
        return;
    }
    fetch->stats.digest_wrong++;
    fetch->refused_digest = fetch->fetching.digest;
    fetch->retry_at_ns = now_ns + fetch->config.retry_ns;
    fetch->state = WEIGHT_FETCH_IDLE;
}

static struct weight_fetch_credit *find_credit(struct weight_fetch *fetch,
                                               const struct weight_tcp_head *head, size_t size)
{
    for (uint32_t c = 0; c < fetch->config.credits; c++) {
        struct weight_fetch_credit *credit = &fetch->credits[c];
        if (credit->used && piece_offset(fetch, credit->piece) == head->offset &&
            piece_length(fetch, credit->piece) == head->length && head->length == size)
            return credit;
    }
    return NULL;
}

static bool is_fetched(const struct weight_fetch *fetch, const struct weight_tcp_head *head)
{
    return fetch->state == WEIGHT_FETCH_BUSY && head->version == fetch->fetching.version &&
           head->digest == fetch->fetching.digest;
}

/* Pieces of another version, and those nobody waits for, come late: they are nothing to us. */
static enum status take_piece(struct weight_fetch *fetch, int64_t now_ns,
                              const struct weight_tcp_head *head, const void *piece, size_t size)
{
    if (!is_fetched(fetch, head))
        return STATUS_OK;
    struct weight_fetch_credit *credit = find_credit(fetch, head, size);
    if (credit == NULL)
        return STATUS_OK;
    uint64_t digest = 0;
    TRY(fetch->config.put(fetch->config.self, (size_t)head->offset, piece, size, &digest));
    fetch->sum += digest;
    fetch->stats.pieces++;
    *credit = (struct weight_fetch_credit){0};
    if (++fetch->done == fetch->pieces)
        finish(fetch, now_ns);
    return STATUS_OK;
}

static void take_gone(struct weight_fetch *fetch, const struct weight_tcp_head *head)
{
    if (fetch->state == WEIGHT_FETCH_BUSY && head->digest != fetch->fetching.digest) {
        fetch->stats.gone++;
        fetch->state = WEIGHT_FETCH_IDLE;
    }
    take_newest(fetch, head);
}

/* Which piece was damaged is not known for sure; what its head says is asked for again at once if we wait for it. */
static void take_damaged(struct weight_fetch *fetch, const struct weight_tcp_head *head,
                         size_t size)
{
    fetch->stats.damaged++;
    struct weight_fetch_credit *credit =
        is_fetched(fetch, head) ? find_credit(fetch, head, size) : NULL;
    if (credit != NULL)
        credit->asked_ns = INT64_MIN / 2;
}

static enum status refused(const struct weight_fetch *fetch, const struct weight_tcp_head *head)
{
    return FAIL(STATUS_CORRUPT,
                "the learner has layout %016" PRIx64 " of %" PRIu64
                " bytes, this process has layout %016" PRIx64
                " of %zu bytes: learner and actor must load the same model",
                head->layout_hash, head->bytes, fetch->config.layout_hash, fetch->config.bytes);
}

enum status weight_fetch_take(struct weight_fetch *fetch, int64_t now_ns, const void *bytes,
                              size_t size, const void *piece, size_t piece_size)
{
    struct weight_tcp_head head;
    if (size != sizeof head) {
        fetch->stats.damaged++;
        return STATUS_OK;
    }
    memcpy(&head, bytes, sizeof head);
    if (!fetch->config.no_crc &&
        (head.magic != WEIGHT_TCP_MAGIC || !weight_tcp_check(&head, piece, piece_size))) {
        take_damaged(fetch, &head, piece_size);
        return STATUS_OK;
    }
    fetch->heard_ns = now_ns;
    bool same = head.layout_hash == fetch->config.layout_hash && head.bytes == fetch->config.bytes;
    if (!same)
        return head.kind == WEIGHT_TCP_REFUSED ? refused(fetch, &head) : STATUS_OK;
    if (head.kind == WEIGHT_TCP_NEWEST)
        take_newest(fetch, &head);
    else if (head.kind == WEIGHT_TCP_GONE)
        take_gone(fetch, &head);
    else if (head.kind == WEIGHT_TCP_PIECE)
        return take_piece(fetch, now_ns, &head, piece, piece_size);
    return STATUS_OK;
}
