/* ops/render_systemd.c - `weir render systemd`: weir-run@.service and weir-node@.service (docs/systemd.md). */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/cmd.h"
#include "ops/render.h"

struct unit_options {
    const char *bin, *state;
    long drain_s;
};

/* Sandboxed rewards make namespaces, mount and fork: no RestrictNamespaces and PrivateUsers, and nothing that hides a part
 * of /proc (ProtectProc, ProtectKernelLogs, ProtectKernelTunables), since the kernel refuses a proc of one's own to who
 * does not see all of it. /dev/shm carries weights, GPUs are devices: no PrivateIPC, no PrivateDevices, and no ProtectClock,
 * which lets older systemd (before 252) deny all devices but clocks. With User=, ProtectKernelModules, RestrictRealtime,
 * LockPersonality and RestrictSUIDSGID imply NoNewPrivileges; the sandbox has no set-user-id program and sets that bit
 * itself (sandbox/launcher/program.c). */
static const char hardening[] = "UMask=0077\n"
                                "ProtectSystem=strict\n"
                                "ReadWritePaths=%s\n"
                                "ProtectHome=read-only\n"
                                "PrivateTmp=yes\n"
                                "ProtectKernelModules=yes\n"
                                "RestrictRealtime=yes\n"
                                "LockPersonality=yes\n"
                                "RestrictSUIDSGID=yes\n"
                                "LimitNOFILE=65536\n";

static void print_unit(const struct unit_options *options, const char *what, const char *start)
{
    printf("[Unit]\n"
           "Description=weir: %s %%i\n"
           "After=network-online.target\n"
           "Wants=network-online.target\n"
           "StartLimitIntervalSec=600\n"
           "StartLimitBurst=5\n\n",
           what);
    printf("[Service]\n"
           "Type=notify\n"
           "NotifyAccess=main\n"
           "User=weir\n"
           "Group=weir\n"
           "WorkingDirectory=%s\n"
           "EnvironmentFile=-/etc/weir/%%i.env\n"
           "ExecStart=%s\n",
           options->state, start);
    printf(
        "# SIGTERM drains; after the budget (run.drain_s and a checkpoint) everything is killed\n"
        "KillMode=mixed\n"
        "KillSignal=SIGTERM\n"
        "TimeoutStopSec=%ld\n"
        "# reading a long ledger or a large model takes as long as it takes; weir has its own "
        "limits\n"
        "TimeoutStartSec=infinity\n"
        "WatchdogSec=30\n",
        options->drain_s);
    printf("# docs/exit-codes.md: 2, 3, 4 (settings, something missing, bad input) come again; 1 "
           "was the run's own end\n"
           "Restart=on-failure\n"
           "RestartSec=5\n"
           "RestartPreventExitStatus=1 2 3 4 130\n"
           "RuntimeDirectory=weir/%%i\n"
           "RuntimeDirectoryPreserve=restart\n"
           "OOMPolicy=continue\n");
    if (strncmp(options->state, "/var/lib/", 9) == 0) /* made for its user at the first start */
        printf("StateDirectory=%s\nStateDirectoryMode=0750\n", options->state + 9);
    printf(hardening, options->state);
    printf("\n[Install]\nWantedBy=multi-user.target\n");
}

static int parse(struct unit_options *options, int argc, char **argv)
{
    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        char *end = NULL;
        if (value == NULL)
            return command_usage("render", "%s wants a value", argv[i]);
        errno = 0;
        if (strcmp(argv[i], "--bin") == 0 && value[0] == '/')
            options->bin = value;
        else if (strcmp(argv[i], "--state") == 0 && value[0] == '/')
            options->state = value;
        else if (strcmp(argv[i], "--drain") == 0 &&
                 (options->drain_s = strtol(value, &end, 10)) > 0 && *end == 0 && errno == 0)
            continue;
        else
            return command_usage("render",
                                 "%s %s: --bin and --state want an absolute path, --drain seconds",
                                 argv[i], value);
        if (strpbrk(value, " \t\n%$\"'\\") != NULL)
            return command_usage("render", "%s \"%s\": no blanks, quotes, %% and $", argv[i],
                                 value);
    }
    return EXIT_CODE_OK;
}

int render_systemd(int argc, char **argv)
{
    struct unit_options options = {
        .bin = "/usr/local/bin", .state = "/var/lib/weir", .drain_s = 60};
    const char *unit = argc > 0 ? argv[0] : "";
    char start[2 * FILE_PATH_MAX];
    bool run = strcmp(unit, "run") == 0;
    if (!run && strcmp(unit, "node") != 0)
        return command_usage("render", "systemd run or systemd node is expected");
    int code = parse(&options, argc, argv);
    if (code != EXIT_CODE_OK)
        return code;
    if (run) /* run.resume=true makes a run that is not there yet, too */
        snprintf(
            start, sizeof start,
            "%s/weir run /etc/weir/%%i.yaml --name %%i --quiet run.root=%s/runs run.resume=true",
            options.bin, options.state);
    else
        snprintf(start, sizeof start, "%s/weir node %s/runs/%%i $WEIR_NODE", options.bin,
                 options.state);
    print_unit(&options, run ? "run" : "a node of actors for run", start);
    return EXIT_CODE_OK;
}
