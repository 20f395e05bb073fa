#!/usr/bin/env python3
"""Rows of HumanEval and MBPP that must score 1 (canonical solutions) and 0 (mutants), for `weir reward` and bench_code.

    python3 tests/mutate/mutate.py DATA > rows.jsonl        DATA holds humaneval/ and mbpp/
    options: --per-problem N mutants of one problem (1), --seed S (1), --limit-s seconds of a row (8), --canonical-only

A mutant is the canonical solution with one change, drawn by the seed:

    const       a number plus one, a text with a letter more
    return_none a return statement without its value
    binop       + for -, * for +, // for *, ...
    compare     < for <=, == for !=, in for not in, ...
    negate_if   if c -> if not c (while, too)
    boolop      and for or
    drop        a statement that is not a return left out

It is kept when it changes behaviour: the tests, run here without any sandbox in a process of their own with a limit of
one second, fail. Mutants that do not end are left out and counted (the time limit has tests of its own); so are
problems of which no mutant fails. Counts go to stderr.
"""
import argparse
import ast
import copy
import json
import os
import random
import resource
import signal
import sys
import time

SWAPS = {
    "binop": {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
              ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.BitXor: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift},
    "compare": {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In,
                ast.Is: ast.IsNot, ast.IsNot: ast.Is},
    "boolop": {ast.And: ast.Or, ast.Or: ast.And},
}


def places(tree):
    """(kind, index of the node in ast.walk) of every change that can be made."""
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.Module)) and node.body and isinstance(node.body[0], ast.Expr)}
    for index, node in enumerate(ast.walk(tree)):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float, str) and id(node) not in docstrings:
            yield "const", index
        elif isinstance(node, ast.Return) and node.value is not None:
            yield "return_none", index
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS["binop"]:
            yield "binop", index
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS["compare"]:
            yield "compare", index
        elif isinstance(node, (ast.If, ast.While)):
            yield "negate_if", index
        elif isinstance(node, ast.BoolOp):
            yield "boolop", index
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.Expr)) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield "drop", index


def changed(tree, kind, index):
    tree = copy.deepcopy(tree)
    node = list(ast.walk(tree))[index]
    if kind == "const":
        node.value = node.value + "x" if isinstance(node.value, str) else node.value + 1
    elif kind == "return_none":
        node.value = ast.Constant(None)
    elif kind == "binop":
        node.op = SWAPS[kind][type(node.op)]()
    elif kind == "compare":
        node.ops[0] = SWAPS[kind][type(node.ops[0])]()
    elif kind == "negate_if":
        node.test = ast.UnaryOp(ast.Not(), node.test)
    elif kind == "boolop":
        node.op = SWAPS[kind][type(node.op)]()
    else:
        for parent in ast.walk(tree):
            for body in ("body", "orelse", "finalbody"):
                statements = getattr(parent, body, None)
                if isinstance(statements, list) and node in statements:
                    statements[statements.index(node)] = ast.Pass()
    return ast.unparse(ast.fix_missing_locations(tree))


def plainly(program):
    """AC, WA, RE or TLE of the tests run as they are, in a child."""
    child = os.fork()
    if child == 0:
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        code = 3
        try:
            exec(compile(program, "<mutant>", "exec"), {"__name__": "plain"})
            code = 10
        except AssertionError:
            code = 11
        except BaseException:
            code = 12
        os._exit(code)
    end = time.monotonic() + 1
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return {10: "AC", 11: "WA"}.get(os.waitstatus_to_exitcode(status), "RE")
        time.sleep(0.0005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "TLE"


def problems(folder):
    with open(os.path.join(folder, "humaneval", "HumanEval.jsonl"), encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            yield row["task_id"], {"prompt": row["prompt"], "entry_point": row["entry_point"], "test": row["test"]}, \
                row["prompt"] + row["canonical_solution"], row["test"] + "\ncheck(%s)\n" % row["entry_point"]
    with open(os.path.join(folder, "mbpp", "mbpp.jsonl"), encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            members = {key: row[key] for key in ("text", "test_list", "test_setup_code", "challenge_test_list")}
            tests = "\n".join([row["test_setup_code"], *row["test_list"], *row["challenge_test_list"]])
            yield "MBPP/%d" % row["task_id"], members, row["code"].replace("\r\n", "\n"), tests


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--per-problem", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit-s", type=float, default=8)
    parser.add_argument("--canonical-only", action="store_true")
    options = parser.parse_args()
    counts = {}

    def row(name, members, code, expected, verdict, why):
        counts[why.split(":")[0], verdict] = counts.get((why.split(":")[0], verdict), 0) + 1
        print(json.dumps({"id": name, "kind": "code_assert", **members, "time_limit_s": options.limit_s, "response": "```python\n%s\n```" % code, "expected": expected, "verdict": verdict, "why": why}))

    for name, members, code, tests in problems(options.data):
        row(name, members, code, 1, "AC", "canonical solution")
        if options.canonical_only:
            continue
        tree = ast.parse(code)
        choices = list(places(tree))
        random.Random("%s/%d" % (name, options.seed)).shuffle(choices)
        kept = 0
        for kind, index in choices:
            if kept == options.per_problem:
                break
            mutant = changed(tree, kind, index)
            verdict = plainly(mutant + "\n" + tests)
            if verdict in ("WA", "RE"):
                row("%s/%s/%d" % (name, kind, index), members, mutant, 0, verdict, "mutated: " + kind)
                kept += 1
            else:
                counts["left out", verdict] = counts.get(("left out", verdict), 0) + 1
    print(counts, file=sys.stderr)


if __name__ == "__main__":
    main()
