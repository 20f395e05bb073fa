/* actor/replay.h - `weir replay RUN GROUP.SAMPLE`: a rollout generated once more, token by token.
 *
 * The prompt, the sampling settings and the segments as they came are in a file of `weir-store replay`; the weights of
 * each version in a folder. Forward pass, sampling and random numbers are the actor's own, and so is what happened to
 * the cache: a lease begins with a prefill of all tokens so far, a rebuilt cache with the same, kept keys and values
 * stay. Only where weights changed in the middle of a prefill the ledger does not say at which token; then each place
 * is tried. One thread. */
#ifndef ACTOR_REPLAY_H
#define ACTOR_REPLAY_H

#include <stdio.h>

#include "core/settings.h"
#include "core/status.h"

struct actor_replay {
    const struct settings *settings;
    const char *file;    /* of weir-store replay rollout */
    const char *folders; /* "3=FOLDER,4=FOLDER": Hugging Face folders of the versions */
    FILE *out;           /* one line */
};

/* *equal: every token and every logprob has the recorded bits; else the first that differs was printed. NOT_FOUND: the
 * weights of a version are not those that made the tokens, with both digests. */
MUST_CHECK enum status actor_replay(const struct actor_replay *replay, bool *equal);
/* `weir-actor replay FILE FOLDERS`, then options as of weir-actor. The exit code: 0 equal, 1 different. */
int actor_replay_main(int argc, char **argv, FILE *out);

#endif
