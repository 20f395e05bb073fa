/* ops/render.h - `weir render`: files for whoever places the processes of a run: Slurm, systemd, Kubernetes.
 *
 * A renderer gets the arguments after its name, prints one text to standard output and returns an exit code; what it
 * prints is a function of them and of the recipe alone, so that a copy in the tree can be compared with it. One thread. */
#ifndef OPS_RENDER_H
#define OPS_RENDER_H

#include <stddef.h>

struct renderer {
    const char *name;
    int (*render)(int argc, char **argv);
    const char *usage; /* after "weir render name" */
    const char *what;  /* one line */
};

extern const struct renderer renderers[];
extern const size_t renderer_count;

/* The recipe's name without folder and its last ending: "a/hybrid-1.5b.yaml" is "hybrid-1.5b". */
void render_name(const char *recipe, size_t size, char out[]);
int render_slurm(int argc, char **argv);   /* ops/render_slurm.c */
int render_systemd(int argc, char **argv); /* ops/render_systemd.c */
int render_k8s(int argc, char **argv);     /* ops/render_k8s.c */

#endif
