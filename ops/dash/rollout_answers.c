/* ops/dash/rollout_answers.c - /api/rollouts and /api/rollout. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "ops/dash/server_state.h"

enum { ROLLOUTS_DEFAULT = 50, ROLLOUTS_MOST = 1000 };

enum MHD_Result answer_rollouts(struct request *request)
{
    enum MHD_Result result = MHD_NO;
    uint64_t most = ROLLOUTS_DEFAULT;
    struct rollout_query query = {.source = query_text(request, "source"),
                                  .finish = query_text(request, "finish"),
                                  .before = query_text(request, "before"),
                                  .text = query_text(request, "text"),
                                  .reward_min = NAN,
                                  .reward_max = NAN,
                                  .has_group = query_text(request, "group") != NULL};
    if (!query_whole(request, "n", ROLLOUTS_MOST, &most, &result) ||
        !query_whole(request, "group", UINT64_MAX, &query.group, &result) ||
        !query_real(request, "reward_min", &query.reward_min, &result) ||
        !query_real(request, "reward_max", &query.reward_max, &result))
        return result;
    query.most = (size_t)most;
    struct buffer json;
    buffer_init(&json, 0);
    board_lock(&request->dash->board);
    enum status status = rollout_list_json(&request->dash->board.rollouts, &query, &json);
    board_unlock(&request->dash->board);
    result = status == STATUS_OK ? respond_taken(request, 200, &json)
                                 : refuse(request, 500, "out of memory");
    buffer_free(&json);
    return result;
}

/* "GROUP.SAMPLE" or "GROUP.SAMPLE.ATTEMPT" */
static bool split_id(const char *id, uint64_t *group, uint32_t *sample)
{
    char part[ROLLOUT_ID_MAX];
    uint64_t number;
    size_t size = strcspn(id, ".");
    if (strlen(id) >= sizeof part || id[size] != '.')
        return false;
    memcpy(part, id, size);
    part[size] = 0;
    if (!access_u64(part, group))
        return false;
    const char *rest = id + size + 1;
    size = strcspn(rest, ".");
    memcpy(part, rest, size);
    part[size] = 0;
    if (!access_u64(part, &number) || number > UINT32_MAX ||
        (rest[size] != 0 && !access_u64(rest + size + 1, &(uint64_t){0})))
        return false;
    *sample = (uint32_t)number;
    return true;
}

/* What the list knows of it; else its numbers alone. */
static enum status write_known(struct board *board, const char *id, struct asker_job *job)
{
    const struct rollout_row *row = rollout_list_find(&board->rollouts, id);
    struct buffer *json = &job->answer;
    job->known = row != NULL;
    if (row != NULL) {
        json_t *summary = json_loads(row->summary, 0, NULL);
        job->from_step = (uint64_t)json_integer_value(json_object_get(summary, "version_max"));
        json_decref(summary);
        TRY(buffer_append(json, row->whole, strlen(row->whole) - 1)); /* without its brace */
    } else {
        TRY(buffer_text(json, "{\"id\":"));
        TRY(buffer_json_text(json, id));
        TRY(buffer_printf(json, ",\"group\":%" PRIu64 ",\"sample\":%" PRIu32, job->group,
                          job->sample));
    }
    TRY(buffer_text(json, ",\"siblings\":"));
    TRY(rollout_list_siblings(&board->rollouts, job->group, json));
    return buffer_text(json, "}");
}

enum MHD_Result answer_rollout(struct request *request)
{
    const char *id = query_text(request, "id");
    struct asker_job *job = &request->job;
    if (id == NULL || !split_id(id, &job->group, &job->sample))
        return refuse(request, 400, "id takes the id of a rollout, as 17.3.1");
    job->kind = ASKER_ROLLOUT;
    board_lock(&request->dash->board);
    enum status status = write_known(&request->dash->board, id, job);
    board_unlock(&request->dash->board);
    if (status != STATUS_OK)
        return refuse(request, 500, "out of memory");
    const char *tokens = query_text(request, "tokens");
    if (job->known && tokens != NULL && strcmp(tokens, "0") == 0)
        return respond_taken(request, 200, &job->answer); /* the text alone: no file is opened */
    return ask_of(request->dash->files, request);
}
