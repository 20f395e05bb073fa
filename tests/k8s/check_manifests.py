#!/usr/bin/env python3
"""What `weir render k8s` prints: taken by the API, consistent in itself, equal to ops/k8s and in step with Slurm's script.

Arguments: root of the tree, the built `weir`. Exit 77 where python3-kubernetes is missing.
"""
import copy
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

try:
    import kubernetes  # noqa: F401
    import yaml
except ImportError:  # a python without Debian's packages stands before Debian's
    if sys.executable != "/usr/bin/python3" and os.path.exists("/usr/bin/python3"):
        os.execv("/usr/bin/python3", ["/usr/bin/python3", "-B", *sys.argv])
    print("skipped: python3-kubernetes is not installed (ops/deps test)")
    sys.exit(77)

import schema

ROOT, WEIR = pathlib.Path(sys.argv[1]).resolve(), str(pathlib.Path(sys.argv[2]).resolve())
QUICKSTART = "examples/recipes/quickstart.yaml"
GPU = ["run.device=cuda:0", "--gpus-per-actor", "1"]
CASES = {
    "jobset": [QUICKSTART],
    "plain": [QUICKSTART, "--plain", "--namespace", "team-a"],
    "gpu": [QUICKSTART, *GPU, "--actors", "7", "learner.ranks=2", "learner.device=cuda:0,cuda:1"],
    "data": [QUICKSTART, "--name", "Long_Name.4", "--data-claim", "corpus", "--rewards", "3", "--image",
             "registry.example/weir:1"],
    "sandbox": ["examples/recipes/code.yaml", "--plain"],
    "evaluator": ["examples/recipes/code.yaml", "eval.sets=held=examples/recipes/quickstart.yaml", "eval.every=5",
                  "reward.judge=judge.yaml"],
    "a word of YAML": [QUICKSTART, "--name", "no", "--namespace", "123", "--data-claim", "true"],
    "no workers": [QUICKSTART, "--actors", "0", "--rewards", "0"],
    "judge": [QUICKSTART, "reward.plugin=judge", "--reward-secret", "judges",
              'reward.config={"judge": {"base_url": "http://judge.team.svc:30000/v1", "api_key_env": "KEY"}}'],
    "gpu evaluator": ["examples/recipes/hybrid-1.5b-80k.yaml", "eval.sets=a=examples/addition/train.jsonl", "eval.every=5"],
}
REFUSED = {
    "--gpus-per-actor 1, and the actors compute on the CPU": [QUICKSTART, "--gpus-per-actor", "1"],
    "an actor computes on one GPU": [QUICKSTART, "run.device=cuda:0", "--gpus-per-actor", "4"],
    "from the variable KEY": [QUICKSTART, "reward.plugin=judge",
                              'reward.config={"judge":{"base_url":"https://a/v1","api_key_env":"KEY"}}'],
    "weights go by tcp": [QUICKSTART, "weights.channel=shm"],
    "a quantity such as 64Gi": [QUICKSTART, "--storage", "lots"],
    "is too long for Kubernetes": [QUICKSTART, "--name", "x" * 45],
    "redis.mode=connect": [QUICKSTART, "redis.mode=connect", "redis.address=127.0.0.1:6399"],
    "has more than 63 letters": [QUICKSTART, "--namespace", "x" * 64],
    "letters, digits": [QUICKSTART, "--image", "a b"],
    "unknown option --actor": [QUICKSTART, "--actor", "1"],
    "no option": ["examples/recipes/missing.yaml"],
}
YAMLLINT = "{extends: default, rules: {line-length: disable, document-start: {present: true}, comments: " \
           "{min-spaces-from-content: 1}}}"
problems = []


def complain(case, sentence):
    problems.append(f"{case}: {sentence}")


def weir(*words):
    return subprocess.run([WEIR, *words], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def pods_of(objects):
    """(role, labels, pod spec, replicas) of everything that makes pods."""
    for one in objects:
        if one["kind"] == "JobSet":
            for job in one["spec"]["replicatedJobs"]:
                template = job["template"]["spec"]["template"]
                yield job["name"], template["metadata"]["labels"], template["spec"], job["replicas"]
        elif one["kind"] in ("Job", "StatefulSet"):
            template = one["spec"]["template"]
            yield (template["metadata"]["labels"]["app.kubernetes.io/component"], template["metadata"]["labels"],
                   template["spec"], one["spec"].get("replicas", 1))


def check_pod(case, role, spec, drain_s):
    containers = spec["initContainers"] + spec["containers"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    mounted = {mount["name"] for one in containers for mount in one["volumeMounts"]}
    if volumes != mounted:
        complain(case, f"{role}: volumes {volumes ^ mounted} are not mounted, or mounts have none")
    for one in containers:
        rights = one["securityContext"]
        if rights["allowPrivilegeEscalation"] or rights["capabilities"] != {"drop": ["ALL"]} or \
                not rights["readOnlyRootFilesystem"]:
            complain(case, f"{role}: {one['name']} may more than it needs")
        if "memory" not in one["resources"]["limits"]:
            complain(case, f"{role}: {one['name']} has no memory limit")
        paths = [mount["mountPath"] for mount in one["volumeMounts"]]
        if len(paths) != len(set(paths)):
            complain(case, f"{role}: two mounts at one path")
    if not spec["securityContext"]["runAsNonRoot"] or spec["automountServiceAccountToken"]:
        complain(case, f"{role}: runs as root or with a token of the API")
    main = spec["containers"][0]
    if main["command"][0] != "weir" or not isinstance(main["command"], list):
        complain(case, f"{role}: process 1 is not weir")
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        words = main[probe]["exec"]["command"]
        if words[:2] != ["weir", "probe"] or not words[3].startswith("/runs/"):
            complain(case, f"{role}: {probe} asks {words}")
    if main["livenessProbe"]["exec"]["command"][2] != "live" or main["readinessProbe"]["exec"]["command"][2] != "ready":
        complain(case, f"{role}: probes are mixed up")
    if spec["terminationGracePeriodSeconds"] < drain_s + 5:
        complain(case, f"{role}: killed before run.drain_s is over")


def check_monitors(case, role, spec, policies, settings):
    """As many ports as processes, and Prometheus may reach just those."""
    named = [port for port in spec["containers"][0]["ports"] if port["name"].startswith("monitor-")]
    least = 2 if role != "head" else 2 + settings["learner"].get("ranks", 1) + ("eval" in settings)
    if [port["containerPort"] for port in named] != list(range(9400, 9400 + least)):
        complain(case, f"{role}: monitors at {named}")
    policy = next(one for one in policies if one["metadata"]["name"].endswith("-" + role))
    rules = [port for rule in policy["spec"]["ingress"] for port in rule["ports"] if "endPort" in port]
    if [(rule["port"], rule["endPort"]) for rule in rules] != [(9400, 9399 + least)]:
        complain(case, f"{role}: Prometheus reaches {rules}")


def check_network(case, objects, labels):
    ports = {}
    for one in objects:
        if one["kind"] == "Service":
            for port in one["spec"]["ports"]:
                ports[port["name"]] = port["port"]
            if not one["spec"]["selector"].items() <= labels["head"].items():
                complain(case, f"Service {one['metadata']['name']} selects no pod")
    head = next(spec for role, _, spec, _ in pods_of(objects) if role == "head")
    published = {port["name"]: port["containerPort"] for port in head["containers"][0]["ports"]
                 if not port["name"].startswith("monitor-")}
    if ports != published:
        complain(case, f"ports of services {ports} and of the head {published} differ")
    selected = set()
    for one in objects:
        if one["kind"] != "NetworkPolicy":
            continue
        match = one["spec"]["podSelector"]["matchLabels"]
        roles = [role for role, pod in labels.items() if match.items() <= pod.items()]
        selected.update(roles)
        if len(roles) != 1 or sorted(one["spec"]["policyTypes"]) != ["Egress", "Ingress"]:
            complain(case, f"NetworkPolicy {one['metadata']['name']} is for {roles}")
        for rule in one["spec"].get("ingress", []):
            if not rule.get("from") or \
                    not {port["port"] for port in rule["ports"] if "endPort" not in port} <= set(ports.values()):
                complain(case, f"NetworkPolicy {one['metadata']['name']} lets in more than the ports")
    if selected != set(labels):
        complain(case, f"no NetworkPolicy for {set(labels) - selected}")


def check_case(case, words):
    done = weir("render", "k8s", *words)
    if done.returncode != 0:
        return complain(case, done.stderr.strip())
    objects = list(yaml.safe_load_all(done.stdout))
    for one in objects:
        for sentence in schema.check_object(one):
            complain(case, sentence)
        namespace = words[words.index("--namespace") + 1] if "--namespace" in words else None
        if one["metadata"].get("namespace") != namespace:
            complain(case, f"{one['kind']} is in another namespace")
    lint(case, done.stdout)
    names = [(one["kind"], one["metadata"]["name"]) for one in objects]
    if len(names) != len(set(names)):
        complain(case, "two objects of one name")
    recipe = next(one for one in objects if one["kind"] == "ConfigMap")["data"]["recipe.yaml"]
    settings = yaml.safe_load(recipe)
    labels = {role: pod for role, pod, _, _ in pods_of(objects)}
    policies = [one for one in objects if one["kind"] == "NetworkPolicy"]
    for role, _, spec, _ in pods_of(objects):
        check_pod(case, role, spec, settings["run"].get("drain_s", 20))
        check_monitors(case, role, spec, policies, settings)
    check_network(case, objects, labels)
    if settings["run"]["actors"] != 0 or settings["run"]["keys"] != "/keys/run":
        complain(case, "the head would start actors, or has no keys")
    return objects, settings


def lint(case, text):
    if shutil.which("yamllint") is None:
        return
    done = subprocess.run(["yamllint", "-d", YAMLLINT, "-"], input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        complain(case, f"yamllint: {done.stdout.strip()[:400]}")


def check_refusals():
    for sentence, words in REFUSED.items():
        done = weir("render", "k8s", *words)
        if done.returncode == 0 or done.stdout or (sentence not in done.stderr and sentence != "no option"):
            complain("refused", f"{words}: exit {done.returncode}, {done.stderr.strip()[:200]!r}")


def check_gpu(objects):
    for role, _, spec, replicas in pods_of(objects):
        gpus = spec["containers"][0]["resources"]["limits"].get("nvidia.com/gpu")
        wanted = {"head": "2", "actor": "1", "reward": None}[role]
        if gpus != wanted or (gpus is not None) != ("tolerations" in spec):
            complain("gpu", f"{role} asks for {gpus} GPUs")
        if role == "actor" and (replicas != 7 or "actor.device=cuda:0" not in spec["containers"][0]["command"]):
            complain("gpu", "actors")


def check_sandbox(case, objects, scoring):
    for role, _, spec, _ in pods_of(objects):
        kind = spec["securityContext"]["seccompProfile"]["type"]
        if (kind == "Unconfined") != (role in scoring):
            complain(case, f"{role} has seccomp {kind}")


def check_judge(case, objects, scoring, judge):
    """Who scores reaches the judge, and DNS to find it."""
    for one in objects:
        if one["kind"] == "NetworkPolicy":
            ports = {port["port"] for rule in one["spec"]["egress"] for port in rule["ports"]}
            role = one["metadata"]["name"].rsplit("-", 1)[1]
            wanted = judge if role in scoring else set()
            if ports - {7000, 7001, 53} != wanted or (wanted and 53 not in ports):
                complain(case, f"{role} reaches {ports}")


def check_judge_key(objects):
    for role, _, spec, _ in pods_of(objects):
        secrets = [one["secretRef"]["name"] for one in spec["containers"][0].get("envFrom", [])]
        if secrets != (["judges"] if role == "reward" else []):
            complain("judge", f"{role} has the variables of {secrets}")


def check_scaling(objects):
    """A StatefulSet may be scaled: no budget counts on its replicas."""
    for one in objects:
        if one["kind"] == "PodDisruptionBudget":
            worker = not one["metadata"]["name"].endswith("-head")
            if ("maxUnavailable" in one["spec"]) != worker:
                complain("plain", f"budget {one['spec']}")


def check_policy(objects):
    job_set = next(one for one in objects if one["kind"] == "JobSet")["spec"]
    rules = {rule["name"]: rule for rule in job_set["failurePolicy"]["rules"]}
    if any("actor" in rule.get("targetReplicatedJobs", ["actor"]) for rule in rules.values()):
        complain("jobset", "the end of a worker is one of the set")
    for job in job_set["replicatedJobs"]:
        spec = job["template"]["spec"]
        ignored = [code for rule in spec["podFailurePolicy"]["rules"] if rule["action"] == "Ignore"
                   for code in rule.get("onExitCodes", {}).get("values", [])]
        words = spec["template"]["spec"]["containers"][0]["command"]
        if [words[words.index("--drained-code") + 1]] != [str(code) for code in ignored]:
            complain("jobset", f"a drained pod of {job['name']} is not made anew")
        if (spec["backoffLimit"] == 0) != (job["name"] == "head"):
            complain("jobset", f"{job['name']} has {spec['backoffLimit']} tries")
    if rules["headRestarts"]["action"] != "RestartJobSet" or rules["headRestarts"]["targetReplicatedJobs"] != ["head"]:
        complain("jobset", "the head does not restart all")
    if "startupPolicy" in job_set:
        complain("jobset", "an actor that finds no GPU would keep the reward workers from being made")
    final = next(rule for rule in job_set["replicatedJobs"][0]["template"]["spec"]["podFailurePolicy"]["rules"]
                 if rule["action"] == "FailJob")
    if final["onExitCodes"]["values"] != [1, 2, 3, 4]:
        complain("jobset", f"final exit codes {final['onExitCodes']}")


def check_slurm(objects):
    """The same settings: as many actors, the same name, workers beside a head that has none, time to drain."""
    done = weir("render", "slurm", QUICKSTART, "--nodes", "2", "--actors-per-node", "1", "--name", "quickstart")
    if done.returncode != 0:
        return complain("slurm", done.stderr.strip())
    replicas = {role: count for role, _, _, count in pods_of(objects)}
    for text in ("run.actors=0", "--nodes=2", "--actors 1 ", "weir-quickstart"):
        if text not in done.stdout:
            complain("slurm", f"the script has no {text}")
    gpu = weir("render", "slurm", "examples/recipes/scalerl.yaml", "--nodes", "2", "--actors-per-node", "8")
    if "--gpus-per-node=8" not in gpu.stdout:
        complain("slurm", f"nodes of GPU actors without GPUs: {gpu.stderr}")
    secret = weir("render", "slurm", QUICKSTART, "redis.password=hunter2")
    if secret.returncode != 2 or "hunter2" in secret.stdout + secret.stderr or "secret" not in secret.stderr:
        complain("slurm", "a password would stand in the script")
    return replicas["actor"] == 2 or complain("slurm", "replicas differ")


def check_copies():
    done = subprocess.run([sys.executable, "-B", ROOT / "ops/k8s/make.py", WEIR, "--check"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode not in (0, 77):
        complain("ops/k8s", done.stdout.strip() + done.stderr.strip())
    if shutil.which("kubectl") is None:
        print("kubectl is not installed: the overlays' patches are compared as texts only")
        return
    sys.path.insert(0, str(ROOT / "ops/k8s"))
    import make
    for name, (_, words) in make.OVERLAYS.items():
        with tempfile.TemporaryDirectory() as home:
            built = subprocess.run(["kubectl", "kustomize", ROOT / "ops/k8s/overlays" / name], capture_output=True,
                                   text=True, check=False, env={**os.environ, "HOME": home})
        if built.returncode != 0:
            complain(name, built.stderr.strip()[:300])
        elif make.objects(built.stdout) != make.objects(make.render(WEIR, words)):
            complain(name, "kustomize makes other objects than weir render k8s")


def check_walker(objects):
    """The walk refuses what it must: otherwise all of the above means nothing."""
    def job(one):
        return one["spec"]["replicatedJobs"][0]["template"]["spec"]

    def spoiled(change):
        one = copy.deepcopy(next(one for one in objects if one["kind"] == "JobSet"))
        change(one)
        return list(schema.check_object(one))

    changes = {
        "unknown key": lambda one: job(one)["template"]["spec"].update(restartPolice="Never"),
        "missing key": lambda one: job(one).pop("template"),
        "missing name": lambda one: job(one)["template"]["spec"]["containers"][0].pop("name"),
        "text for a number": lambda one: job(one).update(backoffLimit="0"),
        "number for a text": lambda one: one["metadata"]["labels"].update(a=1),
        "quantity": lambda one: job(one)["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="8 GB"),
        "action": lambda one: one["spec"]["failurePolicy"]["rules"][0].update(action="Restart"),
        "unknown key of JobSet": lambda one: one["spec"].update(startPolicy={}),
        "restart policy": lambda one: job(one)["template"]["spec"].update(restartPolicy="never"),
    }
    for what, change in changes.items():
        if not spoiled(change):
            complain("walker", f"{what} is not refused")


def main():
    objects = {case: check_case(case, words) for case, words in CASES.items()}
    if None in objects.values():
        print("\n".join(problems))
        return 1
    made = {case: pair[0] for case, pair in objects.items()}
    check_walker(made["jobset"])
    check_policy(made["jobset"])
    check_gpu(made["gpu"])
    check_sandbox("sandbox", made["sandbox"], ["reward"])
    check_sandbox("evaluator", made["evaluator"], ["reward", "head"])
    check_judge("evaluator", made["evaluator"], ["reward", "head"], {443, 80})
    check_judge("judge", made["judge"], ["reward"], {30000})
    check_judge_key(made["judge"])
    check_sandbox("judge", made["judge"], [])
    check_scaling(made["plain"])
    if objects["gpu evaluator"][1]["eval"]["device"] != "cuda:0":
        complain("gpu evaluator", "the evaluator would look for an actor's GPU")
    check_slurm(made["jobset"])
    check_refusals()
    check_copies()
    print("\n".join(problems) if problems else f"{sum(map(len, made.values()))} objects of {len(CASES)} cases are fine")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
