#include "ops/render.h"

#include <stdio.h>
#include <string.h>

#include "core/eval_schedule.h"
#include "ops/cmd.h"

const struct renderer renderers[] = {
    {"slurm", render_slurm,
     "RECIPE... [section.name=value ...] [--nodes N] [--actors-per-node M] [--rewards-per-node R] "
     "[--gpus-per-node G] [--head-gpus H] [--cpus-per-node C] [--partition P] [--account A] "
     "[--time T] [--name NAME]",
     "an sbatch script: one node with store, learner and dashboard, N nodes of actors"},
    {"k8s", render_k8s,
     "RECIPE... [section.name=value ...] [--jobset | --plain] [--actors N] [--rewards N] "
     "[--gpus-per-actor N] [--image I] [--namespace N] [--name NAME] [--storage Q] "
     "[--data-claim C] [--reward-secret S] [--head-memory Q] [--worker-memory Q]",
     "manifests for Kubernetes: a JobSet, or plain Job and StatefulSets, and what goes around "
     "them"},
    {"systemd", render_systemd, "run|node [--bin FOLDER] [--state FOLDER] [--drain S]",
     "a unit: weir-run@.service or weir-node@.service"},
};

const size_t renderer_count = sizeof renderers / sizeof renderers[0];

bool render_actors_on_gpus(const struct settings *settings)
{
    char device[SETTINGS_DEVICE_MAX];
    settings_device(settings, settings->actor.device, 0, device);
    return strncmp(device, "cuda", 4) == 0;
}

const char *render_eval_device(const struct settings *settings, long head_gpus)
{
    if (!eval_is_on(settings) || settings->eval.device[0] != 0 || !render_actors_on_gpus(settings))
        return NULL;
    return head_gpus > 0 ? "cuda:0" : "cpu";
}

static void print_renderers(void)
{
    for (size_t i = 0; i < renderer_count; i++)
        printf("weir render %s %s\n  %s\n", renderers[i].name, renderers[i].usage,
               renderers[i].what);
}

int cmd_render(int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : "";
    for (size_t i = 0; i < renderer_count; i++)
        if (strcmp(renderers[i].name, name) == 0) {
            if (argc < 2 || strcmp(argv[1], "--help") != 0)
                return renderers[i].render(argc - 1, argv + 1);
            printf("usage: weir render %s %s\n  %s\n", renderers[i].name, renderers[i].usage,
                   renderers[i].what);
            return EXIT_CODE_OK;
        }
    if (argc == 0) {
        print_renderers();
        return EXIT_CODE_USAGE;
    }
    return command_usage("render", "no renderer \"%s\"", name);
}
