/* weir docs alerts and prometheus-rules: the table of core/alert_rules.h as a page and as a rules file. */
#include <stdio.h>

#include "core/alert_rules.h"
#include "ops/cmd.h"

typedef enum status alert_page(const struct settings *settings, struct buffer *text);

/* Default thresholds: the files are of no run. */
static enum status put_page(alert_page *page, struct buffer *text)
{
    struct config_input input = {0};
    struct settings settings = {0};
    struct config *config = NULL;
    TRY(config_load(&config, settings_sections, settings_section_count, &input, &settings));
    enum status status = page(&settings, text);
    config_destroy(&config);
    return status;
}

static int print_page(alert_page *page)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = put_page(page, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("docs", status);
}

int docs_alerts(void)
{
    return print_page(alert_markdown);
}

int docs_prometheus_rules(void)
{
    return print_page(alert_prometheus);
}
