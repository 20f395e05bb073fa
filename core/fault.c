#include "core/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/rng.h"

enum {
    FAULT_ARMED_MAX = 32,
    FAULT_NAME_MAX = 64,
    FAULT_TEXT_MAX = 1024,
    FAULT_FOLDER_MAX = 512,
    FAULT_NUMBER_MAX = 1000000000
};
enum action { ACTION_KILL, ACTION_STOP, ACTION_FAIL, ACTION_SLEEP };

struct armed {
    char point[FAULT_NAME_MAX];
    uint64_t nth;    /* 0: not at one pass */
    uint64_t one_of; /* chance of each pass; 1: every one */
    enum action action;
    uint64_t sleep_ms, sleep_more_ms; /* from the first to the sum of both */
    _Atomic uint64_t passes;
};

atomic_bool fault_armed_anywhere;
static struct armed armed[FAULT_ARMED_MAX];
static size_t armed_count;
static char own_name[FAULT_NAME_MAX];
static char once_folder[FAULT_FOLDER_MAX]; /* "": no limit */
static uint64_t chance_key;
static _Atomic uint64_t chances;

static bool is_known(const char *point)
{
#define POINT(name, what)         \
    if (strcmp(point, name) == 0) \
        return true;
    FAULT_POINTS(POINT)
#undef POINT
    return false;
}

/* A number of digits alone; what follows them goes to *rest. */
static bool parse_number(const char *text, uint64_t *number, const char **rest)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9')
        return false;
    *number = strtoull(text, &end, 10);
    *rest = end;
    return *number <= FAULT_NUMBER_MAX;
}

/* "3", "*", "~50" */
static bool parse_when(const char *text, struct armed *one)
{
    const char *rest = text + 1;
    if (text[0] == '*') {
        one->one_of = 1;
        return *rest == 0;
    }
    if (text[0] == '~')
        return parse_number(rest, &one->one_of, &rest) && *rest == 0 && one->one_of > 0;
    return parse_number(text, &one->nth, &rest) && *rest == 0 && one->nth > 0;
}

/* "250", "300-3000" */
static bool parse_sleep(const char *text, struct armed *one)
{
    const char *rest;
    uint64_t most;
    one->action = ACTION_SLEEP;
    if (!parse_number(text, &one->sleep_ms, &rest))
        return false;
    if (*rest == 0)
        return true;
    if (*rest != '-' || !parse_number(rest + 1, &most, &rest) || *rest != 0 || most < one->sleep_ms)
        return false;
    one->sleep_more_ms = most - one->sleep_ms;
    return true;
}

/* "kill", "stop", "fail", "sleep.250", "sleep.300-3000" */
static bool parse_action(const char *text, struct armed *one)
{
    if (strncmp(text, "sleep.", 6) == 0)
        return parse_sleep(text + 6, one);
    static const char *const names[] = {"kill", "stop", "fail"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            one->action = (enum action)i;
            return true;
        }
    return false;
}

/* "point:when=action" */
static enum status arm(char *text)
{
    struct armed *one = &armed[armed_count];
    char *colon = strchr(text, ':'), *equals = strchr(text, '=');
    if (armed_count == FAULT_ARMED_MAX || colon == NULL || equals == NULL || equals < colon)
        return FAIL(STATUS_INVALID,
                    "WEIR_FAULT: \"%s\" is not point:when=action, or there are more than %d", text,
                    FAULT_ARMED_MAX);
    *colon = *equals = '\0';
    snprintf(one->point, sizeof one->point, "%s", text);
    if (!is_known(one->point))
        return FAIL(STATUS_INVALID, "WEIR_FAULT: there is no point \"%s\" (docs/faults.md)",
                    one->point);
    if (!parse_when(colon + 1, one))
        return FAIL(STATUS_INVALID, "WEIR_FAULT: \"%s\" is no pass: a number from 1 on, * or ~N",
                    colon + 1);
    if (!parse_action(equals + 1, one))
        return FAIL(STATUS_INVALID,
                    "WEIR_FAULT: action \"%s\": kill, stop, fail, sleep.MS or sleep.MS-MS",
                    equals + 1);
    armed_count++;
    return STATUS_OK;
}

enum status fault_init(const char *role, unsigned index)
{
    const char *wanted = getenv("WEIR_FAULT"), *only = getenv("WEIR_FAULT_ROLE"),
               *once = getenv("WEIR_FAULT_ONCE");
    char text[FAULT_TEXT_MAX];
    snprintf(own_name, sizeof own_name, "%s.%u", role, index);
    if (wanted == NULL || wanted[0] == '\0' ||
        (only != NULL && only[0] != '\0' && strcmp(only, own_name) != 0))
        return STATUS_OK;
    if (snprintf(text, sizeof text, "%s", wanted) >= (int)sizeof text)
        return FAIL(STATUS_INVALID, "WEIR_FAULT has more than %d bytes", FAULT_TEXT_MAX - 1);
    if (snprintf(once_folder, sizeof once_folder, "%s", once != NULL ? once : "") >=
        (int)sizeof once_folder)
        return FAIL(STATUS_INVALID, "WEIR_FAULT_ONCE has more than %d bytes", FAULT_FOLDER_MAX - 1);
    if (getrandom(&chance_key, sizeof chance_key, 0) != (ssize_t)sizeof chance_key)
        return FAIL(STATUS_IO, "getrandom: %s", strerror(errno));
    char *rest = NULL;
    for (char *part = strtok_r(text, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest))
        TRY(arm(part));
    atomic_store(&fault_armed_anywhere, armed_count > 0);
    return STATUS_OK;
}

/* Below `bound`, which is not 0. */
static uint64_t draw(uint64_t bound)
{
    uint64_t nth = atomic_fetch_add(&chances, 1);
    const uint32_t counter[4] = {(uint32_t)nth, (uint32_t)(nth >> 32)};
    const uint32_t key[2] = {(uint32_t)chance_key, (uint32_t)(chance_key >> 32)};
    uint32_t out[4];
    philox4x32(counter, key, out);
    return ((uint64_t)out[0] << 32 | out[1]) % bound;
}

static bool is_due(struct armed *one)
{
    uint64_t pass = atomic_fetch_add(&one->passes, 1) + 1;
    return one->nth != 0 ? pass == one->nth : draw(one->one_of) == 0;
}

/* With WEIR_FAULT_ONCE the first process to leave the mark acts. */
static bool may_act(const struct armed *one)
{
    char path[FAULT_FOLDER_MAX + FAULT_NAME_MAX + 2], text[FAULT_NAME_MAX + 32];
    if (once_folder[0] == 0)
        return true;
    snprintf(path, sizeof path, "%s/%s", once_folder, one->point);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return false;
    int size = snprintf(text, sizeof text, "%s %ld\n", own_name, (long)getpid());
    bool told = write(fd, text, (size_t)size) == size;
    close(fd);
    return told;
}

bool fault_fails(const char *point)
{
    bool fails = false;
    if (!atomic_load_explicit(&fault_armed_anywhere, memory_order_relaxed))
        return false;
    for (size_t i = 0; i < armed_count; i++) {
        struct armed *one = &armed[i];
        if (strcmp(one->point, point) != 0 || !is_due(one) || !may_act(one))
            continue;
        if (one->action == ACTION_KILL || one->action == ACTION_STOP)
            kill(getpid(), one->action == ACTION_KILL ? SIGKILL : SIGSTOP);
        else if (one->action == ACTION_SLEEP)
            clock_sleep_ms((int64_t)(one->sleep_ms + draw(one->sleep_more_ms + 1)));
        else
            fails = true;
    }
    return fails;
}

void fault_pass(const char *point)
{
    bool fails = fault_fails(point); /* `fail` means something only where the caller asks */
    (void)fails;
}
