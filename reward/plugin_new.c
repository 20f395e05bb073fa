/* reward/plugin_new.c - `weir plugin new NAME [--python]`: a reward that works, to be changed. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/program.h"
#include "reward/plugin_command.h"

static const char c_template[] =
    "/* @.c - a reward for weir: 1 when the response ends in the ground truth, else 0.\n"
    " *\n"
    " * Build:  cc -shared -fPIC -O2 -Wall -o @.so @.c        (weir_reward.h lies beside it)\n"
    " * Try:    weir plugin check ./@.so\n"
    " * Use:    weir run RECIPE reward.plugin=$PWD/@.so */\n"
    "#include <stdio.h>\n"
    "#include <string.h>\n"
    "\n"
    "#include \"weir_reward.h\"\n"
    "\n"
    "/* Reads reward.config, a JSON object. What it keeps goes into *instance. */\n"
    "static int create(const char *config_json, const weir_reward_host *host, void **instance, "
    "char *err,\n"
    "                  size_t errlen)\n"
    "{\n"
    "    (void)host;\n"
    "    *instance = NULL;\n"
    "    if (strcmp(config_json, \"{}\") != 0)\n"
    "        return snprintf(err, errlen, \"@ has no settings; write {}\");\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "static double score(const weir_reward_item *item)\n"
    "{\n"
    "    const char *truth = item->ground_truth_json.ptr; /* JSON: a text has its quotes */\n"
    "    size_t size = item->ground_truth_json.len;\n"
    "    if (size >= 2 && truth[0] == '\"') {\n"
    "        truth++;\n"
    "        size -= 2;\n"
    "    }\n"
    "    return item->response.len >= size &&\n"
    "           memcmp(item->response.ptr + item->response.len - size, truth, size) == 0;\n"
    "}\n"
    "\n"
    "/* Calls done exactly once for each item: here at once, or later from any thread, before "
    "item->deadline_ns. */\n"
    "static int submit(void *instance, const weir_reward_item *items, uint32_t n,\n"
    "                  weir_reward_done_fn done, void *user)\n"
    "{\n"
    "    (void)instance;\n"
    "    for (uint32_t i = 0; i < n; i++) {\n"
    "        weir_reward_metric metric = {{\"bytes\", 5}, (double)items[i].response.len};\n"
    "        weir_reward_result result = {.struct_size = sizeof result, .item_id = "
    "items[i].item_id,\n"
    "                                     .n_metrics = 1, .metrics = &metric};\n"
    "        result.status = items[i].ground_truth_json.len > 0 ? WEIR_REWARD_OK : "
    "WEIR_REWARD_UNSCORABLE;\n"
    "        result.score = result.status == WEIR_REWARD_OK ? score(&items[i]) : 0;\n"
    "        done(user, &result, 1);\n"
    "    }\n"
    "    return 0;\n"
    "}\n"
    "\n"
    "/* Before the first item, and when the file changed while a run uses it. */\n"
    "static int selftest(void *instance, char *err, size_t errlen)\n"
    "{\n"
    "    weir_reward_item item = {.response = {\"it is 4\", 7}, .ground_truth_json = "
    "{\"\\\"4\\\"\", 3}};\n"
    "    (void)instance;\n"
    "    return score(&item) == 1 ? 0 : snprintf(err, errlen, \"4 is not 4\");\n"
    "}\n"
    "\n"
    "static void destroy(void *instance)\n"
    "{\n"
    "    (void)instance;\n"
    "}\n"
    "\n"
    "const weir_reward_plugin *weir_reward_query(uint32_t host_major, uint32_t host_minor)\n"
    "{\n"
    "    static const weir_reward_plugin plugin = {.struct_size = sizeof plugin,\n"
    "                                              .abi_major = WEIR_REWARD_ABI_MAJOR,\n"
    "                                              .abi_minor = WEIR_REWARD_ABI_MINOR,\n"
    "                                              .name = \"@\",\n"
    "                                              .version = \"0.1\",\n"
    "                                              .caps = WEIR_REWARD_CAP_BATCH | "
    "WEIR_REWARD_CAP_THREADSAFE,\n"
    "                                              .create = create,\n"
    "                                              .submit = submit,\n"
    "                                              .destroy = destroy,\n"
    "                                              .selftest = selftest};\n"
    "    (void)host_minor;\n"
    "    return host_major == WEIR_REWARD_ABI_MAJOR ? &plugin : NULL;\n"
    "}\n";

static const char python_template[] =
    "\"\"\"@.py - a reward for weir: 1 when the response ends in the ground truth, else 0.\n"
    "\n"
    "Try:  weir plugin check ./@.py:compute_score\n"
    "Use:  weir run RECIPE reward.plugin=$PWD/@.py:compute_score\n"
    "Functions written for verl, TRL, verifiers, OpenRLHF, AReaL and slime run unchanged, see "
    "docs/plugins.md.\n"
    "\"\"\"\n"
    "\n"
    "\n"
    "def compute_score(data_source, solution_str, ground_truth, extra_info=None):\n"
    "    \"\"\"The score, or a dict with \"score\" and named metrics. None: does not apply. An "
    "exception: tried again.\"\"\"\n"
    "    right = solution_str.endswith(str(ground_truth))\n"
    "    return {\"score\": 1.0 if right else 0.0, \"bytes\": len(solution_str.encode())}\n";

static const char rows_template[] =
    "{\"response\": \"2 and 2 is 4\", \"ground_truth\": \"4\", \"expected\": 1}\n"
    "{\"response\": \"2 and 2 is 5\", \"ground_truth\": \"4\", \"expected\": 0}\n"
    "{\"response\": \"\", \"ground_truth\": \"4\", \"expected\": 0}\n";

static enum status write_new(const char *name, const char *end, const char *text, const char *title)
{
    char path[FILE_PATH_MAX];
    struct buffer out;
    TRY(file_path(path, "%s%s", name, end));
    if (file_exists(path))
        return FAIL(STATUS_INVALID, "%s is there already; it is left as it is", path);
    buffer_init(&out, 0);
    enum status status = STATUS_OK;
    for (const char *at = text; *at != '\0' && status == STATUS_OK; at++)
        status = *at == '@' ? buffer_text(&out, title) : buffer_append(&out, at, 1);
    if (status == STATUS_OK)
        status = file_replace(path, out.bytes, out.size);
    buffer_free(&out);
    if (status == STATUS_OK)
        plugin_say("%s\n", path);
    return status;
}

/* The header of this build, copied beside the template so that it compiles anywhere. */
static enum status copy_header(const char *name)
{
    static const char *const places[] = {"/../include/weir_reward.h", "/weir_reward.h"};
    char self[FILE_PATH_MAX], from[FILE_PATH_MAX], to[FILE_PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    if (size < 0)
        return FAIL(STATUS_IO, "/proc/self/exe: %s", strerror(errno));
    self[size] = '\0';
    *strrchr(self, '/') = '\0';
    const char *slash = strrchr(name, '/');
    TRY(file_path(to, "%.*sweir_reward.h", slash != NULL ? (int)(slash + 1 - name) : 0, name));
    struct buffer text;
    buffer_init(&text, 1 << 20);
    enum status status = STATUS_NOT_FOUND;
    for (size_t i = 0; i < 2 && status == STATUS_NOT_FOUND; i++) {
        TRY(file_path(from, "%s%s", self, places[i]));
        status = file_read(from, &text);
    }
    if (status == STATUS_OK)
        status = file_replace(to, text.bytes, text.size);
    buffer_free(&text);
    if (status == STATUS_OK)
        plugin_say("%s\n", to);
    return status;
}

static bool is_name(const char *title)
{
    if (!isalpha((unsigned char)title[0]))
        return false;
    for (const char *at = title; *at != '\0'; at++)
        if (!isalnum((unsigned char)*at) && *at != '_')
            return false;
    return true;
}

static enum status write_all(const char *name, const char *title, bool python)
{
    TRY(write_new(name, python ? ".py" : ".c", python ? python_template : c_template, title));
    if (!python)
        TRY(copy_header(name));
    return write_new(name, "_rows.jsonl", rows_template, title);
}

int plugin_command_new(int argc, char **argv)
{
    const char *name = NULL;
    bool python = false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--python") == 0)
            python = true;
        else if (name == NULL && argv[i][0] != '-')
            name = argv[i];
        else
            name = "";
    const char *slash = name != NULL ? strrchr(name, '/') : NULL,
               *title = slash != NULL ? slash + 1 : name;
    if (title == NULL || !is_name(title)) {
        fprintf(stderr, "weir plugin new: NAME [--python]; a name of letters, digits and _\n");
        return EXIT_CODE_USAGE;
    }
    if (write_all(name, title, python) != STATUS_OK) {
        fprintf(stderr, "weir plugin new: %s\n", status_sentence(status_last_error()));
        return EXIT_CODE_FAILED;
    }
    if (python)
        plugin_say("try it: weir plugin check %s%s.py:compute_score\n", slash != NULL ? "" : "./",
                   name);
    else
        plugin_say("build it: cc -shared -fPIC -O2 -Wall -o %s.so %s.c\n"
                   "try it:   weir plugin check %s%s.so\n",
                   name, name, slash != NULL ? "" : "./", name);
    return EXIT_CODE_OK;
}
