/* transport/hub_watch.h - which connection is whose: descriptors opened and closed, peers heard on them.
 *
 * libzmq tells of connections by descriptor and of messages by identity and descriptor; numbers of descriptors are
 * used again. A connection is therefore (descriptor, number of its opening). The rules:
 *   a hello moves its peer to the newest opening of the descriptor it came by, never back to an older one;
 *   the end of a connection ends only the peer that sits on that very opening;
 *   a peer sits on one connection and a connection carries one peer: whoever displaces another and whoever is displaced
 *     are in doubt. One of them is dead, and nobody can tell which: a late hello may name a descriptor that somebody
 *     living uses by now. hub.c probes for both, and the dead one has no route;
 *   other messages move nobody, because a dead peer's last ones may come after the end of its connection.
 * A peer whose I/O thread came back by itself while its process computes says nothing: hub.c probes for it
 * (hub_watch_found), and its connection stays unknown until its next message.
 * Pure: events of descriptors must be fed before the messages that libzmq delivered after them. One thread. */
#ifndef TRANSPORT_HUB_WATCH_H
#define TRANSPORT_HUB_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

struct hub_watch;

MUST_CHECK enum status hub_watch_create(struct hub_watch **watch);
void hub_watch_destroy(struct hub_watch **watch);
MUST_CHECK enum status hub_watch_opened(struct hub_watch *watch, int fd, int64_t now_ns);
/* *orphan: nobody sat on it, so it may have been that of a peer whose connection is unknown. */
void hub_watch_closed(struct hub_watch *watch, int fd, int64_t now_ns, bool *orphan);
/* A message of a peer came by fd. True: it displaced somebody, probe for both. */
bool hub_watch_heard(struct hub_watch *watch, uint32_t peer, int fd, bool hello, int64_t now_ns);
/* A probe: the peer turned out to be connected (or not), by a connection that is unknown. */
void hub_watch_found(struct hub_watch *watch, uint32_t peer, bool connected, int64_t now_ns);
void hub_watch_forget(struct hub_watch *watch, uint32_t peer);
/* False: dead since *since_ns. */
bool hub_watch_connected(const struct hub_watch *watch, uint32_t peer, int64_t *since_ns);
/* Connected, but by what is not known, or is in doubt. */
bool hub_watch_unknown(const struct hub_watch *watch, uint32_t peer);
uint32_t hub_watch_open_count(const struct hub_watch *watch); /* connections */
/* Number of the opening of the connection that is open as fd; 0: none is. */
uint64_t hub_watch_opening(const struct hub_watch *watch, int fd);

#endif
