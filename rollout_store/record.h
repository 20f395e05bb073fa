/* rollout_store/record.h - what the ledger holds: one record per transition.
 *
 * Frame: {u32 magic, u32 body bytes, u16 type, u16 0, u32 CRC32C of header fields and body} then the body,
 * little-endian, arrays as raw bytes. Records are facts; numbers of types are never reused. */
#ifndef ROLLOUT_STORE_RECORD_H
#define ROLLOUT_STORE_RECORD_H

#include "core/arena.h"
#include "core/buffer.h"
#include "proto/messages.h"
#include "rollout_store/stages.h"

enum record_type {
    RECORD_RUN = 1,    /* run name, seed, data hash, settings: first record of a ledger */
    RECORD_BORN,       /* group, prompt, draw, min_version, position in its stream */
    RECORD_LEASED,     /* lease, group, sample, attempt, holder */
    RECORD_EXPIRED,    /* lease, counts_failure or counts_death */
    RECORD_SEGMENT,    /* tokens and everything the segment proved */
    RECORD_SCORED,     /* status, value, detail; attempt */
    RECORD_CLOSED,     /* group is eligible */
    RECORD_DROPPED,    /* group, reason */
    RECORD_VERSION,    /* branch, version, parent, digest, path */
    RECORD_BRANCH,     /* new branch starts after version */
    RECORD_PLAN,       /* version, groups, cuts, settings */
    RECORD_CHECKPOINT, /* version, digest, path */
    RECORD_STOP,       /* reason, failed */
    RECORD_SNAPSHOT, /* a part of the whole state of the book; stands at the head of a file only */
    RECORD_REOPENED, /* open or eligible group: its scores are void, it is scored again */
    RECORD_PAUSED,   /* a data source is not drawn any more, or is again */
    RECORD_TYPE_END
};

enum { RECORD_SNAPSHOT_PART_MAX = 32 << 20 };

struct record {
    enum record_type type;
    int64_t wall_ns;
    union {
        struct {
            const char *run;
            uint64_t seed, data_hash, prompt_count;
            const char *settings_json;
        } run;
        struct {
            uint64_t group_id, prompt_id, draw, min_version;
            uint32_t retry;
            uint64_t position; /* of rollout_store/curriculum.h; of one stream without gaps: draw */
        } born;
        struct {
            uint64_t lease_id, group_id;
            uint32_t sample, attempt;
            uint32_t holder_index;
            uint64_t holder_incarnation;
        } leased;
        struct {
            uint64_t lease_id;
            bool counts_failure; /* of the sample: what its holder said was refused */
            bool counts_death;   /* its holder died or fell silent before a new token; not both */
        } expired;
        struct {
            struct segment segment;
        } segment;
        struct {
            struct score score;
            uint32_t scoring_attempt;
        } scored;
        struct {
            uint64_t group_id;
        } closed, reopened;
        struct {
            uint64_t group_id;
            enum drop_reason reason;
            bool prompt_returns;
        } dropped;
        struct {
            uint32_t branch;
            uint64_t version, parent, digest;
            const char *weights_path;
        } version;
        struct {
            uint32_t branch;
            uint64_t after_version;
        } branch;
        struct {
            struct plan plan;
            const struct stage_facts *stage; /* NULL: a ledger before length stages */
        } plan;
        struct {
            uint32_t branch;
            uint64_t version, digest;
            const char *path;
        } checkpoint;
        struct {
            const char *reason;
            bool failed;
        } stop;
        struct {
            const char *source; /* its name */
            bool paused;
        } paused;
        struct {
            uint64_t offset;      /* ledger bytes before the file it begins */
            uint64_t total, hash; /* bytes and hash64 of all parts together */
            uint64_t at;          /* bytes of the parts before this one; the last ends at total */
            uint32_t size;
            const uint8_t *bytes; /* [size] */
        } snapshot;
    };
};

/* At most this many bytes of a frame must be there for record_peek. */
enum { RECORD_PEEK_BYTES = 12 };
/* The type a frame says it has, unchecked; 0 when no frame begins here. */
uint32_t record_peek(const void *bytes, size_t size);
MUST_CHECK enum status record_pack(const struct record *record,
                                   struct buffer *bytes); /* appends a frame */
/* Reads the frame at bytes. AGAIN: the frame is cut off (torn tail). CORRUPT: CRC or contents. *used = frame bytes. */
MUST_CHECK enum status record_unpack(struct record *record, struct arena *arena, const void *bytes,
                                     size_t size, size_t *used);

#endif
