#!/usr/bin/env python3
"""Makes tests/golden/chat/cases.jsonl: what jinja2, set up as transformers does, makes of the templates here.

    python3 tests/golden/chat/make.py > tests/golden/chat/cases.jsonl          needs jinja2 3.1

Each row: {"template", "variables", "text"} or {"template", "variables", "refused": true}. The templates are ours; each
line of expressions.txt is a template {{ line }}.
"""
import datetime
import json
import pathlib

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
NOW = 1700000000

class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

    def body(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                         extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(
        NOW, datetime.timezone.utc).strftime(form)
    return made


def main():
    env = environment()
    templates = [line.replace("\\N", "\n") for line in (HERE / "statements.txt").read_text().splitlines()]
    templates += ["{{ " + line + " }}" for line in (HERE / "expressions.txt").read_text().splitlines()]
    variables = json.loads((HERE / "variables.json").read_text())
    for template in templates:
        row = {"template": template}
        try:
            row["text"] = env.from_string(template).render(**variables)
        except Exception:  # whatever it is, the template is refused
            row["refused"] = True
        print(json.dumps(row, ensure_ascii=False))


if __name__ == "__main__":
    main()
