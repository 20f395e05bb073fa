/* ops/render_k8s.h - `weir render k8s`: a run as objects of Kubernetes, from the run's own settings.
 *
 *     NAME-recipe   ConfigMap   the settings that are not defaults, and what a cluster needs (addresses, folders, keys)
 *     NAME          JobSet      head (`weir run` without workers), actor and reward (`weir node`, one worker a pod);
 *                               --plain: a Job for the head, StatefulSets for the workers
 *     NAME-head     Service     headless: store and weights; NAME-dash: the dashboard
 *     NAME-runs     PVC         the run folder, of the head alone
 *     PodDisruptionBudgets, NetworkPolicies
 *     NAME-keys, NAME-dash      Secrets that are named, not made (docs/kubernetes.md)
 *
 * Text is a function of settings and options alone. One thread. */
#ifndef OPS_RENDER_K8S_H
#define OPS_RENDER_K8S_H

#include "core/buffer.h"
#include "core/settings.h"

enum {
    K8S_NAME_MAX = 41, /* and the NUL: NAME-actor-1023-0-abcde is a host name, at most 63 */
    K8S_STORE_PORT = 7000,
    K8S_WEIGHTS_PORT = 7001,
    K8S_DASH_PORT = 8420,
    K8S_MONITOR_PORT = 9400, /* the first; each process of a pod takes the next one that is free */
    K8S_JUDGE_PORTS_MAX = 8,
    K8S_USER = 10001, /* of the Dockerfile */
    K8S_DRAIN_MARGIN_S =
        40, /* beyond run.drain_s: the store's notice, the last checkpoint, SIGKILL to stragglers */
    K8S_RESTARTS_MAX = 100,
    K8S_WORKER_RESTARTS_MAX =
        1000000,          /* a worker costs the run nothing; pauses between them grow to 6 min */
    K8S_DRAINED_CODE = 75 /* of a pod that SIGTERM ended: its Job makes another one */
};

struct k8s {
    const struct settings *settings;
    const char *recipe; /* YAML of the ConfigMap */
    char name[K8S_NAME_MAX], namespace[64];
    const char *image, *storage, *data_claim, *head_memory, *worker_memory;
    const char *reward_secret; /* a Secret whose keys are variables of pods that score; or NULL */
    unsigned actors, rewards, gpus_per_actor, head_gpus;
    bool plain;
    bool sandbox; /* the reward runs programs */
    bool judge;   /* the reward asks a judge on the network, at one of these ports */
    unsigned judge_ports[K8S_JUDGE_PORTS_MAX], judge_port_count;
};

/* "My_run.1" -> "my-run-1": letters, digits and '-', beginning with a letter. INVALID: nothing is left, or it is too long. */
MUST_CHECK enum status k8s_name(const char *run, char name[K8S_NAME_MAX]);
MUST_CHECK enum status k8s_text(const struct k8s *k8s, struct buffer *text);
/* ops/render_k8s_reward.c: sandbox and judges, from the settings. INVALID: a judge's key would come from nowhere. */
MUST_CHECK enum status k8s_look_at_reward(struct k8s *k8s);
/* ops/render_k8s_pods.c: the pod template of a role at this depth of indentation. */
enum k8s_role { K8S_HEAD, K8S_ACTOR, K8S_REWARD };
extern const char *const k8s_roles[];
/* The reward is computed in its pods: those of reward workers, and the head's where an evaluator runs. */
bool k8s_scores(const struct k8s *k8s, enum k8s_role role);
MUST_CHECK enum status k8s_pod(const struct k8s *k8s, enum k8s_role role, int depth,
                               struct buffer *text);
/* Lines of a format, each indented by `depth` blanks. */
MUST_CHECK enum status k8s_put(struct buffer *text, int depth, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* How many processes of a pod have a monitor (docs/monitoring.md): ports K8S_MONITOR_PORT and up. */
unsigned k8s_monitors(const struct k8s *k8s, enum k8s_role role);
/* The labels of a role, as lines. */
MUST_CHECK enum status k8s_labels(const struct k8s *k8s, enum k8s_role role, int depth,
                                  struct buffer *text);

#endif
