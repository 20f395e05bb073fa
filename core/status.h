/* core/status.h - how every function of this project says what went wrong.
 *
 * A function that can fail returns `enum status` and hands results back
 * through its last arguments, which stay untouched on failure. The text of the
 * latest failure of this thread (up to 4095 bytes, longer ones are cut) is kept
 * beside it, so a log line can say where and why, not only "IO". errno survives.
 *
 *     TRY(rollout_store_open(&store, config));        pass a failure up
 *     return FAIL(STATUS_INVALID, "group_size %u", n); start one here
 */
#ifndef CORE_STATUS_H
#define CORE_STATUS_H

/* Every header that a .cu file may include sits between these two. */
#ifdef __cplusplus
#define C_BEGIN extern "C" {
#define C_END   }
#else
#define C_BEGIN
#define C_END
#endif

C_BEGIN

/* Rows are only ever added at the end: the numbers travel between processes. */
// clang-format off
#define STATUS_ROWS(ROW) \
    ROW(OK,          "success") \
    ROW(AGAIN,       "not ready, try again") \
    ROW(TIMEOUT,     "deadline passed") \
    ROW(CANCELLED,   "caller asked to stop") \
    ROW(INVALID,     "argument or message breaks its contract") \
    ROW(LIMIT,       "a configured limit was reached") \
    ROW(NO_MEMORY,   "out of memory") \
    ROW(NOT_FOUND,   "no such item") \
    ROW(STALE,       "policy version too old") \
    ROW(CORRUPT,     "checksum or format mismatch") \
    ROW(IO,          "operating system call failed") \
    ROW(NETWORK,     "peer unreachable or gone") \
    ROW(CUDA,        "CUDA, cuBLAS or NCCL call failed") \
    ROW(UNSUPPORTED, "not supported by this build or model")

enum status {
#define ROW(name, text) STATUS_##name,
    STATUS_ROWS(ROW)
#undef ROW
    STATUS_COUNT
};
// clang-format on

#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

const char *status_name(enum status status); /* "STALE" */
const char *status_text(enum status status); /* "policy version too old" */
enum { STATUS_TEXT_MAX = 4096 };
/* Clean-up after a failure may fail on its own: it keeps the text that matters and puts it back. */
void status_keep(char kept[STATUS_TEXT_MAX]);
void status_restore(const char kept[STATUS_TEXT_MAX]);
const char *status_last_error(void); /* "store.c:88 (open): ..." */
/* An error text without "file.c:12 (function): STATUS: ", as people read it. Points into `text`. */
const char *status_sentence(const char *text);

enum status status_fail(enum status status, const char *file, int line, const char *func,
                        const char *fmt, ...) PRINTF_LIKE(5, 6);

#define FAIL(status, ...) status_fail((status), __FILE__, __LINE__, __func__, __VA_ARGS__)

#define TRY(call)                         \
    do {                                  \
        enum status try_status_ = (call); \
        if (try_status_ != STATUS_OK)     \
            return try_status_;           \
    } while (0)

/* For functions that own something: sets `status` and jumps to the one exit. */
#define TRY_GOTO(label, call)    \
    do {                         \
        status = (call);         \
        if (status != STATUS_OK) \
            goto label;          \
    } while (0)

C_END
#endif
