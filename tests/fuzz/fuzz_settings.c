/* links: core */
/* Any bytes as a recipe: refused with a sentence, or settings whose dump loads again and dumps the same. The last line of
 * an input that begins with '=' is a section.name=value of the command line instead. */
#include <string.h>

#include "core/memory.h"
#include "core/settings.h"
#include "tests/fuzz/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { OVERRIDE_MAX = 256 };

static enum status load(const char *path, const char *override, struct config **config)
{
    static struct settings settings;
    const char *files[] = {path};
    struct config_input input = {.files = files,
                                 .file_count = path != NULL,
                                 .overrides = &override,
                                 .override_count = override != NULL};
    return settings_load(&settings, config, &input);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct memory_file file;
    static char override[OVERRIDE_MAX];
    bool on_line = size > 0 && size < OVERRIDE_MAX && bytes[0] == '=';
    struct config *config = NULL, *again = NULL;
    struct buffer first, second;
    buffer_init(&first, 0);
    buffer_init(&second, 0);
    if (on_line) {
        memcpy(override, bytes + 1, size - 1);
        override[size - 1] = '\0';
    }
    const char *path = on_line ? NULL : memory_file_set(&file, bytes, size);
    if (load(path, on_line ? override : NULL, &config) == STATUS_OK) {
        CHECK(config_dump(config, &first) == STATUS_OK);
        CHECK(load(memory_file_set(&file, first.bytes, first.size), NULL, &again) == STATUS_OK);
        CHECK(config_dump(again, &second) == STATUS_OK);
    } else {
        CHECK(status_last_error()[0] != '\0');
    }
    config_destroy(&config);
    config_destroy(&again);
    buffer_free(&first);
    buffer_free(&second);
    return 0;
}
