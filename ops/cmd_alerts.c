/* weir docs alerts and prometheus-rules: the table of core/alert_rules.h as a page and as a rules file. */
#include <stdio.h>
#include <string.h>

#include "core/alert_rules.h"
#include "ops/cmd.h"

typedef enum status alert_page(const struct settings *settings, struct buffer *text);

/* The files of this tree are of no run: defaults. Words are recipes and settings of one. */
static enum status put_page(alert_page *page, int argc, char **argv, struct buffer *text)
{
    static const char *files[PROGRAM_FILES_MAX], *overrides[PROGRAM_OVERRIDES_MAX];
    struct config_input input = {.files = files, .overrides = overrides};
    struct settings settings = {0};
    struct config *config = NULL;
    for (int i = 0; i < argc; i++) {
        bool setting = strchr(argv[i], '=') != NULL;
        size_t *count = setting ? &input.override_count : &input.file_count;
        size_t most = setting ? PROGRAM_OVERRIDES_MAX : PROGRAM_FILES_MAX;
        if (*count == most)
            return FAIL(STATUS_INVALID, "more than %zu %s", most, setting ? "settings" : "recipes");
        *((setting ? overrides : files) + (*count)++) = argv[i];
    }
    TRY(config_load(&config, settings_sections, settings_section_count, &input, &settings));
    enum status status = page(&settings, text);
    config_destroy(&config);
    return status;
}

static int print_page(alert_page *page, int argc, char **argv)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = put_page(page, argc, argv, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("docs", status);
}

int docs_alerts(int argc, char **argv)
{
    return print_page(alert_markdown, argc, argv);
}

int docs_prometheus_rules(int argc, char **argv)
{
    return print_page(alert_prometheus, argc, argv);
}
