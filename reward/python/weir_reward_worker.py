#!/usr/bin/env python3
"""weir_reward_worker.py - runs one Python reward function for a weir reward worker.

Started by weir-reward (reward/python_host.c) with a socket on descriptor 3. Frames: u32 little-endian length, then
UTF-8 JSON. The host says hello (file, source, function, style, kwargs) and then `score`; this process answers one
`result` each, in order. The user's function runs on the main thread, unchanged: what differs between training
libraries is how a function is called, and that is all this file knows. Standard library only, Python 3.8 or newer.
"""
import asyncio
import inspect
import json
import linecache
import math
import os
import re
import select
import signal
import struct
import sys
import threading
import time
import traceback
import types

PROTOCOL = 1
FRAME_MAX = 64 << 20
TEXT_MAX = 500  # of a text in a detail
STYLES = ("verl", "verl_batch", "trl", "verifiers", "openrlhf", "areal", "slime")
GROUP_NAMES = {"states", "prompts", "completions", "answers", "tasks", "infos"}


class Skip(Exception):
    """The function says that it does not apply to this item."""


# ---- frames ----

class Channel:
    def __init__(self, descriptor):
        os.set_inheritable(descriptor, False)
        self.descriptor = descriptor

    def _read(self, size):
        parts = []
        while size > 0:
            part = os.read(self.descriptor, min(size, 1 << 20))
            if not part:
                sys.exit(0)  # the host is gone
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def receive(self):
        (size,) = struct.unpack("<I", self._read(4))
        if size > FRAME_MAX:
            sys.exit("a frame of %d bytes" % size)
        return json.loads(self._read(size).decode("utf-8"))

    def send(self, message):
        body = json.dumps(message, ensure_ascii=True, allow_nan=False).encode("utf-8")
        frame = memoryview(struct.pack("<I", len(body)) + body)
        while frame:
            frame = frame[os.write(self.descriptor, frame):]


def watch_host(descriptor):
    """The function may hang when the host dies: everything this process started goes with it."""
    poll = select.poll()
    poll.register(descriptor, select.POLLHUP)
    while not poll.poll(60000):
        pass
    os.killpg(0, signal.SIGKILL)


# ---- the user's function ----

def parameters(function):
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return {}


def takes_all(function):
    return any(p.kind == p.VAR_KEYWORD for p in parameters(function).values())


def allowed(function, values):
    """What of `values` the function can be called with."""
    named = parameters(function)
    if takes_all(function) or not named:
        return dict(values)
    return {name: value for name, value in values.items() if name in named}


def detect(target):
    """The style of a function by the names of its parameters."""
    if any(isinstance(getattr(target, name, None), list) for name in ("funcs", "reward_funcs")):
        return "verifiers"
    names = list(parameters(target))
    has = set(names)
    if has & {"solution_strs", "data_sources"}:
        return "verl_batch"
    if "solution_str" in has:
        return "verl"
    if "queries" in has:
        return "openrlhf"
    if names[:2] == ["args", "sample"] or names[:2] == ["args", "samples"]:
        return "slime"
    if has & {"states", "answers", "tasks", "infos"}:
        return "verifiers"
    if "completions" in has and "prompt" in has:
        return "areal"
    if has & {"completions", "completion_ids"}:
        return "trl"
    if has & {"completion", "answer", "state", "parser", "info"}:
        return "verifiers"
    return None


def place(path):
    """Name and package of a file: one inside a package may import its neighbours, as `from . import gsm8k`."""
    stem = os.path.splitext(os.path.basename(path))[0]
    root, parts = os.path.dirname(path), []
    while os.path.exists(os.path.join(root, "__init__.py")) and os.path.dirname(root) != root:
        parts.insert(0, os.path.basename(root))
        root = os.path.dirname(root)
    package = ".".join(parts)
    if stem == "__init__":
        return package, package, root
    name = stem if stem.isidentifier() and stem not in sys.modules else "weir_reward_function"
    return package + "." + name if package else name, package, root


def load(hello):
    """Runs the copy of the file that the host read, so that every worker of it runs the same text."""
    path, source = hello["file"], hello["source"]
    name, package, root = place(path)
    module = types.ModuleType(name)
    module.__file__, module.__package__ = path, package
    if name == package and package:
        module.__path__ = [os.path.dirname(path)]
    sys.modules[name] = module
    sys.path.append(root)
    linecache.cache[path] = (len(source), None, source.splitlines(True), path)
    exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    wanted = hello["function"]
    if not wanted:
        found = [n for n in ("compute_score", "reward_func", "reward_fn", "reward", "rubric", "custom_rm") if hasattr(module, n)]
        if len(found) != 1:
            raise LookupError("say which function: %s:NAME" % path)
        wanted = found[0]
    target = module
    for part in wanted.split("."):
        if not hasattr(target, part):
            raise LookupError("%s has no %s" % (path, wanted))
        target = getattr(target, part)
    if hello["config"].get("factory") is not None:
        target = target(**hello["config"]["factory"])
    return module, target, wanted


LOOP = None


def call(function, values, deadline):
    """Calls it on this thread, the main one; waits for a coroutine until the deadline."""
    global LOOP
    answer = function(**values)
    if not inspect.isawaitable(answer):
        return answer
    if LOOP is None:
        LOOP = asyncio.new_event_loop()
        asyncio.set_event_loop(LOOP)

    async def wait():
        return await asyncio.wait_for(answer, max(0.001, deadline - time.monotonic()))

    return LOOP.run_until_complete(wait())


# ---- values ----

def plain(value):
    """Tensors and arrays of other libraries as Python values, without knowing those libraries."""
    for method in ("detach", "cpu"):
        if hasattr(value, method):
            value = getattr(value, method)()
    if hasattr(value, "tolist"):
        return value.tolist()
    return value.item() if hasattr(value, "item") else value


def number(value):
    value = plain(value)
    if value is None:
        raise Skip()
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    result = float(value)
    if not math.isfinite(result):
        raise ValueError("the function returned %r, which is no score" % (value,))
    return result


def short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "..."


def split(extra):
    """Named values beside the score: numbers are metrics, the rest is detail."""
    metrics, detail = {}, {}
    for key, value in extra.items():
        value = plain(value)
        if isinstance(value, (bool, int, float)) and math.isfinite(value):
            metrics[str(key)] = float(value)
        elif value is not None:
            detail[str(key)] = short(value)
    return metrics, detail


def ok(score, metrics=None, detail=None):
    return {"status": "ok", "score": score, "metrics": metrics or {}, "detail": detail or {}}


def scalar_or_dict(value, key="score"):
    if isinstance(value, dict):
        if key not in value:
            raise KeyError("the function returned a dict without %r" % key)
        metrics, detail = split({k: v for k, v in value.items() if k != key})
        return ok(number(value[key]), metrics, detail)
    return ok(number(value))


def failed(error):
    """The last line of the traceback; the whole of it goes to the log."""
    traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, (asyncio.TimeoutError, TimeoutError)) and not str(error):
        return {"status": "timeout", "detail": {"error": "the function did not return in time"}}
    line = traceback.format_exception_only(type(error), error)[-1].strip()
    return {"status": "error", "detail": {"error": short(re.sub(r" at 0x[0-9a-f]+", "", line))}}


# ---- what an item is for the styles ----

class Item:
    def __init__(self, said):
        self.said = said
        self.id = said["id"]
        self.row = said.get("row") if isinstance(said.get("row"), dict) else {}
        self.response = said["response"]
        messages = said.get("prompt")
        self.conversational = isinstance(messages, list)
        self.prompt = messages if self.conversational else said.get("prompt_text", "")
        self.completion = [{"role": "assistant", "content": self.response}] if self.conversational else self.response
        self.truth = said.get("ground_truth")

    def column(self, *names):
        for name in names:
            if name in self.row:
                return self.row[name]
        return None


def columns(items):
    """Every column of the data rows as a list, as trainers hand them over."""
    names = {}
    for item in items:
        for name in item.row:
            if name not in ("prompt", "completion", "completion_ids"):
                names[name] = None
    lists = {name: [item.row.get(name) for item in items] for name in names}
    lists.setdefault("data_source", [item.said.get("data_source", "") for item in items])
    lists.setdefault("ground_truth", [item.truth for item in items])
    return lists


class Style:
    batch = False
    group = False

    def __init__(self, module, target, kwargs):
        self.module, self.target, self.kwargs = module, target, kwargs

    def wants_ids(self):
        return False

    def score(self, items, deadline):
        """A result for each item, without its id."""
        raise NotImplementedError


class Verl(Style):
    @staticmethod
    def truth(item):
        model = item.row.get("reward_model")
        return model["ground_truth"] if isinstance(model, dict) and "ground_truth" in model else item.truth

    @staticmethod
    def extra(item):
        extra = item.row.get("extra_info")
        extra = dict(extra) if isinstance(extra, dict) else dict(item.row)
        extra.setdefault("num_turns", None)
        extra.setdefault("rollout_reward_scores", {})
        return extra

    def score(self, items, deadline):
        results = []
        for item in items:
            values = {"data_source": item.said.get("data_source", ""), "solution_str": item.response,
                      "ground_truth": self.truth(item), "extra_info": self.extra(item)}
            values.update(self.kwargs)
            results.append(scalar_or_dict(call(self.target, allowed(self.target, values), deadline)))
        return results


class VerlBatch(Verl):
    batch = True

    def score(self, items, deadline):
        values = {"data_sources": [item.said.get("data_source", "") for item in items],
                  "solution_strs": [item.response for item in items],
                  "ground_truths": [self.truth(item) for item in items],
                  "extra_infos": [self.extra(item) for item in items]}
        values.update(self.kwargs)
        return each(call(self.target, allowed(self.target, values), deadline), len(items), scalar_or_dict)


def each(values, count, convert):
    values = plain(values)
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError("the function returned %s for %d items" % (short(values), count))
    results = []
    for value in values:
        try:
            results.append(convert(value))
        except Skip:
            results.append({"status": "skip"})
    return results


class Trl(Style):
    batch = True

    def wants_ids(self):
        return takes_all(self.target) or bool({"completion_ids", "prompt_ids"} & set(parameters(self.target)))

    def score(self, items, deadline):
        metrics, details = {}, {}
        values = columns(items)
        values.update(prompts=[item.prompt for item in items], completions=[item.completion for item in items],
                      completion_ids=[item.said.get("response_ids", []) for item in items],
                      trainer_state=types.SimpleNamespace(global_step=items[0].said.get("step", 0)),
                      log_extra=lambda name, column: details.__setitem__(name, column),
                      log_metric=lambda name, value: metrics.__setitem__(name, value))
        values.update(self.kwargs)

        def convert(value):
            value = plain(value)
            if value is None or (isinstance(value, float) and math.isnan(value)):
                raise Skip()  # left out by nansum there
            return ok(number(value))

        results = each(call(self.target, allowed(self.target, values), deadline), len(items), convert)
        for i, result in enumerate(results):
            own = {name: column[i] for name, column in details.items() if isinstance(column, (list, tuple)) and len(column) == len(items)}
            result["metrics"], result["detail"] = split({**metrics, **own})
        return results


class Parser:
    """What verifiers' own default parser does with a completion."""

    def parse(self, text):
        return text

    def parse_answer(self, completion):
        if isinstance(completion, str):
            return self.parse(completion)
        last = [m for m in completion if m.get("role") == "assistant"]
        return self.parse(last[-1].get("content") or "") if last else None

    def get_assistant_messages(self, messages):
        return [m for m in messages if m.get("role") == "assistant"]


class Verifiers(Style):
    def __init__(self, module, target, kwargs):
        super().__init__(module, target, kwargs)
        functions = getattr(target, "funcs", None)
        functions = functions if isinstance(functions, list) else getattr(target, "reward_funcs", None)
        self.functions = functions if isinstance(functions, list) else [target]
        weights = getattr(target, "weights", None) or getattr(target, "reward_weights", None)
        self.weights = list(weights) if isinstance(weights, (list, tuple)) else [1.0] * len(self.functions)
        objects = getattr(target, "class_objects", None)
        self.objects = dict(objects) if isinstance(objects, dict) else {}
        parser = getattr(target, "parser", None) or getattr(module, "parser", None)
        self.objects.setdefault("parser", parser or Parser())
        self.group = any(self.is_group(function) for function in self.functions)

    @staticmethod
    def is_group(function):
        try:
            returns = inspect.signature(function).return_annotation
        except (TypeError, ValueError):
            returns = None
        return bool(GROUP_NAMES & set(parameters(function))) or returns is list

    @staticmethod
    def state(item):
        answer = item.row["answer"] if "answer" in item.row else item.truth
        state = dict(item.row)
        info = item.row.get("info")
        state.update(prompt=item.prompt, completion=item.completion, answer="" if answer is None else answer,
                     task=item.row.get("task", "default"), info=info if info is not None else {},
                     responses=[], turn=1, trajectory=[], metrics={}, reward=0.0,
                     timing={"generation_ms": 0.0, "scoring_ms": 0.0, "total_ms": 0.0})
        return state

    def one(self, function, states, deadline):
        """Values of one function for all states, and the exceptions that became 0.0, as verifiers has it."""
        def guarded(values):
            try:
                return call(function, allowed(function, values), deadline), None
            except asyncio.TimeoutError:
                raise
            except Exception as error:  # pylint: disable=broad-except
                return None, failed(error)["detail"].get("error", "")

        if self.is_group(function):
            values = {name + "s": [s[name] for s in states] for name in ("prompt", "completion", "answer", "task", "info")}
            values.update(self.objects, states=states)
            values.update(self.kwargs)
            answer, error = guarded(values)
            answer = [0.0] * len(states) if error is not None else [number(v) for v in plain(answer)]
            return answer, [error] * len(states)
        scores, errors = [], []
        for state in states:
            values = dict(state)
            values.update(self.objects, state=state)
            values.update(self.kwargs)
            answer, error = guarded(values)
            try:
                scores.append(0.0 if error is not None else float(plain(answer)))
            except (TypeError, ValueError) as wrong:
                scores.append(0.0)
                error = failed(wrong)["detail"]["error"]
            errors.append(error)
        return scores, errors

    def score(self, items, deadline):
        states = [self.state(item) for item in items]
        totals = [0.0] * len(items)
        metrics = [{} for _ in items]
        details = [{} for _ in items]
        for function, weight in zip(self.functions, self.weights):
            name = getattr(function, "__name__", type(function).__name__)
            scores, errors = self.one(function, states, deadline)
            for i, value in enumerate(scores):
                totals[i] += value * weight
                if len(self.functions) > 1:
                    metrics[i][name] = value
                if errors[i] is not None:
                    metrics[i]["exceptions"] = metrics[i].get("exceptions", 0.0) + 1.0
                    details[i]["exception in " + name] = errors[i]
        return [ok(number(total), metrics[i], details[i]) for i, total in enumerate(totals)]


class OpenRlhf(Style):
    batch = True

    def score(self, items, deadline):
        values = {"queries": [item.said.get("prompt_text", "") + item.response for item in items],
                  "prompts": [item.said.get("prompt_text", "") for item in items],
                  "labels": [item.truth for item in items]}
        values.update(self.kwargs)
        answer = call(self.target, allowed(self.target, values), deadline)
        extra = {}
        if isinstance(answer, dict):
            extra = answer.get("extra_logs") or {}
            answer = answer["rewards"] if "rewards" in answer else answer["scores"]
        results = each(answer, len(items), lambda value: ok(number(value)))
        for i, result in enumerate(results):
            own = {}
            for name, column in extra.items():
                column = plain(column)
                own[name] = column[i] if isinstance(column, (list, tuple)) and len(column) == len(items) else column
            result["metrics"], result["detail"] = split(own)
        return results


class Areal(Style):
    def wants_ids(self):
        return True

    def score(self, items, deadline):
        results = []
        for item in items:
            values = {"ground_truth": item.truth}
            values.update(item.row)
            values.update(prompt=item.said.get("prompt_text", ""), completions=item.response,
                          prompt_ids=item.said.get("prompt_ids", []), completion_ids=item.said.get("response_ids", []))
            values.update(self.kwargs)
            results.append(scalar_or_dict(call(self.target, allowed(self.target, values), deadline)))
        return results


class Slime(Style):
    def __init__(self, module, target, kwargs):
        super().__init__(module, target, kwargs)
        self.group = "samples" in parameters(target)

    @staticmethod
    def sample(item):
        metadata = item.row.get("metadata")
        return types.SimpleNamespace(
            index=item.said.get("index", 0), group_index=item.said.get("group_id", 0), prompt=item.prompt,
            response=item.response, label=item.truth, metadata=metadata if isinstance(metadata, dict) else dict(item.row),
            tokens=item.said.get("prompt_ids", []) + item.said.get("response_ids", []),
            response_length=len(item.said.get("response_ids", [])), reward=None)

    def score(self, items, deadline):
        args = types.SimpleNamespace(**self.kwargs)
        samples = [self.sample(item) for item in items]
        if self.group:
            names = list(parameters(self.target))
            return each(call(self.target, {names[0]: args, names[1]: samples}, deadline), len(items), scalar_or_dict)
        names = list(parameters(self.target))
        return [scalar_or_dict(call(self.target, {names[0]: args, names[1]: sample}, deadline)) for sample in samples]


BY_NAME = {"verl": Verl, "verl_batch": VerlBatch, "trl": Trl, "verifiers": Verifiers, "openrlhf": OpenRlhf,
           "areal": Areal, "slime": Slime}


# ---- the conversation ----

def score_items(style, items, deadline):
    """One result an item. What one item of a batch raises must not cost the others their score."""
    try:
        return style.score(items, deadline)
    except Skip:
        results = [{"status": "skip"}]
    except BaseException as error:  # pylint: disable=broad-except
        results = [failed(error)]
    if len(items) == 1:
        return results
    if style.group:
        return results * len(items)
    return [result for item in items for result in score_items(style, [item], deadline)]


def answer_score(channel, style, message):
    deadline = time.monotonic() + message["deadline_ms"] / 1000.0
    items = [Item(said) for said in message["items"]]
    results = score_items(style, items, deadline)
    for item, result in zip(items, results):
        result["id"] = item.id
    sys.stdout.flush()
    channel.send({"type": "result", "req": message["req"], "results": results})


def open_style(hello):
    module, target, name = load(hello)
    wanted = hello["style"]
    if wanted == "auto":
        wanted = detect(target)
        if wanted is None:
            raise LookupError("%s: the style of %s(%s) cannot be told from its parameters; set reward.style to one of %s"
                              % (hello["file"], name, ", ".join(parameters(target)), ", ".join(STYLES)))
    style = BY_NAME[wanted](module, target, hello["config"].get("kwargs") or {})
    return style, wanted, name


def main():
    channel = Channel(3)
    threading.Thread(target=watch_host, args=(3,), daemon=True).start()
    hello = channel.receive()
    try:
        style, wanted, name = open_style(hello)
    except BaseException as error:  # pylint: disable=broad-except
        why = failed(error)["detail"]["error"]
        channel.send({"type": "failed", "why": why})
        return
    channel.send({"type": "hello", "proto": PROTOCOL, "style": wanted, "function": name, "is_batch": style.batch,
                  "is_group": style.group, "wants_ids": style.wants_ids(), "pid": os.getpid(),
                  "python": "%d.%d.%d" % sys.version_info[:3]})
    while True:
        message = channel.receive()
        if message["type"] == "score":
            answer_score(channel, style, message)
        elif message["type"] == "ping":
            channel.send({"type": "pong"})
        elif message["type"] == "bye":
            return


if __name__ == "__main__":
    main()
