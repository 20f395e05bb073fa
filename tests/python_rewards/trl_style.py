"""Rewards called as TRL calls them: f(prompts, completions, **columns)."""


def conversational(completions, answer, **kwargs):
    """Completions are lists of messages when the prompt is one; answer is a column of the data."""
    return [1.0 if c[0]["role"] == "assistant" and c[0]["content"] == a else 0.0 for c, a in zip(completions, answer)]


def plain(prompts, completions, log_metric=None, log_extra=None, **kwargs):
    log_metric("seen", len(completions))
    log_extra("shape", ["short" if len(c) < 4 else "long" for c in completions])
    return [None if c == "none" else float(len(c)) / 10 for c in completions]


def one_bad(completions, **kwargs):
    """One item of a batch raises; the others must keep their scores."""
    if "bad" in completions:
        raise RuntimeError("cannot read bad")
    return [0.5] * len(completions)


def penalty(limit):
    """A factory, as TRL's own overlong penalty."""
    def reward(completion_ids, **kwargs):
        return [-1.0 if len(ids) > limit else 0.0 for ids in completion_ids]
    return reward
