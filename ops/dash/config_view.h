/* ops/dash/config_view.h - the settings of a run for the page, without its secrets. */
#ifndef OPS_DASH_CONFIG_VIEW_H
#define OPS_DASH_CONFIG_VIEW_H

#include "core/buffer.h"

struct dash;

/* {"settings":[{"key","value","source","default","parent","unit","help"}]} */
MUST_CHECK enum status config_view_json(const struct dash *dash, struct buffer *json);
/* A value as it may be shown; owned by the caller (memory_free), NULL when out of memory. */
char *config_view_shown(const char *text);

#endif
