#!/usr/bin/env python3
"""Makes repository tasks for the reward "swe" from small modules with unit tests: one planted bug each.

usage: make_swe_instances.py FOLDER --count N [--seed S] > instances.jsonl

FOLDER holds NAME.py, NAME_test.py (unittest) and NAME.md (what the module shall do). An instance is one of these modules
with one mutation of its syntax tree (compare, binop, boolop, const, negate_if, return_none), chosen by the seed, such
that some tests then fail (FAIL_TO_PASS) and some still pass (PASS_TO_PASS); both lists are measured, not guessed. The
module is written back by ast.unparse, fixed and buggy alike, so the gold patch holds the mutation and nothing else.
"""
import argparse
import ast
import difflib
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile

COMPARE = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
BINOP = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv}


def sites(tree):
    """Every (kind, node) that can be mutated, in order."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARE:
            yield "compare", node
        elif isinstance(node, ast.BinOp) and type(node.op) in BINOP:
            yield "binop", node
        elif isinstance(node, ast.BoolOp):
            yield "boolop", node
        elif isinstance(node, ast.Constant) and type(node.value) is int:
            yield "const", node
        elif isinstance(node, ast.If):
            yield "negate_if", node
        elif isinstance(node, ast.Return) and node.value is not None:
            yield "return_none", node


def mutate(kind, node):
    if kind == "compare":
        node.ops[0] = COMPARE[type(node.ops[0])]()
    elif kind == "binop":
        node.op = BINOP[type(node.op)]()
    elif kind == "boolop":
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif kind == "const":
        node.value += 1
    elif kind == "negate_if":
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        node.value = ast.Constant(None)


def outcomes(files, module):
    """test name -> passed, of a run that ended; None when it did not."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in files.items():
            pathlib.Path(folder, path).write_text(text)
        command = [sys.executable, "-B", "-m", "unittest", "-v", module]
        try:
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=20)
        except subprocess.TimeoutExpired:
            return None
    found = re.findall(r"^(test_\w+) \(.*\)(?:\n.*)? \.\.\. (ok|FAIL|ERROR)$", run.stderr, re.M)
    return {name: word == "ok" for name, word in found} or None


def make(folder, name, rng):
    """One instance of this module, or None when no mutation is noticed by some tests only."""
    fixed = ast.unparse(ast.parse((folder / f"{name}.py").read_text())) + "\n"
    test = (folder / f"{name}_test.py").read_text()
    places = [(index, kind) for index, (kind, _) in enumerate(sites(ast.parse(fixed)))]
    rng.shuffle(places)
    for index, kind in places:
        tree = ast.parse(fixed)
        mutate(kind, list(sites(tree))[index][1])
        buggy = ast.unparse(ast.fix_missing_locations(tree)) + "\n"
        files = {f"{name}.py": buggy, f"{name}_test.py": test}
        before = outcomes(files, f"{name}_test")
        if before is None or all(before.values()) or not any(before.values()):
            continue
        after = outcomes({**files, f"{name}.py": fixed}, f"{name}_test")
        if after is None or not all(after.values()):
            raise SystemExit(f"{name}: its own tests fail")
        lines = difflib.unified_diff(buggy.splitlines(True), fixed.splitlines(True), f"a/{name}.py", f"b/{name}.py")
        return {
            "instance_id": f"{name}__{kind}_{index}",
            "kind": "swe",
            "problem_statement": f"`{name}.py` should do what follows, but some of its tests fail. Find and fix the "
            "bug.\n\n" + (folder / f"{name}.md").read_text(),
            "files": files,
            "test_files": [f"{name}_test.py"],
            "test_cmd": f"python3 -m unittest {name}_test",
            "FAIL_TO_PASS": sorted(test for test, passed in before.items() if not passed),
            "PASS_TO_PASS": sorted(test for test, passed in before.items() if passed),
            "gold_patch": "".join(lines),
        }
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    names = sorted(path.stem for path in arguments.folder.glob("*.md"))
    rng, made = random.Random(arguments.seed), {}
    for turn in range(50 * arguments.count):
        instance = make(arguments.folder, names[turn % len(names)], rng)
        if instance is not None:
            made.setdefault(instance["instance_id"], instance)
        if len(made) == arguments.count:
            break
    else:
        raise SystemExit(f"only {len(made)} different instances can be made of {arguments.folder}")
    for instance in made.values():
        print(json.dumps(instance, sort_keys=True))


if __name__ == "__main__":
    main()
