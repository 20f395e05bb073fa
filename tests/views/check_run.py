#!/usr/bin/env python3
"""What a run folder shows of its steps, checked without any package of weir: TensorBoard files, histograms, rollout files
and the merged trace against metrics.jsonl.

    check_run.py WEIR RUN_FOLDER

With the real tensorboard package in this Python, its reader must see the same series; its name is printed then."""
import glob
import json
import math
import os
import struct
import subprocess
import sys

KEYS = ("step", "version", "branch", "wall")


def crc32c_table():
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


TABLE = crc32c_table()


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    data = open(path, "rb").read()
    at = 0
    while at < len(data):
        size, size_crc = struct.unpack_from("<QI", data, at)
        assert masked_crc(data[at:at + 8]) == size_crc, f"{path}: CRC of the size at byte {at}"
        body = data[at + 12:at + 12 + size]
        assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked_crc(body), f"{path}: CRC at byte {at}"
        yield body
        at += 16 + size


def fields(data):
    """(number, value) of a protobuf message: ints, 4 or 8 bytes, or bytes."""
    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 0x7F) << shift
            shift += 7
            at += 1
            if data[at - 1] < 0x80:
                return value, at

    at = 0
    while at < len(data):
        key, at = varint(at)
        wire = key & 7
        if wire == 0:
            value, at = varint(at)
        elif wire == 2:
            size, at = varint(at)
            value, at = data[at:at + size], at + size
        else:
            size = 8 if wire == 1 else 4
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def read_events(folder):
    """{tag: {step: f32}}, {tag: {step: histogram}}, {tag: {step: text}}; a session that starts at a step forgets those from there on."""
    scalars, histograms, texts = {}, {}, {}
    for path in sorted(glob.glob(os.path.join(folder, "events.out.tfevents.*"))):
        for number, body in enumerate(records(path)):
            event = dict(fields(body))
            step = event.get(2, 0)
            if number == 0:
                assert event[3] == b"brain.Event:2", path
            if 7 in event:
                for series in (*scalars.values(), *histograms.values(), *texts.values()):
                    for late in [s for s in series if s >= step]:
                        del series[late]
            for _, value in fields(event.get(5, b"")):
                parts = list(fields(value))
                value = dict(parts)
                tag = value[1].decode()
                if 2 in value:
                    scalars.setdefault(tag, {})[step] = struct.unpack("<f", value[2])[0]
                if 5 in value:
                    histograms.setdefault(tag, {})[step] = dict(fields(value[5]))
                if 8 in value:
                    texts.setdefault(tag, {})[step] = dict(fields(value[8]))[8].decode()
    return scalars, histograms, texts


def expected(lines):
    series, alarms = {}, {}
    for line in lines:
        for name, value in line.items():
            if name not in KEYS and isinstance(value, (int, float)):
                series.setdefault(name, {})[line["step"]] = struct.unpack("<f", struct.pack("<f", value))[0]
        if "alarm" in line:
            alarms[line["step"]] = line["alarm"]
    return series, alarms


def check_tensorboard(folder, lines):
    scalars, histograms, texts = read_events(folder)
    series, alarms = expected(lines)
    assert scalars == series, "the series of tb/ are not those of metrics.jsonl"
    assert texts.get("alarm", {}) == alarms
    for tag in ("is/weight", "actor/probability"):
        assert set(histograms[tag]) == {line["step"] for line in lines}, tag
        for step, histogram in histograms[tag].items():
            counts = struct.unpack(f"<{len(histogram[7]) // 8}d", histogram[7])
            assert struct.unpack("<d", histogram[3])[0] == sum(counts), (tag, step)
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    except ImportError:
        return
    events = EventAccumulator(folder, size_guidance={"scalars": 0, "histograms": 0, "tensors": 0}).Reload()
    theirs = {tag: {event.step: event.value for event in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    assert theirs == series, "tensorboard reads other series"
    assert set(events.Tags()["histograms"]) == {"is/weight", "actor/probability"}
    print("tensorboard's own reader agrees:", len(theirs), "series")


def check_histograms(path, lines):
    rows = [json.loads(row) for row in open(path)]
    assert [row["step"] for row in rows] == [line["step"] for line in lines]
    for row, line in zip(rows, lines):
        weight, density = row["is_weight"], row["logprob_density"]
        assert len(weight["edges"]) == len(weight["counts"]) + 1
        assert len(density["counts"]) == (len(density["edges"]) - 1) ** 2
        trained = sum(weight["counts"])
        assert sum(density["counts"]) == trained == row["fork"]["tokens"] == sum(row["ppl_position"]["counts"])
        assert sum(row["advantage"]["counts"]) <= line["train/rollouts"]
        assert sum(row["version_lag"]["counts"]) == line["train/rollouts"] == sum(row["length"]["counts"])
        if trained:
            clip = row["clip"]
            share = (clip["positive_clipped"] + clip["negative_clipped"]) / trained
            assert share <= line["cispo/clip_frac"] + 1e-9
            assert abs(density["pearson"] - line["mismatch/pearson"]) < 1e-5


def check_rollouts(weir, folder, lines):
    for line in lines:
        text = subprocess.run([weir, "tail", folder, "--step", str(line["step"]), "--json", "--tokens"], check=True,
                              stdout=subprocess.PIPE).stdout
        rows = [json.loads(row) for row in text.splitlines()]
        assert len(rows) == line["train/rollouts"], line["step"]
        assert abs(sum(row["reward"] for row in rows) / len(rows) - line["reward/trained_mean"]) < 1e-5
        assert sum(row["tokens"] for row in rows) == line["train/tokens"]
        weights = []
        for row in rows:
            assert row["step"] == line["step"] and row["source"] == "addition" and len(row["token"]) == row["tokens"]
            assert "".join(token["t"] for token in row["token"]) == row["text"]
            for token in row["token"]:
                if token["weight"] is None:
                    continue
                assert abs(math.exp(token["trained"] - token["logprob"]) - token["weight"]) < 1e-4 * max(1, token["weight"])
                assert token["version"] < line["step"]
                weights.append(token["weight"])
        if weights:
            assert abs(max(weights) - line["is/max"]) < 1e-5 * line["is/max"]
            assert abs(sum(weights) / len(weights) - line["is/mean"]) < 1e-5


def check_trace(path, lines):
    events = json.load(open(path))["traceEvents"]
    names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert any(name.startswith("actor.") for name in names.values()) and "learner.0" in names.values()
    spans = [event for event in events if event["ph"] == "X"]
    assert spans == sorted(spans, key=lambda span: span["ts"]) and all(span["dur"] >= 0 for span in spans)
    learner = [span for span in spans if names[span["pid"]] == "learner.0"]
    for i, one in enumerate(learner):  # a span lies in another or beside it; 2 us: beginnings and ends are rounded
        for other in learner[i + 1:]:
            if other["ts"] >= one["ts"] + one["dur"] - 2:
                break
            assert other["ts"] + other["dur"] <= one["ts"] + one["dur"] + 2, (one, other)
    checked = 0
    for line in lines:
        last = [span for span in learner if span["name"] == "step" and span["args"]["step"] == line["step"]]
        if not last:
            continue  # the half second before a kill leaves no spans
        step = last[-1]  # a step that was made again has two
        assert abs(step["dur"] - line["time/step"] * 1e6) < 50
        inside = [span for span in learner if span is not step and span["ts"] >= step["ts"] - 2 and
                  span["ts"] + span["dur"] <= step["ts"] + step["dur"] + 2]
        part = {name: sum(span["dur"] for span in inside if span["name"] == name)
                for name in ("wait", "train", "sync", "report", "checkpoint")}
        for name, metric in (("wait", "learner/wait_s"), ("train", "time/train"), ("sync", "sync/seconds")):
            assert abs(part[name] - line[metric] * 1e6) < 50, (name, part, line[metric])
        if part["report"] > 0:  # the first step of a process begins with the start of the process
            rest = step["dur"] - sum(part.values())
            assert -20 < rest < max(0.01 * step["dur"], 500), (line["step"], rest, step["dur"], part)
            checked += 1
    assert checked > 0


def main():
    weir, folder = sys.argv[1:3]
    lines = [json.loads(line) for line in open(os.path.join(folder, "metrics.jsonl"))]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    check_tensorboard(os.path.join(folder, "tb"), lines)
    check_histograms(os.path.join(folder, "histograms.jsonl"), lines)
    check_rollouts(weir, folder, lines)
    trace = os.path.join(folder, "trace.json")
    subprocess.run([weir, "trace", folder, "-o", trace], check=True, stdout=subprocess.DEVNULL)
    check_trace(trace, lines)
    print(len(lines), "steps agree")


if __name__ == "__main__":
    main()
