#!/usr/bin/env python3
"""Calls and words that are not used here, and where each is allowed after all.

A line that must break a rule says so, with a reason, on the line itself or the one above:
    /* lint: allow(free): jansson hands over memory of its own allocator */
"""
import re

import tree

TALKS = ("ops/", "bench/", "tests/", "examples/")  # programs that print are the point there
OWN_MEMORY = ("core/", "tests/", "bench/", "examples/", "reward/plugins/")


def prints(name):
    return name.startswith(TALKS) or name.endswith("_main.c")


def owns_memory(name):
    return name.startswith(OWN_MEMORY)


def call(names):
    return re.compile(r"(?<![\w.>])(" + names + r")\s*\(")


# (rule name or None for the matched word, pattern on code, allowed in, what to do instead)
CODE_RULES = (
    (None, call("strcpy|strcat|sprintf|vsprintf|gets"), None, "use a bounded function"),
    (None, call("atoi|atol|atof"), None, "a typo becomes a number; parse the whole text"),
    (None, call("strtok"), None, "it keeps hidden state; split by hand"),
    (None, call("rand|srand|random|drand48"), None, "draw from core/rng.h"),
    (None, call("alloca"), None, "use an arena"),
    (None, call("assert"), None, "use CHECK; it stays in release builds"),
    (None, call("printf|vprintf|puts|putchar"), prints, "use core/log.h outside programs"),
    ("printf", re.compile(r"\bfv?printf\s*\(\s*stdout\b"), prints,
     "use core/log.h outside programs"),
    (None, call("malloc|calloc|realloc|free|strdup|strndup|aligned_alloc"), owns_memory,
     "use core/memory.h or an arena"),
    (None, call("clock_gettime|gettimeofday"), lambda name: name == "core/clock.c",
     "use core/clock.h, so that tests can set the time"),
)
TEXT_RULES = (
    ("FIXME", re.compile(r"\bFIXME\b"), "mend it or open an issue and write TODO(#number)"),
    ("TODO", re.compile(r"\bTODO\b(?!\(#\d+\))"), "write TODO(#number) with the issue"),
)


def allowed(lines, number, word):
    waiver = f"lint: allow({word})"
    return any(waiver in lines[i] for i in (number - 2, number - 1) if 0 <= i < len(lines))


def findings_of(name, text):
    lines = text.splitlines()
    for number, line in enumerate(tree.code_only(text).splitlines(), 1):
        for rule, pattern, where, advice in CODE_RULES:
            match = pattern.search(line)
            if not match or (where and where(name)):
                continue
            word = rule or match[1]
            if not allowed(lines, number, word):
                yield f"{name}:{number}: {word}: {advice}"
    for number, line in enumerate(lines, 1):
        for word, pattern, advice in TEXT_RULES:
            if pattern.search(line) and not allowed(lines, number, word):
                yield f"{name}:{number}: {word}: {advice}"


def main():
    root = tree.root_from_arguments()
    findings = []
    for name in tree.files(root, ".c", ".h", ".cu", ".cuh"):
        findings += findings_of(name, tree.read(root, name))
    tree.finish(findings, "ban list; the rules are at the top of ops/lint/check_bans.py")


if __name__ == "__main__":
    main()
