#!/usr/bin/env python3
"""A dashboard server with a made-up run: what the page's tests talk to when no run is at hand.

    tests/web/stub.py [--port P] [--steps N] [--every SECONDS] [--token T]    prints "listening PORT"

Deterministic (every figure is a function of its step), the API of docs/dashboard.md, the headers of weir-dash. With
--every a step is added so often, and sent to viewers. --steps 100000 is the long run of the speed test.
"""
import argparse
import json
import math
import pathlib
import random
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WEB = pathlib.Path(__file__).resolve().parents[2] / "ops" / "dash" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml"}
BEGUN_MS = 1767323045000
CAP = 8192
WORDS = ("so", " we", " get", " the", " sum", " of", " both", " digits", ",", " carry", " one", ":", " 7", "+", "8", "=",
         "15", ".", "\n", " wait", " that", " is", " wrong", " check", " again", " therefore", " 42", "\n\n")
FILES = ["actor.0", "actor.1", "actor.2", "actor.3", "learner.0", "reward.0", "store.0", "redis"]


def wave(step, seed):
    """Between -1 and 1, without any state."""
    return math.sin(step * 12.9898 + seed * 78.233) * 0.6 + math.sin(step * 0.37 + seed) * 0.4


def figures(step):
    grown = 1 - math.exp(-step / 120)
    p50 = 900 + 2600 * grown + 120 * wave(step, 1)
    p99 = min(CAP, p50 * 1.9 + 300 * wave(step, 2))
    row = {
        "reward/mean": 0.18 + 0.6 * grown + 0.03 * wave(step, 3), "reward/std": 0.46 - 0.08 * grown,
        "reward/trained_mean": 0.2 + 0.55 * grown + 0.03 * wave(step, 4), "reward/shaped_mean": 0.17 + 0.58 * grown,
        "reward/min": 0.0, "reward/max": 1.0, "len/mean": p50 * 1.1, "len/p50": p50, "len/p90": p50 * 1.5, "len/p99": p99,
        "len/max": min(CAP, p99 * 1.05), "len/truncated_frac": max(0.0, 0.04 * grown + 0.01 * wave(step, 5)),
        "rep/cut_frac": max(0.0, 0.012 + 0.008 * wave(step, 6)), "train/masked_frac": 0.0,
        "group/zero_std_frac": 0.12 + 0.2 * grown + 0.04 * wave(step, 7), "entropy/mean": 0.62 - 0.3 * grown + 0.02 * wave(step, 8),
        "loss/policy": -0.05 + 0.01 * wave(step, 9), "loss/aux": 1.99 + 0.01 * wave(step, 10), "loss/kl": 0.02 * grown,
        "is/mean": 1 + 0.002 * wave(step, 11), "is/min": 0.2 + 0.1 * wave(step, 12), "is/max": 3 + 2 * abs(wave(step, 13)) ** 3,
        "is/ess": 0.995 - 0.01 * abs(wave(step, 14)), "is/rollout_weight": 1.0, "cispo/clip_frac": 2e-4 + 1.5e-4 * wave(step, 15),
        "mismatch/max_abs_dlogprob": 0.0, "mismatch/tokens": 180000.0, "mismatch/share": 0.4,
        "mismatch/pearson": 0.9975 - 0.001 * abs(wave(step, 16)), "mismatch/abs_mean": 6e-4, "mismatch/k3_kl": 3e-4 + 1e-4 * wave(step, 17),
        "optim/grad_norm": 0.09 + 0.02 * wave(step, 18) + (0.4 if step % 97 == 0 else 0), "optim/lr": 2e-6, "optim/updates": 2.0 * step,
        "optim/skipped": 0.0, "optim/non_finite": 0.0, "stale/mean": 0.8 + 0.2 * wave(step, 19), "stale/max": 2.0,
        "train/rollouts": 256.0, "train/tokens": 256 * p50 * 1.1, "train/refused_groups": 0.0, "perf/tok_s": 61000 + 2000 * wave(step, 20),
        "perf/mfu": 0.41 + 0.01 * wave(step, 21), "time/step": 14.2 + 0.8 * wave(step, 22), "learner/wait_s": 1.6 + 0.7 * wave(step, 23),
        "time/train": 11.9 + 0.3 * wave(step, 24), "sync/seconds": 0.31 + 0.02 * wave(step, 25),
        "time/checkpoint": 2.4 if step % 50 == 0 else 0.0, "weights/send_ms": 210 + 12 * wave(step, 26), "weights/members": 4.0,
    }
    if step % 25 == 0:
        row["eval/aime/avg_at_n"] = 0.1 + 0.35 * grown + 0.02 * wave(step, 27)
    return row


def light_figures(step):
    """For runs of 100 000 steps, which would take seconds otherwise."""
    return {"reward/mean": (step * 7919 % 1000) / 1000 + step / 1e5, "len/p99": 4000.0 + step * 104729 % 997}


class Run:
    """Columns of all steps, and who listens."""

    def __init__(self, steps, light=False):
        self.figures = light_figures if light else figures
        self.lock = threading.Condition()
        self.names = sorted(set(self.figures(1)) | {"eval/aime/avg_at_n"})
        self.columns = {name: [] for name in self.names}
        self.count = 0
        self.messages = []  # (id, event, text) of the last 500
        self.next_id = 1
        self.posts = []
        self.silent = False
        self.changed = {}  # of processes: name -> what the snapshot says instead
        self.state = "running"
        for _ in range(steps):
            self.add()

    def add(self):
        self.count += 1
        row = self.figures(self.count)
        for name in self.names:
            self.columns[name].append(row.get(name))
        return row

    def step(self):
        with self.lock:
            row = self.add()
            self.say("metrics", {"step": self.count, "wall": time.time(), "series": row})
            self.say("snapshot", snapshot(self))
            self.say("histograms", histograms(self.count))
            for sample in range(2):
                self.say("rollout", summary(self.count * 8 + sample))
            if self.count % 7 == 0:
                self.say("event", {"time_ms": int(time.time() * 1000), "kind": "version", "text": f"version {self.count} of branch 0"})

    def tell_snapshot(self, **changed):
        """changed: "actor_3" -> what is said of actor.3 instead."""
        with self.lock:
            self.changed = {name.replace("_", "."): value for name, value in changed.items()}
            self.say("snapshot", snapshot(self))

    def say(self, event, value):
        self.messages.append((self.next_id, event, json.dumps(value)))
        self.next_id += 1
        del self.messages[:-500]
        self.lock.notify_all()

    def metrics(self, query):
        names = [name for name in query.get("names", "").split(",") if name]
        if not names:
            return {"step": [], "wall": [], "series": {}, "names": self.names, "total": self.count}
        first, last = int(query.get("from", 1)), min(int(query.get("to", self.count)), self.count)
        rows = range(max(first, 1) - 1, last)
        points = int(query.get("points", 0))
        if points and len(rows) > points:
            rows = thinned([self.columns.get(name, []) for name in names], rows, points)
        return {"step": [row + 1 for row in rows], "wall": [BEGUN_MS / 1000 + 14.2 * row for row in rows], "total": self.count,
                "series": {name: [self.columns[name][row] for row in rows] for name in names if name in self.columns}}


def thinned(columns, rows, points):
    keep = {rows[0], rows[-1]}
    bins = max(1, points // 2)
    for index in range(bins):
        part = range(rows[0] + len(rows) * index // bins, rows[0] + len(rows) * (index + 1) // bins)
        for column in columns:
            known = [row for row in part if row < len(column) and column[row] is not None]
            if known:
                keep.add(min(known, key=column.__getitem__))
                keep.add(max(known, key=column.__getitem__))
    return sorted(keep)


def snapshot(run):
    step, processes = run.count, []
    for index, name in enumerate(FILES):
        role, _, number = name.partition(".")
        stats = {}
        if role == "actor":
            stats = {"actor/tokens_per_s": 5200 + 300 * wave(step, index) - (1900 if index == 2 else 0), "actor/idle_frac": 0.05 + 0.02 * abs(wave(step, index)),
                     "actor/sequences_running": 118 - 9 * index, "actor/sequences_waiting": 0, "actor/kv_pages_free": 400 - 90 * index,
                     "actor/swap_ms": 38 + 3 * wave(step, index), "actor/policy_version": step - (index == 2), "gpu_busy_ratio": 0.93 - 0.1 * index,
                     "gpu_memory_used_bytes": 61e9 + 1e9 * index, "gpu_memory_size_bytes": 80e9, "gpu_temperature_c": 58 + 3 * index}
        elif role == "learner":
            stats = {"gpu_busy_ratio": 0.88, "gpu_memory_used_bytes": 72e9, "gpu_memory_size_bytes": 80e9, "gpu_temperature_c": 66}
        elif role == "reward":
            stats = {"reward/scored": str(step * 256), "reward/timeouts": "3", "reward/errors": "0", "reward/skipped": "0", "reward/late": "1",
                     "reward/waiting": str(step % 9), "reward/latency_ms": f"{21 + 6 * wave(step, 31):.3f}"}
        processes.append({"name": name, "role": role, "index": int(number or 0), "pid": 4000 + index, "state": "running", "joined": True,
                          "restarts": 1 if index == 2 else 0, "started": "2026-01-02T03:04:05Z", "end": "killed by signal 9 (Killed)" if index == 2 else "",
                          "host": "node-a" if index < 4 else "node-b", "device": f"cuda:{index}" if role in ("actor", "learner") else "cpu",
                          "version": step - (index == 2) if role in ("actor", "learner") else None, "lag": int(index == 2) if role == "actor" else None, "stats": stats, **run.changed.get(name, {})})
    state = {"version": step, "groups_open": 24 + step % 5, "groups_eligible": step % 16, "samples_queued": 40 + step % 30, "leases_live": 460 - step % 20,
             "samples_unscored": step % 12, "dropped_zero_variance": step * 3, "dropped_stale": 0, "dropped_scoring_failed": 2, "dropped_drained": 0,
             "leases_expired": 4, "refused_duplicate": 0, "scores_retried": 3, "stage/index": 0, "stage/cap": CAP, "stage/plans": step, "stage/perplexity": 1.31,
             "stage/p99": figures(step)["len/p99"] if step else 0, "stage/tail_change": 0.012, "stage/tail_alarm": 0}
    sources = [{"name": name, "source": name, "prompts": 4096, "drawable": 3900 - 100 * i, "births": 300 + i * 20, "groups": 290 + i, "retired_easy": 31 * i,
                "hard": 12, "reopened": 2, "level": i + 1, "levels": 4, "paused": int(i == 3), "share_wanted": 0.25, "share": 0.22 + 0.02 * i,
                "pass_rate": 0.71 - 0.17 * i, "level_value": None} for i, name in enumerate(("math", "logic", "code", "science"))]
    alarms = [{"time_ms": BEGUN_MS + 60000, "text": "gradient norm 0.49 is 5.4 times the median of the last 100 steps (0.09) at step 97"}] if step >= 97 else []
    return {"time_ms": int(time.time() * 1000), "step": step, "state": state, "fleet": {"wanted": {"actors": 4, "reward_workers": 1}, "processes": processes},
            "sources": sources, "latest": figures(step) if step else {}, "alarms": alarms, "eta_s": max(0, 1000 - step) * 14.2}


def histograms(step):
    bell = lambda at, mean, width: math.exp(-((at - mean) / width) ** 2 / 2)  # noqa: E731
    weight = [0.0] + [10 ** (-1.2 + 0.04 * i) for i in range(61)]
    cells = [k / 40 for k in range(41)]
    density = [int(4e4 * bell(column - row, 0, 1.1) * (0.02 + (row / 39) ** 4)) for row in range(40) for column in range(40)]
    return {"step": step, "is_weight": {"edges": weight, "counts": [int(1e5 * bell(math.log10(weight[i + 1]), 0, 0.09)) + (i % 7 == 3) for i in range(61)], "bound": 5.0, "lower_bound": 0.0},
            "clip": {"positive": 140211, "positive_clipped": 31, "negative": 101990, "negative_clipped": 12},
            "logprob_density": {"edges": cells, "counts": density, "pearson": figures(step)["mismatch/pearson"] if step else None},
            "advantage": {"edges": [-3 + 0.15 * i for i in range(41)], "counts": [int(90 * (bell(i, 13, 3) + 0.7 * bell(i, 27, 4))) for i in range(40)]},
            "version_lag": {"counts": [70, 150, 36]}, "length": {"edges": [CAP * i / 32 for i in range(33)], "counts": [int(60 * bell(i, 13, 4)) for i in range(32)], "cap": CAP},
            "ppl_position": {"edges": [CAP * i / 32 for i in range(33)], "counts": [9000 - 250 * i for i in range(32)], "ppl": [1.5 - 0.008 * i + 0.01 * wave(i, 5) for i in range(32)]},
            "fork": {"below": [0.5, 0.2, 0.05], "counts": [21044, 5120, 901], "tokens": 242201}}


def summary(number):
    draw = random.Random(number)
    reward = float(draw.random() < 0.6)
    return {"id": f"{number // 8}-{number % 8}", "group": number // 8, "prompt_id": 1000 + number // 8 % 700, "sample": number % 8, "attempt": 1,
            "tokens": 20000 if number % 8 == 7 else 300 + number % 211, "version_min": number // 8, "version_max": number // 8 + number % 2,
            "finish": ("eos", "eos", "eos", "length", "repetition")[number % 5], "score": "timeout" if number % 41 == 5 else "ok", "reward": reward,
            "source": ("math", "logic", "code", "science")[number // 8 % 4], "excerpt": "".join(draw.choice(WORDS[:-1]) for _ in range(24)).replace("\n", " ")}


def fits_text(row, text):
    return text.lower() in row["excerpt"].lower() or text in (str(row["prompt_id"]), str(row["group"]))


def rollout(number):
    whole, draw = summary(number), random.Random(number)
    tokens, version = [], whole["version_min"]
    for index in range(whole["tokens"]):
        word = draw.randrange(len(WORDS))
        logprob = -draw.expovariate(9) if draw.random() < 0.93 else -1 - 3 * draw.random()
        weight = math.exp(draw.gauss(0, 0.05)) if draw.random() < 0.98 else math.exp(draw.gauss(0, 0.9))
        tokens.append({"t": WORDS[word], "id": word, "logprob": round(logprob, 5), "trained": round(logprob + math.log(weight), 5), "weight": round(min(weight, 5), 5),
                       "clipped": weight > 5 or index % 997 == 500, "version": version + (index > whole["tokens"] // 2) * (whole["version_max"] - version)})
    return {**whole, "tokens": tokens, "prompt": "A shop sells pencils at 3 for 2 coins. How many coins are 84 pencils? <img src=x onerror=alert(1)>", "text": "".join(token["t"] for token in tokens),
            "detail": {"answer": whole["reward"], "format": 1, "length_penalty": -0.05}, "advantage": 0.7 if whole["reward"] else -1.3, "step": number // 8,
            "siblings": [f"{number // 8}-{sample}" for sample in range(8)]}


def spans(query, run):
    first, last = int(query.get("from_step", run.count)), int(query.get("to_step", run.count))
    rows = []
    for step in range(max(1, first), min(last, run.count) + 1):
        begin = BEGUN_MS * 1000 + step * 14200000
        for process, name, at, length in (("learner.0", "wait", 0, 1600000), ("learner.0", "update", 1650000, 5900000), ("learner.0", "update", 7600000, 5950000),
                                          ("learner.0", "publish", 13600000, 310000), ("store.0", "plan", 100000, 90000), ("reward.0", "score", 2000000, 900000),
                                          *((f"actor.{i}", "swap", 13950000 + 9000 * i, 38000) for i in range(4)), *((f"actor.{i}", "decode", 200000 + 11000 * i, 13600000) for i in range(4))):
            rows.append({"process": process, "name": name, "step": step, "begin_us": begin + at, "duration_us": length})
    return {"spans": rows}


SETTINGS = [("run.steps", "1000", "recipe", "100", None, "Weight versions to train, then stop."), ("store.max_staleness", "2", "recipe", "1", "1", "How old tokens may be."),
            ("loss.weight_max", "5.0", "default", "5.0", None, "Upper bound of the importance weight."), ("eval.every", "25", "recipe", "0", None, "Steps between evaluations; 0: never."),
            ("stages.lengths", "8192, 16384", "recipe", "", "8192", "Caps of responses, one for each stage, ascending."), ("stages.near_cap", "0.95", "default", "0.95", None, "Share of the cap that p99 must reach."),
            ("optim.lr", "2e-6", "command line", "1e-6", "1e-6", "Learning rate."), ("metrics.trace", "true", "default", "true", None, "Note what each process did when."),
            ("metrics.rollout_tokens", "200000", "default", "200000", None, "Trained tokens written a step.")]


def api(run, path, query):
    if path == "run":
        return {"name": "made-up-7b", "folder": "runs/made-up-7b", "recipe": "m1-40k.yaml", "state": run.state, "steps": 1000, "started_ms": BEGUN_MS, "attempt": 2,
                "host": "node-a", "version": "0.1.0", "redis": True, "writable": True, "parent": "made-up-base", "lines": {"pearson": [0.987, 0.997]}}
    if path == "snapshot":
        return snapshot(run)
    if path == "metrics":
        with run.lock:
            return run.metrics(query)
    if path == "events":
        return {"events": [{"time_ms": BEGUN_MS, "kind": "start", "text": "run made-up-7b begins"}, {"time_ms": BEGUN_MS + 50000, "kind": "death", "text": "actor.2 was killed by signal 9 (Killed); it is started again"},
                           {"time_ms": BEGUN_MS + 60000, "kind": "alarm", "text": "gradient norm 0.49 is 5.4 times the median of the last 100 steps (0.09) at step 97"}]}
    if path == "rollouts":
        newest = run.count * 8 + 7
        if query.get("before"):
            group, sample = query["before"].split("-")
            newest = int(group) * 8 + int(sample) - 1
        rows = []
        for number in range(newest, 7, -1):
            row = summary(number)
            if (not query.get("source") or row["source"] == query["source"]) and (not query.get("finish") or row["finish"] == query["finish"]) and \
               (not query.get("group") or str(row["group"]) == query["group"]) and fits_text(row, query.get("text", "")) and row["reward"] >= float(query.get("reward_min", -9)) and row["reward"] <= float(query.get("reward_max", 9)):
                rows.append(row)
            if len(rows) >= int(query.get("n", 50)):
                break
        return {"rollouts": rows, "sources": ["math", "logic", "code", "science"]}
    if path == "rollout":
        group, sample = query["id"].split("-")
        return rollout(int(group) * 8 + int(sample))
    if path == "histograms":
        return histograms(int(query.get("step", run.count)))
    if path == "spans":
        return spans(query, run)
    if path == "why":
        return {"because": "the run waits for learner.0 because learner.0 trains version 301 since 3.1 s", "waits": [{"who": "run", "for": "learner.0", "since_ms": 3100, "what": "learner.0 trains version 301"}], "sick": []}
    if path == "config":
        return {"settings": [dict(zip(("key", "value", "source", "default", "parent", "help"), row)) for row in SETTINGS]}
    if path == "logs":
        return {"lines": [f"2026-01-02T03:{i // 60 % 60:02}:{i % 60:02}Z {'WARN' if i % 50 == 49 else 'INFO'} {query['process']} step done step={i} seconds=14.2" for i in range(int(query.get("n", 200)))]}
    return None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json"):
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(body))), ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
                            ("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # noqa: N802
        parts = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(parts.query))
        if parts.path == "/api/stream":
            return self.stream()
        if parts.path.startswith("/api/"):
            value = api(self.server.run, parts.path[5:], query)
            return self.answer(200 if value is not None else 404, json.dumps(value if value is not None else {"error": "no such question"}).encode())
        file = WEB / (parts.path.lstrip("/") or "index.html")
        if file.parent != WEB or not file.is_file():
            return self.answer(404, b"{}")
        return self.answer(200, file.read_bytes(), TYPES.get(file.suffix, "application/octet-stream"))

    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            return self.answer(401, b'{"error":"the token is not the one of this run"}')
        self.server.run.posts.append((self.path, json.loads(body)))
        return self.answer(200, b"{}")

    def stream(self):
        run = self.server.run
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        last = int(self.headers.get("Last-Event-ID") or run.next_id - 1)
        try:
            self.wfile.write(b": hello\n\n")
            while not self.server.ended:
                with run.lock:
                    if not run.messages or run.messages[-1][0] <= last:
                        run.lock.wait(1)
                    rows = [] if run.silent else [message for message in run.messages if message[0] > last]
                for number, event, text in rows:
                    self.wfile.write(f"id: {number}\nevent: {event}\ndata: {text}\n\n".encode())
                    last = number
                self.wfile.flush()
        except OSError:
            pass
        self.close_connection = True


class Stub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, steps=300, token="secret", port=0, light=False):
        super().__init__(("127.0.0.1", port), Handler)
        self.run, self.token, self.ended = Run(steps, light), token, False

    def handle_error(self, *_):
        """A browser that goes away is no error."""

    def start(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def close(self):
        self.ended = True
        self.shutdown()
        self.server_close()


def main():
    parser = argparse.ArgumentParser()
    for name, value in (("--port", 0), ("--steps", 300), ("--every", 0.0)):
        parser.add_argument(name, type=type(value), default=value)
    parser.add_argument("--token", default="secret")
    wish = parser.parse_args()
    stub = Stub(wish.steps, wish.token, wish.port).start()
    print(f"listening {stub.server_address[1]}", flush=True)
    while sys.stdin:
        time.sleep(wish.every or 1)
        if wish.every:
            stub.run.step()


if __name__ == "__main__":
    main()
