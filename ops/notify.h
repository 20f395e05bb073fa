/* ops/notify.h - what a supervisor tells the service manager that started it (sd_notify(3), without its library).
 *
 * systemd names a datagram socket in NOTIFY_SOCKET (a path, or "@name": abstract) and, with WatchdogSec, the longest
 * pause between two signs of life in WATCHDOG_USEC (for the process WATCHDOG_PID, when that is set). Sent are READY=1
 * with MAINPID once, STATUS= when it changed and at most once a second, WATCHDOG=1 twice in that pause, STOPPING=1 once.
 * Without a socket nothing happens; a manager that does not read is not waited for. One thread. */
#ifndef OPS_NOTIFY_H
#define OPS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum notify_phase { NOTIFY_STARTING, NOTIFY_READY, NOTIFY_STOPPING };

struct notify {
    int fd; /* -1: nobody asked */
    struct sockaddr_un address;
    socklen_t address_size;
    int64_t watchdog_ns; /* pause between two WATCHDOG=1; 0: none are wanted */
    int64_t alive_at_ns, status_at_ns;
    bool ready, stopping;
    char status[256];
};

/* Reads the environment. A bad NOTIFY_SOCKET counts as none. */
void notify_open(struct notify *notify);
void notify_close(struct notify *notify);
/* true: a status given to notify_tick now would be sent, if it is another one. */
bool notify_wants_status(const struct notify *notify, int64_t now_ns);
/* Call it from the main loop, more often than WATCHDOG_USEC. status: one line, or NULL. */
void notify_tick(struct notify *notify, int64_t now_ns, enum notify_phase phase,
                 const char *status);

#endif
