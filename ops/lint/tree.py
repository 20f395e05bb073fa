"""What the lint scripts share: the files of a tree, C text without comments and strings, reporting.

A script takes the root of the tree as its first argument (default: the current folder), prints one
line per finding as `path:line: what is wrong and what to do`, and exits 1 when there is any,
77 when it cannot run here (a tool is missing), which ctest shows as skipped.
"""
import os
import pathlib
import re
import subprocess
import sys

SKIP = 77
# lint_cases holds files that are wrong on purpose; lint.selftest runs the rules on them.
LEFT_OUT_FOLDERS = (".git", "build", "runs", "__pycache__")
LEFT_OUT_PREFIXES = ("tests/lint_cases/",)


def root_from_arguments():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    if not root.is_dir():
        print(f"{root}: no such folder; give the root of the tree as the first argument")
        sys.exit(2)
    return root


def _listed_by_git(root):
    """Tracked files and new ones that are not ignored; None where git cannot say."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-c", f"safe.directory={root}", "-C", str(root), "ls-files", "-z",
               "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return sorted({name for name in done.stdout.decode().split("\0") if name})


def _listed_by_walk(root):
    names = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in LEFT_OUT_FOLDERS]
        names += [str((pathlib.Path(folder) / name).relative_to(root)) for name in files]
    return sorted(names)


def files(root, *suffixes):
    """Paths relative to root, sorted; with suffixes given, only names that end in one of them."""
    names = _listed_by_git(root)
    if names is None:
        names = _listed_by_walk(root)
    for name in names:
        if name.startswith(LEFT_OUT_PREFIXES) or (suffixes and not name.endswith(suffixes)):
            continue
        if (root / name).is_file():
            yield name


def read(root, name):
    return (root / name).read_text(encoding="utf-8", errors="replace")


_TOKENS = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    """C text with comments blanked and strings emptied; line numbers stay."""
    def blank(match):
        token = match[0]
        if token[0] in "\"'":
            return token[0] * 2
        return "\n" * token.count("\n") or " "
    return _TOKENS.sub(blank, text)


def finish(findings, what):
    for line in findings:
        print(line)
    if findings:
        print(f"{len(findings)} finding(s): {what}")
    sys.exit(1 if findings else 0)


def skip(reason):
    print(f"SKIP: {reason}")
    sys.exit(SKIP)
