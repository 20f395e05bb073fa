/* ops/render.h - `weir render`: files for whoever places the processes of a run: Slurm, systemd, Kubernetes.
 *
 * A renderer gets the arguments after its name, prints one text to standard output and returns an exit code; what it
 * prints is a function of them and of the recipe alone, so that a copy in the tree can be compared with it. One thread. */
#ifndef OPS_RENDER_H
#define OPS_RENDER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/settings.h"

struct renderer {
    const char *name;
    int (*render)(int argc, char **argv);
    const char *usage; /* after "weir render name" */
    const char *what;  /* one line */
};

extern const struct renderer renderers[];
extern const size_t renderer_count;

bool render_actors_on_gpus(const struct settings *settings);
/* Of the evaluator beside a head with so many GPUs: an actor's device would be one of another machine. NULL: nobody
 * evaluates, or its device is set or no GPU. */
const char *render_eval_device(const struct settings *settings, long head_gpus);
int render_slurm(int argc, char **argv);   /* ops/render_slurm.c */
int render_systemd(int argc, char **argv); /* ops/render_systemd.c */
int render_k8s(int argc, char **argv);     /* ops/render_k8s.c */

#endif
