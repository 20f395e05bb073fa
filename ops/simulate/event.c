/* ops/simulate/event.c - what happens next: a heap by time and, within a time, by age. And mail boxes. */
#include <string.h>

#include "core/memory.h"
#include "ops/simulate/sim.h"

enum status sim_reserve(void **items, size_t *capacity, size_t count, size_t bytes)
{
    if (count <= *capacity)
        return STATUS_OK;
    size_t wider = *capacity < 16 ? 16 : *capacity;
    while (wider < count)
        wider *= 2;
    void *grown = memory_grow(*items, *capacity * bytes, wider * bytes);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu items of %zu bytes", wider, bytes);
    *items = grown;
    *capacity = wider;
    return STATUS_OK;
}

/* ---- events ---- */

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

enum status event_push(struct event_heap *heap, struct event event)
{
    void *events = heap->events;
    TRY(sim_reserve(&events, &heap->capacity, heap->count + 1, sizeof *heap->events));
    heap->events = events;
    event.order = heap->order++;
    size_t at = heap->count++;
    while (at > 0 && before(&event, &heap->events[(at - 1) / 2])) {
        heap->events[at] = heap->events[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->events[at] = event;
    return STATUS_OK;
}

bool event_pop(struct event_heap *heap, struct event *event)
{
    if (heap->count == 0)
        return false;
    *event = heap->events[0];
    struct event last = heap->events[--heap->count];
    size_t at = 0;
    for (size_t child; (child = 2 * at + 1) < heap->count; at = child) {
        if (child + 1 < heap->count && before(&heap->events[child + 1], &heap->events[child]))
            child++;
        if (!before(&heap->events[child], &last))
            break;
        heap->events[at] = heap->events[child];
    }
    heap->events[at] = last;
    return true;
}

void event_heap_free(struct event_heap *heap)
{
    for (size_t i = 0; i < heap->count; i++)
        memory_free(heap->events[i].bytes);
    memory_free(heap->events);
    *heap = (struct event_heap){0};
}

/* ---- mail ---- */

static enum status make_room(struct inbox *inbox)
{
    if (inbox->count < inbox->capacity)
        return STATUS_OK;
    size_t wider = inbox->capacity == 0 ? 16 : 2 * inbox->capacity;
    struct mail *grown = memory_array(wider, sizeof *grown);
    if (grown == NULL)
        return FAIL(STATUS_NO_MEMORY, "%zu messages", wider);
    for (size_t i = 0; i < inbox->count; i++)
        grown[i] = inbox->mail[(inbox->first + i) % inbox->capacity];
    memory_free(inbox->mail);
    *inbox = (struct inbox){.mail = grown, .count = inbox->count, .capacity = wider};
    return STATUS_OK;
}

enum status inbox_push(struct inbox *inbox, struct mail mail)
{
    TRY(make_room(inbox));
    inbox->mail[(inbox->first + inbox->count++) % inbox->capacity] = mail;
    return STATUS_OK;
}

enum status inbox_push_front(struct inbox *inbox, struct mail mail)
{
    TRY(make_room(inbox));
    inbox->first = (inbox->first + inbox->capacity - 1) % inbox->capacity;
    inbox->mail[inbox->first] = mail;
    inbox->count++;
    return STATUS_OK;
}

bool inbox_pop(struct inbox *inbox, struct mail *mail)
{
    if (inbox->count == 0)
        return false;
    *mail = inbox->mail[inbox->first];
    inbox->first = (inbox->first + 1) % inbox->capacity;
    inbox->count--;
    return true;
}

void inbox_clear(struct inbox *inbox)
{
    struct mail mail;
    while (inbox_pop(inbox, &mail))
        memory_free(mail.bytes);
}

void inbox_free(struct inbox *inbox)
{
    inbox_clear(inbox);
    memory_free(inbox->mail);
    *inbox = (struct inbox){0};
}
