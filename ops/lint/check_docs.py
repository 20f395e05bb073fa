#!/usr/bin/env python3
"""Links in *.md lead somewhere, docs/map.md is what make_map.py prints, and docs/config.md, docs/metrics.md
and docs/commands.md are what `weir docs` prints.

Arguments: root, then the built `weir` program; without the program its files are not checked.
"""
import pathlib
import re
import subprocess
import sys

import make_map
import tree

GENERATED = ("config", "metrics", "commands", "alerts")
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def dead_links(root):
    for name in tree.files(root, ".md"):
        for number, line in enumerate(tree.read(root, name).splitlines(), 1):
            for target in LINK.findall(line):
                if not ((root / name).parent / target).exists():
                    yield f"{name}:{number}: {target}: the link leads nowhere"


def stale_rules(root, program):
    done = subprocess.run([program, "docs", "prometheus-rules"], capture_output=True, text=True, timeout=10, check=False)
    path = root / "ops/prometheus/alerts.yml"
    if done.returncode != 0 or not path.is_file() or path.read_text() != done.stdout:
        yield f"{path.relative_to(root)}: out of date: run weir docs prometheus-rules > ops/prometheus/alerts.yml"


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
    path = root / "docs/map.md"
    if not path.is_file() or path.read_text() != make_map.map_text(root):
        findings.append("docs/map.md:1: out of date: python3 ops/lint/make_map.py > docs/map.md")
    program = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    if program and program.is_file():
        findings += stale(root, str(program))
        findings += stale_rules(root, str(program))
    elif program:
        print(f"{program} is not built: only links were checked")
    tree.finish(findings, "docs")


if __name__ == "__main__":
    main()
