#include "ops/terminal.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/file.h"

enum { ROWS_DEFAULT = 24, COLUMNS_DEFAULT = 80, ESCAPE_MS = 30 };

bool terminal_possible(void)
{
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 && term != NULL &&
           term[0] != 0 && strcmp(term, "dumb") != 0;
}

static void find_size(struct terminal *terminal)
{
    struct winsize size;
    terminal->columns = COLUMNS_DEFAULT;
    terminal->rows = ROWS_DEFAULT;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        terminal->columns = size.ws_col;
        terminal->rows = size.ws_row;
    }
}

static void say(const char *text)
{
    if (file_write_all(STDOUT_FILENO, text, strlen(text), "terminal") != STATUS_OK)
        return; /* the terminal is gone: nothing is to be put right on it */
}

enum status terminal_open(struct terminal *terminal)
{
    *terminal = (struct terminal){.signal_fd = -1};
    if (tcgetattr(STDIN_FILENO, &terminal->before) != 0)
        return FAIL(STATUS_INVALID, "standard input is no terminal: %s", strerror(errno));
    sigset_t set;
    sigemptyset(&set);
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGWINCH};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&set, numbers[i]);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 ||
        (terminal->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return FAIL(STATUS_IO, "signalfd: %s", strerror(errno));
    struct termios raw = terminal->before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG | IEXTEN);
    raw.c_iflag &= ~(tcflag_t)(IXON | ICRNL);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) != 0) {
        close(terminal->signal_fd);
        return FAIL(STATUS_IO, "tcsetattr: %s", strerror(errno));
    }
    terminal->opened = true;
    find_size(terminal);
    say("\033[?1049h\033[?25l\033[?7l\033[H\033[2J"); /* alternate screen, no cursor, no wrapping */
    return STATUS_OK;
}

void terminal_close(struct terminal *terminal)
{
    if (!terminal->opened)
        return;
    say("\033[0m\033[?7h\033[?25h\033[?1049l");
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &terminal->before);
    close(terminal->signal_fd);
    terminal->opened = false;
}

/* Colours take no column, a character of several bytes one. */
static unsigned columns_of(const char *line, size_t size)
{
    unsigned columns = 0;
    for (size_t i = 0; i < size; i++) {
        if (line[i] != '\033')
            columns += ((unsigned char)line[i] & 0xc0) != 0x80;
        else
            while (i < size && line[i] != 'm')
                i++;
    }
    return columns;
}

/* Written over what is there: no frame begins with an empty screen. */
enum status terminal_draw(struct terminal *terminal, const struct buffer *page)
{
    struct buffer out;
    size_t from = 0;
    buffer_init(&out, 0);
    enum status status;
    TRY_GOTO(out, buffer_text(&out, terminal->resized ? "\033[0m\033[2J" : "\033[0m"));
    terminal->resized = false;
    for (unsigned row = 1; row <= terminal->rows; row++) {
        const uint8_t *end =
            from < page->size ? memchr(page->bytes + from, '\n', page->size - from) : NULL;
        size_t size = end != NULL ? (size_t)(end - page->bytes) - from : page->size - from;
        const char *line = size > 0 ? (const char *)page->bytes + from : "";
        TRY_GOTO(out, buffer_printf(&out, "\033[%u;1H", row));
        TRY_GOTO(out, buffer_append(&out, line, size));
        if (columns_of(line, size) < terminal->columns) /* else it would take the last character */
            TRY_GOTO(out, buffer_text(&out, "\033[K"));
        from += size + (end != NULL);
    }
    TRY_GOTO(out, file_write_all(STDOUT_FILENO, out.bytes, out.size, "terminal"));
out:
    buffer_free(&out);
    return status;
}

/* ---- keys ---- */

static size_t sequence(const unsigned char *bytes, size_t size, enum terminal_key *key)
{
    static const struct {
        char text[4];
        enum terminal_key key;
    } known[] = {
        {"A", KEY_UP},       {"B", KEY_DOWN},       {"C", KEY_RIGHT}, {"D", KEY_LEFT},
        {"H", KEY_HOME},     {"F", KEY_END},        {"1~", KEY_HOME}, {"4~", KEY_END},
        {"5~", KEY_PAGE_UP}, {"6~", KEY_PAGE_DOWN},
    };
    size_t at = 2;
    while (at < size && (bytes[at] < 0x40 || bytes[at] > 0x7e))
        at++;
    if (at >= size)
        return size < 16 ? 0 : size; /* no sequence is that long */
    *key = KEY_OTHER;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].text) == at - 1 && memcmp(known[i].text, bytes + 2, at - 1) == 0)
            *key = known[i].key;
    return at + 1;
}

size_t terminal_parse_key(const unsigned char *bytes, size_t size, enum terminal_key *key)
{
    static const struct {
        unsigned char byte;
        enum terminal_key key;
    } plain[] = {{'q', KEY_QUIT}, {'Q', KEY_QUIT}, {3, KEY_QUIT},       {4, KEY_QUIT},
                 {'k', KEY_UP},   {'j', KEY_DOWN}, {'h', KEY_LEFT},     {'l', KEY_RIGHT},
                 {'g', KEY_HOME}, {'G', KEY_END},  {' ', KEY_PAGE_DOWN}};
    *key = KEY_NONE;
    if (size == 0)
        return 0;
    if (bytes[0] == 0x1b && size == 1)
        return 0;
    if (bytes[0] == 0x1b && (bytes[1] == '[' || bytes[1] == 'O'))
        return sequence(bytes, size, key);
    *key = KEY_OTHER;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (plain[i].byte == bytes[0])
            *key = plain[i].key;
    return 1;
}

static enum terminal_key next_key(struct terminal *terminal)
{
    enum terminal_key key;
    size_t used = terminal_parse_key(terminal->keys, terminal->key_count, &key);
    memmove(terminal->keys, terminal->keys + used, terminal->key_count - used);
    terminal->key_count -= used;
    return key;
}

static enum terminal_key take_signal(struct terminal *terminal)
{
    struct signalfd_siginfo info;
    while (read(terminal->signal_fd, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGWINCH)
            terminal->resized = true;
        else
            terminal->signal = (int)info.ssi_signo;
    if (terminal->signal != 0)
        return KEY_SIGNAL;
    if (!terminal->resized)
        return KEY_NONE;
    find_size(terminal);
    return KEY_RESIZE;
}

enum terminal_key terminal_wait(struct terminal *terminal, int timeout_ms)
{
    enum terminal_key key = next_key(terminal);
    if (key != KEY_NONE)
        return key;
    bool open = terminal->key_count > 0; /* an escape sequence in two pieces, or the key Escape */
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = terminal->signal_fd, .events = POLLIN}};
    int ready = poll(fds, 2, open && timeout_ms > ESCAPE_MS ? ESCAPE_MS : timeout_ms);
    if (ready == 0 && open)
        terminal->key_count = 0;
    if (ready <= 0)
        return KEY_NONE;
    if ((fds[1].revents & POLLIN) != 0)
        return take_signal(terminal);
    ssize_t got = read(STDIN_FILENO, terminal->keys + terminal->key_count,
                       sizeof terminal->keys - terminal->key_count);
    if (got <= 0)
        return KEY_QUIT;
    terminal->key_count += (size_t)got;
    return next_key(terminal);
}
