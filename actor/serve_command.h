/* actor/serve_command.h - `weir serve MODEL`: the endpoint of actor/http.h on a model folder, and nothing else. */
#ifndef ACTOR_SERVE_COMMAND_H
#define ACTOR_SERVE_COMMAND_H

#include <stdio.h>

/* The exit code. Runs until a signal; `out` gets one line when requests are taken: "weir serve: http://HOST:PORT/v1 ...". */
int serve_command(int argc, char **argv, FILE *out);

#endif
