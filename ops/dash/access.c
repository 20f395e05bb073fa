#include "ops/dash/access.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- hosts ---- */

/* The host of "host:port", "[v6]:port" or "host", lower case, without brackets. */
static bool take_host(const char *text, char host[ACCESS_NAME_MAX])
{
    bool brackets = text[0] == '[';
    const char *begin = text + brackets;
    size_t size = strcspn(begin, brackets ? "]" : ":");
    if (size == 0 || size >= ACCESS_NAME_MAX)
        return false;
    const char *rest = begin + size;
    if (brackets && *rest++ != ']')
        return false;
    if (*rest != 0 && (*rest != ':' || rest[1 + strspn(rest + 1, "0123456789")] != 0))
        return false;
    for (size_t i = 0; i < size; i++)
        host[i] = (char)tolower((unsigned char)begin[i]);
    host[size] = 0;
    return true;
}

static bool is_number(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

bool access_is_loopback(const char *host)
{
    struct in_addr four;
    struct in6_addr six;
    if (strcasecmp(host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, host, &four) == 1)
        return ntohl(four.s_addr) >> 24 == 127;
    return inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}

bool access_host(const struct access_rules *rules, const char *text)
{
    char host[ACCESS_NAME_MAX];
    if (text == NULL || !take_host(text, host))
        return false;
    if (access_is_loopback(host) || strcasecmp(host, rules->host) == 0)
        return true;
    if (rules->loopback)
        return false;
    return is_number(host) || (rules->name[0] != 0 && strcasecmp(host, rules->name) == 0);
}

bool access_origin(const char *origin, const char *host)
{
    if (origin == NULL)
        return true;
    if (host == NULL)
        return false;
    if (strncasecmp(origin, "http://", 7) == 0)
        return strcasecmp(origin + 7, host) == 0;
    if (strncasecmp(origin, "https://", 8) == 0) /* a proxy speaks TLS before us */
        return strcasecmp(origin + 8, host) == 0;
    return false;
}

enum status access_split(const char *address, char host[ACCESS_NAME_MAX], uint32_t *port)
{
    const char *colon = strrchr(address, ':');
    uint64_t value = 0;
    if (colon == NULL || colon == address || colon - address >= ACCESS_NAME_MAX)
        return FAIL(STATUS_INVALID,
                    "dash.address: \"%.200s\" is no address: write host:port, as 127.0.0.1:8420",
                    address);
    if (!access_u64(colon + 1, &value) || value > 65535)
        return FAIL(STATUS_INVALID,
                    "dash.address: \"%.200s\": the port must be a number from 0 to 65535", address);
    size_t size = (size_t)(colon - address);
    bool brackets = size > 2 && address[0] == '[' && colon[-1] == ']';
    memcpy(host, address + brackets, size - 2 * brackets);
    host[size - 2 * brackets] = 0;
    *port = (uint32_t)value;
    return STATUS_OK;
}

/* ---- the token ---- */

static bool same_secret(const char *secret, const char *said, size_t said_size)
{
    size_t size = strlen(secret);
    unsigned differ = size != said_size;
    for (size_t i = 0; i < size; i++)
        differ |= (unsigned)(unsigned char)(secret[i] ^ (i < said_size ? said[i] : 0));
    return differ == 0;
}

bool access_token(const struct access_rules *rules, const char *token)
{
    return token != NULL && rules->token[0] != 0 && same_secret(rules->token, token, strlen(token));
}

bool access_bearer(const struct access_rules *rules, const char *authorization)
{
    return authorization != NULL && strncasecmp(authorization, "Bearer ", 7) == 0 &&
           access_token(rules, authorization + 7);
}

bool access_cookie(const struct access_rules *rules, const char *cookies)
{
    char name[40];
    size_t size = (size_t)snprintf(name, sizeof name, "weir_dash_%u=", rules->port);
    bool found = false;
    for (const char *at = cookies; at != NULL && *at != 0 && rules->token[0] != 0;) {
        at += strspn(at, "; ");
        size_t length = strcspn(at, ";");
        if (length > size && strncmp(at, name, size) == 0)
            found |= same_secret(rules->token, at + size, length - size);
        at += length;
    }
    return found;
}

/* ---- names and numbers ---- */

static bool is_plain(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

static bool is_segment(const char *text, size_t size)
{
    if (size == 0 || size > 100 || text[0] == '.')
        return false;
    for (size_t i = 0; i < size; i++)
        if (!is_plain((unsigned char)text[i]))
            return false;
    return true;
}

bool access_process(const char *name)
{
    return name != NULL && is_segment(name, strlen(name)) && strstr(name, "..") == NULL;
}

bool access_file(const char *name)
{
    for (int depth = 0; depth < 4; depth++) {
        size_t size = strcspn(name, "/");
        if (!is_segment(name, size))
            return false;
        if (name[size] == 0)
            return true;
        name += size + 1;
    }
    return false;
}

bool access_u64(const char *text, uint64_t *value)
{
    uint64_t made = 0;
    if (text == NULL || *text == 0)
        return false;
    for (; *text != 0; text++) {
        if (*text < '0' || *text > '9' || made > (UINT64_MAX - 9) / 10)
            return false;
        made = made * 10 + (uint64_t)(*text - '0');
    }
    *value = made;
    return true;
}

bool access_real(const char *text, double *value)
{
    char *end;
    if (text == NULL || (!isdigit((unsigned char)text[0]) && strchr("+-.", text[0]) == NULL) ||
        text[0] == 0 || strspn(text, "0123456789+-.eE") != strlen(text))
        return false;
    double made = strtod(text, &end);
    if (*end != 0 || !isfinite(made))
        return false;
    *value = made;
    return true;
}
