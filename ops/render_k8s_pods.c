/* ops/render_k8s_pods.c - what runs in a pod of Kubernetes and what it may: commands, probes, volumes, rights. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/eval_schedule.h"
#include "ops/render_k8s.h"

const char *const k8s_roles[] = {
    [K8S_HEAD] = "head", [K8S_ACTOR] = "actor", [K8S_REWARD] = "reward"};

enum status k8s_put(struct buffer *text, int depth, const char *format, ...)
{
    char lines[4096];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(lines, sizeof lines, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof lines)
        return FAIL(STATUS_LIMIT, "a piece of the manifest is longer than %zu bytes", sizeof lines);
    for (const char *line = lines; *line != 0;) {
        size_t length = strcspn(line, "\n");
        if (length > 0)
            TRY(buffer_printf(text, "%*s%.*s", depth, "", (int)length, line));
        TRY(buffer_text(text, "\n"));
        line += length + (line[length] == '\n');
    }
    return STATUS_OK;
}

enum status k8s_labels(const struct k8s *k8s, enum k8s_role role, int depth, struct buffer *text)
{
    return k8s_put(text, depth,
                   "app.kubernetes.io/name: weir\napp.kubernetes.io/instance: \"%s\"\n"
                   "app.kubernetes.io/component: %s\n",
                   k8s->name, k8s_roles[role]);
}

/* ---- rights ---- */

/* The supervisor is one of them; the dashboard has no monitor, it answers at its own port. */
unsigned k8s_monitors(const struct k8s *k8s, enum k8s_role role)
{
    if (role != K8S_HEAD)
        return 2;
    return 2 + k8s->settings->learner.ranks + (eval_is_on(k8s->settings) ? 1 : 0);
}

bool k8s_scores(const struct k8s *k8s, enum k8s_role role)
{
    return role == K8S_REWARD || (role == K8S_HEAD && eval_is_on(k8s->settings));
}

static enum status pod_rights(const struct k8s *k8s, enum k8s_role role, int depth,
                              struct buffer *text)
{
    if (k8s->sandbox && k8s_scores(k8s, role))
        return k8s_put(text, depth,
                       "securityContext:\n"
                       "  # The sandbox of rewards makes user, pid and mount namespaces (clone3, "
                       "unshare, mount) without any\n"
                       "  # right of the host; RuntimeDefault refuses these calls. It filters the "
                       "calls of what it runs itself.\n"
                       "  runAsNonRoot: true\n  runAsUser: %d\n  runAsGroup: %d\n  fsGroup: %d\n"
                       "  fsGroupChangePolicy: OnRootMismatch\n"
                       "  seccompProfile:\n    type: Unconfined\n",
                       K8S_USER, K8S_USER, K8S_USER);
    return k8s_put(text, depth,
                   "securityContext:\n  runAsNonRoot: true\n  runAsUser: %d\n  runAsGroup: %d\n"
                   "  fsGroup: %d\n  fsGroupChangePolicy: OnRootMismatch\n"
                   "  seccompProfile:\n    type: RuntimeDefault\n",
                   K8S_USER, K8S_USER, K8S_USER);
}

static enum status container_rights(int depth, struct buffer *text)
{
    return k8s_put(
        text, depth,
        "securityContext:\n  allowPrivilegeEscalation: false\n  readOnlyRootFilesystem: true\n"
        "  capabilities:\n    drop:\n      - ALL\n");
}

/* ---- volumes ---- */

/* weir refuses a key that others can read or that is another user's, and a Secret's files are root's with the group's
 * right to read: they are copied into memory as the user's own. A node reads its settings from its run folder. */
static enum status prepare_container(const struct k8s *k8s, enum k8s_role role, int depth,
                                     struct buffer *text)
{
    bool head = role == K8S_HEAD;
    TRY(k8s_put(
        text, depth,
        "initContainers:\n  - name: prepare\n    image: %s\n    imagePullPolicy: IfNotPresent\n"
        "    command:\n      - /bin/sh\n      - -ec\n      - |\n        umask 077\n"
        "        mkdir -p /keys/run\n        cp -L /secret/keys/* /keys/run/\n",
        k8s->image));
    if (head)
        TRY(k8s_put(text, depth + 8, "cp -L /secret/dash/token /keys/dash.token\n"));
    else
        TRY(k8s_put(
            text, depth + 8,
            "mkdir -p /runs/%s\ncp -L /etc/weir/recipe.yaml /runs/%s/config.resolved.yaml\n",
            k8s->name, k8s->name));
    TRY(container_rights(depth + 4, text));
    TRY(k8s_put(
        text, depth + 4,
        "resources:\n  requests:\n    cpu: 50m\n    memory: 32Mi\n  limits:\n    memory: 64Mi\n"
        "volumeMounts:\n  - name: keys\n    mountPath: /keys\n"
        "  - name: secret-keys\n    mountPath: /secret/keys\n    readOnly: true\n"));
    return head ? k8s_put(text, depth + 6,
                          "- name: secret-dash\n  mountPath: /secret/dash\n  readOnly: true\n")
                : k8s_put(text, depth + 6,
                          "- name: recipe\n  mountPath: /etc/weir\n  readOnly: true\n"
                          "- name: runs\n  mountPath: /runs\n");
}

/* A worker's own key, and that with which its supervisor asks the store; the head has them all. */
static enum status secret_items(enum k8s_role role, int depth, struct buffer *text)
{
    const char *const files[] = {k8s_roles[role], "control"};
    if (role == K8S_HEAD)
        return STATUS_OK;
    TRY(k8s_put(text, depth, "items:\n"));
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        TRY(k8s_put(text, depth, "  - key: %s.key\n    path: %s.key\n", files[i], files[i]));
    return k8s_put(text, depth, "  - key: store.pub\n    path: store.pub\n");
}

static enum status pod_volumes(const struct k8s *k8s, enum k8s_role role, int depth,
                               struct buffer *text)
{
    bool head = role == K8S_HEAD;
    TRY(k8s_put(text, depth,
                "volumes:\n  - name: recipe\n    configMap:\n      name: %s-recipe\n"
                "  - name: keys\n    emptyDir:\n      medium: Memory\n      sizeLimit: 1Mi\n"
                "  - name: secret-keys\n    secret:\n      secretName: %s-keys\n      defaultMode: "
                "288 # 0440\n",
                k8s->name, k8s->name));
    TRY(secret_items(role, depth + 6, text));
    if (head)
        TRY(k8s_put(text, depth,
                    "  - name: secret-dash\n    secret:\n      secretName: %s-dash\n      "
                    "defaultMode: 288 # 0440\n"
                    "  - name: runs\n    persistentVolumeClaim:\n      claimName: %s-runs\n",
                    k8s->name, k8s->name));
    else
        TRY(k8s_put(text, depth, "  - name: runs\n    emptyDir: {}\n"));
    TRY(k8s_put(text, depth,
                "  - name: tmp\n    emptyDir: {}\n"
                "  - name: shm\n    emptyDir:\n      medium: Memory\n"));
    return k8s->data_claim != NULL
               ? k8s_put(text, depth,
                         "  - name: data\n    persistentVolumeClaim:\n      claimName: \"%s\"\n"
                         "      readOnly: true\n",
                         k8s->data_claim)
               : STATUS_OK;
}

static enum status pod_mounts(const struct k8s *k8s, enum k8s_role role, int depth,
                              struct buffer *text)
{
    TRY(k8s_put(text, depth, "volumeMounts:\n  - name: runs\n    mountPath: /runs\n"));
    if (role == K8S_HEAD)
        TRY(k8s_put(text, depth,
                    "  - name: recipe\n    mountPath: /etc/weir\n    readOnly: true\n"));
    TRY(k8s_put(text, depth,
                "  - name: keys\n    mountPath: /keys\n    readOnly: true\n"
                "  - name: tmp\n    mountPath: /tmp\n  - name: shm\n    mountPath: /dev/shm\n"));
    return k8s->data_claim != NULL
               ? k8s_put(text, depth, "  - name: data\n    mountPath: /data\n    readOnly: true\n")
               : STATUS_OK;
}

/* ---- the container ---- */

/* Keys of judges. */
static enum status reward_variables(const struct k8s *k8s, enum k8s_role role, int depth,
                                    struct buffer *text)
{
    return k8s->reward_secret != NULL && k8s_scores(k8s, role)
               ? k8s_put(text, depth, "envFrom:\n  - secretRef:\n      name: \"%s\"\n",
                         k8s->reward_secret)
               : STATUS_OK;
}

/* Exec form, so that weir is process 1: it reaps what it adopts and drains on SIGTERM. */
static enum status command(const struct k8s *k8s, enum k8s_role role, int depth,
                           struct buffer *text)
{
    bool actor = role == K8S_ACTOR;
    if (role == K8S_HEAD) {
        TRY(k8s_put(
            text, depth,
            "command:\n  - weir\n  - run\n  - /etc/weir/recipe.yaml\n  - --name\n  - \"%s\"\n"
            "  - --quiet\n  - --drained-code\n  - \"%d\"\n  - run.resume=true\n  - "
            "store.endpoint=tcp://$(POD_IP):%d\n"
            "  - weights.endpoint=tcp://$(POD_IP):%d\n",
            k8s->name, K8S_DRAINED_CODE, K8S_STORE_PORT, K8S_WEIGHTS_PORT));
        TRY(k8s_put(text, depth,
                    "env:\n  - name: POD_IP\n    valueFrom:\n      fieldRef:\n"
                    "        fieldPath: status.podIP\n"));
        return reward_variables(k8s, role, depth, text);
    }
    TRY(k8s_put(text, depth,
                "command:\n  - weir\n  - node\n  - /runs/%s\n  - --actors\n  - \"%d\"\n"
                "  - --reward-workers\n  - \"%d\"\n  - %s\n  - $(WEIR_INDEX)\n  - --endpoint\n"
                "  - tcp://%s-head:%d\n  - --drained-code\n  - \"%d\"\n",
                k8s->name, actor, !actor, actor ? "--first-index" : "--first-reward", k8s->name,
                K8S_STORE_PORT, K8S_DRAINED_CODE));
    if (actor && k8s->gpus_per_actor > 0)
        TRY(k8s_put(text, depth, "  - actor.device=cuda:0\n"));
    TRY(k8s_put(text, depth,
                "env:\n  - name: WEIR_INDEX\n    valueFrom:\n      fieldRef:\n"
                "        fieldPath: metadata.labels['%s']\n",
                k8s->plain ? "apps.kubernetes.io/pod-index" : "jobset.sigs.k8s.io/job-index"));
    return reward_variables(k8s, role, depth, text);
}

/* live: the supervisor's main loop beats; ready: every process here says that it joined (docs/monitoring.md). The start
 * of a large model or ledger may take as long as run.silent_s allows. */
static enum status probes(const struct k8s *k8s, int depth, struct buffer *text)
{
    unsigned tries = (k8s->settings->run.silent_s + 9) / 10;
    static const struct {
        const char *name, *word;
        unsigned period;
    } rows[] = {{"startupProbe", "live", 10},
                {"livenessProbe", "live", 10},
                {"readinessProbe", "ready", 5}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        TRY(k8s_put(text, depth,
                    "%s:\n  exec:\n    command:\n      - weir\n      - probe\n      - %s\n      - "
                    "/runs/%s\n"
                    "  periodSeconds: %u\n  timeoutSeconds: 5\n  failureThreshold: %u\n",
                    rows[i].name, rows[i].word, k8s->name, rows[i].period,
                    i == 0   ? (tries > 0 ? tries : 1)
                    : i == 1 ? 6
                             : 2));
    return STATUS_OK;
}

static enum status resources(const struct k8s *k8s, enum k8s_role role, int depth,
                             struct buffer *text)
{
    unsigned gpus = role == K8S_ACTOR ? k8s->gpus_per_actor : role == K8S_HEAD ? k8s->head_gpus : 0;
    unsigned threads =
        role == K8S_REWARD ? k8s->settings->reward.threads : k8s->settings->run.threads;
    unsigned cpus = role == K8S_HEAD ? threads * k8s->settings->learner.ranks + 1 : threads;
    const char *memory = role == K8S_HEAD ? k8s->head_memory : k8s->worker_memory;
    TRY(k8s_put(
        text, depth,
        "resources:\n  requests:\n    cpu: \"%u\"\n    memory: %s\n  limits:\n    memory: %s\n",
        cpus, memory, memory));
    return gpus > 0 ? k8s_put(text, depth + 4, "nvidia.com/gpu: \"%u\"\n", gpus) : STATUS_OK;
}

/* Prometheus finds the monitors by the names of their ports (ops/prometheus/kubernetes.yml). */
static enum status ports(const struct k8s *k8s, enum k8s_role role, int depth, struct buffer *text)
{
    TRY(k8s_put(text, depth, "ports:\n"));
    if (role == K8S_HEAD)
        TRY(k8s_put(text, depth,
                    "  - name: store\n    containerPort: %d\n  - name: weights\n    containerPort: "
                    "%d\n  - name: dash\n    containerPort: %d\n",
                    K8S_STORE_PORT, K8S_WEIGHTS_PORT, K8S_DASH_PORT));
    for (unsigned i = 0; i < k8s_monitors(k8s, role); i++)
        TRY(k8s_put(text, depth, "  - name: monitor-%u\n    containerPort: %u\n", i,
                    K8S_MONITOR_PORT + i));
    return STATUS_OK;
}

static enum status container(const struct k8s *k8s, enum k8s_role role, int depth,
                             struct buffer *text)
{
    TRY(k8s_put(text, depth,
                "containers:\n  - name: weir\n    image: %s\n    imagePullPolicy: IfNotPresent\n",
                k8s->image));
    TRY(command(k8s, role, depth + 4, text));
    TRY(ports(k8s, role, depth + 4, text));
    TRY(probes(k8s, depth + 4, text));
    TRY(resources(k8s, role, depth + 4, text));
    TRY(container_rights(depth + 4, text));
    return pod_mounts(k8s, role, depth + 4, text);
}

enum status k8s_pod(const struct k8s *k8s, enum k8s_role role, int depth, struct buffer *text)
{
    unsigned gpus = role == K8S_ACTOR ? k8s->gpus_per_actor : role == K8S_HEAD ? k8s->head_gpus : 0;
    bool restarts = k8s->plain && role != K8S_HEAD; /* a StatefulSet knows no other policy */
    TRY(k8s_put(text, depth, "metadata:\n  labels:\n"));
    TRY(k8s_labels(k8s, role, depth + 4, text));
    if (k8s->sandbox && k8s_scores(k8s, role))
        TRY(k8s_put(
            text, depth + 2,
            "annotations:\n  container.apparmor.security.beta.kubernetes.io/weir: unconfined\n"));
    TRY(k8s_put(text, depth,
                "spec:\n  restartPolicy: %s\n  terminationGracePeriodSeconds: %u\n"
                "  automountServiceAccountToken: false\n  enableServiceLinks: false\n",
                restarts ? "Always" : "Never", k8s->settings->run.drain_s + K8S_DRAIN_MARGIN_S));
    TRY(pod_rights(k8s, role, depth + 2, text));
    if (gpus > 0)
        TRY(k8s_put(text, depth + 2,
                    "tolerations:\n  - key: nvidia.com/gpu\n    operator: Exists\n    effect: "
                    "NoSchedule\n"));
    TRY(prepare_container(k8s, role, depth + 2, text));
    TRY(container(k8s, role, depth + 2, text));
    return pod_volumes(k8s, role, depth + 2, text);
}
