/* ops/terminal.h - the terminal as a full screen: alternate screen, keys one by one, and back as it was.
 *
 *     TRY(terminal_open(&terminal));                 signals are read, not delivered, from here on
 *     while (...) { terminal_draw(&terminal, &page); event = terminal_wait(&terminal, ms); ... }
 *     terminal_close(&terminal);                     always: the shell gets its screen and its settings back
 *
 * One thread, one terminal at a time. */
#ifndef OPS_TERMINAL_H
#define OPS_TERMINAL_H

#include <stdbool.h>
#include <termios.h>

#include "core/buffer.h"

enum terminal_key {
    KEY_NONE,
    KEY_UP,
    KEY_DOWN,
    KEY_LEFT,
    KEY_RIGHT,
    KEY_PAGE_UP,
    KEY_PAGE_DOWN,
    KEY_HOME,
    KEY_END,
    KEY_QUIT, /* q, Ctrl-C, or the terminal is gone */
    KEY_RESIZE,
    KEY_SIGNAL, /* SIGTERM, SIGINT or SIGHUP came: terminal.signal */
    KEY_OTHER
};

struct terminal {
    struct termios before;
    int signal_fd;
    int signal; /* the last that asks to end */
    unsigned columns, rows;
    bool resized, opened;
    unsigned char keys[64]; /* bytes that are no whole key yet */
    size_t key_count;
};

/* stdin and stdout are terminals that can be drawn on (TERM is neither empty nor "dumb"). */
bool terminal_possible(void);
/* INVALID: not a terminal. */
MUST_CHECK enum status terminal_open(struct terminal *terminal);
void terminal_close(struct terminal *terminal);
/* Lines of `page` at the top left, the rest of the screen blank; lines beyond the screen are left out. No line may have
 * more columns than the screen. */
MUST_CHECK enum status terminal_draw(struct terminal *terminal, const struct buffer *page);
/* The next key or event within timeout_ms; KEY_NONE: there was none. */
enum terminal_key terminal_wait(struct terminal *terminal, int timeout_ms);
/* The key at the beginning of `bytes` and how many bytes it has; 0: more must come. Pure. */
size_t terminal_parse_key(const unsigned char *bytes, size_t size, enum terminal_key *key);

#endif
