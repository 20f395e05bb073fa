/* transport/keys.h - CURVE keys in a folder: who a process is, and whom the store lets in.
 *
 *     FOLDER/store.key  actor.key  learner.key  reward.key  control.key     secret, mode 0600
 *     FOLDER/store.pub                                                      the store's public key, for everybody else
 *     FOLDER/allow                                                          one line per key that may connect
 *
 * A process reads ROLE.key of its folder, so an actor's machine needs actor.key and store.pub and nothing else. A key
 * file is lines of "word value"; `allow` is lines of "role public-key name"; '#' begins a comment line. Keys are Z85
 * text. Files that others could have read (keys) or written (all) are refused. No text made here holds a secret. */
#ifndef TRANSPORT_KEYS_H
#define TRANSPORT_KEYS_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/status.h"
#include "proto/messages.h"

enum { KEY_TEXT_MAX = 41, KEY_NAME_MAX = 64, ALLOWED_MAX = 4096 };

struct key_pair {
    enum role role;
    char name[KEY_NAME_MAX];
    char public_text[KEY_TEXT_MAX], secret_text[KEY_TEXT_MAX];
};
void key_pair_wipe(struct key_pair *pair);
/* FOLDER/NAME.key. NOT_FOUND, INVALID (mode, owner, text): the sentence names the path and what to do. */
MUST_CHECK enum status key_pair_read(const char *folder, const char *name, struct key_pair *pair);
/* The store's public key: FOLDER/store.pub, or that of FOLDER/store.key where the whole folder is. */
MUST_CHECK enum status key_store_public(const char *folder, char public_text[KEY_TEXT_MAX]);

/* ---- whom the store lets in ---- */

struct allowed {
    enum role role;
    char name[KEY_NAME_MAX];
    char public_text[KEY_TEXT_MAX];
};

struct allow; /* what FOLDER/allow says; one thread */
MUST_CHECK enum status allow_open(struct allow **allow, const char *folder);
void allow_close(struct allow **allow);
/* Reads the file again when it is another one, or another time or size. On failure nobody is allowed until it is
 * mended. */
MUST_CHECK enum status allow_refresh(struct allow *allow);
const struct allowed *allow_find(const struct allow *allow, const char *public_text); /* or NULL */

/* ---- `weir keys` ---- */

/* Five keys, store.pub and allow. INVALID when there are keys already and not `force`. */
MUST_CHECK enum status keys_new(const char *folder, bool force);
/* One more key, NAME.key, allowed as `role`. */
MUST_CHECK enum status keys_add(const char *folder, const char *role, const char *name);
/* By name or public key, every line that fits; NOT_FOUND. */
MUST_CHECK enum status keys_revoke(const char *folder, const char *who, unsigned *count);
/* "role public-key name" of store and allowed keys. */
MUST_CHECK enum status keys_show(const char *folder, struct buffer *text);

#endif
