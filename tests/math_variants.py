#!/usr/bin/env python3
"""tests/math_variants.py DATA [--out FILE] [--deepmath]: gold answers of GSM8K and MATH-500 in other forms.

Writes rows for `weir reward` (kind math: id, category, gold, response, expected). DATA is the folder with gsm8k/,
math500/ and deepmath/. Right variants (expected 1) say the same in another notation, wrong ones (expected 0) differ
from the gold in the way their category names. Which variant is made of which answer is decided by its form alone, so
each rule below is documentation: name, then what it does.

Right:
  self            the gold in a box
  form.*          the box replaced by other places of an answer: "final answer is", "Answer:", "####", $$, fbox, thinking
  space           spaces around operators and inside brackets; nospace: none
  frac            \\frac as \\dfrac, \\tfrac, and a/b where both parts are one number
  left_right      ( ) [ ] as \\left( \\right) ...
  wrap            $...$ and \\(...\\) inside the box
  period          a period at the end
  commas          thousands separators 1,000 and 1{,}000 and 1\\!,
  decimal         an integer as n.0; a fraction as its decimal where that ends; a decimal as a fraction
  unit            a unit behind a number: \\text{ cm}, apples
  currency        \\$ before a number
  degree          ^\\circ as degrees, and without
  mixed           an improper fraction as a mixed number
  multiple        a fraction with both parts times 3
  order           the elements of a list or set the other way round
  assign          "x = " before a number or expression
  percent         n\\% as "n percent"
  signs           a Unicode minus sign, pi, root
  reduce          \\frac12 for \\frac{1}{2}
Wrong:
  off_by_one      an integer plus and minus one
  plus_one        any expression plus one
  sign            the other sign
  inverse         a fraction upside down
  times_ten       a number times ten, a decimal shifted
  swapped         a tuple the other way round
  bracket         an interval's bracket turned
  missing         a list without its last element; extra: with one more
  variable        another letter
  power           an exponent plus one
  word            another word
  candidates      two values for one
"""
import argparse
import json
import os
import re
from fractions import Fraction

INTEGER = re.compile(r"-?\d+")
FRACTION = re.compile(r"(-?)\\d?frac\{(\d+)\}\{(\d+)\}")
DECIMAL = re.compile(r"-?\d*\.\d+")
ITEMS = re.compile(r"[^()\[\]{}]+(?:,[^()\[\]{}]+)+")


def is_plain(gold):
    """A number or an expression: no words, lists, relations, brackets of intervals."""
    if re.fullmatch(r"[A-Z]|.*[A-Za-z]{4,}.*", re.sub(r"\\[a-zA-Z]+", "", gold)) or gold.lower() in ("yes", "no", "odd", "ln"):
        return False  # words, choices
    return not re.search(r"\\text|\\mbox|,|=|\\in|\\begin|\\pm|\\cup|_|<|>|\\infty|%|:|\\circ|\\math|\\emptyset|\\n?eq|\\ge|\\le"
                         r"|\\mid|\\cong|\\neq|\\sub|\\to|\||\\o|\\ast|\^\*|O\(|'", gold)


def terminates(fraction):
    d = fraction.denominator
    for p in (2, 5):
        while d % p == 0:
            d //= p
    return d == 1


def decimal(fraction):
    digits = 0
    while (fraction * 10**digits).denominator != 1:
        digits += 1
    n = fraction * 10**digits
    if digits == 0:
        return str(n)
    text = str(abs(int(n))).zfill(digits + 1)
    return ("-" if n < 0 else "") + text[:-digits] + "." + text[-digits:]


def split(gold):
    """The parts of a flat comma list, or None."""
    return [p.strip() for p in gold.split(",")] if ITEMS.fullmatch(gold) and r"\!" not in gold and "\\," not in gold else None


def right(gold):
    if r"\text" not in gold and r"\mbox" not in gold and not re.search(r"\de -|\\ |[A-Za-z]{3,}", gold):
        yield "nospace", re.sub(r"(?<![a-zA-Z}]) | (?![a-zA-Z])", "", gold)
    if r"\text" not in gold and r"\mbox" not in gold and not INTEGER.fullmatch(gold):
        yield "space", re.sub(r"([+=<>])", r" \1 ", gold)
    if r"\frac" in gold:
        yield "frac", gold.replace(r"\frac", r"\dfrac")
        yield "frac", gold.replace(r"\frac", r"\tfrac")
        yield "reduce", re.sub(r"\\frac\{(\d)\}\{(\d)\}", r"\\frac\1\2", gold)
    if r"\dfrac" in gold:
        yield "frac", gold.replace(r"\dfrac", r"\frac")
    if re.search(r"[(\[]", gold) and r"\left" not in gold and r"\begin" not in gold and r"\sqrt[" not in gold and r"\text" not in gold:
        yield "left_right", re.sub(r"([(\[])", r"\\left\1", re.sub(r"([)\]])", r"\\right\1", gold))
    if r"\left" in gold:
        yield "left_right", gold.replace(r"\left", "").replace(r"\right", "")
    yield "wrap", "$" + gold + "$"
    yield "wrap", r"\(" + gold + r"\)"
    yield "period", gold + "."
    if is_plain(gold):
        yield "wrap", "{" + gold + "}"
        yield "wrap", r"\displaystyle " + gold
        yield "assign", "x = " + gold if "x" not in gold else "y = " + gold
        yield "signs", gold.replace("-", "\u2212").replace(r"\pi", "\u03c0")
    if INTEGER.fullmatch(gold):
        n = int(gold)
        if abs(n) >= 1000:
            yield "commas", f"{n:,}"
            yield "commas", f"{n:,}".replace(",", "{,}")
            yield "commas", f"{n:,}".replace(",", r",\!")
        yield "decimal", gold + ".0"
        yield "decimal", gold + ".00"
        yield "unit", gold + r"\text{ cm}"
        yield "unit", gold + r" \text{ square units}"
        yield "unit", gold + " apples"
        yield "currency", r"\$" + gold
        yield "multiple", r"\frac{%d}{3}" % (3 * n)
    match = FRACTION.fullmatch(gold)
    if match:
        value = Fraction(int(match[2]), int(match[3])) * (-1 if match[1] else 1)
        yield "frac", f"{match[1]}{match[2]}/{match[3]}"
        yield "multiple", r"%s\frac{%d}{%d}" % (match[1], 3 * int(match[2]), 3 * int(match[3]))
        yield "unit", gold + r"\text{ meters}"
        if terminates(value):
            yield "decimal", decimal(value)
        if abs(value) > 1 and value.denominator > 1:
            whole, rest = divmod(abs(value), 1)
            yield "mixed", r"%s%d\frac{%d}{%d}" % (match[1], whole, rest.numerator, rest.denominator)
            yield "mixed", "%s%d %d/%d" % (match[1], whole, rest.numerator, rest.denominator)
    if DECIMAL.fullmatch(gold):
        value = Fraction(gold)
        yield "decimal", r"%s\frac{%d}{%d}" % ("-" if value < 0 else "", abs(value.numerator), value.denominator)
        yield "decimal", gold + "0"
        yield "unit", gold + r" \text{ kg}"
    if re.fullmatch(r"-?\d+\^\\circ", gold):
        yield "degree", gold.replace(r"^\circ", "")
        yield "degree", gold.replace(r"^\circ", r"^{\circ}")
        yield "degree", gold.replace(r"^\circ", r"\text{ degrees}")
        yield "degree", gold.replace(r"^\circ", "\u00b0")
    if re.fullmatch(r"\d+\\%", gold):
        yield "percent", gold.replace(r"\%", " percent")
    parts = split(gold)
    if parts:
        yield "order", ", ".join(reversed(parts))
        yield "order", r"\{" + ",".join(parts) + r"\}"
        yield "order", ", ".join(parts[:-1]) + r" \text{ and } " + parts[-1]


def wrong(gold):
    if INTEGER.fullmatch(gold):
        n = int(gold)
        yield "off_by_one", str(n + 1)
        yield "off_by_one", str(n - 1)
        if n != 0:
            yield "times_ten", str(n * 10)
            yield "sign", str(-n)
            yield "inverse", r"\frac{1}{%d}" % n if abs(n) > 1 else str(n + 7)
        yield "candidates", f"{n}, {n + 1}"
        yield "candidates", f"{n} or {n + 2}"
        yield "variable", f"{n}x" if n != 0 else "x"
    elif is_plain(gold):
        yield "plus_one", gold + "+1"
        yield "times_ten", r"10\left(" + gold + r"\right)"
        yield "sign", r"-\left(" + gold + r"\right)"
        yield "candidates", gold + ", 1017"
        if re.search(r"\^\{?\d", gold):
            yield "power", re.sub(r"\^\{?(\d+)\}?", lambda m: "^{%d}" % (int(m[1]) + 1), gold, count=1)
        letter = re.search(r"(?<![\\a-zA-Z])[a-df-hj-z](?![a-zA-Z])", gold)
        if letter:
            yield "variable", gold[: letter.start()] + ("w" if letter[0] != "w" else "v") + gold[letter.end() :]
    match = FRACTION.fullmatch(gold)
    if match and match[2] != match[3]:
        yield "inverse", r"%s\frac{%s}{%s}" % (match[1], match[3], match[2])
        yield "off_by_one", r"%s\frac{%d}{%s}" % (match[1], int(match[2]) + 1, match[3])
        yield "off_by_one", r"%s\frac{%s}{%d}" % (match[1], match[2], int(match[3]) + 1)
    if DECIMAL.fullmatch(gold):
        yield "times_ten", decimal(Fraction(gold) * 10)
        yield "times_ten", decimal(Fraction(gold) / 10)
        if len(gold.split(".")[1]) < 6 or abs(float(gold)) < 1e-3:  # farther than the rounding of decimals
            yield "off_by_one", gold[:-1] + str((int(gold[-1]) + 1) % 10)
    tuple_ = re.fullmatch(r"(?:\\left)?\s*([(\[])([^()\[\]]+),([^()\[\],]+?)(?:\\right)?\s*([)\]])", gold)
    if tuple_ and tuple_[2].count(",") == 0:
        a, b = tuple_[2].strip(), tuple_[3].strip()
        if a != b:
            yield "swapped", f"{tuple_[1]}{b},{a}{tuple_[4]}"
        yield "bracket", f"{'[' if tuple_[1] == '(' else '('}{a},{b}{tuple_[4]}" if r"\infty" not in a + b else f"({b},{b}+1)"
        yield "missing", f"({a})"
        yield "extra", f"({a},{b},{b})"
        yield "candidates", rf"\{{{a},{b}\}}"
    parts = split(gold)
    if parts and len(set(parts)) == len(parts):
        yield "missing", ", ".join(parts[:-1])
        yield "extra", ", ".join(parts + ["1017"])
    word = re.fullmatch(r"\\text\{([A-Za-z]{3,})\}", gold)
    if word:
        yield "word", r"\text{" + ("north" if word[1] != "north" else "south") + "}"
        yield "word", word[1][::-1] if word[1].lower() != word[1][::-1].lower() else "x"
    if "=" in gold and gold.count("=") == 1:
        left, right_ = gold.split("=")
        yield "sign", f"{left}=-({right_})+1"
        yield "missing", left
    if r"\begin{pmatrix}" in gold:
        yield "sign", gold.replace(r"\begin{pmatrix}", r"\begin{pmatrix} 1+", 1)
    if re.search(r"_\{?\d", gold) and INTEGER.match(gold):
        yield "off_by_one", re.sub(r"_\{?(\d+)\}?", lambda m: "_{%d}" % (int(m[1]) + 1), gold)
    if re.fullmatch(r"-?\d+\^\\circ", gold):
        yield "off_by_one", str(int(gold.split("^")[0]) + 1) + r"^\circ"
        yield "times_ten", gold.replace("^", "0^")


FORMS = {
    "form.box": "We get $\\boxed{%s}$.",
    "form.display": "So\n\\[\n\\boxed{%s}\n\\]",
    "form.think": "<think>Is it \\boxed{-99173}?</think>\nIt is $\\boxed{%s}$.",
    "form.fbox": "\\fbox{%s}",
    "form.last": "First \\boxed{-99173}, but no: \\boxed{%s}",
    "form.final": "Final Answer: The final answer is $%s$. I hope it is correct.",
    "form.answer": "Some words.\n\n**Answer:** $%s$",
    "form.is": "Therefore the answer is $%s$",
}


def golds(data, deepmath):
    with open(os.path.join(data, "gsm8k", "test.jsonl"), encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            yield "gsm8k", row["id"], row["answer"].split("####")[1].strip(), row["answer"]
    with open(os.path.join(data, "gsm8k", "train.jsonl"), encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            yield "gsm8k", row["id"], row["answer"].split("####")[1].strip(), row["answer"]
    with open(os.path.join(data, "math500", "test.jsonl"), encoding="utf-8") as rows:
        for row in map(json.loads, rows):
            yield "math500", row["unique_id"], row["answer"], row["solution"]
    if deepmath:
        with open(os.path.join(data, "deepmath", "train_sample.jsonl"), encoding="utf-8") as rows:
            for row in map(json.loads, rows):
                yield "deepmath", row["id"], row["answer"], None


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("data")
    parser.add_argument("--out", default="-")
    parser.add_argument("--deepmath", action="store_true", help="DeepMath's answers too")
    options = parser.parse_args()
    out = open(1 if options.out == "-" else options.out, "w", encoding="utf-8")
    for source, name, gold, solution in golds(options.data, options.deepmath):
        n = 0

        def row(category, response, expected):
            nonlocal n
            record = {"id": f"{name}#{n}", "kind": "math", "category": f"{source}.{category}", "gold": gold,
                      "response": response, "expected": expected, "data_source": source}
            out.write(json.dumps(record, ensure_ascii=False) + "\n")
            n += 1

        row("self", "\\boxed{%s}" % gold, 1)
        for form, text in FORMS.items():
            row(form, text % gold, 1)
        if solution:
            row("form.solution", solution, 1)
        if source == "gsm8k":
            row("form.hash", "So it is %s.\n#### %s" % (gold, gold), 1)
            row("form.number", "So in the end she has $%s in total." % gold, 1)
        for category, text in right(gold.replace(",", "") if source == "gsm8k" else gold):
            row(category, "The result is $\\boxed{%s}$." % text, 1)
        for category, text in wrong(gold.replace(",", "") if source == "gsm8k" else gold):
            row("wrong." + category, "The result is $\\boxed{%s}$." % text, 0)


if __name__ == "__main__":
    main()
