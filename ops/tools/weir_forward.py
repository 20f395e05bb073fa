"""What a run of weir measures, handed on to the tool that people already watch.

    weir forward RUN --to wandb|mlflow|trackio|tensorboard|csv|stdout [--project P] [--name N] [--out PATH] [--once] [--again]

Pure Python, standard library; a tool's own package is imported when it is asked for. Reads metrics.jsonl of the run folder
from its beginning, follows it while the run goes on, and ends with it. Each step is handed on once: RUN/forward/TOOL.json
remembers the last one, also when the run was killed and makes steps again, or this program was stopped and started. Figures
of evaluations that join an old line are handed on once, too: a version of a set is remembered by its number.

`weir forward` calls main(); called by hand: weir_forward.py FOLDER '{"weir name": "other name"}' --to ...
"""
import argparse
import csv
import fcntl
import json
import os
import re
import signal
import sys
import time

POLL_S = 0.5
KEYS = ("step", "version", "branch", "wall")  # of a line: they say which step it is
INSTALL = {"wandb": "pip install wandb", "mlflow": "pip install mlflow", "trackio": "pip install trackio",
           "tensorboard": "pip install tensorboardX"}


class Missing(Exception):
    pass


def need(tool, *modules):
    """The first of the modules that can be imported."""
    problems = []
    for name in modules:
        try:
            return __import__(name, fromlist=["*"])
        except ImportError as problem:
            problems.append(f"{name}: {problem}")
    raise Missing(f"--to {tool} needs a Python package that this Python ({sys.executable}) lacks: {INSTALL[tool]}; "
                  f"another Python: WEIR_PYTHON=/path/to/python ({'; '.join(problems)})")


# ---- sinks: start(config), step(step, wall, values), alarm(step, text), flush(), end() ----

class Sink:
    def late(self, step, wall, values, newest):
        """Figures of evaluations that joined an old line; newest: the step handed on last."""
        self.step(step, wall, values)

    def flush(self):
        """What was handed on is written: after it the state file may say so."""


class Stdout(Sink):
    def __init__(self, options, state):
        self.out = sys.stdout

    def start(self, config):
        pass

    def step(self, step, wall, values):
        print(json.dumps({"step": step, "wall": wall, **values}), file=self.out, flush=True)

    def alarm(self, step, text):
        print(json.dumps({"step": step, "alarm": text}), file=self.out, flush=True)

    def end(self):
        pass


class Csv(Sink):
    """One row a step; a column that comes later makes the file anew with it."""

    def __init__(self, options, state):
        self.path = options.out or os.path.join(options.folder, "metrics.csv")
        self.columns = []
        if state.get("step", 0) > 0 and os.path.exists(self.path):
            with open(self.path, newline="") as file:
                self.columns = next(csv.reader(file), [])
        else:
            self.write([], "w")

    def write(self, rows, mode):
        with open(self.path, mode, newline="") as file:
            writer = csv.DictWriter(file, self.columns, restval="")
            if mode == "w" and self.columns:
                writer.writeheader()
            writer.writerows(rows)

    def start(self, config):
        pass

    def read(self):
        with open(self.path, newline="") as file:
            return list(csv.DictReader(file))

    def widen(self, row):
        """Are there new columns in it?"""
        more = [name for name in row if name not in self.columns]
        self.columns += more
        return bool(more)

    def step(self, step, wall, values):
        row = {"step": step, "wall": wall, **values}
        if self.widen(row):
            self.write(self.read(), "w")
        self.write([row], "a")

    def late(self, step, wall, values, newest):
        rows = self.read()
        old = next((row for row in reversed(rows) if row["step"] == str(step)), None)
        if old is None:
            return self.step(step, wall, values)
        self.widen(values)
        old.update(values)
        self.write(rows, "w")

    def alarm(self, step, text):
        pass

    def end(self):
        pass


class Wandb(Sink):
    def __init__(self, options, state):
        self.wandb = need("wandb", "wandb")
        self.options = options
        self.id = state.setdefault("id", f"{options.name}-{os.getpid()}-{int(time.time())}")

    def start(self, config):
        self.run = self.wandb.init(project=self.options.project, name=self.options.name, id=self.id, resume="allow",
                                   config=config)

    def step(self, step, wall, values):
        self.run.log(values, step=step)

    def late(self, step, wall, values, newest):
        """wandb takes nothing for a step that lies behind: eval/SET/version says which one it was."""
        self.run.log(values, step=max(newest, getattr(self.run, "step", 0)))

    def alarm(self, step, text):
        self.run.alert(title=f"weir: step {step}", text=text)

    def end(self):
        self.run.finish()


class Mlflow(Sink):
    PARAMETERS = 100  # in one call; the server takes no more

    def __init__(self, options, state):
        self.mlflow = need("mlflow", "mlflow")
        self.options, self.state = options, state

    @staticmethod
    def safe(name):
        return re.sub(r"[^\w\-. /]", "_", name)

    def start(self, config):
        self.mlflow.set_experiment(self.options.project)
        known = self.state.get("id")
        run = self.mlflow.start_run(run_id=known) if known else self.mlflow.start_run(run_name=self.options.name)
        self.state["id"] = run.info.run_id
        items = [] if known else [(self.safe(key), str(value)[:500]) for key, value in sorted(config.items())]
        for first in range(0, len(items), self.PARAMETERS):
            self.mlflow.log_params(dict(items[first:first + self.PARAMETERS]))

    def step(self, step, wall, values):
        self.mlflow.log_metrics({self.safe(name): value for name, value in values.items()}, step=step)

    def alarm(self, step, text):
        self.mlflow.set_tag(f"alarm.{step}", text[:500])

    def end(self):
        self.mlflow.end_run()


class Trackio(Sink):
    def __init__(self, options, state):
        self.trackio = need("trackio", "trackio")
        self.options, self.state = options, state

    def start(self, config):
        self.trackio.init(project=self.options.project, name=self.options.name, config=config, resume="allow")

    def step(self, step, wall, values):
        self.trackio.log(values, step=step)

    def alarm(self, step, text):
        print(f"weir forward: step {step}: {text}", file=sys.stderr, flush=True)

    def end(self):
        self.trackio.finish()


class Tensorboard(Sink):
    """For folders elsewhere; weir writes tb/ of the run folder itself (metrics.tensorboard)."""

    def __init__(self, options, state):
        module = need("tensorboard", "tensorboardX", "torch.utils.tensorboard")
        self.writer = module.SummaryWriter(options.out or os.path.join(options.folder, "tb_forward"))

    def start(self, config):
        self.writer.add_text("config", json.dumps(config, indent=1, sort_keys=True), 0)

    def step(self, step, wall, values):
        for name, value in values.items():
            self.writer.add_scalar(name, value, step, walltime=wall)

    def alarm(self, step, text):
        self.writer.add_text("alarm", text, step)

    def flush(self):
        self.writer.flush()

    def end(self):
        self.writer.close()


SINKS = {"wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio, "tensorboard": Tensorboard, "csv": Csv, "stdout": Stdout}


# ---- the run folder ----

def read_config(folder):
    """{"section.name": value} of config.resolved.yaml, which weir writes: two levels, scalars."""
    config, section = {}, ""
    try:
        with open(os.path.join(folder, "config.resolved.yaml")) as file:
            lines = file.read().split("\n")
    except OSError:
        return config
    for line in lines:
        head = re.match(r"(\w+):\s*(#.*)?$", line)
        entry = re.match(r"\s+(\w+):\s*(.*)$", line)
        if head:
            section = head.group(1)
        elif entry and section:
            config[f"{section}.{entry.group(1)}"] = scalar(entry.group(2))
    return config


def scalar(text):
    if text.startswith('"'):
        try:
            return json.JSONDecoder().raw_decode(text)[0]
        except ValueError:
            return text
    if text.startswith("'"):
        return text[1:].split("'")[0]
    text = re.sub(r"\s+#.*$", "", text).strip()
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def run_goes_on(folder):
    """Its supervisor holds the lock."""
    try:
        with open(os.path.join(folder, "lock"), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


class Lines:
    """Whole lines of a file that grows, is cut back when a killed run goes on, and is replaced by one with late figures."""

    def __init__(self, path):
        self.path, self.offset, self.last, self.inode = path, 0, b"", None

    def unchanged(self, file):
        """Is it the same file, and do the bytes before the offset still end with the line read last?"""
        known, self.inode = self.inode, os.fstat(file.fileno()).st_ino
        file.seek(self.offset - len(self.last))
        return known in (None, self.inode) and file.read(len(self.last)) == self.last

    def read(self):
        try:
            with open(self.path, "rb") as file:
                if not self.unchanged(file):
                    self.offset, self.last = 0, b""
                file.seek(self.offset)
                text = file.read()
        except OSError:
            return []
        whole = text[:text.rfind(b"\n") + 1]
        self.offset += len(whole)
        lines = whole.splitlines(keepends=True)
        self.last = lines[-1] if lines else self.last
        return lines


class State:
    """What was handed on: a file that is whole or absent. Nobody's screen remembers: stdout has none."""

    def __init__(self, folder, tool, again):
        self.path = None if tool == "stdout" else os.path.join(folder, "forward", f"{tool}.json")
        self.values = {}
        if self.path is None:
            return
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        if not again and os.path.exists(self.path):
            with open(self.path) as file:
                self.values = json.load(file)

    def save(self):
        if self.path is None:
            return
        with open(self.path + ".tmp", "w") as file:
            json.dump(self.values, file)
        os.replace(self.path + ".tmp", self.path)


class Termination:
    """SIGTERM ends as Ctrl-C does, but between two lines: what was begun is handed on whole. A second one ends at once."""

    def __init__(self):
        self.asked = False
        signal.signal(signal.SIGTERM, self.note)

    def note(self, number, frame):
        self.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


unread = set()  # lines that were complained about


def read_row(line):
    """None: no line of metrics, which is said once."""
    try:
        row = json.loads(line)
        if isinstance(row["step"], int):
            return row
        problem = "its step is no whole number"
    except (ValueError, KeyError, TypeError) as error:
        problem = f"{type(error).__name__}: {error}"
    if line not in unread:
        print(f"weir forward: a line of metrics.jsonl is left out ({problem}): {line[:80]!r}", file=sys.stderr, flush=True)
    unread.add(line)
    return None


def numbers_of(row):
    return {name: value for name, value in row.items()
            if name not in KEYS and isinstance(value, (int, float)) and not isinstance(value, bool)}


def evaluations(row):
    """{(set, version): {name: value}} of the eval/ members; without a version it is that of the line."""
    sets = {}
    for name, value in numbers_of(row).items():
        if name.startswith("eval/"):
            sets.setdefault(name.rpartition("/")[0], {})[name] = value
    return {(name, figures.get(f"{name}/version", row["step"])): figures for name, figures in sets.items()}


def hand_on(row, sink, names, state):
    """False: there was nothing new in it."""
    step, newest, seen = row["step"], state.values.get("step", 0), state.values.setdefault("evals", {})
    wall, found = row.get("wall", time.time()), evaluations(row)
    late = [key for key in found if key[1] not in seen.get(key[0], ())]
    values = numbers_of(row) if step > newest else {name: value for key in late for name, value in found[key].items()}
    renamed = {names.get(name, name): value for name, value in values.items()}
    if step > newest:
        sink.step(step, wall, renamed)
        if row.get("alarm"):
            sink.alarm(step, row["alarm"])
        state.values["step"] = step
    elif late:
        sink.late(step, wall, renamed, newest)
    for name, version in late:  # only now: what could not be handed on comes again
        seen.setdefault(name, []).append(version)
    return step > newest or bool(late)


def hand_on_lines(lines, sink, names, state, termination):
    news = False
    for line in lines:
        if termination.asked:
            break
        row = read_row(line) if line.strip() else None
        news |= row is not None and hand_on(row, sink, names, state)
    return news


def follow(options, sink, names, state, termination):
    lines = Lines(os.path.join(options.folder, "metrics.jsonl"))
    while not termination.asked:
        going = not options.once and run_goes_on(options.folder)  # before the read: what is written until the end counts
        if hand_on_lines(lines.read(), sink, names, state, termination):
            sink.flush()
            state.save()
        if not going:
            return
        time.sleep(POLL_S)


def parse(arguments):
    parser = argparse.ArgumentParser(prog="weir forward", description=__doc__.split("\n\n")[0])
    parser.add_argument("folder")
    parser.add_argument("names", help="JSON: weir's names of metrics to others")
    parser.add_argument("--to", required=True, choices=sorted(SINKS))
    parser.add_argument("--project", default="weir")
    parser.add_argument("--name", help="of the run over there; the run's own without it")
    parser.add_argument("--out", help="file of csv, folder of tensorboard")
    parser.add_argument("--once", action="store_true", help="what there is, then end")
    parser.add_argument("--again", action="store_true", help="from the first step, whatever was handed on before")
    options = parser.parse_args(arguments)
    options.name = options.name or os.path.basename(os.path.realpath(options.folder))
    return options


def main(arguments):
    options = parse(arguments)
    termination = Termination()
    state = State(options.folder, options.to, options.again)
    try:
        sink = SINKS[options.to](options, state.values)
    except Missing as problem:
        print(f"weir forward: {problem}", file=sys.stderr)
        return 3
    sink.start(read_config(options.folder))
    state.save()
    try:
        follow(options, sink, json.loads(options.names), state, termination)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # who read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    finally:
        sink.end()  # first: what it still holds back is lost when this fails, and must not count as handed on
        state.save()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
