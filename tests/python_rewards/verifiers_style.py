"""Rewards called as a verifiers rubric calls them: only the parameters that a function names."""


def exact(completion, answer):
    return 1.0 if completion[-1]["content"] == answer else 0.0


def parsed(completion, answer, parser):
    return 1.0 if parser.parse_answer(completion) == answer else 0.0


def raises(completion, state, info):
    return state["prompt"][5]["content"]


def ranked(completions, states, **kwargs) -> list:
    """A group function: the longest gets 1."""
    lengths = [len(c[-1]["content"]) for c in completions]
    return [1.0 if n == max(lengths) else 0.0 for n in lengths]


class Rubric:
    """What a verifiers.Rubric looks like from outside."""

    def __init__(self, funcs, weights):
        self.funcs, self.weights = funcs, weights
        self.class_objects = {}


rubric = Rubric([exact, raises], [1.0, 0.5])
