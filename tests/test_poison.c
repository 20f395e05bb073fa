/* links: rollout_store transport proto core */
/* label: unit */
/* timeout: 120 */
/* Poison of every kind through codec, hub and book: refused with its kind, counted, answered, nothing of it in the
 * ledger, and the run goes on to its end. Then random damage: never a crash, never a changed token. */
#include <inttypes.h>
#include <math.h>

#include "core/checksum.h"
#include "proto/codec.h"
#include "tests/book_world.h"
#include "tests/slow.h"
#include "transport/hub_core.h"
#include "transport/socket.h"

enum { VOCABULARY = 5000, HEADER = 16, FEED_MAX = 128 };

/* The store without its process: what comes in are bytes of an identity. */
struct store {
    struct world world; /* book, prompts, out, clock */
    struct hub_core *hub;
    struct arena *arena;
    struct buffer bytes; /* of the message being made */
    char actor[SOCKET_IDENTITY_MAX], other[SOCKET_IDENTITY_MAX], reward[SOCKET_IDENTITY_MAX],
        learner[SOCKET_IDENTITY_MAX];
    struct buffer *down; /* [FEED_MAX] what was sent to `want`, since feed began */
    const char *want;
    uint32_t down_count;
    uint64_t incarnation;    /* of the actor */
    struct lease leases[64]; /* of the actor, oldest first */
    uint32_t lease_count;
    bool refused; /* `want` was */
    uint32_t cancelled, acks, score_acks;
    struct score_item works[64];
    uint32_t work_count;
};

static enum status send_down(void *self, const char *identity, size_t size, const void *bytes,
                             size_t count)
{
    struct store *store = self;
    if (store->want == NULL || strlen(store->want) != size ||
        memcmp(store->want, identity, size) != 0 || store->down_count == FEED_MAX)
        return STATUS_OK;
    struct buffer *kept = &store->down[store->down_count++];
    buffer_clear(kept);
    return buffer_append(kept, bytes, count);
}

/* ---- what came back ---- */

static void read_answers(struct store *store)
{
    for (uint32_t i = 0; i < store->down_count; i++) {
        struct message message;
        arena_reset(store->arena);
        if (store->down[i].bytes[4] != WIRE_PROTOCOL) { /* in the words of the other protocol */
            store->refused = true;
            continue;
        }
        must(message_unpack(&message, store->arena, store->down[i].bytes, store->down[i].size));
        store->refused = store->refused || message.type == MESSAGE_refused;
        store->score_acks += message.type == MESSAGE_score_ack;
        for (uint32_t k = 0; message.type == MESSAGE_lease_grant && k < message.lease_grant.count;
             k++)
            if (store->lease_count < 64)
                store->leases[store->lease_count++] = message.lease_grant.leases[k];
        for (uint32_t k = 0; message.type == MESSAGE_score_work && k < message.score_work.count;
             k++)
            if (store->work_count < 64)
                store->works[store->work_count++] = message.score_work.items[k];
        if (message.type == MESSAGE_frame_ack) {
            store->acks++;
            store->cancelled += message.frame_ack.cancelled_count;
        }
    }
    store->down_count = 0;
}

/* A round of server.c without disk and socket. */
static void round_of(struct store *store)
{
    struct world *world = &store->world;
    must(book_tick(world->book, world->now_ns, &world->out));
    must(buffer_append(&world->ledger, world->out.records.bytes, world->out.records.size));
    for (size_t i = 0; i < world->out.send_count; i++) {
        enum status status =
            hub_core_send(store->hub, world->out.sends[i].peer, &world->out.sends[i].message);
        assert_true(status == STATUS_OK || status == STATUS_NETWORK);
        if (world->out.sends[i].message.type == MESSAGE_refused)
            hub_core_forget(store->hub, world->out.sends[i].peer);
    }
    book_out_clear(&world->out);
}

/* Bytes of `identity` arrive. True: the hub handed them on. */
static bool feed(struct store *store, const char *identity, const void *bytes, size_t size)
{
    struct hub_peer peer;
    struct message message;
    struct arena *arena = NULL;
    must(arena_create(&arena, (size_t)64 << 20));
    store->want = identity;
    store->down_count = store->cancelled = store->acks = store->score_acks = 0;
    store->refused = false;
    store->world.now_ns += MS;
    must(hub_core_take(store->hub, store->world.now_ns, identity, strlen(identity), ROLE_NONE,
                       bytes, size, arena, &peer, &message));
    bool taken = message.type != MESSAGE_NONE;
    if (taken)
        must(book_handle(store->world.book, store->world.now_ns, peer.id, &message,
                         &store->world.out));
    round_of(store);
    arena_destroy(&arena);
    read_answers(store);
    return taken;
}

static bool say(struct store *store, const char *identity, const struct message *message)
{
    buffer_clear(&store->bytes);
    must(message_pack(message, &store->bytes));
    return feed(store, identity, store->bytes.bytes, store->bytes.size);
}

/* ---- honest processes ---- */

static void greet(struct store *store, char identity[SOCKET_IDENTITY_MAX], enum role role,
                  uint32_t index, uint64_t incarnation)
{
    socket_identity(role, index, incarnation, identity);
    struct message message = {.type = MESSAGE_hello,
                              .hello = {.run = "test",
                                        .role = role,
                                        .index = index,
                                        .incarnation = incarnation,
                                        .host = "h",
                                        .numerics = "n",
                                        .layout_hash = role == ROLE_REWARD ? 0 : 9,
                                        .numerics_id = role == ROLE_REWARD ? 0 : 8,
                                        .vocabulary = role == ROLE_REWARD ? 0 : VOCABULARY}};
    assert_true(say(store, identity, &message));
    assert_false(store->refused);
}

static void greet_actor(struct store *store, char identity[SOCKET_IDENTITY_MAX], uint32_t index,
                        uint64_t incarnation, uint32_t slots)
{
    greet(store, identity, ROLE_ACTOR, index, incarnation);
    store->lease_count = 0; /* leases that were not heard of are given out again */
    struct message message = {.type = MESSAGE_lease_request,
                              .lease_request = {incarnation, slots, 100000, 0}};
    assert_true(say(store, identity, &message));
}

/* The actor of these tests; a new process when it was refused. */
static void start(struct store *store)
{
    greet_actor(store, store->actor, 0, store->incarnation, 16);
}

static void greet_reward(struct store *store, uint64_t incarnation)
{
    greet(store, store->reward, ROLE_REWARD, 0, incarnation);
    struct message message = {.type = MESSAGE_score_request, .score_request = {incarnation, 16, 0}};
    assert_true(say(store, store->reward, &message));
}

static void store_open(struct store *store)
{
    memset(store, 0, sizeof *store);
    world_create(&store->world, seed_base(), 0);
    store->world.config.reward_low = -10;
    store->world.config.reward_high = 10;
    store->world.config.store.max_attempts = 1000;
    book_destroy(&store->world.book);
    must(book_create(&store->world.book, &store->world.config));
    book_restarted(store->world.book, store->world.now_ns);
    must(hub_core_create(&store->hub, send_down, store));
    must(arena_create(&store->arena, (size_t)64 << 20));
    buffer_init(&store->bytes, 0);
    store->down = memory_array(FEED_MAX, sizeof *store->down);
    assert_non_null(store->down);
    greet(store, store->learner, ROLE_LEARNER, 0, 11);
    struct message message = {.type = MESSAGE_version_register,
                              .version_register = {1, 0, 0, 0, 1000, "w"}};
    assert_true(say(store, store->learner, &message));
    store->incarnation = 21;
    greet_actor(store, store->other, 1, 22, 1);
    start(store);
    greet_reward(store, 31);
    assert_true(store->lease_count >= 4);
}

static void store_close(struct store *store)
{
    for (uint32_t i = 0; i < FEED_MAX; i++)
        buffer_free(&store->down[i]);
    memory_free(store->down);
    buffer_free(&store->bytes);
    arena_destroy(&store->arena);
    hub_core_destroy(&store->hub);
    world_destroy(&store->world);
}

/* The next lease that `identity` (the one said last) got and nobody spoke of yet. */
static struct lease next_lease(struct store *store)
{
    assert_true(store->lease_count > 0);
    struct lease lease = store->leases[0];
    memmove(store->leases, store->leases + 1, --store->lease_count * sizeof lease);
    return lease;
}

static uint32_t ids[BUDGET + 1], good_ids[BUDGET];
static float logprobs[BUDGET + 1], good_logprobs[BUDGET];

static struct segment segment_of(const struct lease *lease)
{
    for (uint32_t i = 0; i < BUDGET; i++) {
        ids[i] = good_ids[i] = i;
        logprobs[i] = good_logprobs[i] = -0.5F;
    }
    return (struct segment){.lease_id = lease->lease_id,
                            .group_id = lease->group_id,
                            .sample = lease->sample,
                            .attempt = lease->attempt,
                            .first_position = BUDGET - lease->budget,
                            .count = 2,
                            .ids = ids,
                            .logprobs = logprobs,
                            .digest = 1000,
                            .rebuilt_at = UINT32_MAX,
                            .numerics_id = 8};
}

/* ---- poison ---- */

static uint64_t refused(const struct store *store, enum refusal kind)
{
    return hub_core_refused(store->hub, kind) + book_refused(store->world.book, kind);
}

/* Records of tokens and scores that the ledger got since the mark. */
static uint32_t taken_since(const struct store *store, size_t mark)
{
    struct arena *arena = NULL;
    uint32_t count = 0;
    must(arena_create(&arena, 1 << 20));
    for (size_t at = mark, used = 0; at < store->world.ledger.size; at += used) {
        struct record record;
        arena_reset(arena);
        must(record_unpack(&record, arena, store->world.ledger.bytes + at,
                           store->world.ledger.size - at, &used));
        count += record.type == RECORD_SEGMENT ||
                 (record.type == RECORD_SCORED && record.scored.score.status == SCORE_OK);
    }
    arena_destroy(&arena);
    return count;
}

struct mark {
    enum refusal kind;
    uint64_t before;
    size_t ledger;
    struct book_counters counters;
};

static struct mark begin(const struct store *store, enum refusal kind)
{
    struct mark mark = {kind, refused(store, kind), store->world.ledger.size, {0}};
    book_read_counters(store->world.book, &mark.counters);
    return mark;
}

static void assert_refused(struct store *store, const struct mark *mark)
{
    struct book_counters now;
    book_read_counters(store->world.book, &now);
    if (refused(store, mark->kind) != mark->before + 1)
        fprintf(stderr, "%s: %" PRIu64 " then, %" PRIu64 " now\n", refusal_name(mark->kind),
                mark->before, refused(store, mark->kind));
    assert_int_equal(refused(store, mark->kind), mark->before + 1);
    assert_int_equal(taken_since(store, mark->ledger), 0);
    assert_int_equal(now.tokens, mark->counters.tokens);
    assert_int_equal(now.rollouts_scored, mark->counters.rollouts_scored);
    assert_int_equal(now.version, mark->counters.version);
    struct book_refusal last = {0}, one;
    bool noted = false;
    while (book_take_refusals(store->world.book, &one, 1) == 1) {
        last = one;
        noted = true;
    }
    if (noted)
        assert_int_equal(last.kind, mark->kind);
    else
        assert_true(hub_core_refused(store->hub, mark->kind) > 0);
}

static bool beat_of(struct store *store, const char *identity)
{
    struct message message = {.type = MESSAGE_heartbeat,
                              .heartbeat = {.stats_json = "{}", .waits_json = "[]"}};
    return say(store, identity, &message);
}

/* One frame with `segment` of the actor; it is answered, and its lease is over. */
static void poison_segment(struct store *store, enum refusal kind, const struct segment *segment,
                           uint64_t frame_id)
{
    struct mark mark = begin(store, kind);
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {frame_id, store->incarnation, 1, segment}};
    /* through the book itself where the codec would not even pack it */
    buffer_clear(&store->bytes);
    assert_int_equal(message_pack(&message, &store->bytes), STATUS_OK);
    assert_true(feed(store, store->actor, store->bytes.bytes, store->bytes.size));
    assert_true(store->acks >= 1);
    if (kind != REFUSAL_DUPLICATE)
        assert_true(store->cancelled >= 1);
    assert_false(store->refused);
    assert_refused(store, &mark);
}

/* Makes the message, lets `spoil` change its bytes, and sends it. */
static void poison_bytes(struct store *store, enum refusal kind,
                         void (*spoil)(struct buffer *bytes))
{
    struct lease lease = store->leases[0];
    struct segment segment = segment_of(&lease);
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {1, store->incarnation, 1, &segment}};
    struct mark mark = begin(store, kind);
    buffer_clear(&store->bytes);
    must(message_pack(&message, &store->bytes));
    spoil(&store->bytes);
    assert_false(feed(store, store->actor, store->bytes.bytes, store->bytes.size));
    assert_refused(store, &mark);
    assert_false(beat_of(store, store->actor)); /* what follows it is not heard, */
    start(store);                               /* until its connection begins anew */
}

static void mend_crc(struct buffer *bytes)
{
    uint32_t crc = crc32c(crc32c(0, bytes->bytes, 12), bytes->bytes + HEADER, bytes->size - HEADER);
    memcpy(bytes->bytes + 12, &crc, sizeof crc);
}

static void cut(struct buffer *bytes)
{
    bytes->size -= 5;
}

static void append_byte(struct buffer *bytes)
{
    must(buffer_append(bytes, "x", 1));
}

static void wrong_magic(struct buffer *bytes)
{
    bytes->bytes[0] = 'w';
}

static void wrong_protocol(struct buffer *bytes)
{
    bytes->bytes[4]++;
    mend_crc(bytes);
}

static void wrong_type(struct buffer *bytes)
{
    bytes->bytes[6] = 200;
    mend_crc(bytes);
}

static void flip_bit(struct buffer *bytes)
{
    bytes->bytes[bytes->size / 2] ^= 4;
}

static void wrong_body(struct buffer *bytes)
{
    memset(bytes->bytes + HEADER, 0xff, bytes->size - HEADER);
    mend_crc(bytes);
}

/* Thousands of empty parts: a small message that would take a hundred times its size. */
static void many_parts(struct buffer *bytes)
{
    bytes->size = HEADER;
    for (int i = 0; i < 300000; i++)
        must(buffer_append(bytes, "\x1a\x00", 2));
    uint32_t size = (uint32_t)bytes->size - HEADER;
    memcpy(bytes->bytes + 8, &size, sizeof size);
    mend_crc(bytes);
}

/* Replaces the first `from` in the body by `to`. */
static void replace(struct buffer *bytes, const void *from, const void *to, size_t size)
{
    for (size_t at = HEADER; at + size <= bytes->size; at++)
        if (memcmp(bytes->bytes + at, from, size) == 0) {
            memcpy(bytes->bytes + at, to, size);
            mend_crc(bytes);
            return;
        }
    fail_msg("the body does not hold what is to be replaced");
}

static void replace_logprob(struct buffer *bytes, float value)
{
    float half = -0.5F;
    replace(bytes, &half, &value, sizeof half);
}

static void not_a_number(struct buffer *bytes)
{
    replace_logprob(bytes, NAN);
}

static void minus_infinity(struct buffer *bytes)
{
    replace_logprob(bytes, -INFINITY);
}

static void positive(struct buffer *bytes)
{
    replace_logprob(bytes, 0.25F);
}

/* count (field 6) says 3, the arrays hold 2 */
static void longer_count(struct buffer *bytes)
{
    replace(bytes, "\x30\x02", "\x30\x03", 2);
}

/* No token, and more to come: an honest codec does not pack it, so an abort is changed into it. */
static void poison_empty(struct store *store)
{
    struct segment segment = segment_of(&store->leases[0]);
    segment.count = 0;
    segment.status = SEGMENT_ABORT;
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {1, store->incarnation, 1, &segment}};
    struct mark mark = begin(store, REFUSAL_EMPTY);
    buffer_clear(&store->bytes);
    must(message_pack(&message, &store->bytes));
    assert_int_equal(store->bytes.bytes[store->bytes.size - 1], SEGMENT_ABORT); /* the last field */
    store->bytes.bytes[store->bytes.size - 1] = SEGMENT_MORE;
    mend_crc(&store->bytes);
    assert_false(feed(store, store->actor, store->bytes.bytes, store->bytes.size));
    assert_refused(store, &mark);
    start(store);
}

static void poison_wire(struct store *store)
{
    poison_empty(store);
    poison_bytes(store, REFUSAL_TRUNCATED, cut);
    poison_bytes(store, REFUSAL_TRAILING_BYTES, append_byte);
    poison_bytes(store, REFUSAL_BAD_MAGIC, wrong_magic);
    poison_bytes(store, REFUSAL_BAD_PROTOCOL, wrong_protocol);
    poison_bytes(store, REFUSAL_BAD_TYPE, wrong_type);
    poison_bytes(store, REFUSAL_BAD_CRC, flip_bit);
    poison_bytes(store, REFUSAL_BAD_BODY, wrong_body);
    poison_bytes(store, REFUSAL_OVERSIZE, many_parts);
    poison_bytes(store, REFUSAL_LOGPROB_NOT_FINITE, not_a_number);
    poison_bytes(store, REFUSAL_LOGPROB_NOT_FINITE, minus_infinity);
    poison_bytes(store, REFUSAL_LOGPROB_POSITIVE, positive);
    poison_bytes(store, REFUSAL_LENGTHS_DIFFER, longer_count);
}

/* A sound frame of the actor's next lease: `count` tokens. */
static struct lease sound_frame(struct store *store, uint64_t frame_id, uint32_t count,
                                enum segment_status status)
{
    struct lease lease = next_lease(store);
    struct segment segment = segment_of(&lease);
    segment.count = count;
    segment.status = status;
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {frame_id, store->incarnation, 1, &segment}};
    struct book_counters before, after;
    book_read_counters(store->world.book, &before);
    assert_true(say(store, store->actor, &message));
    book_read_counters(store->world.book, &after);
    assert_int_equal(after.tokens, before.tokens + count);
    return lease;
}

static void poison_contents(struct store *store, uint64_t *frame)
{
    static const enum refusal kinds[] = {REFUSAL_TOO_LONG,      REFUSAL_TOKEN_ID,
                                         REFUSAL_UNKNOWN_GROUP, REFUSAL_UNKNOWN_SAMPLE,
                                         REFUSAL_UNKNOWN_LEASE, REFUSAL_VERSION_UNKNOWN,
                                         REFUSAL_WRONG_DIGEST,  REFUSAL_WRONG_NUMERICS,
                                         REFUSAL_WRONG_STATUS,  REFUSAL_GAP,
                                         REFUSAL_BAD_FIELD};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct lease lease = next_lease(store);
        struct segment segment = segment_of(&lease);
        segment.count = kinds[k] == REFUSAL_TOO_LONG ? BUDGET + 1 : segment.count;
        logprobs[BUDGET] = -1;
        ids[1] = kinds[k] == REFUSAL_TOKEN_ID ? VOCABULARY : ids[1];
        segment.group_id = kinds[k] == REFUSAL_UNKNOWN_GROUP ? 1000000 : segment.group_id;
        segment.sample = kinds[k] == REFUSAL_UNKNOWN_SAMPLE ? G : segment.sample;
        segment.lease_id = kinds[k] == REFUSAL_UNKNOWN_LEASE ? 1000000 : segment.lease_id;
        segment.version = kinds[k] == REFUSAL_VERSION_UNKNOWN ? 77 : 0;
        segment.digest = kinds[k] == REFUSAL_WRONG_DIGEST ? 1001 : 1000;
        segment.numerics_id = kinds[k] == REFUSAL_WRONG_NUMERICS ? 9 : 8;
        segment.status = kinds[k] == REFUSAL_WRONG_STATUS ? SEGMENT_TURN : SEGMENT_MORE;
        segment.first_position += kinds[k] == REFUSAL_GAP ? 4 : 0;
        segment.attempt += kinds[k] == REFUSAL_BAD_FIELD;
        poison_segment(store, kinds[k], &segment, ++*frame);
        if (kinds[k] == REFUSAL_UNKNOWN_LEASE) /* it never spoke of its own lease */
            start(store);
        sound_frame(store, ++*frame, 1, SEGMENT_MORE);
    }
}

static void poison_leases(struct store *store, uint64_t *frame)
{
    struct lease mine = sound_frame(store, ++*frame, 2, SEGMENT_MORE);
    struct segment segment = segment_of(&mine);
    poison_segment(store, REFUSAL_DUPLICATE, &segment, ++*frame); /* the same tokens once more */
    struct mark mark = begin(store, REFUSAL_NOT_HOLDER); /* another actor goes on with that lease */
    segment.first_position = 2;
    struct message message = {.type = MESSAGE_segment_frame, .segment_frame = {1, 22, 1, &segment}};
    assert_true(say(store, store->other, &message));
    assert_true(store->acks >= 1 && store->cancelled >= 1);
    assert_refused(store, &mark);
    mark = begin(store, REFUSAL_WRONG_SENDER); /* a reward worker has no tokens */
    message.segment_frame.incarnation = 31;
    assert_true(say(store, store->reward, &message));
    assert_refused(store, &mark);
    segment.first_position = 2; /* the holder itself is not disturbed by any of it */
    segment.status = SEGMENT_EOS;
    message = (struct message){.type = MESSAGE_segment_frame,
                               .segment_frame = {++*frame, store->incarnation, 1, &segment}};
    struct book_counters before, after;
    book_read_counters(store->world.book, &before);
    assert_true(say(store, store->actor, &message));
    book_read_counters(store->world.book, &after);
    assert_int_equal(after.tokens, before.tokens + 2);
    struct lease lost = next_lease(store); /* a lease that is over: its actor said it aborts */
    segment = segment_of(&lost);
    segment.count = 0;
    segment.status = SEGMENT_ABORT;
    message.segment_frame.frame_id = ++*frame;
    assert_true(say(store, store->actor, &message));
    segment = segment_of(&lost);
    poison_segment(store, REFUSAL_LEASE_EXPIRED, &segment, ++*frame);
}

static void poison_scores(struct store *store)
{
    assert_true(store->work_count > 0);
    struct score_item item = store->works[0];
    static const enum refusal kinds[] = {REFUSAL_REWARD_OUT_OF_RANGE, REFUSAL_UNKNOWN_GROUP,
                                         REFUSAL_UNKNOWN_SAMPLE, REFUSAL_UNKNOWN_ROLLOUT};
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        struct score score = {item.group_id, item.sample, item.attempt, SCORE_OK, 1, "{}", 0};
        score.value = kinds[k] == REFUSAL_REWARD_OUT_OF_RANGE ? 1e6 : 1;
        score.group_id = kinds[k] == REFUSAL_UNKNOWN_GROUP ? 1000000 : score.group_id;
        score.sample = kinds[k] == REFUSAL_UNKNOWN_SAMPLE ? G : score.sample;
        score.attempt += kinds[k] == REFUSAL_UNKNOWN_ROLLOUT ? 5 : 0;
        struct mark mark = begin(store, kinds[k]);
        struct message message = {.type = MESSAGE_score_result, .score_result = {k, 31, 1, &score}};
        assert_true(say(store, store->reward, &message));
        assert_int_equal(store->score_acks, 1);
        assert_refused(store, &mark);
    }
    double one = 1, nan = NAN;
    struct score score = {item.group_id, item.sample, item.attempt, SCORE_OK, 1, "{}", 0};
    struct message message = {.type = MESSAGE_score_result, .score_result = {9, 31, 1, &score}};
    struct mark mark = begin(store, REFUSAL_REWARD_NOT_FINITE);
    buffer_clear(&store->bytes);
    must(message_pack(&message, &store->bytes));
    replace(&store->bytes, &one, &nan, sizeof one);
    assert_false(feed(store, store->reward, store->bytes.bytes, store->bytes.size));
    assert_refused(store, &mark);
    greet_reward(store, 31);
    assert_true(say(store, store->reward, &message)); /* the sound one is taken */
    mark = begin(store, REFUSAL_DUPLICATE);
    message.score_result.frame_id++;
    assert_true(say(store, store->reward, &message));
    assert_refused(store, &mark);
}

/* The learner goes on to version 1: tokens of version 0 are too old for groups that are begun then. */
static void poison_version_too_old(struct store *store, uint64_t *frame)
{
    book_connection(store->world.book, store->world.now_ns,
                    hub_core_find(store->hub, store->actor, strlen(store->actor)), false);
    store->incarnation++;
    *frame = 0;
    for (int n = 0; n < 400; n++) {
        struct book_counters c;
        book_read_counters(store->world.book, &c);
        if (c.groups_eligible >= P)
            break;
        start(store);
        while (store->lease_count > 0)
            sound_frame(store, ++*frame, 1, SEGMENT_EOS);
        greet_reward(store, 31);
        while (store->work_count > 0) {
            struct score_item item = store->works[--store->work_count];
            struct score score = {
                item.group_id, item.sample, item.attempt, SCORE_OK, item.sample % 2, "{}", 0};
            struct message message = {.type = MESSAGE_score_result,
                                      .score_result = {100, 31, 1, &score}};
            assert_true(say(store, store->reward, &message));
        }
    }
    struct message message = {.type = MESSAGE_plan_request, .plan_request = {0, 0, 0, 0}};
    assert_true(say(store, store->learner, &message));
    message = (struct message){.type = MESSAGE_version_register,
                               .version_register = {2, 0, 1, 0, 1001, "w"}};
    assert_true(say(store, store->learner, &message));
    struct book_counters c;
    book_read_counters(store->world.book, &c);
    assert_int_equal(c.version, 1);
    start(store);
    struct lease lease = next_lease(store);
    assert_int_equal(lease.min_version, 1);
    struct segment segment = segment_of(&lease);
    while (book_take_refusals(store->world.book, &(struct book_refusal){0}, 1) == 1)
        continue;
    poison_segment(store, REFUSAL_VERSION_TOO_OLD, &segment, ++*frame);
}

/* ---- tests ---- */

static void test_poison_every_kind_is_refused_and_the_run_goes_on(void **state)
{
    (void)state;
    struct store store;
    uint64_t frame = 0;
    store_open(&store);
    poison_wire(&store);
    start(&store);
    poison_contents(&store, &frame);
    start(&store);
    poison_leases(&store, &frame);
    store.work_count = 0;
    greet_reward(&store, 31);
    poison_scores(&store);
    store.lease_count = store.work_count = 0;
    poison_version_too_old(&store, &frame);
    uint32_t kinds = 0;
    for (int kind = 1; kind < REFUSAL_COUNT; kind++) {
        kinds += refused(&store, (enum refusal)kind) > 0;
        if (refused(&store, (enum refusal)kind) == 0)
            print_message("%s was not sent\n", refusal_name((enum refusal)kind));
    }
    print_message("%u kinds of poison refused\n", kinds);
    assert_int_equal(kinds, REFUSAL_COUNT - 2);   /* all but none and other */
    struct book *rebuilt = rebuild(&store.world); /* the ledger is sound */
    book_destroy(&rebuilt);
    store_close(&store);
}

static void test_poison_without_end_refuses_its_sender(void **state)
{
    (void)state;
    struct store store;
    store_open(&store);
    start(&store);
    uint32_t frames = 0;
    for (store.refused = false; !store.refused && frames < 20; frames++) {
        struct lease lease = {.lease_id = 1000000, .group_id = 0};
        struct segment segment = segment_of(&lease);
        struct message message = {.type = MESSAGE_segment_frame,
                                  .segment_frame = {frames + 1, store.incarnation, 1, &segment}};
        assert_true(say(&store, store.actor, &message));
    }
    assert_int_equal(frames, 8);
    assert_false(beat_of(&store, store.actor)); /* the hub does not know it any more */
    store.incarnation = 23;
    start(&store); /* its successor may come at once */
    store_close(&store);
}

static void test_poison_random_damage_never_changes_a_token(void **state)
{
    (void)state;
    struct store store;
    struct rng rng;
    struct buffer sound;
    const char *text = getenv("TEST_MUTATIONS");
    uint64_t count = text != NULL ? strtoull(text, NULL, 10) : test_times(100000, 5000),
             handed_on = 0;
    store_open(&store);
    rng_init(&rng, seed_base(), 3, RNG_TEST);
    buffer_init(&sound, 0);
    print_message("TEST_SEED=%" PRIu64 "\n", seed_base());
    start(&store);
    struct lease lease = next_lease(&store);
    struct segment segment = segment_of(&lease);
    segment.count = 8;
    struct message message = {.type = MESSAGE_segment_frame,
                              .segment_frame = {1, store.incarnation, 1, &segment}};
    must(message_pack(&message, &sound));
    struct arena *arena = NULL;
    must(arena_create(&arena, (size_t)64 << 20));
    struct book_counters before, after;
    book_read_counters(store.world.book, &before);
    for (uint64_t n = 0; n < count; n++) {
        buffer_clear(&store.bytes);
        must(buffer_append(&store.bytes, sound.bytes, sound.size));
        uint32_t flips = 1 + rng_below(&rng, 4);
        for (uint32_t f = 0; f < flips; f++)
            store.bytes.bytes[rng_below(&rng, (uint32_t)store.bytes.size)] ^=
                (uint8_t)(1U << rng_below(&rng, 8));
        if (rng_below(&rng, 8) == 0)
            store.bytes.size = rng_below(&rng, (uint32_t)store.bytes.size);
        if (store.bytes.size == sound.size &&
            memcmp(store.bytes.bytes, sound.bytes, sound.size) == 0)
            continue; /* the flips undid each other */
        struct message got;
        arena_reset(arena);
        assert_true(message_unpack(&got, arena, store.bytes.bytes, store.bytes.size) != STATUS_OK);
        assert_true(codec_refusal() != REFUSAL_NONE);
        if (n % 50 != 0) /* the whole way only for some: it is slower */
            continue;
        handed_on += feed(&store, store.actor, store.bytes.bytes, store.bytes.size);
        start(&store);
    }
    book_read_counters(store.world.book, &after);
    assert_int_equal(handed_on, 0);
    assert_int_equal(after.tokens, before.tokens);
    arena_destroy(&arena);
    buffer_free(&sound);
    store_close(&store);
}

/* The same with a CRC that fits: what is taken then is a frame that an honest sender could have sent. */
static void test_poison_random_bodies_with_a_fitting_crc_break_nothing(void **state)
{
    (void)state;
    struct store store;
    struct rng rng;
    const char *text = getenv("TEST_MUTATIONS");
    uint64_t count = (text != NULL ? strtoull(text, NULL, 10) : test_times(100000, 5000)) / 10,
             taken = 0;
    store_open(&store);
    rng_init(&rng, seed_base(), 4, RNG_TEST);
    for (uint64_t n = 0; n < count; n++) {
        struct lease lease = store.lease_count > 0
                                 ? store.leases[rng_below(&rng, store.lease_count)]
                                 : (struct lease){.lease_id = 1};
        struct segment segment = segment_of(&lease);
        struct message message = {.type = MESSAGE_segment_frame,
                                  .segment_frame = {n, store.incarnation, 1, &segment}};
        buffer_clear(&store.bytes);
        must(message_pack(&message, &store.bytes));
        uint32_t flips = 1 + rng_below(&rng, 3);
        for (uint32_t f = 0; f < flips; f++)
            store.bytes.bytes[HEADER + rng_below(&rng, (uint32_t)store.bytes.size - HEADER)] ^=
                (uint8_t)(1U << rng_below(&rng, 8));
        mend_crc(&store.bytes);
        bool heard = feed(&store, store.actor, store.bytes.bytes, store.bytes.size);
        taken += heard;
        if (store.refused || !heard || n % 64 == 0) {
            store.incarnation += store.refused ? 100 : 0;
            start(&store);
        }
        while (book_take_refusals(store.world.book, &(struct book_refusal){0}, 1) == 1)
            continue;
    }
    print_message("%" PRIu64 " of %" PRIu64 " were frames\n", taken, count);
    struct book *rebuilt = rebuild(&store.world);
    book_destroy(&rebuilt);
    store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_poison_every_kind_is_refused_and_the_run_goes_on),
        cmocka_unit_test(test_poison_without_end_refuses_its_sender),
        cmocka_unit_test(test_poison_random_damage_never_changes_a_token),
        cmocka_unit_test(test_poison_random_bodies_with_a_fitting_crc_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
