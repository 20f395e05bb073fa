/* ops/dash/token.h - the secret that buttons ask for, and every page off loopback. */
#ifndef OPS_DASH_TOKEN_H
#define OPS_DASH_TOKEN_H

#include "ops/dash/access.h"

/* dash.token_file, else dash.token of the run folder, which is made (0600, 32 random bytes as base64url) when it is not there.
 * INVALID: too short, or readable by others. */
MUST_CHECK enum status token_read(const char *token_file, const char *folder,
                                  char token[ACCESS_TOKEN_MAX]);

#endif
