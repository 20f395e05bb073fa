"""Rewards called as verl calls them: compute_score(data_source, solution_str, ground_truth, extra_info)."""
import time


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    """A dict with a score, a number and a text beside it."""
    right = solution_str.strip().split(" ")[-1] == str(ground_truth)
    return {"score": 1.0 if right else 0.0, "length": len(solution_str), "source": data_source, "acc": right}


def without_extra(solution_str, ground_truth, bonus=0.0):
    """As verl's own files: fewer parameters than a trainer has."""
    return float(solution_str == ground_truth) + bonus


async def waits(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return 0.25 if extra_info["num_turns"] is None else 0


def misbehaves(data_source, solution_str, ground_truth, extra_info=None):
    """Does what the response says."""
    if solution_str == "raise":
        raise ValueError("no such answer")
    if solution_str == "none":
        return None
    if solution_str == "nan":
        return float("nan")
    if solution_str == "text":
        return "seven"
    if solution_str == "hang":
        while True:
            time.sleep(0.01)
    if solution_str == "hold the lock":
        return len(str(3 ** 3000000000))
    if solution_str == "die":
        import os
        os._exit(3)
    if solution_str == "exit":
        raise SystemExit(0)
    if solution_str == "print":
        print("a line of the user's code\n" * 3)
    return 1


def by_source(data_sources, solution_strs, ground_truths, extra_infos):
    """verl's batch reward manager."""
    return [len(solution_strs) + (s == g) for s, g in zip(solution_strs, ground_truths)]


CALLS = 0


def counts(solution_str):
    """How often this process was asked."""
    global CALLS
    CALLS += 1
    return CALLS / 1000


def connects(solution_str, ground_truth):
    """1 when a port of this machine answers."""
    import socket
    try:
        with socket.create_connection(("127.0.0.1", int(ground_truth)), timeout=5):
            return 1
    except OSError:
        return 0
