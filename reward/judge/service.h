/* reward/judge/service.h - the judge as a service for plugins: JSON in, JSON out (weir_reward_host.judge). Any thread. */
#ifndef REWARD_JUDGE_SERVICE_H
#define REWARD_JUDGE_SERVICE_H

#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "reward/judge/client.h"

/* request: {"messages": [...], "temperature"?: t, "sample"?: n}; answer: {"text", "finish", "judge" (its version), "cost",
 * "cached", "prompt_tokens", "completion_tokens"}. 0; EINVAL: the request; EIO: no answer (down, out of time); ENOMEM.
 * status_last_error says more. */
int judge_service(struct judge *judge, const char *request, size_t size, int64_t deadline_ns,
                  struct buffer *answer);

#endif
