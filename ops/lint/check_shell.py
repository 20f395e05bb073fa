#!/usr/bin/env python3
"""Shell scripts (by suffix or first line) pass shellcheck."""
import re
import shutil
import subprocess

import tree

SHEBANG = re.compile(r"#!\s*/(usr/bin/env |bin/|usr/bin/)(ba|da)?sh\b")


def is_shell(root, name):
    if name.startswith("tests/attacks/"):  # hostile programs, which are not written well on purpose
        return False
    if name.endswith(".sh"):
        return True
    if "." in name.rsplit("/", 1)[-1] or not name.startswith(("ops/", ".ci/", "tests/", "bench/")):
        return False
    with open(root / name, "rb") as file:
        return bool(SHEBANG.match(file.readline(80).decode("utf-8", "replace")))


def main():
    root = tree.root_from_arguments()
    tool = shutil.which("shellcheck")
    if not tool:
        tree.skip("no shellcheck: run ops/deps test")
    names = [name for name in tree.files(root) if is_shell(root, name)]
    if not names:
        tree.finish([], "")
    done = subprocess.run([tool, "-x", "-f", "gcc", *names], cwd=root, capture_output=True,
                          text=True, check=False)
    findings = (done.stdout + done.stderr).splitlines()
    if done.returncode != 0 and not findings:
        findings = ["shellcheck failed without a word"]
    tree.finish(findings if done.returncode else [], "shellcheck")


if __name__ == "__main__":
    main()
