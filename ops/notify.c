#include "ops/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/clock.h"

enum { STATUS_EVERY_MS = 1000 };

static int64_t watchdog_ns(void)
{
    const char *pause = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    if (pause == NULL || (pid != NULL && strtol(pid, NULL, 10) != getpid()))
        return 0;
    long long microseconds = strtoll(pause, NULL, 10);
    return microseconds > 0 ? microseconds * 1000 / 2 : 0;
}

void notify_open(struct notify *notify)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *notify = (struct notify){.fd = -1, .address = {.sun_family = AF_UNIX}};
    size_t size = path != NULL ? strlen(path) : 0;
    if (size < 2 || size >= sizeof notify->address.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(notify->address.sun_path, path, size);
    if (path[0] == '@')
        notify->address.sun_path[0] = 0; /* abstract: no file, the name has no end mark */
    notify->address_size =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (path[0] != '@'));
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    notify->watchdog_ns = watchdog_ns();
}

void notify_close(struct notify *notify)
{
    if (notify->fd >= 0)
        close(notify->fd);
    notify->fd = -1;
}

/* false: it did not go out; the manager may be busy, and is told again. */
static bool say(const struct notify *notify, const char *text)
{
    return sendto(notify->fd, text, strlen(text), MSG_NOSIGNAL,
                  (const struct sockaddr *)&notify->address, notify->address_size) >= 0;
}

bool notify_wants_status(const struct notify *notify, int64_t now_ns)
{
    return notify->fd >= 0 && now_ns >= notify->status_at_ns;
}

static void say_status(struct notify *notify, int64_t now_ns, const char *status)
{
    char line[sizeof notify->status], text[sizeof notify->status + 16];
    snprintf(line, sizeof line, "%.*s", (int)strcspn(status, "\n"), status);
    if (strcmp(line, notify->status) == 0)
        return;
    snprintf(text, sizeof text, "STATUS=%s\n", line);
    notify->status_at_ns = clock_after_ms(now_ns, STATUS_EVERY_MS);
    if (say(notify, text))
        memcpy(notify->status, line, sizeof line);
}

void notify_tick(struct notify *notify, int64_t now_ns, enum notify_phase phase, const char *status)
{
    char text[64];
    if (notify->fd < 0)
        return;
    if (phase == NOTIFY_READY && !notify->ready) {
        snprintf(text, sizeof text, "READY=1\nMAINPID=%ld\n", (long)getpid());
        notify->ready = say(notify, text);
    }
    if (phase == NOTIFY_STOPPING && !notify->stopping)
        notify->stopping = say(notify, "STOPPING=1\n");
    if (status != NULL && notify_wants_status(notify, now_ns))
        say_status(notify, now_ns, status);
    if (notify->watchdog_ns > 0 && now_ns >= notify->alive_at_ns && say(notify, "WATCHDOG=1\n"))
        notify->alive_at_ns = now_ns + notify->watchdog_ns;
}
