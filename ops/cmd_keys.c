/* ops/cmd_keys.c - `weir keys`: folders of CURVE keys (transport/keys.h, docs/security.md). Prints public keys only. */
#include <stdio.h>
#include <string.h>

#include "ops/cmd.h"
#include "transport/keys.h"

static int new_keys(const char *folder, bool force)
{
    enum status status = keys_new(folder, force);
    if (status != STATUS_OK)
        return command_failed("keys", status);
    printf("%s: keys of store, actor, learner, reward and control. Set run.keys=%s; a machine of "
           "actors gets %s/actor.key and %s/store.pub, and no other file.\n",
           folder, folder, folder, folder);
    return EXIT_CODE_OK;
}

static int add_key(const char *folder, const char *role, const char *name)
{
    enum status status = keys_add(folder, role, name);
    if (status != STATUS_OK)
        return command_failed("keys", status);
    printf("%s/%s.key may connect as %s; its machine gets it under the name %s.key, and "
           "store.pub.\n",
           folder, name, role, role);
    return EXIT_CODE_OK;
}

static int revoke_key(const char *folder, const char *who)
{
    unsigned count = 0;
    enum status status = keys_revoke(folder, who, &count);
    if (status != STATUS_OK)
        return command_failed("keys", status);
    printf("%u key%s of %s revoked: who is connected with it is cut off at its next message.\n",
           count, count == 1 ? "" : "s", folder);
    return EXIT_CODE_OK;
}

static int show_keys(const char *folder)
{
    struct buffer text;
    buffer_init(&text, 0);
    enum status status = keys_show(folder, &text);
    if (status == STATUS_OK)
        fputs(buffer_string(&text), stdout);
    buffer_free(&text);
    return status == STATUS_OK ? EXIT_CODE_OK : command_failed("keys", status);
}

int cmd_keys(int argc, char **argv)
{
    const char *what = argc > 0 ? argv[0] : "";
    if (strcmp(what, "new") == 0 && argc == 2)
        return new_keys(argv[1], false);
    if (strcmp(what, "new") == 0 && argc == 3 && strcmp(argv[2], "--force") == 0)
        return new_keys(argv[1], true);
    if (strcmp(what, "new") == 0 && argc == 3 && strcmp(argv[1], "--force") == 0)
        return new_keys(argv[2], true);
    if (strcmp(what, "add") == 0 && argc == 4)
        return add_key(argv[1], argv[2], argv[3]);
    if (strcmp(what, "revoke") == 0 && argc == 3)
        return revoke_key(argv[1], argv[2]);
    if (strcmp(what, "show") == 0 && argc == 2)
        return show_keys(argv[1]);
    return command_usage("keys",
                         "new FOLDER [--force], add FOLDER ROLE NAME, revoke FOLDER NAME or "
                         "show FOLDER is expected");
}
