#include "sandbox/launcher/launcher.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

void *block_map(size_t bytes)
{
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return block == MAP_FAILED ? NULL : block;
}

void block_unmap(void *block, size_t bytes)
{
    if (block != NULL)
        munmap(block, bytes);
}

void descriptor_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

const char *run_item_next(const uint8_t **at, uint64_t *size)
{
    memcpy(size, *at, sizeof *size);
    const char *text = (const char *)*at + sizeof *size;
    *at += sizeof *size + ((*size + 8) & ~UINT64_C(7));
    return text;
}

/* The same with the bounds looked at; NULL: cut short. */
static const char *item_checked(const uint8_t **at, const uint8_t *end, uint64_t *size)
{
    uint64_t left = (uint64_t)(end - *at), claimed;
    if (left < sizeof claimed)
        return NULL;
    memcpy(&claimed, *at, sizeof claimed);
    if (claimed > left || sizeof claimed + ((claimed + 8) & ~UINT64_C(7)) > left)
        return NULL;
    const char *text = run_item_next(at, size);
    return text[claimed] == 0 ? text : NULL;
}

/* The vectors of a usual run: a process holds one run at a time. */
static const char *few[64];

static bool items_into(const char **list, uint32_t count, const uint8_t **at, const uint8_t *end)
{
    for (uint32_t i = 0; i < count; i++) {
        uint64_t size;
        const char *text = item_checked(at, end, &size);
        if (text == NULL)
            return false;
        if (list != NULL)
            list[i] = text;
    }
    return true;
}

static bool items_parse(struct run_items *items, const struct run_head *head, const uint8_t *at)
{
    const uint8_t *end = at + head->body_size;
    uint64_t size;
    if (!items_into(items->argv, head->argv_count, &at, end) ||
        !items_into(items->env, head->env_count, &at, end))
        return false;
    items->files = at;
    if (!items_into(NULL, head->file_count * 2, &at, end))
        return false;
    items->results = at;
    if (!items_into(NULL, head->result_count, &at, end))
        return false;
    items->shown = at;
    if (!items_into(NULL, head->shown_count, &at, end))
        return false;
    const char *base = item_checked(&at, end, &size);
    const char *python = base == NULL ? NULL : item_checked(&at, end, &items->python_size);
    items->input = python == NULL ? NULL : item_checked(&at, end, &items->input_size);
    items->base = head->has_base ? base : NULL;
    items->python = head->has_python ? python : NULL;
    return items->input != NULL && at == end;
}

bool run_items_parse(struct run_items *items, const struct run_head *head, const uint8_t *body)
{
    memset(items, 0, sizeof *items);
    uint32_t most = RUN_ITEMS_MAX;
    if (head->argv_count > most || head->env_count > most || head->file_count > most ||
        head->result_count > most || head->shown_count > most)
        return false;
    items->vector_bytes = (head->argv_count + head->env_count + 2) * sizeof *items->argv;
    items->argv = items->vector_bytes <= sizeof few ? few : block_map(items->vector_bytes);
    if (items->argv == NULL)
        return false;
    items->env = items->argv + head->argv_count + 1;
    items->argv[head->argv_count] = items->env[head->env_count] = NULL;
    return items_parse(items, head, body);
}

void run_items_free(struct run_items *items)
{
    if (items->argv != few)
        block_unmap((void *)items->argv, items->vector_bytes);
    memset(items, 0, sizeof *items);
}

ssize_t send_message(int fd, const void *bytes, size_t size, const int *fds, int fd_count)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        memset(&control, 0, sizeof control);
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE((size_t)fd_count * sizeof(int));
        control.head.cmsg_level = SOL_SOCKET;
        control.head.cmsg_type = SCM_RIGHTS;
        control.head.cmsg_len = CMSG_LEN((size_t)fd_count * sizeof(int));
        memcpy(CMSG_DATA(&control.head), fds, (size_t)fd_count * sizeof(int));
    }
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent;
}

ssize_t receive_message(int fd, void *bytes, size_t size, int *fds, int *fd_count)
{
    union {
        struct cmsghdr head;
        char space[CMSG_SPACE(MESSAGE_FDS_MAX * sizeof(int))];
    } control;
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got;
    do
        got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    *fd_count = 0;
    struct cmsghdr *head = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS) {
        *fd_count = (int)((head->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        memcpy(fds, CMSG_DATA(head), (size_t)*fd_count * sizeof(int));
    }
    return got;
}
