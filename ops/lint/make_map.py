#!/usr/bin/env python3
"""Prints docs/map.md: folder, file, one sentence, taken from the first comment of each file.

    python3 ops/lint/make_map.py > docs/map.md

A header and its .c share a line, with the header's sentence. lint.docs wants the file up to date.
"""
import re
import sys

import tree

FOLDERS = {
    "core": "what every process is made of; includes nothing of this tree",
    "proto": "messages between the processes, as structs and as wire bytes",
    "text": "tokenizers and chat formats",
    "kernels": "every operation described once, with its backends",
    "kernels/cpu": "the fast CPU backend",
    "kernels/ref": "the double-precision oracle that tests compare with",
    "kernels/cuda": "the GPU backend",
    "sandbox": "running hostile programs",
    "model": "Hugging Face folders, the parameter table, the one forward pass and its backward",
    "transport": "ZeroMQ streams, the weight channel, the Redis view",
    "reward": "the plugin ABI, the loader and the reward worker",
    "reward/plugins": "reward functions; each file is one shared object",
    "rollout_store": "the ledger and everything that is decided from it",
    "actor": "generation",
    "learner": "training",
    "ops": "the weir command and the scripts around it",
    "ops/lint": "the rules of ctest -L lint",
    "tests": "unit tests, one program for each module",
    "tests/integration": "stories of several processes",
    "tests/fuzz": "fuzz targets",
    "bench": "benchmarks that print JSON lines",
    "bench/paper": "experiments of the tech report in small; README.md there",
    "examples": "what to copy",
    "docs": "what to read",
}
LISTED = re.compile(r"\.(c|h|cu|cuh|py|sh|proto|cmake|yaml)$|^ops/[a-z_-]+$|^\.ci/run$")
TEST_HEAD = re.compile(r"/\*\s*(links|label|timeout):[^*]*\*/")


PYTHON = r'(?:#![^\n]*\n)?"""(.*?)"""'
C = r"(?:\s*#[^\n]*\n)*\s*/\*+(.*?)\*/"
HASH = r"(?:#![^\n]*\n)?((?:#[^\n]*\n)+)"
SLASHES = r"((?://[^\n]*\n)+)"
PATTERNS = {"py": (PYTHON,), "c": (C,), "h": (C,), "cu": (C,), "cuh": (C,), "proto": (C, SLASHES)}


def comment_of(suffix, text):
    """The first comment or docstring, one paragraph, without its markers."""
    text = TEST_HEAD.sub("", text).lstrip()
    for pattern in PATTERNS.get(suffix, (HASH,)):
        match = re.match(pattern, text, re.S)
        if match:
            lines = [re.sub(r"^\s*(\*|#|//)?\s?", "", line) for line in match[1].splitlines()]
            return "\n".join(lines).strip().split("\n\n")[0]
    return ""


def sentence_of(name, text):
    comment = " ".join(comment_of(name.rpartition(".")[2], text).split())
    base = re.escape(name.rsplit("/", 1)[-1])
    comment = re.sub(rf"^(\S*/)?{base}\s*(\[[^\]]*\]\s*)*(- +|: *)?", "", comment)
    first = re.split(r"(?<=[^q]\.)\s+(?=[A-Z*-])", comment, maxsplit=1)[0].rstrip(".:; ")
    return first.replace("|", "\\|") or "(no comment at its top yet)"


def sections(root):
    by_folder = {}
    for name in tree.files(root):
        if not LISTED.search(name) or name.startswith(("docs/", "tests/golden/")):
            continue
        folder = name.rpartition("/")[0]
        by_folder.setdefault(folder, []).append(name)
    order = list(FOLDERS)
    key = lambda folder: (order.index(folder) if folder in FOLDERS else len(order), folder)
    for folder in sorted(by_folder, key=key):
        yield folder, by_folder[folder]


def lines_of(root, names):
    for name in names:
        stem, _, suffix = name.rpartition(".")
        if suffix == "c" and f"{stem}.h" in names:
            continue
        pair = suffix == "h" and f"{stem}.c" in names
        shown = name.rsplit("/", 1)[-1] + (", .c" if pair else "")
        yield f"| `{shown}` | {sentence_of(name, tree.read(root, name))} |"


def map_text(root):
    out = ["# Map", "",
           "Folder, file, one sentence. Made by `python3 ops/lint/make_map.py > docs/map.md` from the",
           "first comment of each file; `dataflow.md` follows a token through them."]
    for folder, names in sections(root):
        what = FOLDERS.get(folder, "")
        out += ["", f"## {folder or 'top'}/" + (f": {what}" if what else ""), "",
                "| file | what |", "|---|---|", *lines_of(root, names)]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.write(map_text(tree.root_from_arguments()))
