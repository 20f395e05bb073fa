/* weir-plan: what `weir run R --dry-run` prints; starts nothing. `--refuse` prints only what a run would be refused for.
 */
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "ops/plan/plan.h"

/* Options of `weir run` that a plan has no use for. */
static const char *const of_run[] = {"--dry-run", "--quiet", "--resume", "--clean", "--check"};

static bool take(const char *argument, struct fleet_request *request)
{
    if (strcmp(argument, "--json") == 0)
        return request->json = true;
    if (strcmp(argument, "--refuse") == 0)
        return request->refuse = request->no_forecast = true;
    if (strcmp(argument, "--no-forecast") == 0)
        return request->no_forecast = true;
    for (size_t i = 0; i < sizeof of_run / sizeof of_run[0]; i++)
        if (strcmp(argument, of_run[i]) == 0)
            return true;
    if (argument[0] == '-')
        return false;
    bool setting = strchr(argument, '=') != NULL;
    if (setting ? request->override_count == PROGRAM_OVERRIDES_MAX
                : request->file_count == PROGRAM_FILES_MAX)
        return false;
    if (setting)
        request->overrides[request->override_count++] = argument;
    else
        request->files[request->file_count++] = argument;
    return true;
}

static enum status print_plan(struct fleet_plan *plan, const struct fleet_request *request)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status =
        request->json ? plan_report_json(plan, &text) : plan_report(plan, request, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status;
}

static int finish(struct fleet_plan *plan, const struct fleet_request *request)
{
    char sentence[4 * PLAN_TEXT_BYTES];
    if (request->refuse) {
        if (!plan_refusal(plan, sentence))
            return EXIT_CODE_OK;
        fprintf(stderr, "weir: %s\n", sentence);
        return EXIT_CODE_USAGE;
    }
    enum status status = print_plan(plan, request);
    if (status != STATUS_OK) {
        fprintf(stderr, "weir: %s\n", status_sentence(status_last_error()));
        return program_exit_code(status);
    }
    int code = plan_exit_code(plan);
    if (code != EXIT_CODE_OK)
        fprintf(stderr, "weir: %u thing%s to change; see above\n", plan->findings.count,
                plan->findings.count == 1 ? "" : "s");
    return code;
}

int main(int argc, char **argv)
{
    static struct fleet_plan plan;
    static struct fleet_request request;
    for (int i = 1; i < argc; i++) {
        bool skipped = strcmp(argv[i], "--name") == 0 || strcmp(argv[i], "--drained-code") == 0;
        if (skipped && i + 1 < argc) {
            i++;
        } else if (!take(argv[i], &request)) {
            fprintf(stderr,
                    "weir: unknown option or too many arguments at %s; see `weir help run`\n",
                    argv[i]);
            return EXIT_CODE_USAGE;
        }
    }
    if (request.file_count == 0) {
        fprintf(stderr, "weir: name a recipe, as examples/recipes/quickstart.yaml\n");
        return EXIT_CODE_USAGE;
    }
    log_init("plan", 0, LOG_LEVEL_ERROR);
    enum status status = plan_make(&plan, &request);
    int code = EXIT_CODE_FAILED;
    if (status == STATUS_OK) {
        code = finish(&plan, &request);
    } else {
        fprintf(stderr, "weir: %s\n", status_sentence(status_last_error()));
        code = program_exit_code(status);
    }
    plan_destroy(&plan);
    return code;
}
