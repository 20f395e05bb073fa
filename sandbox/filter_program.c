#include "sandbox/filter_program.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "the lower half of an argument comes first");

enum { INSTRUCTIONS_MAX = 2048, NEAR_MAX = 250, X32_BIT = 0x40000000 };

/* Jumps go forward only, so the program is written from its end: whatever is jumped to stands already. A place is how many
 * instructions there are from it to the end. */
struct writer {
    struct sock_filter code[INSTRUCTIONS_MAX];
    unsigned count;
    unsigned returns[16]; /* places of the answers, each there once */
    unsigned return_count;
    bool full;
};

static unsigned put(struct writer *writer, uint16_t code, uint32_t value, unsigned yes, unsigned no)
{
    if (writer->count == INSTRUCTIONS_MAX) {
        writer->full = true;
        return writer->count;
    }
    writer->count++;
    writer->code[INSTRUCTIONS_MAX - writer->count] =
        (struct sock_filter){.code = code, .k = value, .jt = (uint8_t)yes, .jf = (uint8_t)no};
    return writer->count;
}

/* A place from which a comparison, of which two may follow, gets to `place`. */
static unsigned nearer(struct writer *writer, unsigned place)
{
    unsigned far = writer->count - place;
    return far <= NEAR_MAX ? place : put(writer, BPF_JMP | BPF_JA, far, 0, 0);
}

static unsigned compare(struct writer *writer, uint16_t how, uint32_t value, unsigned yes,
                        unsigned no)
{
    yes = nearer(writer, yes);
    no = nearer(writer, no);
    return put(writer, (uint16_t)(BPF_JMP | how | BPF_K), value, writer->count - yes,
               writer->count - no);
}

static unsigned load(struct writer *writer, size_t offset)
{
    return put(writer, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static unsigned answer(struct writer *writer, uint32_t action)
{
    for (unsigned i = 0; i < writer->return_count; i++)
        if (writer->code[INSTRUCTIONS_MAX - writer->returns[i]].k == action)
            return writer->returns[i];
    unsigned place = put(writer, BPF_RET | BPF_K, action, 0, 0);
    if (writer->return_count < sizeof writer->returns / sizeof writer->returns[0])
        writer->returns[writer->return_count++] = place;
    return place;
}

static unsigned choose(struct writer *writer, const struct filter_choice *choice)
{
    size_t low = offsetof(struct seccomp_data, args) + choice->argument * sizeof(uint64_t);
    unsigned yes = answer(writer, SECCOMP_RET_ALLOW), no = answer(writer, choice->otherwise);
    unsigned next = no;
    for (size_t i = choice->count; i-- > 0;)
        next = choice->look == LOOK_CLEAR ? compare(writer, BPF_JSET, choice->values[i], no, yes)
                                          : compare(writer, BPF_JEQ, choice->values[i], yes, next);
    next = load(writer, low);
    if (choice->look == LOOK_WHOLE) {
        compare(writer, BPF_JEQ, 0, next, no);
        next = load(writer, low + sizeof(uint32_t));
    }
    return next;
}

/* What begins at `first` and goes to the next range. */
struct range {
    uint32_t first;
    unsigned place;
};

static unsigned halve(struct writer *writer, const struct range *ranges, size_t count)
{
    if (count == 1)
        return ranges[0].place;
    size_t middle = count / 2;
    unsigned above = halve(writer, ranges + middle, count - middle);
    unsigned below = halve(writer, ranges, middle);
    return compare(writer, BPF_JGE, ranges[middle].first, above, below);
}

static const struct filter_choice *choice_of(const struct filter_table *table, int number)
{
    for (size_t i = 0; i < table->choice_count; i++)
        if (table->choices[i].number == number)
            return &table->choices[i];
    return NULL;
}

static size_t ranges_make(struct writer *writer, const struct filter_table *table,
                          struct range *ranges)
{
    size_t count = 0;
    for (uint32_t number = 0; number <= FILTER_CALLS_MAX; number++) {
        const struct filter_choice *choice = choice_of(table, (int)number);
        unsigned place = choice != NULL               ? choose(writer, choice)
                         : number == FILTER_CALLS_MAX ? answer(writer, table->usual)
                                                      : answer(writer, table->actions[number]);
        if (count == 0 || ranges[count - 1].place != place)
            ranges[count++] = (struct range){.first = number, .place = place};
    }
    return count;
}

enum status filter_program(const struct filter_table *table, uint32_t architecture,
                           struct buffer *instructions)
{
    struct writer writer = {.count = 0};
    struct range ranges[FILTER_CALLS_MAX + 1];
    unsigned killed = answer(&writer, SECCOMP_RET_KILL_PROCESS);
    size_t count = ranges_make(&writer, table, ranges);
    unsigned start = halve(&writer, ranges, count);
    if (architecture == AUDIT_ARCH_X86_64) { /* -1 is what a tracer leaves of a call it skipped */
        unsigned skipped =
            compare(&writer, BPF_JEQ, UINT32_MAX, answer(&writer, table->usual), killed);
        start = compare(&writer, BPF_JGE, X32_BIT, skipped, start);
    }
    if (start != writer.count) /* the program begins at its last place */
        put(&writer, BPF_JMP | BPF_JA, writer.count - start, 0, 0);
    start = load(&writer, offsetof(struct seccomp_data, nr));
    compare(&writer, BPF_JEQ, architecture, start, killed);
    load(&writer, offsetof(struct seccomp_data, arch));
    if (writer.full)
        return FAIL(STATUS_UNSUPPORTED, "a filter of more than %d instructions", INSTRUCTIONS_MAX);
    return buffer_append(instructions, writer.code + (INSTRUCTIONS_MAX - writer.count),
                         writer.count * sizeof writer.code[0]);
}
