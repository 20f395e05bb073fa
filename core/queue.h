/* core/queue.h - how threads of one process talk: a bounded queue of pointers.
 *
 * Any number of pushers and poppers. A full queue answers STATUS_LIMIT at once (back-pressure is "the
 * queue is full", never "the heap is full"); depth and high-water mark are counters. queue_fd() is an
 * eventfd, readable while the queue is not empty and from queue_close on, for poll loops (only
 * the queue reads it). A negative timeout waits without end. */
#ifndef CORE_QUEUE_H
#define CORE_QUEUE_H

#include <stdint.h>

#include "core/status.h"

C_BEGIN

struct queue;

MUST_CHECK enum status queue_create(struct queue **queue, const char *name, uint32_t capacity);
void queue_destroy(struct queue **queue); /* items left are the caller's problem: drain first */
MUST_CHECK enum status queue_push(struct queue *queue,
                                  void *item); /* LIMIT, CANCELLED after close */
MUST_CHECK enum status queue_pop(struct queue *queue, int64_t timeout_ms,
                                 void **item); /* TIMEOUT, CANCELLED; 0 = do not wait */
void queue_close(struct queue *queue);         /* poppers drain what is left, then get CANCELLED */
int queue_fd(const struct queue *queue);
uint32_t queue_depth(struct queue *queue);
uint32_t queue_depth_max(struct queue *queue);

C_END
#endif
