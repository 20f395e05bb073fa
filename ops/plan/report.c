/* ops/plan/report.c - the plan as people read it. */
#include "ops/plan/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static enum status print_findings(const struct fleet_plan *plan, struct buffer *text)
{
    const struct findings *findings = &plan->findings;
    if (findings->count == 0)
        return STATUS_OK;
    TRY(buffer_printf(text, "%u thing%s to change\n", findings->count,
                      findings->count == 1 ? "" : "s"));
    for (uint32_t i = 0; i < findings->count; i++) {
        const struct finding *row = &findings->rows[i];
        TRY(buffer_printf(text, "  %u. %s\n", i + 1, row->sentence));
        for (uint32_t k = 0; k < row->key_count; k++)
            TRY(buffer_printf(text, "       %s: %s = %s\n", row->keys[k].source, row->keys[k].key,
                              row->keys[k].value));
    }
    if (findings->left_out > 0)
        TRY(buffer_printf(text, "  and %u more\n", findings->left_out));
    return buffer_text(text, "\n");
}

static enum status print_list(const char *title, const char (*lines)[PLAN_TEXT_BYTES],
                              uint32_t count, struct buffer *text)
{
    if (count == 0)
        return STATUS_OK;
    TRY(buffer_printf(text, "%s\n", title));
    for (uint32_t i = 0; i < count; i++)
        TRY(buffer_printf(text, "  - %s\n", lines[i]));
    return buffer_text(text, "\n");
}

static enum status print_processes(const struct fleet_plan *plan, struct buffer *text)
{
    TRY(buffer_text(text, "processes\n"));
    for (uint32_t i = 0; i < plan->process_count; i++)
        TRY(buffer_printf(text, "  %6u x %-13s %s\n", plan->processes[i].count,
                          plan->processes[i].name, plan->processes[i].where));
    if (plan->cluster)
        TRY(buffer_printf(text, "  on %u %s GPUs of %u hosts\n", plan->gpus,
                          plan->actor.hardware.name, plan->nodes));
    return buffer_text(text, "\n");
}

static enum status print_objective(struct fleet_plan *plan, struct buffer *text)
{
    TRY(buffer_text(text, "objective (weir explain)\n"));
    const char *at = buffer_string(&plan->objective);
    while (at != NULL && *at != '\0') {
        size_t length = strcspn(at, "\n");
        TRY(buffer_printf(text, length > 0 ? "  %.*s\n" : "%.*s\n", (int)length, at));
        at += length + (at[length] == '\n');
    }
    return buffer_text(text, "\n");
}

static enum status print_memory(const struct plan_role *role, bool cluster, struct buffer *text)
{
    const char *of = role->hardware.cpu ? "one process" : "one GPU";
    TRY(buffer_printf(text, "memory of %s of %s %s (%s, modelled to the byte of what %s takes)\n",
                      of, role->name[0] == 'a' ? "an" : "the", role->name, role->hardware.name,
                      cluster && role->unit_gpus > 1 ? "its part of the model" : "a start"));
    TRY(plan_text(&role->memory, text));
    if (role->smallest_gpus > 0)
        TRY(buffer_printf(text, "  %-34s %12u %s: tensor %u, experts over %u, sequence %u\n",
                          "smallest fleet that would fit", role->smallest_gpus,
                          role->hardware.cpu ? "processes" : "GPUs", role->smallest.tensor,
                          role->smallest.expert, role->smallest.sequence));
    return buffer_printf(text, "  %-34s %12.1f MB   %s (cluster.memory_share of %.1f GB)\n\n",
                         "there is", role->device_bytes / 1e6,
                         role->fits ? "it fits" : "IT DOES NOT FIT",
                         role->hardware.memory_bytes / 1e9);
}

static enum status print_value(double value, struct buffer *text)
{
    if (value != 0 && (fabs(value) >= 1e7 || fabs(value) < 0.01))
        return buffer_printf(text, "%14.3g", value);
    return buffer_printf(text, fabs(value) >= 1000 ? "%14.0f" : "%14.2f", value);
}

static enum status print_figures(const struct fleet_plan *plan, struct buffer *text)
{
    const char *group = "";
    for (uint32_t i = 0; i < plan->figure_count; i++) {
        const struct plan_figure *figure = &plan->figures[i];
        if (strcmp(group, figure->group) != 0)
            TRY(buffer_printf(text, "%s%s\n", i > 0 ? "\n" : "", figure->group));
        group = figure->group;
        TRY(buffer_printf(text, "  %-28s", figure->name));
        TRY(print_value(figure->value, text));
        TRY(buffer_printf(text, " %-9s [%s] %s\n", figure->unit, plan_label_name(figure->label),
                          figure->how));
    }
    return plan->advice[0] != '\0' ? buffer_printf(text, "  so: %s\n\n", plan->advice)
                                   : buffer_text(text, "\n");
}

enum status plan_report(struct fleet_plan *plan, const struct fleet_request *request,
                        struct buffer *text)
{
    TRY(buffer_printf(text, "plan of %s: nothing was started\n\n",
                      request->file_count > 0 ? request->files[0] : "the settings"));
    TRY(print_findings(plan, text));
    if (plan->process_count > 0)
        TRY(print_processes(plan, text));
    if (plan->objective.size > 0)
        TRY(print_objective(plan, text));
    if (plan->loaded) {
        TRY(print_memory(&plan->learner, plan->cluster, text));
        if (!plan->sft)
            TRY(print_memory(&plan->actor, plan->cluster, text));
        if (plan->evaluator.units > 0)
            TRY(print_memory(&plan->evaluator, plan->cluster, text));
        TRY(print_figures(plan, text));
    }
    TRY(print_list("before it can run", plan->notes, plan->note_count, text));
    TRY(print_list("weir cannot run yet (weir run refuses)", plan->lacks, plan->lack_count, text));
    char refusal[4 * PLAN_TEXT_BYTES];
    if (plan_refusal(plan, refusal))
        return buffer_printf(text, "%s\n", refusal);
    return plan->findings.count == 0 ? buffer_text(text, "settings are sound\n") : STATUS_OK;
}
