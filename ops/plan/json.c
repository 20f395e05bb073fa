/* ops/plan/json.c - the plan for programs. */
#include "ops/plan/plan.h"

#include <jansson.h>

static json_t *json_degrees(const struct plan_degrees *degrees)
{
    return json_pack("{s:i, s:i, s:i}", "tensor", (int)degrees->tensor, "expert",
                     (int)degrees->expert, "sequence", (int)degrees->sequence);
}

static json_t *json_role(const struct plan_role *role)
{
    json_t *rows = json_array();
    for (int i = 0; i < role->memory.count; i++) {
        const struct plan_row *row = &role->memory.rows[i];
        json_array_append_new(rows, json_pack("{s:s, s:I, s:s?}", "part", row->name, "bytes",
                                              (json_int_t)row->bytes, "setting", row->setting));
    }
    return json_pack("{s:i, s:i, s:i, s:o, s:s, s:o, s:I, s:f, s:b, s:s, s:{s:i, s:o}}", "gpus",
                     (int)role->gpus, "count", (int)role->units, "gpus_each", (int)role->unit_gpus,
                     "degrees", json_degrees(&role->degrees), "device", role->hardware.name,
                     "memory", rows, "memory_bytes", (json_int_t)plan_total(&role->memory),
                     "device_bytes", role->device_bytes, "fits", (int)role->fits, "label",
                     "modelled", "smallest", "gpus", (int)role->smallest_gpus, "degrees",
                     json_degrees(&role->smallest));
}

static json_t *json_findings(const struct findings *findings)
{
    static const char *const kinds[] = {"setting", "input", "machine"};
    json_t *list = json_array();
    for (uint32_t i = 0; i < findings->count; i++) {
        const struct finding *row = &findings->rows[i];
        json_t *keys = json_array();
        for (uint32_t k = 0; k < row->key_count; k++)
            json_array_append_new(keys,
                                  json_pack("{s:s, s:s, s:s}", "key", row->keys[k].key, "value",
                                            row->keys[k].value, "source", row->keys[k].source));
        json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "kind", kinds[row->kind],
                                              "sentence", row->sentence, "settings", keys));
    }
    return list;
}

static json_t *json_figures(const struct fleet_plan *plan)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->figure_count; i++) {
        const struct plan_figure *figure = &plan->figures[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:s, s:s, s:s}", "group",
                                              figure->group, "name", figure->name, "value",
                                              figure->value, "unit", figure->unit, "label",
                                              plan_label_name(figure->label), "how", figure->how));
    }
    return list;
}

static json_t *json_lines(const char (*lines)[PLAN_TEXT_BYTES], uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(lines[i]));
    return list;
}

static json_t *json_processes(const struct fleet_plan *plan)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < plan->process_count; i++)
        json_array_append_new(list, json_pack("{s:s, s:i, s:s}", "name", plan->processes[i].name,
                                              "count", (int)plan->processes[i].count, "where",
                                              plan->processes[i].where));
    return list;
}

enum status plan_report_json(struct fleet_plan *plan, struct buffer *text)
{
    json_t *root = json_pack(
        "{s:b, s:o, s:o, s:o, s:o, s:o}", "sound", (int)(plan->findings.count == 0), "findings",
        json_findings(&plan->findings), "processes", json_processes(plan), "figures",
        json_figures(plan), "before_it_can_run", json_lines(plan->notes, plan->note_count),
        "cannot_run_yet", json_lines(plan->lacks, plan->lack_count));
    if (root == NULL)
        return FAIL(STATUS_NO_MEMORY, "JSON of a plan");
    if (plan->objective.size > 0)
        json_object_set_new(root, "objective", json_string(buffer_string(&plan->objective)));
    if (plan->loaded) {
        json_object_set_new(root, "learner", json_role(&plan->learner));
        if (!plan->sft)
            json_object_set_new(root, "actor", json_role(&plan->actor));
        if (plan->evaluator.units > 0)
            json_object_set_new(root, "evaluator", json_role(&plan->evaluator));
        json_object_set_new(root, "advice", json_string(plan->advice));
    }
    size_t size = json_dumpb(root, NULL, 0, JSON_INDENT(1));
    enum status status =
        size > 0 ? buffer_reserve(text, size + 2) : FAIL(STATUS_NO_MEMORY, "JSON of a plan");
    if (status == STATUS_OK) {
        text->size += json_dumpb(root, (char *)text->bytes + text->size, size, JSON_INDENT(1));
        status = buffer_text(text, "\n");
    }
    json_decref(root);
    return status;
}
