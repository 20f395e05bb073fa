#include "transport/redis_words.h"

#include <string.h>

struct word {
    const char *begin;
    enum status status;
    const char *advice;
};

/* The longer beginning stands before the shorter one. */
static const struct word words[] = {
    {"NOAUTH", STATUS_INVALID,
     "it wants a password: set WEIR_REDIS_PASSWORD, and redis.user where it has an ACL"},
    {"WRONGPASS", STATUS_INVALID,
     "user and password do not fit, or the user is off: check redis.user and WEIR_REDIS_PASSWORD"},
    {"ERR invalid password", STATUS_INVALID, "check WEIR_REDIS_PASSWORD"},
    {"ERR AUTH <password> called without", STATUS_INVALID,
     "it has no password: leave WEIR_REDIS_PASSWORD and redis.password empty"},
    {"ERR Client sent AUTH", STATUS_INVALID,
     "it has no password: leave WEIR_REDIS_PASSWORD and redis.password empty"},
    {"ERR wrong number of arguments for 'auth'", STATUS_INVALID,
     "it is older than ACLs (Redis 6): leave redis.user empty"},
    {"NOPERM", STATUS_INVALID,
     "the user may not do this: give it the ACL line of docs/redis.md (ACL SETUSER)"},
    {"OOM", STATUS_INVALID,
     "its maxmemory is reached: raise it (CONFIG SET maxmemory), or lower redis.rollouts_kept"},
    {"LOADING", STATUS_AGAIN, "it still reads its dump: wait"},
    {"MISCONF", STATUS_INVALID,
     "it cannot write its snapshot (a full disk?) and so refuses writes: look into its log, or "
     "CONFIG SET stop-writes-on-bgsave-error no"},
    {"READONLY", STATUS_INVALID,
     "it is a replica: name the master in redis.address, or the Sentinels in redis.sentinels"},
    {"MASTERDOWN", STATUS_AGAIN,
     "it is a replica that has lost its master: name the master in redis.address, or the Sentinels "
     "in redis.sentinels"},
    {"NOREPLICAS", STATUS_INVALID,
     "too few replicas are connected to it (min-replicas-to-write): start them, or lower that"},
    {"NOGOODSLAVE", STATUS_AGAIN, "no replica can be promoted yet: wait"},
    {"DENIED", STATUS_INVALID,
     "it is in protected mode: give it a password, or use its unix socket or loopback"},
    {"BUSY", STATUS_AGAIN, "a script keeps it busy: SCRIPT KILL, or wait"},
    {"CLUSTERDOWN", STATUS_AGAIN, "its cluster is not whole: wait, or mend it"},
    {"MOVED", STATUS_INVALID,
     "it is a node of a Redis Cluster: use one Redis, with Sentinels if it must fail over"},
    {"ASK", STATUS_INVALID,
     "it is a node of a Redis Cluster: use one Redis, with Sentinels if it must fail over"},
    {"WRONGTYPE", STATUS_INVALID,
     "somebody else keeps another kind of value under weir's key: delete it, or use another Redis"},
    {"ERR max number of clients", STATUS_AGAIN,
     "it has no room for another client: raise its maxclients"},
    {"ERR unknown command 'SENTINEL'", STATUS_INVALID,
     "that is a Redis and no Sentinel: name it in redis.address and leave redis.sentinels empty"},
    {"ERR unknown command", STATUS_INVALID,
     "it is too old or crippled: weir needs Redis 5 or newer"},
    {"EXECABORT", STATUS_INVALID, ""},
};

bool redis_error_is(const char *error, const char *word)
{
    return strncmp(error, word, strlen(word)) == 0;
}

static const struct word *find(const char *error)
{
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (redis_error_is(error, words[i].begin))
            return &words[i];
    return NULL;
}

const char *redis_error_advice(const char *error)
{
    const struct word *word = find(error);
    return word != NULL ? word->advice : "";
}

enum status redis_error_status(const char *error)
{
    const struct word *word = find(error);
    return word != NULL ? word->status : STATUS_INVALID;
}

struct banner {
    const char *bytes;
    size_t skip; /* any bytes before them */
    size_t size;
    const char *who;
};

const char *redis_stranger(const char *bytes, size_t size)
{
    static const struct banner banners[] = {
        {"SSH-", 0, 4, "an SSH server"},
        {"HTTP/", 0, 5, "a web server (HTTP)"},
        {"<!DOCTYPE", 0, 9, "a web server (HTTP)"},
        /* a SETTINGS frame on stream 0: RFC 9113 sections 4.1 and 6.5; length may be anything below 65536 */
        {"\x04\x00\x00\x00\x00\x00", 3, 6,
         "a gRPC or HTTP/2 server, as Ray's GCS, which lives on port 6379"},
        {"\x15\x03", 0, 2,
         "a server that wants TLS, which weir's client has not: use stunnel or a "
         "unix socket"},
        {"220 ", 0, 4, "a mail or FTP server"},
        {"\xff\x00\x00\x00\x00\x00\x00\x00", 0, 8, "a ZeroMQ endpoint"},
        {"ERROR\r\n", 0, 7, "a memcached"},
        {"\x00\x00\x00\x0a", 1, 4, "a MySQL server"},
    };
    for (size_t i = 0; i < sizeof banners / sizeof banners[0]; i++) {
        const struct banner *banner = &banners[i];
        if (size >= banner->skip + banner->size &&
            memcmp(bytes + banner->skip, banner->bytes, banner->size) == 0)
            return banner->who;
    }
    return NULL;
}
