#!/usr/bin/env python3
"""Values of published reward functions through weir against the same functions called directly.

    compare_originals.py --weir build/release/bin/weir --python venv/bin/python

The interpreter must have what is to be compared: verl (pip install --no-deps verl), trl (likewise), verifiers<0.2 with
math-verify. What it does not have is left out and said so. Exit code 1: a value differs, or nothing was compared.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

TEXTS = ["It is #### 72", "#### 72,000", "#### $72", "no", "#### -7.5 and #### 8", "Answer: 72", "so\nAnswer: $72$.",
         "\\boxed{72}", "The answer is \\boxed{\\frac{1}{2}}", "<think>\nhm\n</think>\nfine", "<think>\na<think>\n</think>",
         "x </think>", "Answer: \\boxed{72}", "Answer: 0.5", "", "\u00fc\u00f1\u00ed #### 72", "a" * 400 + "#### 72"]
TRUTHS = ["72", "72000", "\\frac{1}{2}", "-7.5"]
CHAT = [{"role": "user", "content": "q"}]

ROWS = [{"response": text, "ground_truth": truth, "data_source": "openai/gsm8k", "prompt": CHAT,
         "response_ids": [number % 5 for number in range(len(text) % 90)],
         "row": {"answer": truth, "extra_info": {"index": 1}}}
        for text in TEXTS for truth in TRUTHS]

LOAD = """
import asyncio, importlib.util, json, sys
rows = json.load(sys.stdin)
spec = importlib.util.spec_from_file_location("original", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
chats = [[{"role": "assistant", "content": r["response"]}] for r in rows]
def number(v): return float(v["score"] if isinstance(v, dict) else v)
"""
VERL = "values = [number(module.compute_score(r['response'], r['ground_truth'])) for r in rows]"
RUBRIC = """
async def score(rubric, r, chat):
    state = dict(prompt=%r, completion=chat, answer=r["row"]["answer"], task="default", info={}, trajectory=[],
                 timing={"scoring_ms": 0, "total_ms": 0, "generation_ms": 0})
    try:
        await rubric.score_rollout(state)
    except TypeError:
        await rubric.score_rollout(state, asyncio.Semaphore(1))
    return state["reward"]
async def everything():
    rubric = module.MathRubric()
    return [await score(rubric, r, c) for r, c in zip(rows, chats)]
values = asyncio.run(everything())
""" % (CHAT,)

# package, file in it, function, factory arguments, how its own library calls it
ORIGINALS = [
    ("verl", "utils/reward_score/gsm8k.py", "compute_score", None, VERL),
    ("verl", "utils/reward_score/math_dapo.py", "compute_score", None, VERL),
    ("verl", "utils/reward_score/math_reward.py", "compute_score", None, VERL),
    ("trl", "rewards/format_rewards.py", "think_format_reward", None, "values = module.think_format_reward(chats)"),
    ("trl", "rewards/other_rewards.py", "get_soft_overlong_punishment", {"max_completion_len": 60, "soft_punish_cache": 30},
     "values = module.get_soft_overlong_punishment(60, 30)([r['response_ids'] for r in rows])"),
    ("trl", "rewards/other_rewards.py", "get_repetition_penalty_reward", {"ngram_size": 2},
     "values = module.get_repetition_penalty_reward(2)([r['response_ids'] for r in rows])"),
    ("verifiers", "rubrics/math_rubric.py", "MathRubric", {}, RUBRIC),
]


def find(python, package, file):
    code = "import importlib.util as u; s = u.find_spec(%r); print(s.submodule_search_locations[0] if s else '')" % package
    answer = subprocess.run([python, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    folder = answer.stdout.strip()
    path = os.path.join(folder, file) if folder else ""
    return path if path and os.path.exists(path) else None


def direct(python, path, code):
    done = subprocess.run([python, "-c", LOAD + code + "\nprint(json.dumps([float(v) for v in values]))", path],
                          input=json.dumps(ROWS), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def through_weir(weir, python, path, function, factory):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as rows:
        rows.write("".join(json.dumps(row) + "\n" for row in ROWS))
        rows.flush()
        command = [weir, "plugin", "check", path + ":" + function, "--rows", rows.name, "--json",
                   "reward.python=" + python, "reward.timeout_ms=60000"]
        if factory is not None:
            command.append("reward.config=" + json.dumps({"factory": factory}))
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    return [answer["value"] if answer["status"] == "ok" else answer["status"] for answer in answers]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weir", required=True)
    parser.add_argument("--python", required=True)
    arguments = parser.parse_args()
    compared, wrong = 0, 0
    for package, file, function, factory, code in ORIGINALS:
        path = find(arguments.python, package, file)
        if path is None:
            print("%s/%s: not there, left out" % (package, file))
            continue
        wanted = direct(arguments.python, path, code)
        got = through_weir(arguments.weir, arguments.python, path, function, factory)
        equal = sum(a == b for a, b in zip(wanted, got)) if len(got) == len(wanted) else 0
        print("%s/%s:%s: %d of %d values equal, %d different ones among them"
              % (package, file, function, equal, len(wanted), len(set(wanted))))
        compared += 1
        wrong += equal != len(wanted)
    return 1 if wrong or not compared else 0


if __name__ == "__main__":
    sys.exit(main())
