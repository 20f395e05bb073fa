#!/usr/bin/env python3
"""Nothing in the tree names one person's machine: paths, neighbour folders, ports of others."""
import re

import tree

RULES = (
    (re.compile(r"(?<![\w./~})$-])/(home|root|Users|mnt|work|workspace|scratch)/"),
     "a path of one machine; make it a setting or relative to the tree"),
    (re.compile(r"\.\./(shared|private|scratch)\b"),
     "a folder beside one checkout; the tree must stand alone"),
    (re.compile(r"\b(localhost|127\.0\.0\.1):6379\b"),
     "port 6379 is somebody else's Redis (Ray's, often); weir's is 6399 or a socket"),
    (re.compile(r"\b(10|192\.168|172\.(1[6-9]|2\d|3[01]))(\.\d{1,3}){2,3}:\d+\b"),
     "an address of one network; use 127.0.0.1 or a setting"),
)
BINARY = (".safetensors", ".bin", ".gz", ".zst", ".png", ".db", ".pt", ".so")
OWN_RULES = "ops/lint/check_names.py"


def main():
    root = tree.root_from_arguments()
    findings = []
    for name in tree.files(root):
        if name.endswith(BINARY) or name == OWN_RULES or name.startswith("tests/fuzz/corpus/"):
            continue
        for number, line in enumerate(tree.read(root, name).splitlines(), 1):
            for pattern, advice in RULES:
                match = pattern.search(line)
                if match:
                    findings.append(f"{name}:{number}: {match[0]}: {advice}")
    tree.finish(findings, "names of one machine")


if __name__ == "__main__":
    main()
