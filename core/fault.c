#include "core/fault.h"

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

enum { FAULT_ARMED_MAX = 32, FAULT_NAME_MAX = 64, FAULT_TEXT_MAX = 1024 };
enum action { ACTION_KILL, ACTION_STOP, ACTION_FAIL, ACTION_SLEEP };

struct armed {
    char point[FAULT_NAME_MAX];
    uint64_t nth; /* 0: every pass */
    enum action action;
    int64_t sleep_ms;
    _Atomic uint64_t passes;
};

atomic_bool fault_armed_anywhere;
static struct armed armed[FAULT_ARMED_MAX];
static size_t armed_count;

static bool is_known(const char *point)
{
#define POINT(name, what)         \
    if (strcmp(point, name) == 0) \
        return true;
    FAULT_POINTS(POINT)
#undef POINT
    return false;
}

static bool parse_count(const char *text, uint64_t *count)
{
    char *end = NULL;
    *count = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0';
}

/* "kill", "stop", "fail", "sleep.250" */
static bool parse_action(const char *text, struct armed *one)
{
    uint64_t ms = 0;
    if (strncmp(text, "sleep.", 6) == 0 && parse_count(text + 6, &ms)) {
        one->action = ACTION_SLEEP;
        one->sleep_ms = (int64_t)ms;
        return true;
    }
    static const char *const names[] = {"kill", "stop", "fail"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(text, names[i]) == 0) {
            one->action = (enum action)i;
            return true;
        }
    return false;
}

/* "point:nth=action" */
static enum status arm(char *text)
{
    struct armed *one = &armed[armed_count];
    char *colon = strchr(text, ':'), *equals = strchr(text, '=');
    if (armed_count == FAULT_ARMED_MAX || colon == NULL || equals == NULL || equals < colon)
        return FAIL(STATUS_INVALID,
                    "WEIR_FAULT: \"%s\" is not point:nth=action, or there are more than %d", text,
                    FAULT_ARMED_MAX);
    *colon = *equals = '\0';
    snprintf(one->point, sizeof one->point, "%s", text);
    if (!is_known(one->point))
        return FAIL(STATUS_INVALID, "WEIR_FAULT: there is no point \"%s\" (docs/faults.md)",
                    one->point);
    bool every = strcmp(colon + 1, "*") == 0;
    if (!every && (!parse_count(colon + 1, &one->nth) || one->nth == 0))
        return FAIL(STATUS_INVALID, "WEIR_FAULT: \"%s\" is no pass: a number from 1 on, or *",
                    colon + 1);
    if (!parse_action(equals + 1, one))
        return FAIL(STATUS_INVALID, "WEIR_FAULT: action \"%s\": kill, stop, fail or sleep.MS",
                    equals + 1);
    armed_count++;
    return STATUS_OK;
}

enum status fault_init(const char *role, unsigned index)
{
    const char *wanted = getenv("WEIR_FAULT"), *only = getenv("WEIR_FAULT_ROLE");
    char own[FAULT_NAME_MAX], text[FAULT_TEXT_MAX];
    snprintf(own, sizeof own, "%s.%u", role, index);
    if (wanted == NULL || wanted[0] == '\0' ||
        (only != NULL && only[0] != '\0' && strcmp(only, own) != 0))
        return STATUS_OK;
    if (snprintf(text, sizeof text, "%s", wanted) >= (int)sizeof text)
        return FAIL(STATUS_INVALID, "WEIR_FAULT has more than %d bytes", FAULT_TEXT_MAX - 1);
    char *rest = NULL;
    for (char *part = strtok_r(text, ",", &rest); part != NULL; part = strtok_r(NULL, ",", &rest))
        TRY(arm(part));
    atomic_store(&fault_armed_anywhere, armed_count > 0);
    return STATUS_OK;
}

bool fault_fails(const char *point)
{
    bool fails = false;
    if (!atomic_load_explicit(&fault_armed_anywhere, memory_order_relaxed))
        return false;
    for (size_t i = 0; i < armed_count; i++) {
        struct armed *one = &armed[i];
        if (strcmp(one->point, point) != 0)
            continue;
        uint64_t pass = atomic_fetch_add(&one->passes, 1) + 1;
        if (one->nth != 0 && pass != one->nth)
            continue;
        if (one->action == ACTION_KILL || one->action == ACTION_STOP)
            kill(getpid(), one->action == ACTION_KILL ? SIGKILL : SIGSTOP);
        else if (one->action == ACTION_SLEEP)
            clock_sleep_ms(one->sleep_ms);
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
