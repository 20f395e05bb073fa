/* core/settings.h - every setting of a run, in one table.
 *
 * One recipe (YAML) describes a run; each program reads the same file and looks at its own
 * sections, so a setting has one name everywhere. docs/config.md is generated from here.
 * Cross-setting rules live in settings_check(). */
#ifndef CORE_SETTINGS_H
#define CORE_SETTINGS_H

#include "core/config.h"

// clang-format off
/*      type    name                    default     min    max      unit or choices  meaning */
#define RUN_SETTINGS(ROW) \
    ROW(text,   name,                   "",         0, 0,           "",          "Name of the run; its folder is run.root/name. Empty: made from the recipe's name and the time.") \
    ROW(text,   root,                   "runs",     0, 0,           "path",      "Folder that holds the run folders.") \
    ROW(u64,    seed,                   "1",        0, 9e15,        "",          "Key of every random draw of the run: sampling, prompt order, initialisation.") \
    ROW(u32,    steps,                  "100",      1, 1e9,         "publishes", "Weight versions to train, then stop.") \
    ROW(u32,    actors,                 "2",        0, 4096,        "processes", "Actors that `weir run` and `weir up` start; 0: all run elsewhere (`weir node`).") \
    ROW(u32,    reward_workers,         "1",        0, 1024,        "processes", "Reward workers that `weir run` and `weir up` start.") \
    ROW(u32,    threads,                "1",        1, 1024,        "threads",   "CPU threads of each actor and learner; changes no bit of any result.") \
    ROW(text,   device,                 "cpu",      0, 0,           "",          "Device of actors and learner: cpu, cuda:N, or a list such as cuda:0,cuda:1 of which process i takes item i modulo its length.") \
    ROW(flag,   resume,                 "false",    0, 0,           "",          "Go on with an existing run folder; without it an existing name is refused.") \
    ROW(choice, log_level,              "info",     0, 0,           "debug|info|warn|error", "Least level written.") \
    ROW(u32,    drain_s,                "20",       1, 86400,       "s",         "How long a drain on SIGTERM or Ctrl-C may take before processes are stopped.") \
    ROW(u32,    stopped_s,              "10",       1, 86400,       "s",         "A process of ours whose connection is dead for so long (stopped, cut off) is killed and started again.") \
    ROW(u32,    silent_s,               "600",      1, 86400,       "s",         "The same for one that is connected and says nothing: it computes without end, or hangs.") \
    ROW(text,   keys,                   "",         0, 0,           "path",      "Folder of CURVE keys (`weir keys new`); needed when an endpoint leaves this machine, used wherever it is given.")

#define MODEL_SETTINGS(ROW) \
    ROW(text,   path,                   "",         0, 0,           "path",      "Hugging Face folder to start from: config.json, safetensors, tokenizer.json.") \
    ROW(choice, tokenizer,              "auto",     0, 0,           "auto|json|byte", "auto: tokenizer.json of the folder, else the byte tokenizer; byte: ids are bytes, 256 ends a text.") \
    ROW(choice, chat_format,            "none",     0, 0,           "none|chatml|minimax|template|auto", "How a message list becomes a prompt: none joins the contents, template is the folder's own chat template, auto that or none (docs/chat.md).") \
    ROW(text,   chat_template,          "",         0, 0,           "",          "Name of the template when the folder has several; empty: default.") \
    ROW(text,   chat_variables,         "",         0, 0,           "JSON",      "Variables for the chat template: {\"enable_thinking\": false}.") \
    ROW(choice, lm_head,                "fp32",     0, 0,           "fp32|fp32_out|bf16", "Precision of the LM head in actor and learner (M1 section 3.2). The CPU backend has fp32 and, for the ablation, bf16.") \
    ROW(u32,    lightning_chunk,        "32",       8, 256,         "tokens",    "Lightning state is advanced at multiples of this only; part of numerics_id.")

#define DATA_SETTINGS(ROW) \
    ROW(text,   train,                  "",         0, 0,           "path",      "Prompts: JSONL files and folders of them, between commas.") \
    ROW(text,   key_prompt,             "prompt",   0, 0,           "",          "Key of the prompt: a string, or a list of {role, content}.") \
    ROW(text,   key_answer,             "",         0, 0,           "",          "Key of the ground truth; empty: reward_model.ground_truth, else answer, solution, label, ground_truth.") \
    ROW(text,   key_source,             "data_source", 0, 0,        "",          "Key that names the data source; rows without it use the file's name.") \
    ROW(text,   key_level,              "difficulty", 0, 0,         "",          "Key of a row's difficulty, a number: the bands of curriculum.raise_at.") \
    ROW(text,   key_pass_rate,          "",         0, 0,           "",          "Key of a row's measured pass rate; empty: pass_rate, else the first pass@k. See curriculum.pass_low.") \
    ROW(text,   prompt_prefix,          "",         0, 0,           "",          "Text put before each prompt string.") \
    ROW(text,   prompt_suffix,          "",         0, 0,           "",          "Text put after each prompt string.") \
    ROW(u32,    prompt_tokens_max,      "1024",     1, 1e6,         "tokens",    "Longer prompts are left out at load and counted.") \
    ROW(flag,   shuffle,                "true",     0, 0,           "",          "Draw prompts in a pseudo-random order given by run.seed, a new one each epoch.")

#define CURRICULUM_SETTINGS(ROW) \
    ROW(text,   mix,                    "",         0, 0,           "",          "Weights of data sources, \"math*: 1; logic*: 0.2@0 1@200\": glob, then a weight, or weights at versions, linear between them. The first match decides; a source without one, or of weight 0, is not drawn. Empty: one stream of all rows.") \
    ROW(text,   quotas,                 "",         0, 0,           "",          "At most this share of the births of a window, by source: \"judged*: 0.25\".") \
    ROW(u32,    quota_window,           "1000",     1, 65536,       "births",    "The window of quotas.") \
    ROW(f64,    pass_value,             "0.5000001", -1e9, 1e9,     "",          "A rollout passes when what store.filter_on looks at is at least this; the default is: above one half.") \
    ROW(f64,    pass_low,               "0",        0, 1,           "",          "Rows whose measured pass rate (data.key_pass_rate) is below it are not drawn,") \
    ROW(f64,    pass_high,              "1",        0, 1,           "",          "nor those above it; rows without a measurement are.") \
    ROW(f64,    raise_at,               "0",        0, 1,           "",          "A source begins with its lowest level (data.key_level); a pass rate of at least this opens the next one. 0: no levels.") \
    ROW(f64,    lower_at,               "0",        0, 1,           "",          "A pass rate below it goes back one level; 0: never.") \
    ROW(u32,    band_groups,            "64",       1, 4096,        "groups",    "The pass rate of raise_at and lower_at is that of the last so many groups of the level.") \
    ROW(f64,    review,                 "0.1",      0, 0.9,         "",          "Share of a source's draws that stays on the levels below the open one.") \
    ROW(f64,    retire_at,              "0",        0, 1,           "",          "A prompt whose pass rate is at least this is not drawn any more (ScaleRL: 0.9); 0 switches it off.") \
    ROW(u32,    retire_after,           "1",        1, 8,           "groups",    "Over its last so many groups.") \
    ROW(u32,    hard_after,             "0",        0, 8,           "groups",    "A prompt that never passed in so many groups rests; 0 switches it off.") \
    ROW(u32,    hard_epochs,            "1",        1, 1000,        "epochs",    "It sits out so many passes over its source, then is tried once more.") \
    ROW(choice, priority,               "uniform",  0, 0,           "uniform|variance", "variance: a prompt is drawn in proportion to p (1 - p) of its pass rate.") \
    ROW(f64,    priority_floor,         "0.05",     0.001, 1,       "",          "Least share of visits at which variance draws a prompt.") \
    ROW(choice, when_retired,           "stop",     0, 0,           "stop|reopen", "A source whose prompts are all retired is not drawn, and the run stops when there is no other; or all of them return.") \
    ROW(choice, on_length_bias,         "keep",     0, 0,           "keep|pause", "A judged source with a length-bias alarm is drawn on, or not until `weir rescore` or `weir release`.")

#define SAMPLING_SETTINGS(ROW) \
    ROW(u32,    response_tokens_max,    "256",      1, 1e7,         "tokens",    "Budget of one rollout.") \
    ROW(f64,    temperature,            "1.0",      0, 100,         "",          "Of sampling and of every logprob; 0 is greedy (evaluation only).") \
    ROW(f64,    top_p,                  "1.0",      1e-6, 1,        "",          "Nucleus; 1 switches it off. Streamed logprobs stay those of the full softmax.") \
    ROW(u32,    top_k,                  "0",        0, 262144,      "tokens",    "0 switches it off.") \
    ROW(u32,    repetition_tokens,      "3000",     0, 1e7,         "tokens",    "Cut a rollout after this many consecutive tokens above repetition_probability (M1 section 3.2); 0 switches it off.") \
    ROW(f64,    repetition_probability, "0.99",     0, 1,           "",          "Strictly above, of the untempered softmax.")

#define STORE_SETTINGS(ROW) \
    ROW(text,   endpoint,               "",         0, 0,           "",          "ZeroMQ endpoint of the store; empty: ipc socket in the run folder.") \
    ROW(u32,    group_size,             "16",       2, 65536,       "rollouts",  "Rollouts of one prompt (G); advantages are normalised inside it.") \
    ROW(u32,    groups_per_publish,     "32",       1, 1e6,         "groups",    "Groups that one weight version trains on.") \
    ROW(u32,    max_staleness,          "1",        0, 1024,        "versions",  "Learner version at planning minus version of a sample's oldest token, at most; 0 is synchronous.") \
    ROW(choice, over_age,               "hold",     0, 0,           "hold|mask|drop", "Groups that would pass max_staleness: hold the next version for them, mask their old tokens, or drop them.") \
    ROW(flag,   dynamic_sampling,       "true",     0, 0,           "",          "Drop groups whose rewards are all equal and draw another prompt (DAPO).") \
    ROW(text,   filter_on,              "",         0, 0,           "",          "Sub-metric of the score that dynamic_sampling and the curriculum look at, such as accuracy; several between commas: the first that a score has; value: the score itself. Empty: value.") \
    ROW(u32,    max_consecutive_dropped, "1024",    1, 1e9,         "groups",    "Stop the run, with the reason, when this many groups in a row were dropped.") \
    ROW(u32,    max_attempts,           "3",        1, 1000,        "attempts",  "Of generation and, separately, of scoring, for each rollout.") \
    ROW(u32,    max_deaths,             "16",       1, 1000,        "deaths",    "Actors that may die with a rollout before they gave it a token, and reward workers before they scored it, until its group is dropped.") \
    ROW(u32,    prompt_retries,         "1",        0, 1000,        "draws",     "How often a prompt returns under a new group after its group was dropped for failures.") \
    ROW(u32,    lease_ms,               "1000",     100, 3600000,   "ms",        "A lease whose actor is silent for so long is given to another, with the tokens so far.") \
    ROW(u32,    heartbeat_ms,           "200",      10, 60000,      "ms",        "Of every peer of the store.") \
    ROW(u32,    prefill_share,          "64",       1, 65536,       "leases",    "Leases handed out in one answer, at most.")

#define ACTOR_SETTINGS(ROW) \
    ROW(u32,    slots,                  "64",       1, 65536,       "sequences", "Sequences one actor decodes together.") \
    ROW(u32,    prefill_tokens,         "512",      16, 1048576,    "tokens",    "Prompt tokens prefilled between two decode steps, at most.") \
    ROW(choice, kv_on_swap,             "keep",     0, 0,           "keep|recompute", "After new weights: go on with old keys and states, or prefill again.") \
    ROW(u32,    segment_tokens,         "64",       1, 65536,       "tokens",    "A segment is sent when a sample has this many new tokens,") \
    ROW(u32,    segment_ms,             "250",      1, 60000,       "ms",        "or after this time.") \
    ROW(u32,    unacked_frames_max,     "64",       1, 65536,       "frames",    "Frames kept until the store has them on disk; then decoding waits.") \
    ROW(text,   device,                 "",         0, 0,           "",          "As run.device, of the actors alone; empty: run.device.") \
    ROW(u32,    cache_tokens,           "0",        0, 4000000000,  "tokens",    "Tokens of keys and values an actor has room for, all sequences together; 0: actor.slots of the longest possible ones.") \
    ROW(text,   http,                   "",         0, 0,           "",          "host:port of the endpoint that each actor offers while it trains (docs/serve.md); actor i listens at port + i. Empty: none.") \
    ROW(text,   http_token,             "",         0, 0,           "path",      "File with the bearer token that requests must carry; needed when actor.http leaves this machine.") \
    ROW(u32,    http_slots,             "4",        1, 65536,       "sequences", "Sequences of requests decoded together, on top of actor.slots; they never enter a plan.") \
    ROW(u32,    http_waiting,           "512",      1, 1048576,     "sequences", "Sequences of requests that wait for a slot; with so many a new request is answered 429.") \
    ROW(u32,    http_connections,       "1024",     1, 65536,       "connections", "Open at a time; more are not accepted.") \
    ROW(u32,    http_body_max,          "4194304",  1024, 268435456, "bytes",    "Of one request; a longer one is answered 413.") \
    ROW(u32,    http_timeout_s,         "30",       1, 86400,       "s",         "A client that neither sends nor takes a byte for so long is disconnected.")

#define LEARNER_SETTINGS(ROW) \
    ROW(u32,    updates_per_publish,    "2",        1, 1024,        "minibatches", "Optimizer updates of one plan, then the weights are published.") \
    ROW(u32,    microbatch_tokens,      "4096",     16, 16777216,   "tokens",    "Packed tokens of one forward and backward pass; a longer sequence goes alone.") \
    ROW(u32,    checkpoint_every,       "20",       1, 1e9,         "publishes", "A checkpoint also follows the last step and a drain.") \
    ROW(u32,    checkpoint_keep,        "2",        1, 1000,        "checkpoints", "Older ones are removed, the newest never.") \
    ROW(u32,    plan_timeout_s,         "600",      1, 86400,       "s",         "Without a plan for so long the learner stops and says who it waited for.") \
    ROW(text,   device,                 "",         0, 0,           "",          "As run.device, of the learner alone; empty: run.device.") \
    ROW(u32,    ranks,                  "1",        1, 64,          "processes", "Learner processes that share a minibatch; rank i runs on item i of the device list. docs/ranks.md.") \
    ROW(u32,    rank_timeout_ms,        "600000",   1000, 86400000, "ms",        "A rank that is waited for so long hangs: all ranks start again from the checkpoint.") \
    ROW(choice, recompute,              "none",     0, 0,           "none|layer", "Activations: keep all, or keep each layer's input and run its forward pass again in the backward pass (a third more arithmetic, a tenth of the memory).") \
    ROW(u32,    non_finite_max,         "3",        1, 1000000,     "updates",   "Updates in a row that are skipped because something is not finite, before the run stops.") \
    ROW(f64,    grad_norm_alarm,        "10",       0, 1e9,         "",          "Alarm when the gradient norm is so many times its running median; 0 switches it off.") \
    ROW(f64,    loss_spike_alarm,       "10",       0, 1e9,         "",          "Alarm when a watched series is so many robust deviations (1.4826 MAD) above its running median: gradient norm, entropy, importance ratio and k3 KL of a run, the loss of `weir sft`; 0 switches it off. docs/stability.md.") \
    ROW(f64,    entropy_alarm,          "0.02",     0, 1,           "",          "Alarm when the entropy falls below this share of what it was at first; 0 switches it off.") \
    ROW(u32,    statistics_every,       "0",        0, 1e9,         "updates",   "Statistics of gradients and updates of each layer go to gradients.jsonl after so many updates; 0: never.")

#define LOSS_SETTINGS(ROW) \
    ROW(choice, kind,                   "cispo",    0, 0,           "cispo|cispo_mask|reinforce|grpo|dapo|dr_grpo|gspo|scalerl|sft", "Policy loss; docs/losses.md has each formula, `weir explain` the one of a run.") \
    ROW(f64,    weight_min,             "0",        0, 100,         "",          "Lower bound of the importance weight, absolute (0 = none, as in M1).") \
    ROW(f64,    weight_max,             "5.0",      0, 1e6,         "",          "Upper bound of the importance weight, absolute: 1 + eps_IS_high (M1 eq. 5).") \
    ROW(f64,    clip_low,               "0.2",      0, 1,           "",          "PPO-style epsilon of grpo, dapo, dr_grpo, gspo and of the mask of cispo_mask.") \
    ROW(f64,    clip_high,              "0.28",     0, 1000,        "",          "Upper one of the same.") \
    ROW(f64,    dual_clip,              "0",        0, 1e6,         "",          "Where A < 0 the objective of grpo, dapo, dr_grpo is at least dual_clip A (arXiv:1912.09729; verl has 3); above 1, 0 switches it off.") \
    ROW(choice, normaliser,             "prompt",   0, 0,           "prompt|batch|sample|constant|combined", "prompt: mean over prompts of the group's token mean (M1 eq. 4); batch: token mean; sample: mean of the samples' token means; constant: responses x normaliser_tokens (Dr. GRPO); combined: lambda x sample + (1 - lambda) x batch.") \
    ROW(u32,    normaliser_tokens,      "0",        0, 1e9,         "tokens",    "Divisor of normaliser constant; 0: sampling.response_tokens_max.") \
    ROW(f64,    normaliser_lambda,      "0.5",      0, 1,           "",          "Share of the sample mean in normaliser combined (M1 section 5 names it without a formula: this one is ours).") \
    ROW(choice, advantage_std,          "population", 0, 0,         "population|sample|none|batch", "What divides R - mean: the group's standard deviation over G, or over G - 1; nothing; that of all advantages of the minibatch (ScaleRL).") \
    ROW(choice, advantage_mean,         "group",    0, 0,           "group|leave_one_out", "What is subtracted: the group's mean, or the mean of the others (RLOO, arXiv:2402.14740).") \
    ROW(f64,    advantage_epsilon,      "0",        0, 1,           "",          "Added to the standard deviation (verl 1e-6, TRL 1e-4); equal rewards give advantages of 0 without it.") \
    ROW(choice, anchor,                 "streamed", 0, 0,           "streamed|recomputed", "logprob_old: as the actor streamed it (behaviour policy), or of the weights the plan starts with, by a forward pass over the plan.") \
    ROW(f64,    rollout_weight_max,     "0",        0, 1e6,         "",          "With anchor recomputed each token counts min(p_old / p_streamed, this) (truncated importance sampling); 0 switches it off.") \
    ROW(f64,    kl_coefficient,         "0",        0, 1000,        "",          "KL to the start model, k3 estimator (GRPO, arXiv:2402.03300 eq. 4); grpo only.") \
    ROW(f64,    entropy_coefficient,    "0",        0, 1000,        "",          "Bonus for the entropy of trained tokens' distributions; not sft.") \
    ROW(u32,    overlong_buffer,        "0",        0, 1e7,         "tokens",    "Soft overlong penalty over the last tokens before the cap of responses (DAPO eq. 13); 0 switches it off.") \
    ROW(f64,    overlong_factor,        "1",        0, 1e6,         "",          "The penalty at the cap.") \
    ROW(choice, overlong,               "keep",     0, 0,           "keep|mask", "Rollouts cut at the cap: trained, or not (DAPO's overlong filtering); their reward counts in the group either way.") \
    ROW(choice, repetition,             "keep",     0, 0,           "keep|mask|penalise", "Rollouts cut by the repetition rule: trained, not trained, or trained with repetition_penalty off their reward.") \
    ROW(f64,    repetition_penalty,     "1",        0, 1e6,         "",          "See repetition.") \
    ROW(f64,    aux_coefficient,        "0.001",    0, 10,          "",          "Router load-balancing loss (router_aux_loss_coef).")

#define SCHEDULE_SETTINGS(ROW) \
    ROW(text,   changes,                "",         0, 0,           "",          "loss.* and optim.* settings that change during the run: \"step 200: loss.weight_max=2 optim.grad_clip=0.5; stage 3: loss.kind=dapo\". From that version, or that length stage, on.")

/* The rows that optim and sft share: learner/optim_schedule.h has the formulas. Parameters: defaults. */
#define LEARNING_RATE_SETTINGS(ROW, LR, SCHEDULE, WARMUP, LR_END) \
    ROW(f64,    lr,                     LR,         0, 10,          "",          "Learning rate; of a schedule the peak.") \
    ROW(choice, schedule,               SCHEDULE,   0, 0,           "constant|cosine|wsd", "After the warm-up: constant, a cosine down to lr_end, or wsd: constant, then a decay over decay_updates (M1 section 2.1).") \
    ROW(u32,    warmup_updates,         WARMUP,     0, 1e9,         "updates",   "Linear warm-up.") \
    ROW(u32,    decay_updates,          "0",        0, 1e9,         "updates",   "Of wsd: the last so many of all updates decay.") \
    ROW(choice, decay,                  "linear",   0, 0,           "linear|sqrt", "Shape of wsd's decay: 1 - x or 1 - sqrt(x).") \
    ROW(f64,    lr_end,                 LR_END,     0, 1,           "",          "Share of the peak at the end of cosine and wsd; 1 is constant.")

#define OPTIM_SETTINGS(ROW) \
    LEARNING_RATE_SETTINGS(ROW, "1e-6", "constant", "0", "0.1") \
    ROW(u32,    total_updates,          "0",        0, 1e9,         "updates",   "Where the schedule ends; 0: run.steps * learner.updates_per_publish.") \
    ROW(f64,    beta1,                  "0.9",      0, 0.999999,    "",          "AdamW (M1 section 3.2).") \
    ROW(f64,    beta2,                  "0.95",     0, 0.999999999, "",          "AdamW (M1 section 3.2).") \
    ROW(f64,    eps,                    "1e-15",    1e-30, 1,       "",          "AdamW; the gradients go down to 1e-18 (M1 section 3.2).") \
    ROW(f64,    weight_decay,           "0",        0, 10,          "",          "Decoupled, on every tensor.") \
    ROW(f64,    grad_clip,              "1.0",      0, 1e9,         "",          "Global norm; 0 switches it off.")

#define REWARD_SETTINGS(ROW) \
    ROW(text,   plugin,                 "addition", 0, 0,           "",          "Name of a built-in plugin, path of a .so, of a recipe (.yaml, .json), or FILE.py:FUNCTION.") \
    ROW(text,   config,                 "{}",       0, 0,           "JSON",      "Given to the plugin's create.") \
    ROW(u32,    timeout_ms,             "10000",    1, 86400000,    "ms",        "Deadline of one item; late results are ignored and counted.") \
    ROW(u32,    queue,                  "1024",     1, 1e6,         "items",     "Items one worker takes at a time.") \
    ROW(f64,    clip_low,               "-10",      -1e9, 1e9,      "",          "A score below it is an error of the plugin.") \
    ROW(f64,    clip_high,              "10",       -1e9, 1e9,      "",          "A score above it is an error of the plugin.") \
    ROW(u32,    threads,                "2",        1, 256,         "",          "Submit calls at a time of a plugin that says THREADSAFE; processes of a Python reward.") \
    ROW(u32,    batch,                  "16",       1, 4096,        "items",     "Most items of one submit of a plugin that says BATCH; they share one deadline.") \
    ROW(flag,   reload,                 "true",     0, 0,           "",          "A plugin file that changes is opened beside the old one, tested, and takes the new items.") \
    ROW(text,   judge,                  "",         0, 0,           "JSON",      "The judge that plugins may ask (weir_reward_host.judge): its settings as an object; empty: none.") \
    ROW(choice, style,                  "auto",     0, 0,           "auto|verl|verl_batch|trl|verifiers|openrlhf|areal|slime", "How a Python reward function is called; auto: by the names of its parameters.") \
    ROW(text,   python,                 "python3",  0, 0,           "path",      "Interpreter of Python rewards, 3.8 or newer; that of a virtual environment for its packages.") \
    ROW(flag,   python_network,         "false",    0, 0,           "",          "Python rewards may use the network; false: a network namespace of their own where the system allows it.")

#define REDIS_SETTINGS(ROW) \
    ROW(choice, mode,                   "start",    0, 0,           "off|start|connect", "start: `weir run` starts a redis-server of its own; connect: use address. A view only.") \
    ROW(text,   address,                "",         0, 0,           "",          "unix socket path or host:port; empty with start: a socket in the run folder. Port 6379 is Ray's.") \
    ROW(text,   user,                   "",         0, 0,           "",          "Name for AUTH where Redis has an ACL; empty: the default user.") \
    ROW(text,   password,               "",         0, 0,           "secret",    "AUTH; better in WEIR_REDIS_PASSWORD than in a file.") \
    ROW(text,   sentinels,              "",         0, 0,           "",          "host:port of Sentinels, between commas: they are asked where the master is, again after each lost connection; redis.address stays empty.") \
    ROW(text,   master,                 "weir",     0, 0,           "",          "Name of the master that the Sentinels watch.") \
    ROW(u32,    publish_ms,             "500",      50, 60000,      "ms",        "Pause between two writes of counters.") \
    ROW(u32,    rollouts_kept,          "2000",     0, 1000000,     "rollouts",  "Length of the stream of recent rollouts.")

#define WEIGHTS_SETTINGS(ROW) \
    ROW(choice, channel,                "auto",     0, 0,           "auto|shm|ipc|nccl|tcp", "How weights reach actors. auto: shm on the CPU; on GPUs ipc, and nccl for actors that cannot open the learner's memory; tcp for actors of other machines and for joiners. shm: host memory; ipc: device memory of the same host; nccl: a broadcast; tcp: pieces on request.") \
    ROW(text,   nccl_library,           "",         0, 0,           "path",      "NCCL to load; empty: libnccl.so.2 as the system finds it.") \
    ROW(u32,    piece_mb,               "128",      1, 1024,        "MB",        "Bytes of one broadcast call; a version is sent in pieces of so many.") \
    ROW(u32,    timeout_ms,             "10000",    100, 600000,    "ms",        "How long a member of a broadcast may take for a version, or be silent, before it is left out and named.") \
    ROW(u32,    join_timeout_ms,        "60000",    100, 3600000,   "ms",        "The same for joining: NCCL takes seconds to start.") \
    ROW(text,   endpoint,               "",         0, 0,           "",          "ZeroMQ endpoint at which the learner serves weights by tcp; empty: a free port of the host of store.endpoint, when that is tcp.")

#define METRICS_SETTINGS(ROW) \
    ROW(text,   http,                   "auto",     0, 0,           "host:port", "Where each process offers /metrics, /live and /ready; auto: a free port of 127.0.0.1, published in the run folder (http/NAME) and in Redis; port 0: any that is free. Empty: nowhere.") \
    ROW(choice, alias,                  "weir",     0, 0,           "weir|verl|trl", "Names in TensorBoard files and of `weir forward`; metrics.jsonl always has weir's (docs/metrics.md).") \
    ROW(flag,   tensorboard,            "true",     0, 0,           "",          "Write TensorBoard event files to tb/ of the run folder.") \
    ROW(flag,   trace,                  "true",     0, 0,           "",          "Note what each process did when, for `weir trace` and the page's timeline.") \
    ROW(u32,    rollout_tokens,         "200000",   0, 1e9,         "tokens",    "Of each step so many trained tokens are written with their probabilities and weights to rollouts/step_N.jsonl.zst, whole groups; 0: none.") \
    ROW(u32,    rollout_steps,          "1000",     1, 1e9,         "steps",     "Files of rollouts kept; older ones are removed.")

#define DASH_SETTINGS(ROW) \
    ROW(choice, mode,                   "start",    0, 0,           "off|start", "start: `weir run` starts the dashboard, weir-dash; a view only.") \
    ROW(text,   address,                "127.0.0.1:8420", 0, 0,     "host:port", "Where it listens; a taken port gives way to the next of 20, then to any that is free. Off loopback every request needs the token.") \
    ROW(text,   token_file,             "",         0, 0,           "path",      "File with the token that buttons ask for, and every page off loopback; empty: one is made in the run folder, dash.token, readable by its owner.")

/* Thresholds of core/alert_rules.h; docs/alerts.md has each alert with what to do. */
#define ALERTS_SETTINGS(ROW) \
    ROW(f64,    mismatch,               "0",        -1, 1e9,        "nats",      "Alarm when tokens of exactly the trained weights have log-probabilities that differ by more; -1 switches it off.") \
    ROW(f64,    pearson,                "0.99",     0, 1,           "",          "Alarm when the correlation of trained and streamed probabilities is below it for 5 steps; 0 switches it off.") \
    ROW(f64,    zero_variance,          "0.6",      0, 1,           "",          "Alarm when more than this share of the closed groups has equal rewards for 10 steps and the mean reward is not near its top; 0 switches it off.") \
    ROW(f64,    truncated,              "0.2",      0, 1,           "",          "Alarm when more than this share of the responses hits the token budget for 10 steps; 0 switches it off.") \
    ROW(f64,    length_cap,             "1",        0, 1,           "",          "Alarm when the 99th percentile of lengths is at least this share of the cap for 20 steps; 0 switches it off.") \
    ROW(f64,    entropy_fall,           "0.5",      0, 1,           "",          "Alarm when the line through the last 50 entropies falls by more than this share of its start while the reward does not rise; 0 switches it off.") \
    ROW(f64,    errored,                "0.05",     0, 1,           "",          "Alarm when more than this share of the last 200 answers of reward workers are errors or time-outs; 0 switches it off.") \
    ROW(u32,    no_step_s,              "600",      0, 864000,      "s",         "Alarm when no step was made for so long; 0 switches it off. Larger than the longest step.") \
    ROW(f64,    disk_free,              "0.1",      0, 1,           "",          "Alarm when less than this share of the run folder's disk is free; 0 switches it off.")

#define STAGES_SETTINGS(ROW) \
    ROW(text,   lengths,                "",         0, 0,           "",          "Caps of responses, one for each stage, ascending: 40960, 49152, 81920. The last equals sampling.response_tokens_max. Empty: one stage. docs/stages.md.") \
    ROW(u32,    window,                 "50",       8, 1024,        "plans",     "Perplexity and lengths of so many plans are looked at.") \
    ROW(f64,    settled,                "0.01",     0, 1,           "",          "Perplexity has settled when it changes by less over a window, of itself.") \
    ROW(f64,    near_cap,               "0.95",     0, 1,           "",          "Share of the cap that the 99th percentile of lengths must reach.") \
    ROW(f64,    doubt,                  "1e-6",     0, 0.5,         "",          "Chance to take lengths whose 99th percentile is below near_cap for others, at each plan; 0: the percentile as it is.") \
    ROW(u32,    confirm,                "3",        1, 1000,        "plans",     "Plans in a row for which both hold before the next stage begins.") \
    ROW(u32,    least,                  "50",       1, 1000000,     "plans",     "Plans in a stage, at least.") \
    ROW(u32,    start,                  "0",        0, 63,          "",          "Stage a run begins with, from 0; a resumed run that is in an earlier one goes on with this.") \
    ROW(flag,   hold,                   "false",    0, 0,           "",          "Stay in the stage, whatever the numbers say.") \
    ROW(f64,    tail_rise,              "0.1",      0, 100,         "",          "Alarm when perplexity of late positions rises so much against that of early ones over a window, of itself; 0 switches it off.")

#define SFT_SETTINGS(ROW) \
    ROW(text,   train,                  "",         0, 0,           "path",      "JSONL files between commas, or folders of them. Rows: {prompt, completion}, {messages} or, with mode pretrain, {text}. docs/sft.md.") \
    ROW(choice, mode,                   "sft",      0, 0,           "sft|pretrain", "sft: loss on completions and assistant turns, rows do not see each other; pretrain: documents end to end, loss on every token.") \
    ROW(text,   out,                    "",         0, 0,           "path",      "Folder that receives the trained model. OUT.sft beside it has metrics.jsonl and the checkpoints.") \
    ROW(u32,    steps,                  "1000",     1, 1e9,         "updates",   "") \
    ROW(u32,    batch,                  "64",       1, 1e6,         "examples",  "Rows of one update; with mode pretrain sequences.") \
    LEARNING_RATE_SETTINGS(ROW, "1e-3", "cosine", "20", "0.1") \
    ROW(u32,    sequence_tokens,        "1024",     2, 16777216,    "tokens",    "Of mode pretrain: tokens of one sequence.") \
    ROW(u32,    sequence_tokens_max,    "0",        0, 16777216,    "tokens",    "Of mode sft: prompt and completion, at most; 0: no limit.") \
    ROW(choice, too_long,               "refuse",   0, 0,           "refuse|cut|skip", "A row above sequence_tokens_max: refuse it by file and line, cut its end off, or leave it out.") \
    ROW(text,   context_stages,         "",         0, 0,           "",          "Staged context extension, \"4096@rope=10000: 100; 16384@rope=1e6: 50\": tokens of a sequence, RoPE base (optional), updates. The updates add up to steps.") \
    ROW(text,   eval_file,              "",         0, 0,           "path",      "Held-out rows of the same form; empty: none.") \
    ROW(u32,    eval_every,             "100",      1, 1e9,         "updates",   "Their loss is measured after so many updates, and after the last.") \
    ROW(u32,    checkpoint_every,       "500",      0, 1e9,         "updates",   "Checkpoints with weights, AdamW state and place in the data, kept as learner.checkpoint_keep says; 0: none.")

/* Evaluation during a run (docs/eval.md); `weir eval` reads the sets only. */
#define EVAL_SETTINGS(ROW) \
    ROW(text,   sets,                   "",         0, 0,           "",          "Prompts to evaluate on: \"aime=data/aime.jsonl, gsm8k=data/gsm8k/test.jsonl\", name=path between commas; without a name the file's.") \
    ROW(u32,    every,                  "0",        0, 1e9,         "versions",  "Versions between two evaluations; the start model and the last version are evaluated too. 0: none during a run.") \
    ROW(u32,    samples,                "8",        1, 65535,       "answers",   "To each prompt: the n of avg@n.") \
    ROW(f64,    temperature,            "1.0",      0, 100,         "",          "") \
    ROW(f64,    top_p,                  "0.95",     1e-6, 1,        "",          "") \
    ROW(u32,    tokens,                 "0",        0, 1e7,         "tokens",    "Budget of one answer; 0: sampling.response_tokens_max.") \
    ROW(u32,    limit,                  "0",        0, 4e9,         "prompts",   "The first so many of each set; 0: all.") \
    ROW(f64,    success,                "0.5",      -1e9, 1e9,      "",          "An answer passes when its value is at least this.") \
    ROW(text,   reward,                 "",         0, 0,           "",          "As reward.plugin; none: lengths only; empty: the run's.") \
    ROW(text,   device,                 "",         0, 0,           "",          "cpu or cuda:N; empty: the first actor's.") \
    ROW(u32,    threads,                "1",        1, 1024,        "threads",   "CPU threads, at low priority.") \
    ROW(u32,    slots,                  "0",        0, 65536,       "sequences", "Decoded together; 0: actor.slots. Changes no answer.") \
    ROW(u32,    queue,                  "4",        1, 1000,        "versions",  "So many versions may wait for their evaluation; with more, the newest is next and those before it are skipped.") \
    ROW(u32,    keep,                   "1",        0, 1000,        "folders",   "Weights of the newest so many evaluated versions stay on disk; reports always do.") \
    ROW(u32,    final_wait_s,           "600",      0, 864000,      "s",         "How long the end of a run waits for the evaluation of its last version.")

/* Planning input only: `weir run R --dry-run` (docs/plan.md). */
#define CLUSTER_SETTINGS(ROW) \
    ROW(choice, gpu,                    "none",     0, 0,           "none|a100|h20|h800|h100|h200|b200", "GPU the run is planned for; docs/plan.md has memory, arithmetic, bandwidth and link of each. none: this machine.") \
    ROW(u32,    gpus,                   "0",        0, 1048576,     "GPUs",      "Of the whole fleet; 0: as many as run.device, learner.ranks and run.actors ask for.") \
    ROW(u32,    nodes,                  "1",        1, 131072,      "hosts",     "The GPUs are spread over so many, evenly.") \
    ROW(u32,    actor_gpus,             "0",        0, 1048576,     "GPUs",      "Of the fleet, for actors; 0: what the learner leaves.") \
    ROW(u32,    learner_gpus,           "0",        0, 1048576,     "GPUs",      "Of the fleet, for the learner; 0: learner.ranks.") \
    ROW(u32,    actor_tensor_parallel,  "1",        1, 1024,        "GPUs",      "GPUs that compute each layer of an actor together. Above 1: planned, cannot be run yet.") \
    ROW(u32,    actor_expert_parallel,  "1",        1, 1024,        "parts",     "An actor's experts are spread over so many such sets; each decodes its share of the sequences. As above.") \
    ROW(u32,    tensor_parallel,        "1",        1, 1024,        "GPUs",      "GPUs that compute each layer of the learner together. As above.") \
    ROW(u32,    expert_parallel,        "1",        1, 1024,        "parts",     "The learner's experts are spread over so many of its sequence and data parallel ranks. As above.") \
    ROW(u32,    sequence_parallel,      "1",        1, 1024,        "parts",     "The tokens of a micro-batch are cut over so many of the learner's ranks. As above.") \
    ROW(text,   shape,                  "",         0, 0,           "path",      "config.json the plan is made for while model.path has none yet.") \
    ROW(f64,    memory_share,           "0.95",     0.1, 1,         "",          "Part of a GPU's memory that a plan may fill; the rest is for the driver's context and fragments.") \
    ROW(u32,    response_tokens_mean,   "0",        0, 1e7,         "tokens",    "Mean response that speed is planned for; 0: a quarter of sampling.response_tokens_max.") \
    ROW(f64,    kept_share,             "1",        0.001, 1,       "",          "Part of the groups that dynamic sampling keeps, for the plan.") \
    ROW(f64,    decode_share,           "0",        0, 1,           "",          "Part of the memory limit that decoding reaches; 0: weir's nearest measured figure.") \
    ROW(f64,    train_share,            "0",        0, 1,           "",          "Part of the bf16 peak that training reaches (MFU); 0: weir's nearest measured figure.") \
    ROW(f64,    score_ms,               "1",        0, 1e7,         "ms",        "Of one reward, for the plan.")

/* section, prefix of the table, struct */
#define SETTINGS_SECTIONS(SECTION)                                                            \
    SECTION(run, RUN) SECTION(model, MODEL) SECTION(data, DATA)                               \
    SECTION(curriculum, CURRICULUM) SECTION(sampling, SAMPLING)                               \
    SECTION(store, STORE) SECTION(actor, ACTOR) SECTION(learner, LEARNER) SECTION(loss, LOSS) \
    SECTION(schedule, SCHEDULE)                                                               \
    SECTION(optim, OPTIM) SECTION(weights, WEIGHTS) SECTION(reward, REWARD)                   \
    SECTION(redis, REDIS) SECTION(metrics, METRICS) SECTION(dash, DASH) SECTION(alerts, ALERTS) SECTION(stages, STAGES) SECTION(sft, SFT) SECTION(eval, EVAL)       \
    SECTION(cluster, CLUSTER)
// clang-format on

#define SECTION(name, PREFIX)            \
    struct name##_settings {             \
        PREFIX##_SETTINGS(CONFIG_MEMBER) \
    };
SETTINGS_SECTIONS(SECTION)
#undef SECTION

struct settings {
#define SECTION(name, PREFIX) struct name##_settings name;
    SETTINGS_SECTIONS(SECTION)
#undef SECTION
};

/* The values behind the choice rows, in the order of their names above. */
enum setting_recompute { RECOMPUTE_NONE, RECOMPUTE_LAYER };
enum setting_tokenizer { TOKENIZER_AUTO, TOKENIZER_JSON, TOKENIZER_BYTE };
enum setting_chat_format { CHAT_NONE, CHAT_CHATML, CHAT_MINIMAX, CHAT_TEMPLATE, CHAT_AUTO };
enum setting_lm_head { LM_HEAD_FP32, LM_HEAD_FP32_OUT, LM_HEAD_BF16 };
enum setting_over_age { OVER_AGE_HOLD, OVER_AGE_MASK, OVER_AGE_DROP };
enum setting_priority { PRIORITY_UNIFORM, PRIORITY_VARIANCE };
enum setting_when_retired { WHEN_RETIRED_STOP, WHEN_RETIRED_REOPEN };
enum setting_on_length_bias { ON_LENGTH_BIAS_KEEP, ON_LENGTH_BIAS_PAUSE };
enum setting_kv_on_swap { KV_ON_SWAP_KEEP, KV_ON_SWAP_RECOMPUTE };
enum setting_loss {
    LOSS_CISPO,
    LOSS_CISPO_MASK,
    LOSS_REINFORCE,
    LOSS_GRPO,
    LOSS_DAPO,
    LOSS_DR_GRPO,
    LOSS_GSPO,
    LOSS_SCALERL,
    LOSS_SFT
};
enum setting_normaliser {
    NORMALISER_PROMPT,
    NORMALISER_BATCH,
    NORMALISER_SAMPLE,
    NORMALISER_CONSTANT,
    NORMALISER_COMBINED
};
enum setting_advantage_std {
    ADVANTAGE_STD_POPULATION,
    ADVANTAGE_STD_SAMPLE,
    ADVANTAGE_STD_NONE,
    ADVANTAGE_STD_BATCH
};
enum setting_advantage_mean { ADVANTAGE_MEAN_GROUP, ADVANTAGE_MEAN_LEAVE_ONE_OUT };
enum setting_anchor { ANCHOR_STREAMED, ANCHOR_RECOMPUTED };
enum setting_overlong { OVERLONG_KEEP, OVERLONG_MASK };
enum setting_repetition { REPETITION_KEEP, REPETITION_MASK, REPETITION_PENALISE };
enum setting_lr_schedule { LR_CONSTANT, LR_COSINE, LR_WSD };
enum setting_lr_decay { LR_DECAY_LINEAR, LR_DECAY_SQRT };
enum setting_sft_mode { SFT_MODE_SFT, SFT_MODE_PRETRAIN };
enum setting_too_long { TOO_LONG_REFUSE, TOO_LONG_CUT, TOO_LONG_SKIP };
enum setting_channel { CHANNEL_AUTO, CHANNEL_SHM, CHANNEL_IPC, CHANNEL_NCCL, CHANNEL_TCP };
enum setting_redis { REDIS_OFF, REDIS_START, REDIS_CONNECT };
enum setting_alias { ALIAS_WEIR, ALIAS_VERL, ALIAS_TRL };
enum setting_dash { DASH_OFF, DASH_START };

enum setting_gpu { GPU_NONE, GPU_A100, GPU_H20, GPU_H800, GPU_H100, GPU_H200, GPU_B200 };

extern const struct config_section settings_sections[];
extern const size_t settings_section_count;

/* config_load over settings_sections, then settings_check. Text values live as long as *config. */
MUST_CHECK enum status settings_load(struct settings *settings, struct config **config,
                                     const struct config_input *input);
/* Rules between settings; INVALID names both and what to change. */
MUST_CHECK enum status settings_check(const struct settings *settings);
/* What settings_check_run asks of any machine: devices that this build lacks are no error of a plan. */
MUST_CHECK enum status settings_check_plan(const struct settings *settings);
/* settings_check, and what a training run refuses besides: temperature 0 and loss.kind sft. */
MUST_CHECK enum status settings_check_run(const struct settings *settings);

/* The device of process `index` of a role whose own list may be empty (then run.device): "cpu" or "cuda:N". */
enum { SETTINGS_DEVICE_MAX = 32 };
void settings_device(const struct settings *settings, const char *own, uint32_t index,
                     char device[SETTINGS_DEVICE_MAX]);
bool settings_on_cuda(const struct settings *settings);

#endif
