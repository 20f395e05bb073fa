/* links: reward_swe reward_answer */
/* Diffs, edits, places and logs: the first byte chooses the file, the rest is the text. */
#include <stdint.h>
#include <string.h>

#include "reward/swe/log_formats.h"
#include "reward/swe/patch.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const files[] = {"1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n", "a\r\nb\r\n", "", "x",
                                        "def f(x):\n    y = x\n\n    return y\n"};
    struct tree tree;
    size_t changed;
    if (size == 0)
        return 0;
    const char *file = files[bytes[0] % 5], *text = (const char *)bytes + 1;
    size--;
    tree_init(&tree);
    if (tree_put(&tree, "f", file, strlen(file)) == STATUS_OK) {
        json_decref(patch_places(&tree, text, size));
        (void)!patch_response(&tree, (struct answer_span){text, size}, &changed);
        (void)!patch_edit(&tree, text, size, &changed);
    }
    tree_free(&tree);
    json_t *outcomes = json_object();
    log_read(outcomes, text, size);
    json_decref(outcomes);
    return 0;
}
