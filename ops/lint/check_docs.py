#!/usr/bin/env python3
"""docs/config.md and docs/metrics.md are what `weir docs` prints, and docs/*.md links lead somewhere.

Arguments: root, then the built `weir` program. The first half is skipped without the program.
"""
import pathlib
import re
import subprocess
import sys

import tree

GENERATED = ("config", "metrics")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def dead_links(root):
    for name in tree.files(root, ".md"):
        for number, line in enumerate(tree.read(root, name).splitlines(), 1):
            for target in LINK.findall(line):
                if not ((root / name).parent / target).exists():
                    yield f"{name}:{number}: {target}: the link leads nowhere"


def stale(root, program):
    for topic in GENERATED:
        done = subprocess.run([program, "docs", topic], capture_output=True, text=True,
                              timeout=10, check=False, cwd=root)
        path = root / "docs" / f"{topic}.md"
        if done.returncode != 0:
            yield f"docs/{topic}.md: `weir docs {topic}` failed: {done.stderr.strip()}"
        elif not path.is_file() or path.read_text() != done.stdout:
            yield f"docs/{topic}.md: out of date: run weir docs {topic} > docs/{topic}.md"


def main():
    root = tree.root_from_arguments()
    findings = list(dead_links(root))
    program = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if program and program.is_file():
        findings += stale(root, str(program))
    elif program:
        print(f"{program} is not built: only links were checked")
    tree.finish(findings, "docs")


if __name__ == "__main__":
    main()
