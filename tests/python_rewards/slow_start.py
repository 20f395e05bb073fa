"""Imports that take longer than an item may: a process is not killed while it loads."""
import os
import time

time.sleep(1.2)


def compute_score(solution_str):
    if solution_str == "die":
        os._exit(1)
    return 0.5
