"""A live quickstart for the page: weir run with its Redis and its weir-dash, in a folder of its own."""
import pathlib
import signal
import subprocess
import time

from chrome import Failure

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ("overview", "fleet", "rollouts", "policy", "staleness", "lengths", "tasks", "rewards", "performance", "settings", "events", "chart")
# What a tiny run on a CPU has nothing for, or only later: its panel says why in place of a chart.
MAY_BE_EMPTY = ("panel-evaluation", "panel-mfu", "panel-memory", "panel-position", "panel-timeline", "panel-events")


class Running:
    def __init__(self, binaries, folder):
        self.folder = pathlib.Path(folder) / "live"
        self.log = open(pathlib.Path(folder) / "weir.log", "wb")
        command = [str(pathlib.Path(binaries) / "weir"), "run", "examples/recipes/quickstart.yaml", f"run.root={folder}", "--name", "live", "run.steps=2000", "dash.address=127.0.0.1:0"]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def url(self, seconds=20):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Failure(f"weir run ended with {self.process.returncode}: {self.tail()}")
            try:
                text = (self.folder / "dash.url").read_text().split()
                if text:
                    return text[0].rstrip("/") + "/"
            except OSError:
                pass
            time.sleep(0.05)
        raise Failure(f"no dash.url after {seconds} s: {self.tail()}")

    def tail(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")[-800:]

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(25)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        self.log.close()


def begin(binaries, folder):
    if not (pathlib.Path(binaries) / "weir-dash").exists():
        return None
    return Running(binaries, folder)


def steps_in(file):
    """Steps of metrics.jsonl, which the learner writes first."""
    try:
        return file.read_bytes().count(b"\n")
    except OSError:
        return 0


def seen_after(page, running):
    """Seconds from a step's line in metrics.jsonl to its point in a chart, by one clock: those of processes differ."""
    page.run("location.hash = '#/overview'")
    file = running.folder / "metrics.jsonl"
    before, end = steps_in(file), time.monotonic() + 20
    while steps_in(file) <= before:
        if time.monotonic() > end:
            raise Failure(f"no step within 20 s: {running.tail()}")
        time.sleep(0.005)
    begin = time.monotonic()
    page.wait(f"Number(document.querySelector('[data-testid=panel-length]')?.dataset.last) > {before}", f"step {before + 1} in the chart")
    return time.monotonic() - begin


def take_shots(page, running, folder):
    """For docs/img: after some steps, each page, dark and light by turns, a rollout that has been trained, a phone."""
    while steps_in(running.folder / "metrics.jsonl") < 20:
        time.sleep(0.5)
    for number, name in enumerate(PAGES):
        page.scheme("light" if number % 2 == 0 else "dark")
        address = f"{name}?m=reward/mean,entropy/mean,optim/grad_norm&split=1" if name == "chart" else name
        page.run(f"location.hash = '#/{address}'")
        time.sleep(6 if name == "fleet" else 2)
        if name == "rollouts":
            page.run("""fetch('api/rollouts?n=1000').then(r => r.json()).then(a => { const trained = a.rollouts.filter(r => r.version_max < a.rollouts[0].version_max - 1);
              const one = trained.find(r => r.reward === 0) || trained[0]; location.hash = '#/overview'; location.hash = `#/rollouts?id=${one.id}`; })""")
            page.wait("document.querySelector('[data-testid=rollout-text] .t')", "tokens of a trained rollout", 60)
            page.run("document.querySelector('[data-testid=siblings-button]').click()")
            page.wait("document.querySelector('[data-testid=siblings]')", "the group", 20)
            time.sleep(0.5)
        page.shot(folder / f"live-{name}.png")
    page.size(360, 780, True)
    page.run("location.hash = '#/overview'")
    time.sleep(2)
    page.shot(folder / "live-phone.png")
    page.size(1440, 1000)


def test(page, running, shots):
    url = running.url()
    host = url.split("?")[0]
    page.open(url)
    page.wait("document.querySelector('[data-testid=page-overview]')", "the first page of the live run")
    moving = page.wait("Number(document.querySelector('[data-testid=panel-length]')?.dataset.last) >= 2", "two steps in the curve", 40)
    troubles = []
    for name in PAGES:
        page.run(f"location.hash = '#/{name}'")
        page.wait(f"document.querySelector('[data-testid=page-{name}]')", f"page {name}")
        full = ("[...document.querySelectorAll('main [data-testid=empty]')].map(e => ((e.closest('section') || e).dataset.testid || '?'))"
                f".filter(id => !{list(MAY_BE_EMPTY)}.includes(id))")
        try:
            page.wait(f"{full}.length === 0 && document.querySelectorAll('main section').length", f"{name}: panels are filled", 8)
        except Failure:
            troubles.append(f"{name}: empty {page.run(full)}: " + str(page.run("[...document.querySelectorAll('main [data-testid=empty]')].map(e => e.textContent)")))
    lags = sorted(seen_after(page, running) for _ in range(5))
    if troubles:
        raise Failure("; ".join(troubles))
    if page.console or page.failed:
        raise Failure(f"console {page.console[:3]}, failed requests {page.failed[:3]}")
    elsewhere = [one for one in page.requests if not one.startswith((host, "about:"))]
    if elsewhere:
        raise Failure(f"requests to others: {elsewhere[:3]}")
    middle = lags[len(lags) // 2]
    if middle > 1.0:
        raise Failure(f"a step is drawn {middle:.2f} s after the learner wrote it (median of {len(lags)}: {[round(lag, 2) for lag in lags]}), at most 1 s is allowed")
    if shots:
        take_shots(page, running, shots)
    return f"a step is drawn {middle * 1e3:.0f} ms after the learner wrote it (median of {len(lags)}, limit 1000); two steps in the curve after {moving:.1f} s"
