/* reward/swe/patch.h - what a model wrote becomes a changed tree: unified diffs, and search/replace edits.
 *
 * A hunk may stand at another line than it says; its context must be there, but for two lines at each end when nothing
 * else fits (as GNU patch does). Anything else is refused with a sentence. One thread. */
#ifndef REWARD_SWE_PATCH_H
#define REWARD_SWE_PATCH_H

#include "reward/answer/answer.h"
#include "reward/swe/tree.h"

/* INVALID: not a diff, a path outside, a hunk that fits nowhere; the tree is then half changed: patch a copy. *changed counts
 * files. */
MUST_CHECK enum status patch_apply(struct tree *tree, const char *text, size_t size,
                                   size_t *changed);
/* Blocks of `path`, "<<<<<<< SEARCH", text, "=======", text, ">>>>>>> REPLACE". The text must be there exactly once, as
 * whole lines; an empty one makes a new file. Errors as above. */
MUST_CHECK enum status patch_edit(struct tree *tree, const char *text, size_t size,
                                  size_t *changed);
/* The patch in a response, applied: edits, a fenced block of language diff or patch, or a bare diff. NOT_FOUND: there is none. */
MUST_CHECK enum status patch_response(struct tree *tree, struct answer_span response,
                                      size_t *changed);
/* Where a diff changes the tree (before it is applied): paths, and "path::function" of Python functions around the changed
 * lines, as a set: {"path": true, ...}. NULL: no memory. Owned by the caller. */
json_t *patch_places(const struct tree *tree, const char *text, size_t size);

/* Reads digits at *at and moves behind them; false: there are none, or they are no line number. */
bool patch_number(const char **at, const char *end, size_t *value);

/* A word that reaches for the test runner (frames, exits, code objects, unittest itself) which the work tree has and the
 * pristine one has nowhere; NULL: none. Points to a literal. */
const char *patch_suspicion(const struct tree *pristine, const struct tree *work);

#endif
