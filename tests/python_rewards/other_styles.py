"""Rewards called as OpenRLHF, AReaL and slime call theirs."""


class Tensor:
    """Enough of a tensor: weir must not need torch to read one."""

    def __init__(self, values):
        self.values = values

    def tolist(self):
        return self.values


def reward_func(queries, prompts, labels, **kwargs):
    assert all(q.startswith(p) for q, p in zip(queries, prompts))
    scores = [float(q[len(p):] == label) for q, p, label in zip(queries, prompts, labels)]
    return {"rewards": Tensor(scores), "scores": Tensor(scores), "extra_logs": {"n": Tensor([len(q) for q in queries])}}


def areal_reward(prompt, completions, prompt_ids, completion_ids, answer, **kwargs):
    return float(completions == answer) + 0.01 * len(completion_ids)


async def custom_rm(args, sample, **kwargs):
    return {"score": float(sample.response == sample.label), "tokens": sample.response_length}


def nothing_known(x, y):
    return 0
