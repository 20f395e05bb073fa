/* transport/zap.h - the thread that decides who may connect (RFC 27, ZAP): CURVE keys of FOLDER/allow and no others.
 *
 * libzmq asks it during each handshake. Messages of an accepted connection carry User-Id "role:name" and Weir-Key, the
 * public key. Open it before the socket binds, close it before the context ends. Private to transport/. */
#ifndef TRANSPORT_ZAP_H
#define TRANSPORT_ZAP_H

#include "core/status.h"

#define ZAP_DOMAIN   "weir"
#define ZAP_KEY_NAME "Weir-Key" /* property of a message: the sender's public key */

struct zap;
MUST_CHECK enum status zap_open(struct zap **zap, void *context, const char *folder);
void zap_close(struct zap **zap);
/* Whoever holds this key is let in no more, as long as this process lives; from any thread. */
void zap_ban(struct zap *zap, const char *public_text);

#endif
