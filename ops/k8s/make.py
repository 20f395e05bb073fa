#!/usr/bin/env python3
"""Writes ops/k8s/{base,overlays}: what `weir render k8s` prints, and as patches what it prints with other words.

    ops/k8s/make.py build/release/bin/weir            writes the files
    ops/k8s/make.py build/release/bin/weir --check    only compares them; exit 1 when one differs

Needs python3-yaml. The patches are JSON patches (RFC 6902) of the base's objects, so that each line says what differs.
"""
import os
import pathlib
import subprocess
import sys

try:
    import yaml
except ImportError:  # a python without Debian's packages stands before Debian's
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", "-B", *sys.argv])
    print("ops/k8s/make.py: python3-yaml is not installed (ops/deps test)")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
RECIPE = "examples/recipes/quickstart.yaml"
IMAGE = "weir:0.1.0"  # the Dockerfile's names
OVERLAYS = {
    "small": ("one actor on the CPU, little memory: to try it out",
              ["--actors", "1", "--storage", "5Gi", "--head-memory", "2Gi", "--worker-memory", "2Gi"]),
    "gpu": ("learner and four actors on one GPU each",
            ["--actors", "4", "--gpus-per-actor", "1", "--storage", "200Gi", "--head-memory", "64Gi",
             "--worker-memory", "64Gi", "run.device=cuda:0", "--image", IMAGE + "-cuda"]),
}


def render(weir, words):
    done = subprocess.run([weir, "render", "k8s", RECIPE, "--name", "quickstart", *words], cwd=ROOT,
                          capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        sys.exit(f"weir render k8s {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def objects(text):
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(text)}


def escaped(key):
    return str(key).replace("~", "~0").replace("/", "~1")


def difference(old, new, path=""):
    """Operations that make `new` of `old`; lists of one length item by item, others whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old:
            if key not in new:
                yield {"op": "remove", "path": f"{path}/{escaped(key)}"}
        for key, value in new.items():
            if key not in old:
                yield {"op": "add", "path": f"{path}/{escaped(key)}", "value": value}
            else:
                yield from difference(old[key], value, f"{path}/{escaped(key)}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new)):
            yield from difference(a, b, f"{path}/{index}")
    elif old != new or type(old) is not type(new):
        yield {"op": "replace", "value": new, "path": path}  # kustomize cuts the newline off a text that is last


def block_text(dumper, text):
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


class Dumper(yaml.SafeDumper):
    """Long texts as blocks, no aliases, lists indented under their keys as yamllint wants them."""

    def ignore_aliases(self, data):
        return True

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


Dumper.add_representer(str, block_text)


def dump(value):
    return "---\n" + yaml.dump(value, Dumper=Dumper, sort_keys=False, default_flow_style=False, width=10000)


def overlay(base, changed, what):
    patches = []
    if base.keys() != changed.keys():
        sys.exit(f"overlay {what}: other objects than the base: {base.keys() ^ changed.keys()}")
    for (kind, name), one in changed.items():
        changes = list(difference(base[(kind, name)], one))
        if changes:
            group, _, version = one["apiVersion"].rpartition("/")
            target = {"group": group, "version": version, "kind": kind, "name": name}
            patches.append({"target": {k: v for k, v in target.items() if v}, "patch": dump(changes)[4:]})
    return f"# {what}\n" + dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                                "resources": ["../../base"], "patches": patches})


def files(weir):
    base = render(weir, [])
    yield "base/weir.yaml", base
    yield "base/kustomization.yaml", "# A run of " + RECIPE + "; docs/kubernetes.md\n" + dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": ["weir.yaml"]})
    for name, (what, words) in OVERLAYS.items():
        yield f"overlays/{name}/kustomization.yaml", overlay(objects(base), objects(render(weir, words)), what)


def main():
    weir = str(pathlib.Path(sys.argv[1]).resolve())
    check = "--check" in sys.argv[2:]
    stale = 0
    for name, text in files(weir):
        path = ROOT / "ops/k8s" / name
        if check and (not path.is_file() or path.read_text() != text):
            print(f"ops/k8s/{name}: out of date: ops/k8s/make.py build/release/bin/weir")
            stale += 1
        elif not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
