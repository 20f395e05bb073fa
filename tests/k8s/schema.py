"""Is an object what the Kubernetes API takes? A strict walk over the models of Debian's python3-kubernetes.

Refused: unknown keys, missing required ones, a wrong type, quantities and names of a wrong form. JobSet is no part of those
models: its fields stand here, from the public API of jobset.x-k8s.io/v1alpha2, and so do the fields that the API has
since the models' version (22, Kubernetes 1.22).
"""
import re

from kubernetes import client
from kubernetes.client import models

QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
DNS_LABEL = re.compile(r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$")
KINDS = {
    ("v1", "ConfigMap"): "V1ConfigMap", ("v1", "Service"): "V1Service",
    ("v1", "PersistentVolumeClaim"): "V1PersistentVolumeClaim", ("batch/v1", "Job"): "V1Job",
    ("apps/v1", "StatefulSet"): "V1StatefulSet", ("policy/v1", "PodDisruptionBudget"): "V1PodDisruptionBudget",
    ("networking.k8s.io/v1", "NetworkPolicy"): "V1NetworkPolicy",
    ("jobset.x-k8s.io/v1alpha2", "JobSet"): "JobSet",
}
# name -> {field: (type, required)}; types as in the models, besides "enum(a|b)".
HAND = {
    "JobSet": {"apiVersion": ("str", True), "kind": ("str", True), "metadata": ("V1ObjectMeta", True),
               "spec": ("JobSetSpec", True)},
    "JobSetSpec": {"replicatedJobs": ("list[ReplicatedJob]", True), "network": ("JobSetNetwork", False),
                   "successPolicy": ("JobSetSuccessPolicy", False), "failurePolicy": ("JobSetFailurePolicy", False),
                   "startupPolicy": ("JobSetStartupPolicy", False), "suspend": ("bool", False),
                   "coordinator": ("JobSetCoordinator", False), "managedBy": ("str", False),
                   "ttlSecondsAfterFinished": ("int", False)},
    "ReplicatedJob": {"name": ("str", True), "replicas": ("int", False), "groupName": ("str", False),
                      "template": ("V1JobTemplateSpec", True), "dependsOn": ("list[JobSetDependsOn]", False)},
    "JobSetDependsOn": {"name": ("str", True), "status": ("enum(Ready|Complete)", True)},
    "JobSetNetwork": {"enableDNSHostnames": ("bool", False), "subdomain": ("str", False),
                      "publishNotReadyAddresses": ("bool", False)},
    "JobSetSuccessPolicy": {"operator": ("enum(All|Any)", True), "targetReplicatedJobs": ("list[str]", False)},
    "JobSetFailurePolicy": {"maxRestarts": ("int", False), "rules": ("list[JobSetFailureRule]", False),
                            "restartStrategy": ("enum(Recreate|BlockingRecreate|InPlaceRestart)", False)},
    "JobSetFailureRule": {  # without RestartJob, which is alpha and off (JobSet 0.12) or unknown (before)
        "name": ("str", True), "targetReplicatedJobs": ("list[str]", False),
        "action": ("enum(FailJobSet|RestartJobSet|RestartJobSetAndIgnoreMaxRestarts)", True),
        "onJobFailureReasons": ("list[str]", False), "onJobFailureMessagePatterns": ("list[str]", False)},
    "JobSetStartupPolicy": {"startupPolicyOrder": ("enum(AnyOrder|InOrder)", True)},
    "JobSetCoordinator": {"replicatedJob": ("str", True), "jobIndex": ("int", False), "podIndex": ("int", False)},
    "PodFailurePolicy": {"rules": ("list[PodFailureRule]", True)},
    "PodFailureRule": {"action": ("enum(FailJob|FailIndex|Ignore|Count)", True),
                       "onExitCodes": ("PodFailureExitCodes", False),
                       "onPodConditions": ("list[PodFailureCondition]", False)},
    "PodFailureExitCodes": {"containerName": ("str", False), "operator": ("enum(In|NotIn)", True),
                            "values": ("list[int]", True)},
    "PodFailureCondition": {"type": ("str", True), "status": ("enum(True|False|Unknown)", True)},
}
LATER = {"V1JobSpec": {"podFailurePolicy": ("PodFailurePolicy", False)}}
QUANTITIES = {("V1ResourceRequirements", "limits"), ("V1ResourceRequirements", "requests"),
              ("V1EmptyDirVolumeSource", "sizeLimit")}
ENUMS = {
    ("V1PodSpec", "restartPolicy"): ("Always", "OnFailure", "Never"),
    ("V1Container", "imagePullPolicy"): ("Always", "IfNotPresent", "Never"),
    ("V1SeccompProfile", "type"): ("RuntimeDefault", "Unconfined", "Localhost"),
    ("V1EmptyDirVolumeSource", "medium"): ("", "Memory"),
    ("V1Toleration", "operator"): ("Exists", "Equal"),
    ("V1Toleration", "effect"): ("NoSchedule", "PreferNoSchedule", "NoExecute"),
    ("V1StatefulSetSpec", "podManagementPolicy"): ("OrderedReady", "Parallel"),
    ("V1NetworkPolicyPort", "protocol"): ("TCP", "UDP", "SCTP"),
    ("V1PodSecurityContext", "fsGroupChangePolicy"): ("OnRootMismatch", "Always"),
}
PLAIN = {"str": str, "int": int, "bool": bool}


def is_required(name, attribute):
    strict = client.Configuration()
    loose = client.Configuration()
    loose.client_side_validation = False
    one = getattr(models, name)(local_vars_configuration=loose)
    one.local_vars_configuration = strict
    try:
        setattr(one, attribute, None)
    except ValueError:
        return True
    return False


def fields_of(name, known={}):
    """{JSON key: (type, required)} of a model or of a struct of ours."""
    if name in HAND:
        return HAND[name]
    if name not in known:
        model = getattr(models, name)
        known[name] = {key: (model.openapi_types[attribute], is_required(name, attribute))
                       for attribute, key in model.attribute_map.items()}
        known[name].update(LATER.get(name, {}))
    return known[name]


def walk(value, kind, path):
    """Yields sentences."""
    if kind.startswith("list["):
        if not isinstance(value, list):
            yield f"{path}: a list is expected, not {value!r}"
            return
        for index, one in enumerate(value):
            yield from walk(one, kind[5:-1], f"{path}[{index}]")
    elif kind.startswith("dict("):
        inner = kind[5:-1].split(", ", 1)[1]
        if not isinstance(value, dict):
            yield f"{path}: a mapping is expected, not {value!r}"
            return
        for key, one in value.items():
            yield from walk(one, inner, f"{path}.{key}")
    elif kind.startswith("enum("):
        if value not in kind[5:-1].split("|"):
            yield f"{path}: {value!r} is none of {kind[5:-1]}"
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind == "int" and isinstance(value, bool)):
            yield f"{path}: {kind} is expected, not {value!r}"
    elif kind == "object":  # a number or a text
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            yield f"{path}: a number or a text is expected, not {value!r}"
    else:
        yield from walk_object(value, kind, path)


def walk_object(value, kind, path):
    if not isinstance(value, dict):
        yield f"{path}: {kind} is a mapping, not {value!r}"
        return
    fields = fields_of(kind)
    for key, one in value.items():
        if key not in fields:
            yield f"{path}.{key}: {kind} has no such key"
            continue
        yield from walk(one, fields[key][0], f"{path}.{key}")
        texts = one.values() if isinstance(one, dict) else [one]
        if (kind, key) in QUANTITIES and not all(QUANTITY.match(str(text)) for text in texts):
            yield f"{path}.{key}: {one!r} has no quantity"
        if (kind, key) in ENUMS and one not in ENUMS[(kind, key)]:
            yield f"{path}.{key}: {one!r} is none of {ENUMS[(kind, key)]}"
    for key, (_, required) in fields.items():
        if required and key not in value:
            yield f"{path}: {kind} needs {key}"


def check_object(one):
    kind = KINDS.get((one.get("apiVersion"), one.get("kind")))
    if kind is None:
        yield f"{one.get('apiVersion')} {one.get('kind')}: no object that is known here"
        return
    name = one.get("metadata", {}).get("name", "")
    path = f"{one['kind']}/{name}"
    yield from walk(one, kind, path)
    if not DNS_LABEL.match(name):
        yield f"{path}: no DNS label"
    for key, text in one.get("metadata", {}).get("labels", {}).items():
        if not LABEL_VALUE.match(str(text)):
            yield f"{path}: label {key}={text}"
