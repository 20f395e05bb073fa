#!/usr/bin/env python3
"""The Dockerfile, as far as it can be judged without a daemon: form, rights, and that the packages of its last stage hold
every library that the built programs load. Nothing is built here: `docker build` is not run by the tests.

Arguments: root of the tree, folder of the built programs (may be missing).
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT, BIN = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "/nowhere")
KNOWN = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "VOLUME", "EXPOSE", "USER", "STOPSIGNAL", "HEALTHCHECK",
         "ENTRYPOINT", "CMD", "LABEL"}
ALWAYS = {"libc6", "libgcc-s1", "libstdc++6"}  # essential, or brought by g++
HOST = re.compile(r"^(ld-linux|lib(cuda|cudart|cublas|nccl|nvidia|asan|ubsan|tsan))")


def instructions(text):
    """(word, rest) of each, continuation lines joined, comments left out."""
    joined = ""
    for line in text.splitlines():
        if line.strip().startswith("#") or (not line.strip() and not joined):
            continue
        joined += line.rstrip("\\").strip() + " " if line.endswith("\\") else line.strip()
        if not line.endswith("\\"):
            word, _, rest = joined.partition(" ")
            yield word, rest.strip()
            joined = ""


def form(rows):
    stages = [index for index, (word, _) in enumerate(rows) if word == "FROM"]
    last = rows[stages[-1]:]
    names = [rest.split(" AS ")[-1] for word, rest in rows if word == "FROM"]
    for word, rest in rows:
        if word not in KNOWN:
            yield f"{word} is no instruction that is used here"
        if word == "RUN" and "apt-get install" in rest:
            for wanted in ("--no-install-recommends", "-y", "rm -rf /var/lib/apt/lists", "apt-get update"):
                if wanted not in rest:
                    yield f"apt-get install without {wanted}"
        if word == "RUN" and re.search(r"\bsudo\b|chmod 777|curl .*\| *sh", rest):
            yield f"RUN {rest[:60]}"
        if word in ("ENTRYPOINT", "CMD") and not isinstance(exec_form(rest), list):
            yield f"{word} is not in exec form: a shell would be process 1"
        if word == "WORKDIR" and not rest.startswith("/"):
            yield "WORKDIR is relative"
        if word == "COPY" and "--from=" in rest and re.search(r"--from=(\S+)", rest)[1] not in names:
            yield f"COPY {rest}: no such stage"
    defaults = dict(rest.split("=", 1) for word, rest in rows[:stages[0]] if word == "ARG")
    for name, image in defaults.items():
        if name.endswith("IMAGE") and (":" not in image or image.endswith(":latest")):
            yield f"{name} has no tag"
    if len(stages) < 2:
        yield "one stage: the compiler's files would be in the image"
    users = [rest for word, rest in last if word == "USER"]
    if not users or not re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", users[-1]):
        yield "the last stage has no USER by number that is not root"
    for wanted in ("HEALTHCHECK", "ENTRYPOINT", "EXPOSE"):
        if wanted not in [word for word, _ in last]:
            yield f"the last stage has no {wanted}"
    if [word for word, _ in last].index("USER") < max(i for i, (word, _) in enumerate(last) if word == "RUN"):
        yield "a RUN behind USER"
    health = next(rest for word, rest in last if word == "HEALTHCHECK")
    if exec_form(health.partition("CMD ")[2]) != ["weir", "probe", "live"]:
        yield "HEALTHCHECK does not ask weir probe live"


def exec_form(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


def agrees_with_manifests(rows):
    """User and ports are those of ops/render_k8s.h."""
    header = (ROOT / "ops/render_k8s.h").read_text()
    numbers = {name: int(value) for name, value in re.findall(r"(K8S_\w+) = (\d+)", header)}
    user = [rest for word, rest in rows if word == "USER"][-1]
    ports = {int(port) for word, rest in rows if word == "EXPOSE" for port in rest.split()}
    if user != f"{numbers['K8S_USER']}:{numbers['K8S_USER']}":
        yield f"USER {user} is not that of the pods"
    if ports != {numbers["K8S_STORE_PORT"], numbers["K8S_WEIGHTS_PORT"], numbers["K8S_DASH_PORT"]}:
        yield f"EXPOSE {sorted(ports)} are not the ports of the pods"


def needed_libraries(folder):
    for program in sorted(folder.glob("weir*")):
        done = subprocess.run(["readelf", "-d", program], capture_output=True, text=True, check=False)
        yield from re.findall(r"NEEDED.*\[(.+)\]", done.stdout)


def libraries(rows):
    if not BIN.is_dir() or not shutil.which("readelf") or not shutil.which("dpkg-query"):
        print("libraries are not compared: no programs, no readelf or no dpkg-query here")
        return
    install = next(rest for word, rest in reversed(rows) if word == "RUN" and "apt-get install" in rest)
    packages = set(re.split(r"\s+", install.partition("--no-install-recommends")[2].partition("&&")[0].strip()))
    for library in sorted(set(needed_libraries(BIN))):
        if HOST.match(library):
            continue
        done = subprocess.run(["dpkg-query", "-S", f"*/{library}"], capture_output=True, text=True, check=False)
        owners = {line.partition(":")[0] for line in done.stdout.splitlines()}
        if owners and not owners & (packages | ALWAYS):
            yield f"{library} is of {sorted(owners)}, which the last stage does not install"


def main():
    text = (ROOT / "Dockerfile").read_text()
    rows = list(instructions(text))
    problems = [*form(rows), *agrees_with_manifests(rows), *libraries(rows)]
    spoiled = text.replace("USER 10001:10001", "USER root").replace('ENTRYPOINT ["weir"]', "ENTRYPOINT weir")
    if len(list(form(list(instructions(spoiled))))) < 2:
        problems.append("this check does not see a root user and a shell form")
    print("\n".join(f"Dockerfile: {problem}" for problem in problems) or f"{len(rows)} instructions are fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
