/* ops/simulate/worker.c - a reward worker: the real desk, and a plugin that takes time and gives a pure function. */
#include "core/memory.h"
#include "ops/simulate/sim.h"

enum status sim_worker_begin(struct world *world, struct proc *proc)
{
    struct worker_state *worker = &proc->worker;
    *worker = (struct worker_state){0};
    worker->lanes = memory_array(world->setup->score_lanes, sizeof *worker->lanes);
    if (worker->lanes == NULL)
        return FAIL(STATUS_NO_MEMORY, "%u lanes", world->setup->score_lanes);
    return reward_desk_open(&worker->desk, proc->incarnation, world->setup->settings.reward.queue);
}

/* ---- the plugin ---- */

static int64_t start_ns(struct world *world, struct worker_state *worker, int64_t took_ns)
{
    int64_t *lane = &worker->lanes[0];
    for (uint32_t i = 1; i < world->setup->score_lanes; i++)
        if (worker->lanes[i] < *lane)
            lane = &worker->lanes[i];
    if (*lane < world->now_ns)
        *lane = world->now_ns;
    *lane += took_ns;
    return *lane;
}

static void spoil(struct world *world, struct score *score, int64_t *took_ns)
{
    uint32_t kind = rng_below(&world->fault_rng, 1000);
    if (!sim_has(world, SIM_SCORE) || kind >= 40)
        return;
    world->result->faults[SIM_SCORE]++;
    score->value = 0;
    score->status = kind < 20 ? SCORE_ERROR : kind < 36 ? SCORE_TIMEOUT : SCORE_SKIP;
    if (score->status == SCORE_TIMEOUT)
        *took_ns += 20 * world->setup->score_ns;
}

static enum status take_item(void *self, const struct score_item *item)
{
    struct proc *proc = self;
    struct world *world = proc->world;
    struct worker_state *worker = &proc->worker;
    void *jobs = worker->jobs;
    TRY(sim_reserve(&jobs, &worker->job_capacity, worker->job_count + 1, sizeof *worker->jobs));
    worker->jobs = jobs;
    double value = truth_reward(world->setup, item->group_id, item->sample);
    struct score score = {.group_id = item->group_id,
                          .sample = item->sample,
                          .attempt = item->attempt,
                          .status = value > 0 ? SCORE_OK : SCORE_FAIL,
                          .value = value,
                          .detail_json = NULL};
    int64_t took_ns = sim_spread(&world->rng, world->setup->score_ns);
    spoil(world, &score, &took_ns);
    proc->busy_ns += took_ns / world->setup->score_lanes;
    worker->jobs[worker->job_count++] =
        (struct worker_job){.score = score, .ready_ns = start_ns(world, worker, took_ns)};
    return STATUS_OK;
}

static enum status hand_in(struct world *world, struct worker_state *worker,
                           const struct score *score)
{
    bool right = truth_accuracy(world->setup, score->group_id, score->sample) > 0;
    char *detail = NULL;
    if (world->setup->shaped) {
        detail = memory_text(right ? "{\"accuracy\":1}" : "{\"accuracy\":0}");
        if (detail == NULL)
            return FAIL(STATUS_NO_MEMORY, "detail of a score");
    }
    return reward_desk_add(&worker->desk, score, detail);
}

static enum status collect(struct world *world, struct worker_state *worker, int64_t *next_ns)
{
    size_t left = 0;
    for (size_t i = 0; i < worker->job_count; i++) {
        struct worker_job *job = &worker->jobs[i];
        if (job->ready_ns > world->now_ns || !reward_desk_collects(&worker->desk)) {
            *next_ns = job->ready_ns < *next_ns ? job->ready_ns : *next_ns;
            worker->jobs[left++] = *job;
            continue;
        }
        TRY(hand_in(world, worker, &job->score));
    }
    worker->job_count = left;
    return STATUS_OK;
}

/* ---- turns ---- */

enum status sim_worker_take(struct world *world, struct proc *proc, const struct message *message)
{
    (void)world;
    return reward_desk_hear(&proc->worker.desk, message, take_item, proc);
}

enum status sim_worker_turn(struct world *world, struct proc *proc, int64_t *next_ns)
{
    struct worker_state *worker = &proc->worker;
    if (worker->desk.stopping)
        return proc_leave(world, proc, "the run is over");
    TRY(collect(world, worker, next_ns));
    if (!link_core_welcomed(proc->link))
        return STATUS_OK;
    return reward_desk_say(&worker->desk, link_core_reconnects(proc->link) + 1, proc_send, proc);
}
