#!/usr/bin/env python3
"""weir forward with packages that only note how they are called, as their documentation says they are called.

    check_forward.py WEIR RUN_FOLDER
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

FAKES = {
    "wandb": '''
def init(project=None, name=None, id=None, resume=None, config=None):
    note("init", project=project, name=name, id=id, resume=resume, config=config)
    return Run()
class Run:
    step = 0
    def log(self, data, step=None): note("log", data=data, step=step)
    def alert(self, title, text): note("alert", title=title, text=text)
    def finish(self): note("finish")
''',
    "mlflow": '''
def set_experiment(name): note("set_experiment", name=name)
def start_run(run_id=None, run_name=None):
    note("start_run", run_id=run_id, run_name=run_name)
    class Run:
        class info:
            pass
    Run.info.run_id = run_id or "r1"
    return Run
def log_params(params):
    assert len(params) <= 100 and all(len(value) <= 500 for value in params.values())
    note("log_params", params=params)
def log_metrics(metrics, step=None):
    assert not any(c in "@:!" for name in metrics for c in name)
    note("log", data=metrics, step=step)
def set_tag(key, value): note("alert", title=key, text=value)
def end_run(): note("finish")
''',
    "trackio": '''
def init(project, name=None, config=None, resume="never"): note("init", project=project, name=name, config=config, resume=resume)
def log(metrics, step=None): note("log", data=metrics, step=step)
def finish(): note("finish")
''',
    "tensorboardX": '''
class SummaryWriter:
    def __init__(self, folder):
        self.held = []  # as the real one, which writes every two minutes
        note("init", folder=folder)
    def add_scalar(self, tag, value, step, walltime=None): self.held.append(dict(tag=tag, value=value, step=step))
    def add_text(self, tag, text, step): note("alert", title=tag, text=text)
    def flush(self):
        for values in self.held: note("scalar", **values)
        self.held = []
    def close(self):
        self.flush()
        note("finish")
''',
}
NOTE = '''
import json, os
def note(call, **values):
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(json.dumps({"call": call, **values}) + "\\n")
'''


class Case:
    def __init__(self, weir, source):
        self.top = tempfile.mkdtemp(prefix="weir-forward-")
        self.weir, self.folder, self.notes = weir, os.path.join(self.top, "run"), os.path.join(self.top, "notes")
        os.mkdir(self.folder)
        for name in ("config.resolved.yaml", "metrics.jsonl"):
            shutil.copy(os.path.join(source, name), self.folder)
        self.path = os.path.join(self.folder, "metrics.jsonl")
        self.lines = open(self.path).read().splitlines(keepends=True)
        open(os.path.join(self.folder, "lock"), "w").close()
        for name, text in FAKES.items():
            with open(os.path.join(self.top, f"{name}.py"), "w") as file:
                file.write(NOTE + text)
        self.environment = dict(os.environ, PYTHONPATH=self.top, FAKE_NOTES=self.notes)

    def command(self, *arguments):
        return [self.weir, "forward", self.folder, *arguments]

    def run(self, *arguments):
        subprocess.run(self.command(*arguments), check=True, env=self.environment)

    def calls(self, name=None):
        calls = [json.loads(line) for line in open(self.notes)] if os.path.exists(self.notes) else []
        return [call for call in calls if name is None or call["call"] == name]

    def write(self, lines):
        with open(self.path, "w") as file:
            file.writelines(lines)

    def close(self):
        shutil.rmtree(self.top)


def numbers(line):
    return {name: value for name, value in json.loads(line).items()
            if name not in ("step", "version", "branch", "wall") and isinstance(value, (int, float))}


def check_tool(weir, source, tool):
    case = Case(weir, source)
    alarm = json.loads(case.lines[1])
    alarm["alarm"] = "the sky is low"
    case.lines[1] = json.dumps(alarm) + "\n"
    case.write(case.lines[:2] + [case.lines[2][:40]])  # a line that is being written is not read
    case.run("--to", tool, "--once", "--alias", "weir")
    logged = case.calls("log")
    assert [call["step"] for call in logged] == [1, 2], logged
    assert [call["data"] for call in logged] == [numbers(line) for line in case.lines[:2]]
    if tool != "trackio":
        assert any("the sky is low" in call["text"] for call in case.calls("alert"))
    assert len(case.calls("finish")) == 1
    case.write(case.lines)  # steps 1 and 2 stand there again, as after a resume: each is handed on once
    case.run("--to", tool, "--once", "--alias", "verl")
    steps = [call["step"] for call in case.calls("log")]
    assert steps == list(range(1, len(case.lines) + 1)), steps
    assert "critic/score/mean" in case.calls("log")[-1]["data"]
    if tool == "wandb":
        first, second = case.calls("init")
        assert first["id"] == second["id"] and second["resume"] == "allow" and first["config"]["run.steps"] > 0
    if tool == "mlflow":
        assert [call["run_id"] for call in case.calls("start_run")] == [None, "r1"]
        assert sum("run.steps" in call["params"] for call in case.calls("log_params")) == 1
    case.close()


def check_tensorboard(weir, source):
    case = Case(weir, source)
    case.run("--to", "tensorboard", "--once")
    wanted = [(name, value, json.loads(line)["step"]) for line in case.lines for name, value in numbers(line).items()]
    assert [(call["tag"], call["value"], call["step"]) for call in case.calls("scalar")] == wanted
    case.close()


def check_follow(weir, source):
    """Live: a held lock, lines that come, a file that is cut back and made again, and the end."""
    import fcntl
    case = Case(weir, source)
    case.write(case.lines[:2])
    lock = open(os.path.join(case.folder, "lock"), "w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    with subprocess.Popen(case.command("--to", "wandb"), env=case.environment) as child:
        def await_steps(count):
            deadline = time.monotonic() + 20
            while len(case.calls("log")) < count:
                assert time.monotonic() < deadline and child.poll() is None, case.calls("log")
                time.sleep(0.05)
        await_steps(2)
        case.write(case.lines[:4])
        await_steps(4)
        case.write(case.lines[:1])  # killed and resumed from step 1
        time.sleep(0.7)
        case.write(case.lines)
        await_steps(len(case.lines))
        lock.close()
        assert child.wait(20) == 0
    assert [call["step"] for call in case.calls("log")] == list(range(1, len(case.lines) + 1))
    case.close()


def check_csv(weir, source):
    case = Case(weir, source)
    case.write(case.lines[:2])
    case.run("--to", "csv", "--once")
    more = json.loads(case.lines[2])
    more["eval/new"] = 0.5  # a column that comes later
    case.write(case.lines[:2] + [json.dumps(more) + "\n"])
    case.run("--to", "csv", "--once")
    import csv
    rows = list(csv.DictReader(open(os.path.join(case.folder, "metrics.csv"))))
    assert [row["step"] for row in rows] == ["1", "2", "3"] and [row["eval/new"] for row in rows] == ["", "", "0.5"]
    assert float(rows[0]["reward/mean"]) == json.loads(case.lines[0])["reward/mean"]
    case.close()


def with_figures(line, **figures):
    return json.dumps({**json.loads(line), **{f"eval/a/{name}": value for name, value in figures.items()}}) + "\n"


def check_late(weir, source):
    """Evaluations that end after the last step join old lines: each figure is handed on, once."""
    old, new = {"eval/a/version": 2, "eval/a/avg_at_n": 0.25}, {"eval/a/version": 4, "eval/a/avg_at_n": 0.5}
    for tool, steps in (("mlflow", [2, 4]), ("trackio", [2, 4]), ("wandb", [4, 4])):
        case = Case(weir, source)
        case.write([with_figures(case.lines[0], version=0, avg_at_n=0.125), *case.lines[1:4]])
        case.run("--to", tool, "--once", "--alias", "weir")
        before = len(case.calls("log"))
        case.write([with_figures(case.lines[0], version=0, avg_at_n=0.125), with_figures(case.lines[1], version=2, avg_at_n=0.25), case.lines[2],
                    with_figures(case.lines[3], version=4, avg_at_n=0.5)])
        for _ in range(2):
            case.run("--to", tool, "--once", "--alias", "weir")
        late = case.calls("log")[before:]
        assert [(call["step"], call["data"]) for call in late] == list(zip(steps, (old, new))), (tool, late)
        case.close()


def check_late_while_it_follows(weir, source):
    """The file is replaced by one of the same size and the same last line; tensorboard and csv get the figure at its step."""
    for tool in ("tensorboard", "csv"):
        case = Case(weir, source)
        spare = case.lines[0].rstrip("\n")
        longer = with_figures(case.lines[0], version=1, avg_at_n=0.75)
        padded = spare + " " * (len(longer) - len(spare) - 1) + "\n"
        case.write([padded, *case.lines[1:3]])
        with Following(case, tool) as child:
            child.await_step(3)
            with open(case.path + ".new", "w") as file:
                file.writelines([longer, *case.lines[1:3]])
            os.replace(case.path + ".new", case.path)
            child.await_state(lambda state: state.get("evals") == {"eval/a": [1]})
            assert child.end() == 0
        if tool == "csv":
            import csv
            rows = list(csv.DictReader(open(os.path.join(case.folder, "metrics.csv"))))
            assert [(row["step"], row["eval/a/avg_at_n"]) for row in rows] == [("1", "0.75"), ("2", ""), ("3", "")], rows
        else:
            found = [(call["step"], call["value"]) for call in case.calls("scalar") if call["tag"] == "eval/a/avg_at_n"]
            assert found == [(1, 0.75)], found
        case.close()


class Following:
    """weir forward of a run that goes on."""

    def __init__(self, case, tool):
        import fcntl
        self.state = os.path.join(case.folder, "forward", f"{tool}.json")
        self.lock = open(os.path.join(case.folder, "lock"), "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.child = subprocess.Popen(case.command("--to", tool, "--alias", "weir"), env=case.environment)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lock.close()
        if self.child.poll() is None:
            self.child.kill()
        self.child.wait()

    def await_state(self, true):
        deadline = time.monotonic() + 20
        while True:
            try:
                with open(self.state) as file:
                    if true(json.load(file)):
                        return
            except OSError:
                pass
            assert time.monotonic() < deadline and self.child.poll() is None, self.state
            time.sleep(0.05)

    def await_step(self, step):
        self.await_state(lambda state: state.get("step") == step)

    def end(self, number=None):
        if number is None:
            self.lock.close()
        else:
            self.child.send_signal(number)
        return self.child.wait(20)


def check_signals(weir, source):
    """What the state says is written: after SIGKILL, too. SIGTERM ends as Ctrl-C does."""
    case = Case(weir, source)
    case.write(case.lines[:2])
    with Following(case, "tensorboard") as child:
        child.await_step(2)
        child.end(signal.SIGKILL)
    assert {call["step"] for call in case.calls("scalar")} == {1, 2} and not case.calls("finish")
    for number in (signal.SIGTERM, signal.SIGINT):
        before = len(case.calls("finish"))
        with Following(case, "tensorboard") as child:
            child.await_step(2)
            deadline = time.monotonic() + 20
            while len(case.calls("init")) < before + 2:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.3)
            assert child.end(number) == 0, number
        assert len(case.calls("finish")) == before + 1, number
    case.close()


def check_bad_lines(weir, source):
    case = Case(weir, source)
    case.write([case.lines[0], "{\"step\":2,\"x\":\n", "[1]\n", "{\"step\":\"2\"}\n", *case.lines[1:3]])
    done = subprocess.run(case.command("--to", "wandb", "--once"), env=case.environment, stderr=subprocess.PIPE, text=True, check=True)
    assert [call["step"] for call in case.calls("log")] == [1, 2, 3]
    assert done.stderr.count("is left out") == 3, done.stderr
    case.close()


def check_missing(weir, source):
    case = Case(weir, source)
    for tool in ("wandb", "mlflow"):
        os.remove(os.path.join(case.top, f"{tool}.py"))
    with open(os.path.join(case.top, "wandb.py"), "w") as file:
        file.write("raise ImportError('not here')")
    done = subprocess.run(case.command("--to", "wandb", "--once"), env=case.environment, stderr=subprocess.PIPE,
                          text=True, check=False)
    assert done.returncode == 3 and "pip install wandb" in done.stderr, done
    case.close()


def main():
    weir, source = sys.argv[1:3]
    for tool in ("wandb", "mlflow", "trackio"):
        check_tool(weir, source, tool)
    check_tensorboard(weir, source)
    check_follow(weir, source)
    check_csv(weir, source)
    check_late(weir, source)
    check_late_while_it_follows(weir, source)
    check_signals(weir, source)
    check_bad_lines(weir, source)
    check_missing(weir, source)
    print("weir forward: all tools got every step once")


if __name__ == "__main__":
    main()
