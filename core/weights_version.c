/* core/weights_version.c - see the header. */
#include "core/weights_version.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/file.h"

enum status weights_version_write(const char *folder, const struct weights_version *version)
{
    char path[FILE_PATH_MAX], text[256];
    int size = snprintf(text, sizeof text,
                        "{\n  \"version\": %" PRIu64 ",\n  \"branch\": %u,\n  \"digest\": "
                        "\"%016" PRIx64 "\",\n  \"numerics\": \"%016" PRIx64 "\"\n}\n",
                        version->version, version->branch, version->digest, version->numerics);
    TRY(file_path(path, "%s/version.json", folder));
    return file_replace(path, text, (size_t)size);
}

bool weights_version_read(const char *folder, struct weights_version *version)
{
    char path[FILE_PATH_MAX];
    if (file_path(path, "%s/version.json", folder) != STATUS_OK)
        return false;
    json_t *json = json_load_file(path, 0, NULL);
    const json_t *number = json_object_get(json, "version");
    const char *digest = json_string_value(json_object_get(json, "digest")),
               *numerics = json_string_value(json_object_get(json, "numerics"));
    bool whole = json_is_integer(number) && digest != NULL && numerics != NULL;
    if (whole)
        *version = (struct weights_version){
            .version = (uint64_t)json_integer_value(number),
            .branch = (uint32_t)json_integer_value(json_object_get(json, "branch")),
            .digest = strtoull(digest, NULL, 16),
            .numerics = strtoull(numerics, NULL, 16)};
    json_decref(json);
    return whole;
}
