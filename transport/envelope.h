/* transport/envelope.h - the one thing that is done to a message without decoding it: processes of different wire
 * protocols can still tell each other so. Pure; private to transport/. */
#ifndef TRANSPORT_ENVELOPE_H
#define TRANSPORT_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True for a whole message (magic, length and CRC are right) of a protocol that this build does not speak. */
bool envelope_foreign(const void *bytes, size_t size, uint16_t *protocol);
/* Makes one of our messages look like one of `protocol`; its body is unchanged, which `refused` can bear. */
void envelope_relabel(void *bytes, size_t size, uint16_t protocol);

#endif
