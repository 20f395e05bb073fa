#!/usr/bin/env python3
"""No function body over 70 lines, unless ops/lint/long_functions.txt lists it with a reason.

The list is a ratchet: one line `path function lines reason`. A listed function may not grow, and
when it shrinks or goes away its line must follow, so the list only gets shorter.
Relies on the format: the braces of a function, and only those, stand alone in column 0.
"""
import re

import tree

LINES_MAX = 70
RATCHET = "ops/lint/long_functions.txt"


def functions(text):
    """(name, line of the opening brace, lines between the braces) of each function."""
    lines = tree.code_only(text).splitlines()
    opened = None
    for number, line in enumerate(lines):
        if line.rstrip() == "{":
            opened = number
        elif line.startswith("}") and opened is not None:
            yield name_above(lines, opened), opened + 1, number - opened - 1
            opened = None


def name_above(lines, brace):
    """The signature may take several lines; its name is the first word before a parenthesis."""
    first = brace
    while first > 0 and lines[first - 1].strip() and not re.match(r"[}#]", lines[first - 1]) \
            and not lines[first - 1].rstrip().endswith(";"):
        first -= 1
    match = re.search(r"(\w+)\s*\(", " ".join(lines[first:brace]))
    return match[1] if match else "?"


def ratchet(root, findings):
    listed = {}
    path = root / RATCHET
    for number, line in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 3)
        if len(fields) < 4 or not fields[2].isdigit():
            findings.append(f"{RATCHET}:{number}: write `path function lines reason`")
            continue
        listed[(fields[0], fields[1])] = (int(fields[2]), number)
    return listed


def main():
    root = tree.root_from_arguments()
    findings = []
    listed = ratchet(root, findings)
    for name in tree.files(root, ".c", ".h", ".cu", ".cuh"):
        for function, line, length in functions(tree.read(root, name)):
            limit, at = listed.pop((name, function), (LINES_MAX, 0))
            if length > limit:
                findings.append(f"{name}:{line}: {function} has {length} lines, at most {limit}: "
                                "split it at an idea")
            elif at and length < limit:
                advice = f"write {length} there" if length > LINES_MAX else "remove that line"
                findings.append(f"{RATCHET}:{at}: {function} is down to {length} lines: {advice}")
    for (name, function), (_, at) in listed.items():
        findings.append(f"{RATCHET}:{at}: {name} has no function {function}: remove that line")
    tree.finish(findings, "function length")


if __name__ == "__main__":
    main()
