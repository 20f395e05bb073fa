"""tests/plugins/share.c in Python: the share of a response's bytes that are even."""
import os

CALLS = 0


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    data = solution_str.encode()
    return sum(byte % 2 == 0 for byte in data) / len(data) if data else 0.0


def dies_often(data_source, solution_str, ground_truth, extra_info=None):
    """The same, but every ninth call takes its process down."""
    global CALLS
    CALLS += 1
    if CALLS % 9 == 0:
        os._exit(1)
    return compute_score(data_source, solution_str, ground_truth, extra_info)
