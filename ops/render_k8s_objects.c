/* ops/render_k8s_objects.c - the objects of a run around its pods: jobs, services, claims, budgets, policies. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "ops/render_k8s.h"

enum status k8s_name(const char *run, char name[K8S_NAME_MAX])
{
    size_t at = 0;
    for (const char *c = run; *c != 0; c++) {
        bool fine = isalnum((unsigned char)*c);
        if (at == 0 && !isalpha((unsigned char)*c))
            continue; /* a Service begins with a letter */
        if (at + 1 == K8S_NAME_MAX)
            return FAIL(
                STATUS_INVALID,
                "\"%s\" is too long for Kubernetes: a name has at most %d letters; say --name", run,
                K8S_NAME_MAX - 1);
        name[at++] = fine ? (char)tolower((unsigned char)*c) : '-';
    }
    while (at > 0 && name[at - 1] == '-')
        at--;
    name[at] = 0;
    return at > 0 ? STATUS_OK
                  : FAIL(STATUS_INVALID, "\"%s\" has no letter: say --name for Kubernetes", run);
}

static enum status head_of(const struct k8s *k8s, const char *version, const char *kind,
                           const char *suffix, struct buffer *text)
{
    TRY(k8s_put(text, 0, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: \"%s%s\"\n", version,
                kind, k8s->name, suffix));
    if (k8s->namespace[0] != 0)
        TRY(k8s_put(text, 2, "namespace: \"%s\"\n", k8s->namespace));
    return k8s_put(
        text, 2, "labels:\n  app.kubernetes.io/name: weir\n  app.kubernetes.io/instance: \"%s\"\n",
        k8s->name);
}

static enum status select_role(const struct k8s *k8s, enum k8s_role role, const char *key,
                               int depth, struct buffer *text)
{
    TRY(k8s_put(text, depth, "%s:\n  matchLabels:\n", key));
    return k8s_labels(k8s, role, depth + 4, text);
}

static enum status recipe(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "v1", "ConfigMap", "-recipe", text));
    TRY(k8s_put(text, 0, "data:\n  recipe.yaml: |\n"));
    for (const char *line = k8s->recipe; *line != 0;) {
        size_t length = strcspn(line, "\n");
        TRY(buffer_printf(text, "%s%.*s\n", length > 0 ? "    " : "", (int)length, line));
        line += length + (line[length] == '\n');
    }
    return STATUS_OK;
}

static enum status claim(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "v1", "PersistentVolumeClaim", "-runs", text));
    return k8s_put(text, 0,
                   "spec:\n  accessModes:\n    - ReadWriteOnce\n  resources:\n    requests:\n"
                   "      storage: %s\n",
                   k8s->storage);
}

static enum status services(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "v1", "Service", "-head", text));
    TRY(k8s_put(text, 0,
                "spec:\n  clusterIP: None\n  publishNotReadyAddresses: true\n  selector:\n"));
    TRY(k8s_labels(k8s, K8S_HEAD, 4, text));
    TRY(k8s_put(
        text, 0,
        "  ports:\n    - name: store\n      port: %d\n    - name: weights\n      port: %d\n",
        K8S_STORE_PORT, K8S_WEIGHTS_PORT));
    TRY(head_of(k8s, "v1", "Service", "-dash", text));
    TRY(k8s_put(text, 0, "spec:\n  publishNotReadyAddresses: true\n  selector:\n"));
    TRY(k8s_labels(k8s, K8S_HEAD, 4, text));
    return k8s_put(text, 0, "  ports:\n    - name: dash\n      port: %d\n", K8S_DASH_PORT);
}

/* ---- who runs ---- */

/* Exit codes 1 to 4 of the head come again whatever is done (docs/exit-codes.md). A pod that the cluster takes away is
 * no failure; it drains, and would end its Job for good with exit 0. */
static enum status failures(enum k8s_role role, int depth, struct buffer *text)
{
    TRY(k8s_put(text, depth, "podFailurePolicy:\n  rules:\n"));
    if (role == K8S_HEAD)
        TRY(k8s_put(text, depth + 4,
                    "- action: FailJob\n  onExitCodes:\n    containerName: weir\n    operator: In\n"
                    "    values:\n      - 1\n      - 2\n      - 3\n      - 4\n"));
    return k8s_put(text, depth + 4,
                   "- action: Ignore\n  onExitCodes:\n    containerName: weir\n    operator: In\n"
                   "    values:\n      - %d\n- action: Ignore\n  onPodConditions:\n"
                   "    - type: DisruptionTarget\n      status: \"True\"\n",
                   K8S_DRAINED_CODE);
}

static enum status job_spec(const struct k8s *k8s, enum k8s_role role, unsigned retries, int depth,
                            struct buffer *text)
{
    TRY(k8s_put(text, depth, "spec:\n  backoffLimit: %u\n  completions: 1\n  parallelism: 1\n",
                retries));
    TRY(failures(role, depth + 2, text));
    TRY(k8s_put(text, depth, "  template:\n"));
    return k8s_pod(k8s, role, depth + 4, text);
}

static enum status replicated_job(const struct k8s *k8s, enum k8s_role role, unsigned replicas,
                                  struct buffer *text)
{
    TRY(k8s_put(text, 4, "- name: %s\n  replicas: %u\n  template:\n", k8s_roles[role], replicas));
    return job_spec(k8s, role, role == K8S_HEAD ? 0 : K8S_WORKER_RESTARTS_MAX, 8, text);
}

static enum status job_set(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "jobset.x-k8s.io/v1alpha2", "JobSet", "", text));
    TRY(k8s_put(
        text, 0,
        "spec:\n  network:\n    enableDNSHostnames: true\n    subdomain: \"%s\"\n"
        "    publishNotReadyAddresses: true\n"
        "  successPolicy:\n    operator: All\n    targetReplicatedJobs:\n      - head\n"
        "  failurePolicy:\n    maxRestarts: %d\n    rules:\n"
        "      - name: headGaveUp\n        action: FailJobSet\n        onJobFailureReasons:\n"
        "          - PodFailurePolicy\n        targetReplicatedJobs:\n          - head\n",
        k8s->name, K8S_RESTARTS_MAX));
    TRY(k8s_put(
        text, 6,
        "- name: headRestarts\n  action: RestartJobSet\n  targetReplicatedJobs:\n    - head\n"));
    TRY(k8s_put(text, 2, "replicatedJobs:\n"));
    TRY(replicated_job(k8s, K8S_HEAD, 1, text));
    if (k8s->actors > 0)
        TRY(replicated_job(k8s, K8S_ACTOR, k8s->actors, text));
    return k8s->rewards > 0 ? replicated_job(k8s, K8S_REWARD, k8s->rewards, text) : STATUS_OK;
}

static enum status stateful_set(const struct k8s *k8s, enum k8s_role role, unsigned replicas,
                                struct buffer *text)
{
    char suffix[16];
    snprintf(suffix, sizeof suffix, "-%s", k8s_roles[role]);
    if (replicas == 0)
        return STATUS_OK;
    TRY(head_of(k8s, "apps/v1", "StatefulSet", suffix, text));
    TRY(k8s_put(text, 0,
                "spec:\n  replicas: %u\n  serviceName: %s-head\n  podManagementPolicy: Parallel\n",
                replicas, k8s->name));
    TRY(select_role(k8s, role, "selector", 2, text));
    TRY(k8s_put(text, 2, "template:\n"));
    return k8s_pod(k8s, role, 4, text);
}

static enum status plain(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "batch/v1", "Job", "-head", text));
    TRY(job_spec(k8s, K8S_HEAD, K8S_RESTARTS_MAX, 0, text));
    TRY(stateful_set(k8s, K8S_ACTOR, k8s->actors, text));
    return stateful_set(k8s, K8S_REWARD, k8s->rewards, text);
}

/* ---- what may happen to them ---- */

/* An eviction of the head costs the steps since its checkpoint: it waits for somebody who means it. minAvailable where
 * jobs make the pods, which have no scale that maxUnavailable could be counted by; a StatefulSet has one, and may be
 * scaled. */
static enum status budget(const struct k8s *k8s, enum k8s_role role, struct buffer *text)
{
    char suffix[16];
    unsigned least = role == K8S_HEAD ? 1 : (role == K8S_ACTOR ? k8s->actors : k8s->rewards) - 1;
    snprintf(suffix, sizeof suffix, "-%s", k8s_roles[role]);
    TRY(head_of(k8s, "policy/v1", "PodDisruptionBudget", suffix, text));
    if (k8s->plain && role != K8S_HEAD)
        TRY(k8s_put(text, 0, "spec:\n  maxUnavailable: 1\n"));
    else
        TRY(k8s_put(text, 0, "spec:\n  minAvailable: %u\n", least));
    return select_role(k8s, role, "selector", 2, text);
}

static enum status judge_egress(const struct k8s *k8s, int depth, struct buffer *text)
{
    TRY(k8s_put(text, depth, "- ports: # the judge of the reward\n"));
    for (unsigned i = 0; i < k8s->judge_port_count; i++)
        TRY(k8s_put(text, depth, "    - port: %u\n      protocol: TCP\n", k8s->judge_ports[i]));
    return STATUS_OK;
}

/* People and Prometheus: pods of this namespace that say so; kubectl port-forward needs no rule. */
static enum status watcher_ingress(const struct k8s *k8s, enum k8s_role role, struct buffer *text)
{
    TRY(k8s_put(text, 4,
                "- from:\n    - podSelector:\n        matchLabels:\n          "
                "weir.dash/client: \"true\"\n  ports:\n"));
    if (role == K8S_HEAD)
        TRY(k8s_put(text, 8, "- port: %d\n  protocol: TCP\n", K8S_DASH_PORT));
    return k8s_put(text, 8, "- port: %d\n  endPort: %u\n  protocol: TCP\n", K8S_MONITOR_PORT,
                   K8S_MONITOR_PORT + k8s_monitors(k8s, role) - 1);
}

static enum status dns_egress(int depth, struct buffer *text)
{
    return k8s_put(text, depth,
                   "- to:\n    - namespaceSelector: {}\n      podSelector:\n        matchLabels:\n"
                   "          k8s-app: kube-dns\n  ports:\n    - port: 53\n      protocol: UDP\n"
                   "    - port: 53\n      protocol: TCP\n");
}

static enum status policy_head(const struct k8s *k8s, struct buffer *text)
{
    TRY(head_of(k8s, "networking.k8s.io/v1", "NetworkPolicy", "-head", text));
    TRY(k8s_put(text, 0, "spec:\n"));
    TRY(select_role(k8s, K8S_HEAD, "podSelector", 2, text));
    bool judge = k8s->judge && k8s_scores(k8s, K8S_HEAD);
    TRY(k8s_put(text, 2, "policyTypes:\n  - Ingress\n  - Egress\negress:%s\n", judge ? "" : " []"));
    if (judge) {
        TRY(dns_egress(4, text));
        TRY(judge_egress(k8s, 4, text));
    }
    TRY(k8s_put(
        text, 2,
        "ingress:\n  - from:\n"
        "      - podSelector:\n          matchLabels:\n"
        "            app.kubernetes.io/name: weir\n            app.kubernetes.io/instance: \"%s\"\n"
        "    ports:\n      - port: %d\n        protocol: TCP\n      - port: %d\n"
        "        protocol: TCP\n",
        k8s->name, K8S_STORE_PORT, K8S_WEIGHTS_PORT));
    return watcher_ingress(k8s, K8S_HEAD, text);
}

static enum status policy_worker(const struct k8s *k8s, enum k8s_role role, struct buffer *text)
{
    char suffix[16];
    snprintf(suffix, sizeof suffix, "-%s", k8s_roles[role]);
    TRY(head_of(k8s, "networking.k8s.io/v1", "NetworkPolicy", suffix, text));
    TRY(k8s_put(text, 0, "spec:\n"));
    TRY(select_role(k8s, role, "podSelector", 2, text));
    TRY(k8s_put(text, 2, "policyTypes:\n  - Ingress\n  - Egress\ningress:\n"));
    TRY(watcher_ingress(k8s, role, text));
    TRY(k8s_put(text, 2, "egress:\n  - to:\n      - podSelector:\n          matchLabels:\n"));
    TRY(k8s_labels(k8s, K8S_HEAD, 14, text));
    TRY(k8s_put(text, 6, "ports:\n  - port: %d\n    protocol: TCP\n", K8S_STORE_PORT));
    if (role == K8S_ACTOR)
        TRY(k8s_put(text, 6, "  - port: %d\n    protocol: TCP\n", K8S_WEIGHTS_PORT));
    TRY(dns_egress(4, text));
    return k8s->judge && k8s_scores(k8s, role) ? judge_egress(k8s, 4, text) : STATUS_OK;
}

static enum status guards(const struct k8s *k8s, enum k8s_role role, struct buffer *text)
{
    TRY(budget(k8s, role, text));
    return role == K8S_HEAD ? policy_head(k8s, text) : policy_worker(k8s, role, text);
}

enum status k8s_text(const struct k8s *k8s, struct buffer *text)
{
    TRY(k8s_put(text, 0,
                "# Made by `weir render k8s`; docs/kubernetes.md. Secrets %s-keys and %s-dash must "
                "be there.\n",
                k8s->name, k8s->name));
    TRY(recipe(k8s, text));
    TRY(claim(k8s, text));
    TRY(services(k8s, text));
    TRY(guards(k8s, K8S_HEAD, text));
    if (k8s->actors > 0)
        TRY(guards(k8s, K8S_ACTOR, text));
    if (k8s->rewards > 0)
        TRY(guards(k8s, K8S_REWARD, text));
    return k8s->plain ? plain(k8s, text) : job_set(k8s, text);
}
