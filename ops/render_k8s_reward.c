/* ops/render_k8s_reward.c - what the rewards of a run need of their pods: a sandbox, the way to a judge, its key. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "ops/render_k8s.h"

enum { RECIPE_BYTES_MAX = 1 << 20, VARIABLE_MAX = 64 };

/* Behind the next `key` and what stands between a key and its value in JSON and YAML; NULL: there is none. */
static const char *value_after(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at != NULL ? at + strlen(key) + strspn(at + strlen(key), "\": \t'") : NULL;
}

/* Of "https://host:30000/v1"; 0: it is no address. */
static unsigned port_of(const char *url)
{
    bool safe = strncmp(url, "https://", 8) == 0;
    if (!safe && strncmp(url, "http://", 7) != 0)
        return 0;
    const char *host = url + (safe ? 8 : 7);
    host += *host == '[' ? strcspn(host, "]") : 0;
    const char *colon = host + strcspn(host, ":/\"'?#, \t\r\n}");
    unsigned long port = *colon == ':' ? strtoul(colon + 1, NULL, 10) : safe ? 443 : 80;
    return port <= 65535 ? (unsigned)port : 0;
}

static void add_port(struct k8s *k8s, unsigned port)
{
    for (unsigned i = 0; i < k8s->judge_port_count; i++)
        if (k8s->judge_ports[i] == port)
            return;
    if (port > 0 && k8s->judge_port_count < K8S_JUDGE_PORTS_MAX)
        k8s->judge_ports[k8s->judge_port_count++] = port;
}

/* FAIL when a key is to come from a variable that no pod would have. */
static enum status look_at_text(struct k8s *k8s, const char *text)
{
    for (const char *url = value_after(text, "base_url"); url != NULL;
         url = value_after(url, "base_url")) {
        k8s->judge = true;
        add_port(k8s, port_of(url));
    }
    const char *name = value_after(text, "api_key_env");
    if (name == NULL || k8s->reward_secret != NULL)
        return STATUS_OK;
    int size = 0;
    while (size < VARIABLE_MAX && (isalnum((unsigned char)name[size]) || name[size] == '_'))
        size++;
    return FAIL(STATUS_INVALID,
                "the judge's key comes from the variable %.*s: name a Secret that has it with "
                "--reward-secret",
                size, name);
}

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), tail = strlen(end);
    return size > tail && strcmp(text + size - tail, end) == 0;
}

/* A composed reward names its judges in its own file. */
static enum status look_at_file(struct k8s *k8s, const char *path)
{
    struct buffer text;
    if (!ends_with(path, ".yaml") && !ends_with(path, ".yml") && !ends_with(path, ".json"))
        return STATUS_OK;
    buffer_init(&text, RECIPE_BYTES_MAX);
    enum status status = file_read(path, &text);
    if (status == STATUS_OK)
        status = look_at_text(k8s, buffer_string(&text));
    else if (status == STATUS_NOT_FOUND)
        status = STATUS_OK; /* it lies in the image or in the claim of --data-claim only */
    buffer_free(&text);
    return status;
}

enum status k8s_look_at_reward(struct k8s *k8s)
{
    static const char *const texts[] = {"addition", "gsm8k", "math", "math_verify",
                                        "logic",    "rules", "judge"};
    const struct settings *settings = k8s->settings;
    k8s->sandbox = true; /* of a file nobody knows what it runs */
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strcmp(settings->reward.plugin, texts[i]) == 0)
            k8s->sandbox = false;
    k8s->judge = settings->reward.judge[0] != 0 || settings->reward.python_network ||
                 strcmp(settings->reward.plugin, "judge") == 0;
    TRY(look_at_text(k8s, settings->reward.judge));
    TRY(look_at_text(k8s, settings->reward.config));
    TRY(look_at_file(k8s, settings->reward.plugin));
    if (settings->reward.python_network || k8s->judge_port_count == 0) {
        add_port(k8s, 443);
        add_port(k8s, 80);
    }
    return STATUS_OK;
}
