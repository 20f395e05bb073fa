#!/usr/bin/env python3
"""Writes problems.jsonl: small programming problems of our own with tests and a reference solution.

usage: examples/code/make.py > examples/code/problems.jsonl

Expected outputs are what the reference prints or returns; each reference is run here on every test first. A row has the
prompt, the tests (ground_truth, docs/code.md) and the reference, which the reward never looks at.
"""
import contextlib
import io
import json
import sys

FUNCTION = "Write a Python function `{name}`. {text} Answer with one fenced python block.\n"
PROGRAM = "Write a Python program that reads standard input and prints the answer. {text} Answer with one fenced python block.\n"

# name, text, reference, arguments of the tests
FUNCTIONS = [
    ("digit_sum", "`digit_sum(n)` adds the decimal digits of an integer; a minus sign does not count.",
     "def digit_sum(n):\n    return sum(int(d) for d in str(abs(n)))\n", [(0,), (7,), (-305,), (99999,), (10**20,)]),
    ("second_largest", "`second_largest(a)` returns the second largest of the different numbers in a list, or None.",
     "def second_largest(a):\n    b = sorted(set(a))\n    return b[-2] if len(b) > 1 else None\n",
     [([3, 1, 2],), ([5, 5],), ([],), ([-1, -1, -7],), ([2, 9, 9, 4],)]),
    ("squeeze", "`squeeze(s)` keeps one of each run of equal characters.",
     "def squeeze(s):\n    return ''.join(c for i, c in enumerate(s) if i == 0 or c != s[i - 1])\n",
     [("",), ("aaabba",), ("hello",), ("   a  b",), ("zzzz",)]),
    ("rotate", "`rotate(a, k)` moves a list k places to the right, k may be negative or larger than the list.",
     "def rotate(a, k):\n    if not a:\n        return []\n    k %= len(a)\n    return a[-k:] + a[:-k] if k else a[:]\n",
     [([1, 2, 3, 4], 1), ([1, 2, 3], -1), ([1, 2, 3], 7), ([], 3), ([5, 6], 0)]),
    ("balanced", "`balanced(s)` says whether the brackets ()[]{} of a text close in order; other characters do not matter.",
     "def balanced(s):\n    stack = []\n    for c in s:\n        if c in '([{':\n            stack.append(')]}'['([{'.index(c)])\n        elif c in ')]}':\n            if not stack or stack.pop() != c:\n                return False\n    return not stack\n",
     [("",), ("(a[b]{c})",), ("([)]",), ("((",), (")",), ("x]y",)]),
    ("to_base", "`to_base(n, b)` writes a number n >= 0 in base b (2 to 16) with digits 0-9a-f.",
     "def to_base(n, b):\n    out = ''\n    while True:\n        out = '0123456789abcdef'[n % b] + out\n        n //= b\n        if n == 0:\n            return out\n",
     [(0, 2), (10, 2), (255, 16), (81, 3), (12345, 7)]),
    ("merge", "`merge(spans)` joins closed intervals [a, b] that share a point and returns them sorted.",
     "def merge(spans):\n    out = []\n    for a, b in sorted(spans):\n        if out and a <= out[-1][1]:\n            out[-1][1] = max(out[-1][1], b)\n        else:\n            out.append([a, b])\n    return out\n",
     [([[1, 3], [2, 4]],), ([[5, 6], [1, 2]],), ([[1, 2], [2, 3], [3, 9]],), ([],), ([[0, 10], [2, 3]],)]),
    ("transpose", "`transpose(m)` turns rows of a table into columns; short rows are filled with None.",
     "def transpose(m):\n    width = max((len(r) for r in m), default=0)\n    return [[r[c] if c < len(r) else None for r in m] for c in range(width)]\n",
     [([[1, 2], [3, 4]],), ([[1], [2, 3]],), ([],), ([[]],), ([[1, 2, 3]],)]),
    ("primes", "`primes(n)` lists the prime factors of n >= 1 in ascending order, repeated as often as they divide.",
     "def primes(n):\n    out, p = [], 2\n    while p * p <= n:\n        while n % p == 0:\n            out.append(p)\n            n //= p\n        p += 1\n    if n > 1:\n        out.append(n)\n    return out\n",
     [(1,), (2,), (360,), (97,), (1001,), (65536,)]),
    ("longest_word", "`longest_word(s)` returns the longest word of a text split at blanks, the first of several, '' without one.",
     "def longest_word(s):\n    best = ''\n    for w in s.split():\n        if len(w) > len(best):\n            best = w\n    return best\n",
     [("",), ("a bb cc",), ("one three seven",), ("  x  ",), ("tie net",)]),
    ("common", "`common(a, b)` counts what two lists have in common; an element counts as often as both have it.",
     "def common(a, b):\n    b, n = list(b), 0\n    for x in a:\n        if x in b:\n            b.remove(x)\n            n += 1\n    return n\n",
     [([1, 2, 2], [2, 2, 3]), ([], [1]), ([1], [2]), ([7, 7, 7], [7]), (['a', 'b'], ['b', 'a'])]),
    ("staircase", "`staircase(n)` counts the ways to climb n steps, 1, 2 or 3 at a time; there is one way for 0.",
     "def staircase(n):\n    a, b, c = 1, 0, 0\n    for _ in range(n):\n        a, b, c = a + b + c, a, b\n    return a\n",
     [(0,), (1,), (4,), (10,), (30,)]),
]

# text, reference, inputs of the tests
PROGRAMS = [
    ("The first line has n, the second n integers. Print their sum and their largest on one line.",
     "n = int(input())\na = list(map(int, input().split()))\nprint(sum(a), max(a))\n", ["3\n1 2 3\n", "1\n-5\n", "4\n10 -10 7 0\n"]),
    ("Each line is a name and a score. Print the names by falling score; of equal scores the earlier line first.",
     "import sys\nrows = [l.split() for l in sys.stdin if l.strip()]\nfor r in sorted(rows, key=lambda r: -int(r[1])):\n    print(r[0])\n",
     ["ann 3\nbob 9\ncid 3\n", "x 1\n", "a -1\nb 0\nc 5\n"]),
    ("A line has a text. Print each letter that occurs, without regard to case, and its count, one a line, by alphabet.",
     "s = input().lower()\nfor c in sorted(set(filter(str.isalpha, s))):\n    print(c, s.count(c))\n",
     ["Hello World\n", "aAbB1\n", "zebra\n"]),
    ("The first line has rows and columns, then follows a grid of . and #. Print how many . have no # above, below, left or right of them.",
     "r, c = map(int, input().split())\ng = [input() for _ in range(r)]\nn = 0\nfor y in range(r):\n    for x in range(c):\n        if g[y][x] == '.' and all(not (0 <= y + b < r and 0 <= x + a < c) or g[y + b][x + a] == '.' for a, b in ((1, 0), (-1, 0), (0, 1), (0, -1))):\n            n += 1\nprint(n)\n",
     ["1 1\n.\n", "3 3\n...\n.#.\n...\n", "2 4\n....\n...#\n"]),
    ("A line has a number of seconds. Print it as H:MM:SS, hours without leading zeros.",
     "s = int(input())\nprint(f'{s // 3600}:{s // 60 % 60:02}:{s % 60:02}')\n", ["0\n", "59\n", "3661\n", "360000\n"]),
    ("The first line has n, then follow n pairs a b: town a has a road to town b, both ways. The last line has two towns. Print the least number of roads between them, -1 when there is no way.",
     "from collections import defaultdict, deque\nn = int(input())\nroads = defaultdict(list)\nfor _ in range(n):\n    a, b = input().split()\n    roads[a].append(b)\n    roads[b].append(a)\ns, t = input().split()\nseen, queue = {s: 0}, deque([s])\nwhile queue:\n    u = queue.popleft()\n    for v in roads[u]:\n        if v not in seen:\n            seen[v] = seen[u] + 1\n            queue.append(v)\nprint(seen.get(t, -1))\n",
     ["3\na b\nb c\nc d\na d\n", "1\na b\na c\n", "4\n1 2\n2 3\n1 4\n4 3\n1 3\n", "1\na b\na a\n"]),
    ("A line has an amount in cents. Print the least number of coins of 1, 2, 5, 10, 20 and 50 cents that make it.",
     "n, k = int(input()), 0\nfor c in (50, 20, 10, 5, 2, 1):\n    k += n // c\n    n %= c\nprint(k)\n", ["0\n", "4\n", "99\n", "1250\n"]),
    ("A line has a sum of integers with + and - and blanks anywhere, as \"3 - 4+10\". Print its value.",
     "import re\nprint(sum(int(m.replace(' ', '')) for m in re.findall(r'[+-]?\\s*\\d+', input())))\n",
     ["1\n", "3 - 4+10\n", "-5 +5\n", "100-1-1-1\n"]),
    ("The first line has n, the second n integers. Print the largest sum of neighbouring elements, one at least.",
     "input()\nbest = run = None\nfor x in map(int, input().split()):\n    run = x if run is None or run < 0 else run + x\n    best = run if best is None else max(best, run)\nprint(best)\n",
     ["5\n1 -2 3 4 -1\n", "3\n-5 -2 -9\n", "1\n0\n", "6\n2 2 -9 3 3 3\n"]),
    ("A line has words. Print them in groups of anagrams: words of a group by alphabet on one line, groups by their first word.",
     "groups = {}\nfor w in input().split():\n    groups.setdefault(''.join(sorted(w)), []).append(w)\nfor g in sorted(sorted(g) for g in groups.values()):\n    print(*g)\n",
     ["tea ate dog god eat x\n", "a\n", "ab ba ab\n"]),
    ("The first line has a width, the second words. Print the words in lines of at most that width, one blank between words, each line as full as possible.",
     "n, line = int(input()), ''\nfor w in input().split():\n    if line and len(line) + 1 + len(w) > n:\n        print(line)\n        line = w\n    else:\n        line = line + ' ' + w if line else w\nprint(line)\n",
     ["10\nthe quick brown fox jumps\n", "5\nab cd ef\n", "3\nabc d e\n"]),
    ("Each line has \"push x\", \"pop\" or \"min\". After each min print the least element of the stack, or \"empty\"; a pop of an empty stack does nothing.",
     "import sys\nstack = []\nfor line in sys.stdin:\n    p = line.split()\n    if p[0] == 'push':\n        stack.append(int(p[1]))\n    elif p[0] == 'pop':\n        if stack:\n            stack.pop()\n    else:\n        print(min(stack) if stack else 'empty')\n",
     ["push 3\npush 1\nmin\npop\nmin\n", "min\n", "pop\npush -2\npush 4\nmin\npop\npop\nmin\n"]),
]


def run_program(source, text):
    out = io.StringIO()
    old, sys.stdin = sys.stdin, io.StringIO(text)
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(source, "reference", "exec"), {"__name__": "__main__", "input": lambda: sys.stdin.readline().rstrip("\n")})
    finally:
        sys.stdin = old
    return out.getvalue()


def main():
    for name, text, source, tests in FUNCTIONS:
        space = {}
        exec(compile(source, name, "exec"), space)
        asserts = [f"assert {name}({', '.join(map(repr, args))}) == {space[name](*args)!r}" for args in tests]
        for line in asserts:
            exec(line, dict(space))
        print(json.dumps({"data_source": "code/functions", "prompt": FUNCTION.format(name=name, text=text),
                          "ground_truth": json.dumps({"language": "python", "test_list": asserts}), "reference": source}))
    for text, source, inputs in PROGRAMS:
        tests = [{"stdin": i, "stdout": run_program(source, i)} for i in inputs]
        print(json.dumps({"data_source": "code/programs", "prompt": PROGRAM.format(text=text),
                          "ground_truth": json.dumps({"language": "python", "tests": tests}), "reference": source}))


if __name__ == "__main__":
    main()
