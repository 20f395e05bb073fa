#!/usr/bin/env python3
"""C files are as clang-format 14 leaves them (.clang-format in the root).

Other versions disagree about details, so only version 14 counts.
"""
import re
import shutil
import subprocess

import tree


def clang_format():
    for name in ("clang-format-14", "clang-format"):
        path = shutil.which(name)
        if not path:
            continue
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if re.search(r"version 14\.", version.stdout):
            return path
    return None


def main():
    root = tree.root_from_arguments()
    tool = clang_format()
    if not tool:
        tree.skip("no clang-format 14: run ops/deps test")
    names = list(tree.files(root, ".c", ".h"))
    if not names:
        tree.finish([], "")
    done = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *names], cwd=root,
                          capture_output=True, text=True, check=False)
    pattern = re.compile(r"^(\S+?):(\d+):\d+: error:")
    places = {}
    for match in filter(None, map(pattern.match, done.stderr.splitlines())):
        places.setdefault(match[1], set()).add(int(match[2]))
    findings = [f"{name}:{min(lines)}: {len(lines)} line(s) differ: run {tool} -i {name}"
                for name, lines in places.items()]
    if done.returncode != 0 and not findings:
        findings = done.stderr.splitlines()[:20] or ["clang-format failed without a word"]
    tree.finish(findings, "format")


if __name__ == "__main__":
    main()
