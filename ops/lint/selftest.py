#!/usr/bin/env python3
"""Each lint rule must fail on tests/lint_cases/<rule>/ and print every line of its EXPECT file.

A rule that cannot fail checks nothing. The cases are copied to a temporary folder first, so that
they are a tree of their own. Skipped rules (no tool) are named.
"""
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tree

SCRIPTS = pathlib.Path(__file__).resolve().parent


def complaints(rule, case):
    with tempfile.TemporaryDirectory(prefix="weir-lint-") as folder:
        copy = pathlib.Path(folder) / rule
        shutil.copytree(case, copy)
        expected = (copy / "EXPECT").read_text().splitlines()
        (copy / "EXPECT").unlink()
        arguments = [str(copy)] + ([str(copy / "weir")] if rule == "docs" else [])
        done = subprocess.run([sys.executable, str(SCRIPTS / f"check_{rule}.py"), *arguments],
                              capture_output=True, text=True, check=False)
    if done.returncode == tree.SKIP:
        print(f"{rule}: {done.stdout.strip()}")
        return
    if done.returncode != 1:
        yield f"{rule}: exit {done.returncode} instead of 1\n{done.stderr}"
    for line in expected:
        if line not in done.stdout:
            yield f"{rule}: missing in its output: {line}\n{done.stdout}{done.stderr}"


def main():
    root = tree.root_from_arguments()
    cases = root / "tests/lint_cases"
    rules = sorted(path.stem.removeprefix("check_") for path in SCRIPTS.glob("check_*.py"))
    findings = [f"{rule}: no tests/lint_cases/{rule}/EXPECT: show that the rule can fail"
                for rule in rules if not (cases / rule / "EXPECT").is_file()]
    for rule in rules:
        if (cases / rule / "EXPECT").is_file():
            findings += complaints(rule, cases / rule)
    tree.finish(findings, "lint rules that do not catch their case")


if __name__ == "__main__":
    main()
