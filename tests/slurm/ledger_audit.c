/* tests/slurm/ledger_audit.c - was every rollout of a run trained once and none lost? For scripts.
 *
 *     ledger_audit RUN_FOLDER GROUP_SIZE GROUPS_PER_PUBLISH STEPS STALENESS_MAX
 *
 * 0: the ledger and metrics.jsonl agree (tests/chaos_ledger.h); 1: the violations were printed. STEPS 0: not finished. */
#include "tests/chaos_ledger.h"

int main(int argc, char **argv)
{
    static struct audit audit; /* large */
    if (argc != 6) {
        fputs("ledger_audit RUN_FOLDER GROUP_SIZE GROUPS_PER_PUBLISH STEPS STALENESS_MAX\n",
              stderr);
        return 2;
    }
    struct audit_rules rules = {.group_size = (uint32_t)strtoul(argv[2], NULL, 10),
                                .groups_per_publish = (uint32_t)strtoul(argv[3], NULL, 10),
                                .steps = strtoull(argv[4], NULL, 10),
                                .max_staleness = strtoull(argv[5], NULL, 10)};
    audit_run(&audit, argv[1], &rules);
    audit_print("slurm", &audit);
    bool sound = audit.violations == 0 && audit.records > 0;
    audit_free(&audit);
    return sound ? 0 : 1;
}
