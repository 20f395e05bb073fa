/* proto/refusal.h - kinds of poison: what a message, a segment or a score is refused for.
 *
 * Each has a name (counters `refused_<name>`, quarantine.jsonl, events) and a sentence. The first ones are found by
 * message_unpack (codec_refusal() tells which), the rest by the store's book, which knows what was leased. Numbers
 * are not on the wire and not on disk. */
#ifndef PROTO_REFUSAL_H
#define PROTO_REFUSAL_H

#include "core/status.h"

C_BEGIN

// clang-format off
#define REFUSAL_ROWS(ROW)                                                                              \
    ROW(TRUNCATED,           truncated,           "fewer bytes came than the message's header says")   \
    ROW(TRAILING_BYTES,      trailing_bytes,      "bytes follow the end of the message")               \
    ROW(BAD_MAGIC,           bad_magic,           "the message does not start with WEIR")              \
    ROW(BAD_PROTOCOL,        bad_protocol,        "the message is of another wire protocol")           \
    ROW(BAD_TYPE,            bad_type,            "the type of the message is not known")              \
    ROW(BAD_CRC,             bad_crc,             "the CRC32C of the message does not fit its bytes")  \
    ROW(BAD_BODY,            bad_body,            "the body is not protobuf")                          \
    ROW(BAD_FIELD,           bad_field,           "a field breaks a rule of the protocol")             \
    ROW(OVERSIZE,            oversize,            "the message or a field is larger than its limit")   \
    ROW(LENGTHS_DIFFER,      lengths_differ,      "an array is longer or shorter than its count")      \
    ROW(LOGPROB_NOT_FINITE,  logprob_not_finite,  "a logprob is NaN or infinite")                      \
    ROW(LOGPROB_POSITIVE,    logprob_positive,    "a logprob is above 0")                              \
    ROW(REWARD_NOT_FINITE,   reward_not_finite,   "a reward is NaN or infinite")                       \
    ROW(EMPTY,               empty,               "a segment without tokens ends nothing")             \
    ROW(TOO_LONG,            too_long,            "a segment goes past the longest response")          \
    ROW(TOKEN_ID,            token_id,            "a token id is not in the vocabulary")               \
    ROW(UNKNOWN_GROUP,       unknown_group,       "the group does not exist")                          \
    ROW(UNKNOWN_SAMPLE,      unknown_sample,      "the group has no such sample")                      \
    ROW(UNKNOWN_LEASE,       unknown_lease,       "the lease was never given")                         \
    ROW(NOT_HOLDER,          not_holder,          "the lease belongs to somebody else")                \
    ROW(LEASE_EXPIRED,       lease_expired,       "the lease is over")                                 \
    ROW(DUPLICATE,           duplicate,           "these tokens or scores are known already")          \
    ROW(GAP,                 gap,                 "the segment does not continue the sample")          \
    ROW(VERSION_UNKNOWN,     version_unknown,     "the weights of this version do not exist")          \
    ROW(VERSION_TOO_OLD,     version_too_old,     "the weights are older than the lease allows")       \
    ROW(WRONG_DIGEST,        wrong_digest,        "the digest is not that of the version's weights")   \
    ROW(WRONG_NUMERICS,      wrong_numerics,      "the numerics are not those of the learner")         \
    ROW(WRONG_STATUS,        wrong_status,        "the status is not one this store takes")            \
    ROW(REWARD_OUT_OF_RANGE, reward_out_of_range, "a reward is outside reward.clip_low and clip_high") \
    ROW(UNKNOWN_ROLLOUT,     unknown_rollout,     "the score is of a rollout that waits for none")     \
    ROW(WRONG_SENDER,        wrong_sender,        "the sender's role or incarnation may not say this") \
    ROW(OTHER,               other,               "refused for another reason")
// clang-format on

enum refusal {
    REFUSAL_NONE,
#define ROW(upper, lower, sentence) REFUSAL_##upper,
    REFUSAL_ROWS(ROW)
#undef ROW
        REFUSAL_COUNT
};

const char *refusal_name(enum refusal kind);     /* "bad_crc"; "none" */
const char *refusal_sentence(enum refusal kind); /* without a full stop; "" */

C_END
#endif
