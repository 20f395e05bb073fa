/* links: transport */
/* Any bytes as a key file and as the list of who may connect: refused with a sentence that does not repeat them, or keys
 * of the right form. */
#include <string.h>

#include "core/memory.h"
#include "tests/fuzz/temporary_folder.h"
#include "transport/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct allow *allow; /* one for all inputs: its tables are large */
    struct key_pair pair = {0};
    char public_text[KEY_TEXT_MAX];
    if (allow == NULL) {
        temporary_file("allow", "", 0);
        CHECK(allow_open(&allow, temporary_folder()) == STATUS_OK);
    }
    int64_t blocks = memory_blocks_live();
    temporary_remove("allow"); /* another file, whatever its size and time */
    temporary_file("actor.key", bytes, size);
    temporary_file("allow", bytes, size);
    temporary_file("store.pub", bytes, size);
    if (key_pair_read(temporary_folder(), "actor", &pair) == STATUS_OK)
        CHECK(strlen(pair.public_text) == KEY_TEXT_MAX - 1 &&
              strlen(pair.secret_text) == KEY_TEXT_MAX - 1);
    else
        CHECK(status_last_error()[0] != '\0');
    key_pair_wipe(&pair);
    if (key_store_public(temporary_folder(), public_text) == STATUS_OK)
        CHECK(strlen(public_text) == KEY_TEXT_MAX - 1);
    if (allow_refresh(allow) != STATUS_OK)
        CHECK(status_last_error()[0] != '\0');
    CHECK(allow_find(allow, "no key") == NULL);
    CHECK(memory_blocks_live() == blocks);
    return 0;
}
