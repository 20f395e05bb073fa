/* Starts and ends launchers. The program is carried inside this library and runs from memory, so it needs no place on
 * the disk; posix_spawn starts it, so a caller with many threads is safe. */
#include "sandbox/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static enum status memory_file(const char *name, const struct embedded *program, int *out)
{
    int low = memfd_create(name, MFD_CLOEXEC);
    /* out of the way of the descriptors that the launcher starts with */
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, LAUNCHER_FD_LIBRARY + 1);
    if (low >= 0)
        close(low);
    if (fd < 0)
        return FAIL(STATUS_UNSUPPORTED, "memfd_create: %s", strerror(errno));
    for (const uint8_t *at = program->begin; at < program->end;) {
        ssize_t written = write(fd, at, (size_t)(program->end - at));
        if (written <= 0) {
            close(fd);
            return FAIL(STATUS_NO_MEMORY, "a memory file for %s: %s", name, strerror(errno));
        }
        at += written;
    }
    *out = fd;
    return STATUS_OK;
}

static enum status spawn(struct slot *slot, int control, int launcher, int zygote)
{
    char path[64];
    char *arguments[] = {"weir-sandbox-launcher", NULL}, *env[] = {NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    snprintf(path, sizeof path, "/proc/self/fd/%d", launcher);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    int high = fcntl(control, F_DUPFD_CLOEXEC, LAUNCHER_FD_LIBRARY + 1);
    posix_spawn_file_actions_adddup2(&actions, high, LAUNCHER_FD_CONTROL);
    posix_spawn_file_actions_adddup2(&actions, zygote, LAUNCHER_FD_LIBRARY);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    int error =
        high < 0 ? errno : posix_spawn(&slot->pid, path, &actions, &attributes, arguments, env);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (high >= 0)
        close(high);
    if (error != 0) {
        slot->pid = 0;
        return FAIL(STATUS_UNSUPPORTED, "the sandbox's launcher cannot be started from memory: %s",
                    strerror(error));
    }
    return STATUS_OK;
}

static enum status say(int fd, const void *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t sent = send(fd, (const uint8_t *)bytes + done, size - done, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            return FAIL(STATUS_IO, "the sandbox's launcher does not listen: %s", strerror(errno));
        done += sent > 0 ? (size_t)sent : 0;
    }
    return STATUS_OK;
}

static enum status greet(struct sandbox *sandbox, struct slot *slot, uint32_t index)
{
    struct launcher_setup setup = sandbox->setup;
    struct launcher_hello hello;
    setup.slot = index;
    TRY(say(slot->control, &setup, sizeof setup));
    TRY(say(slot->control, sandbox->filter.bytes, sandbox->filter.size));
    ssize_t got;
    do
        got = recv(slot->control, &hello, sizeof hello, MSG_WAITALL);
    while (got < 0 && errno == EINTR);
    if (got != sizeof hello)
        return FAIL(STATUS_UNSUPPORTED, "the sandbox's launcher died when it started");
    if (!hello.fine)
        return FAIL(STATUS_UNSUPPORTED, "this machine has no sandbox: %s", hello.text);
    slot->features = hello.features;
    return STATUS_OK;
}

enum status slot_start(struct sandbox *sandbox, uint32_t index)
{
    struct slot *slot = &sandbox->slots[index];
    int pair[2] = {-1, -1}, launcher = -1, zygote = -1;
    enum status status = STATUS_OK;
    TRY_GOTO(out, memory_file("weir-sandbox-launcher", &embedded_launcher, &launcher));
    TRY_GOTO(out, memory_file("weir-sandbox-zygote", &embedded_zygote, &zygote));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        status = FAIL(STATUS_IO, "socketpair: %s", strerror(errno));
        goto out;
    }
    TRY_GOTO(out, spawn(slot, pair[1], launcher, zygote));
    slot->control = pair[0];
    pair[0] = -1;
    close(pair[1]);
    pair[1] = -1;
    status = greet(sandbox, slot, index);
    if (status != STATUS_OK)
        slot_stop(slot);
out:
    for (int i = 0; i < 2; i++)
        if (pair[i] >= 0)
            close(pair[i]);
    if (launcher >= 0)
        close(launcher);
    if (zygote >= 0)
        close(zygote);
    return status;
}

void slot_stop(struct slot *slot)
{
    if (slot->pid <= 0)
        return;
    close(slot->control);
    slot->control = -1;
    while (waitpid(slot->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    slot->pid = 0;
}
