/* rollout_store/book_refuse.c - poison: counted by kind, remembered for people, and its sender refused when it goes on. */
#include <inttypes.h>
#include <stdio.h>

#include "rollout_store/book_state.h"

bool book_refusal_is_benign(enum refusal kind)
{
    return kind == REFUSAL_NONE || kind == REFUSAL_DUPLICATE || kind == REFUSAL_LEASE_EXPIRED ||
           kind == REFUSAL_GAP || kind == REFUSAL_UNKNOWN_ROLLOUT;
}

void book_note_refusal(struct book *book, enum refusal kind, const struct peer *peer,
                       const struct book_refusal *about)
{
    book->refused[kind]++;
    if (book->refusal_count == BOOK_REFUSALS_MAX) /* the driver takes them after each round */
        return;
    size_t at = (book->refusal_first + book->refusal_count++) % BOOK_REFUSALS_MAX;
    book->refusals[at] = *about;
    book->refusals[at].kind = kind;
    book->refusals[at].role = peer->role;
    book->refusals[at].index = peer->index;
    book->refusals[at].incarnation = peer->incarnation;
}

enum status book_count_poison(struct book *book, struct peer *peer, enum refusal poison, bool sound,
                              struct book_out *out)
{
    if (poison == REFUSAL_NONE) {
        peer->poison_row = sound ? 0 : peer->poison_row;
        return STATUS_OK;
    }
    if (++peer->poison_row < BOOK_POISON_FRAMES)
        return STATUS_OK;
    char why[512];
    snprintf(why, sizeof why,
             "%d messages of %s.%" PRIu32
             " in a row held something refused, the last because %s: what they held is given to "
             "others; quarantine.jsonl of the run lists it",
             BOOK_POISON_FRAMES, role_name(peer->role), peer->index, refusal_sentence(poison));
    return book_refuse(book, out, peer, why);
}

size_t book_take_refusals(struct book *book, struct book_refusal *out, size_t max)
{
    size_t taken = 0;
    for (; taken < max && book->refusal_count > 0; taken++) {
        out[taken] = book->refusals[book->refusal_first];
        book->refusal_first = (book->refusal_first + 1) % BOOK_REFUSALS_MAX;
        book->refusal_count--;
    }
    return taken;
}

void book_wire_refused(struct book *book, const uint64_t counts[REFUSAL_COUNT])
{
    for (int kind = 0; kind < REFUSAL_COUNT; kind++)
        book->wire_refused[kind] = counts[kind];
}

uint64_t book_refused(const struct book *book, enum refusal kind)
{
    return (unsigned)kind < REFUSAL_COUNT ? book->refused[kind] + book->wire_refused[kind] : 0;
}
