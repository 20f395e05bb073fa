#!/usr/bin/env python3
"""Who may include whom. LAYERS is the whole dependency graph: folder -> folders it may include.

Also refused: a cycle in LAYERS, an include that does not start at the root of the tree, generated
protobuf headers outside proto/, the oracle in kernels/ref outside its own table, tests and bench,
and anything but the plugin ABI inside reward/plugins.
"""
import re

import tree

LAYERS = {
    "core": [],
    "proto": ["core"],
    "text": ["core"],
    "kernels": ["core"],
    "sandbox": ["core"],
    "model": ["core", "kernels"],
    "transport": ["core", "proto"],
    "reward": ["core", "proto", "text", "transport", "sandbox"],
    "rollout_store": ["core", "proto", "text", "transport"],
    "actor": ["core", "proto", "text", "transport", "kernels", "model"],
    "learner": ["core", "proto", "text", "transport", "kernels", "model"],
    "ops": ["core", "proto", "text", "transport"],
    "examples": ["core"],
}
# Folders inside a folder of LAYERS that may include more, because they are programs of their own: the fleet simulator drives
# the pure cores of all roles; offline evaluation has the store's prompts and the actor's engine; data tools ask the reward
# of mathematics which reference answers it can read.
INNER = {
    "ops/simulate/": ["rollout_store", "actor", "learner", "reward"],
    "ops/plan/": ["kernels", "model", "rollout_store", "actor", "learner", "reward"],
    "ops/eval/": ["rollout_store", "actor"],
    "ops/data/": ["reward"],
}
# Areas of reward/: kinds of reward that know texts and rows only. Area -> what it may include besides core, reward/area.h,
# reward/answer/ and itself.
AREAS = {"answer": [], "math": [], "logic": [], "rules": [], "judge": [], "code": ["sandbox"], "swe": ["sandbox"]}
FREE = ("tests", "bench")
ORACLE = ("kernels/ref/", "kernels/op_table_ref")  # and FREE
PLUGIN_HEADER = "reward/weir_reward.h"
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def area_of(path):
    parts = path.split("/")
    return parts[1] if parts[0] == "reward" and len(parts) > 2 and parts[1] in AREAS else None


def cycle_from(folder, seen=()):
    if folder in seen:
        return " -> ".join((*seen, folder))
    for below in LAYERS[folder]:
        found = cycle_from(below, (*seen, folder))
        if found:
            return found
    return None


def complaint(name, target):
    """Why the file `name` must not include `target`; None when it may."""
    folder, target_folder = name.split("/")[0], target.split("/")[0]
    if name.startswith("reward/plugins/"):
        ours = target == "reward/area_plugin.h" or area_of(target) is not None
        return None if target == PLUGIN_HEADER or ours else f"a plugin includes {PLUGIN_HEADER}, or is made of an area"
    area = area_of(name)
    if area is not None:
        near = ("reward/area.h", PLUGIN_HEADER), ("core/", "reward/answer/", f"reward/{area}/", *(f"{more}/" for more in AREAS[area]))
        return None if target in near[0] or target.startswith(near[1]) else f"the area reward/{area} must not include {target}"
    if "/" not in target or target_folder not in (*LAYERS, *FREE):
        return "write includes from the root of the tree, as \"core/status.h\""
    if target.endswith(".pb-c.h") and folder != "proto":
        return "only the codec files of proto/ see generated protobuf headers"
    if folder in FREE:
        return None
    if target_folder in FREE:
        return f"{folder}/ must not include {target_folder}/"
    if target.startswith("kernels/ref/") and not name.startswith(ORACLE):
        return "kernels/ref is the oracle of tests; only tests/ and bench/ may include it"
    inner = next((more for inside, more in INNER.items() if name.startswith(inside)), [])
    if target_folder != folder and target_folder not in (*LAYERS[folder], *inner):
        may = ", ".join((*LAYERS[folder], *inner)) or "nothing"
        return f"{folder}/ must not include {target_folder}/ (it may include: {may})"
    return None


def main():
    root = tree.root_from_arguments()
    findings = [f"ops/lint/check_layers.py: cycle {found}"
                for found in map(cycle_from, LAYERS) if found]
    for name in tree.files(root, ".c", ".h", ".cu", ".cuh"):
        if name.split("/")[0] not in (*LAYERS, *FREE, "examples"):
            findings.append(f"{name}:1: C sources live in {', '.join(LAYERS)}, tests or bench")
            continue
        for number, line in enumerate(tree.read(root, name).splitlines(), 1):
            match = INCLUDE.match(line)
            why = complaint(name, match[1]) if match else None
            if why:
                findings.append(f"{name}:{number}: {match[1]}: {why}")
    tree.finish(findings, "layers; the table is at the top of ops/lint/check_layers.py")


if __name__ == "__main__":
    main()
