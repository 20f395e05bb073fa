#!/usr/bin/env python3
"""The pods of `weir render k8s` played on this machine: each has folders of its own in place of its volumes, its Secret
holds the keys that its items name, and its commands run as they are written, the init container's first.

The head must end with 0 after its steps, the workers because the run ended; probes say ready before that, and the page of
the head shows workers whose folders and Redis it does not share.
Arguments: root of the tree, folder of the programs. Exit 77 without python3-yaml or programs.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

try:
    import yaml
except ImportError:  # a python without Debian's packages stands before Debian's
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", "-B", *sys.argv])
    print("skipped: python3-yaml is not installed (ops/deps test)")
    sys.exit(77)

ROOT, BIN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
STEPS, PATIENCE_S, TOKEN = 20, 150, "a-token-of-the-test"
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def fail(sentence, *logs):
    print(f"FAILED: {sentence}")
    for log in logs:
        print(f"--- {log.parent.name}:\n{log.read_text()[-1500:]}")
    sys.exit(1)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Pod:
    """One pod: its folders, its words with paths and addresses of this machine."""

    def __init__(self, world, name, spec, index, secrets, recipe, ports):
        self.home = world / name
        self.words = {"$(POD_IP)": "127.0.0.1", "$(WEIR_INDEX)": str(index), "quickstart-head:": "127.0.0.1:",
                      ":7000": f":{ports[0]}", ":7001": f":{ports[1]}", "0.0.0.0:8420": f"127.0.0.1:{ports[2]}",
                      "0.0.0.0:9400": f"127.0.0.1:{ports[3]}"}
        for path in ("keys", "runs", "secret/keys", "secret/dash", "etc/weir"):
            (self.home / path).mkdir(parents=True)
        (self.home / "etc/weir/recipe.yaml").write_text(self.here(recipe))
        volume = next(one for one in spec["volumes"] if one["name"] == "secret-keys")["secret"]
        items = volume.get("items") or [{"key": one.name, "path": one.name} for one in secrets.iterdir()]
        for item in items:
            shutil.copy(secrets / item["key"], self.home / "secret/keys" / item["path"])
        (self.home / "secret/dash/token").write_text(TOKEN)
        prepare, main = spec["initContainers"][0], spec["containers"][0]
        self.run([self.here(word) for word in prepare["command"]])
        self.main = [self.here(word) for word in main["command"]]
        self.probes = {word: [self.here(one) for one in main[f"{word}Probe"]["exec"]["command"]]
                       for word in ("liveness", "readiness")}
        self.log = self.home / "log"
        self.process = None

    def here(self, text):
        for word, other in self.words.items():
            text = text.replace(word, other)
        return re.sub(r"(?<![\w/.])/(keys|runs|secret|etc/weir)(?=[/\"\s]|$)", rf"{self.home}/\1", text)

    def run(self, command):
        done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False,
                              timeout=30)
        if done.returncode != 0:
            fail(f"{command}: exit {done.returncode}, {done.stderr}")

    def start(self):
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(self.main, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)

    def probe(self, word):
        return subprocess.run(self.probes[word], cwd=ROOT, env=ENVIRONMENT, capture_output=True, check=False,
                              timeout=30).returncode == 0


def pods_of(world, objects, secrets, ports):
    recipe = next(one for one in objects if one["kind"] == "ConfigMap")["data"]["recipe.yaml"]
    for job in next(one for one in objects if one["kind"] == "JobSet")["spec"]["replicatedJobs"]:
        for index in range(job["replicas"]):
            spec = job["template"]["spec"]["template"]["spec"]
            yield Pod(world, f"{job['name']}-{index}", spec, index, secrets, recipe, ports)


def await_true(what, check, pods):
    until = time.monotonic() + PATIENCE_S
    while not check():
        dead = [pod for pod in pods if pod.process is not None and pod.process.poll() not in (None, 0)]
        if dead or time.monotonic() > until:
            fail(f"{what}: {'a pod ended' if dead else 'too late'}", *[pod.log for pod in dead or pods if pod.log.exists()])
        time.sleep(0.2)


def workers_shown(port, count):
    """Every worker's row has what the process says of itself."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/snapshot", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        rows = json.load(answer)["fleet"]["processes"]
    workers = [row for row in rows if row["role"] in ("actor", "reward")]
    names = [row["name"] for row in rows]
    if len(names) != len(set(names)):
        fail(f"the page shows twice: {names}")
    return len(workers) == count and all(row["state"] == "elsewhere" and "http" in row["stats"] for row in workers)


def check_metrics_of(pods):
    """Prometheus reads a monitor of each pod."""
    for pod in pods:
        files = list((pod.home / "runs/quickstart/http").iterdir())
        if len(files) < 2:
            fail(f"{pod.home.name} has monitors of {[one.name for one in files]}", pod.log)
        for file in files:
            address = file.read_text().strip().rsplit(":", 1)[1]
            with urllib.request.urlopen(f"http://127.0.0.1:{address}/metrics", timeout=10) as answer:
                if b"weir_process_ready{" not in answer.read():
                    fail(f"{file.name} of {pod.home.name} has no figures")


def play(world):
    secrets = world / "secrets"
    subprocess.run(["weir", "keys", "new", secrets], env=ENVIRONMENT, check=True, capture_output=True, timeout=30)
    text = subprocess.run(["weir", "render", "k8s", "examples/recipes/quickstart.yaml", f"run.steps={STEPS}"], cwd=ROOT,
                          env=ENVIRONMENT, capture_output=True, text=True, check=True, timeout=30).stdout
    ports = free_ports(4)
    pods = list(pods_of(world, list(yaml.safe_load_all(text)), secrets, ports))
    head, workers = pods[0], pods[1:]
    try:
        head.start()
        await_true("the head is ready", lambda: head.probe("readiness"), pods)
        if not head.probe("liveness"):
            fail("the head is ready and not alive", head.log)
        for pod in workers:
            pod.start()
        await_true("the page shows the workers", lambda: workers_shown(ports[2], len(workers)), pods)
        check_metrics_of(pods)
        await_true("the head ends", lambda: head.process.poll() is not None, pods)
        await_true("the workers end", lambda: all(pod.process.poll() is not None for pod in workers), pods)
    finally:
        for pod in pods:
            if pod.process is not None and pod.process.poll() is None:
                os.killpg(pod.process.pid, signal.SIGTERM)
                try:
                    pod.process.wait(20)
                except subprocess.TimeoutExpired:
                    os.killpg(pod.process.pid, signal.SIGKILL)
    codes = {pod.home.name: pod.process.returncode for pod in pods}
    if any(codes.values()):
        fail(f"exit codes {codes}", *[pod.log for pod in pods])
    steps = len((head.home / "runs/quickstart/metrics.jsonl").read_text().splitlines())
    if steps != STEPS:
        fail(f"{steps} steps were made, not {STEPS}", head.log)
    print(f"{len(pods)} pods made {steps} steps")


def main():
    if not (BIN / "weir-learner").exists():
        print(f"skipped: {BIN}/weir-learner is not built")
        return 77
    with tempfile.TemporaryDirectory(prefix="weir-pods-") as world:
        play(pathlib.Path(world))
    return 0


if __name__ == "__main__":
    sys.exit(main())
