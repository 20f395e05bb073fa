#!/usr/bin/env python3
"""Speed of weir's tokenizer beside the Python package `tokenizers`, CPU time of one core, the same documents in the same run.

    tokenizers_speed.py --model DIR [--model DIR ...] [--english FILE] [--mixed FILE] [--bench build/bin/bench_tokenizer]

Without --english and --mixed the texts are made of what is here: the documentation; code, Chinese, Japanese, Korean,
Russian, emoji and mathematics. Prints JSON lines; limits stand beside the figures. Without the package only weir runs.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DOCUMENT_BYTES = 4096
MATHS = [r"\sum_{i=1}^{n} i = \frac{n(n+1)}{2}", "∀ε>0 ∃δ>0: |x−a|<δ ⇒ |f(x)−f(a)|<ε", "∫₀^∞ e^{−x²} dx = √π/2",
         "$$\\boxed{x = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}}$$", "A ⊂ B ∧ B ⊂ C → A ⊂ C", "3.14159 × 2.71828 ≈ 8.53973"]
EMOJI = ["😀", "🎉", "👩‍💻", "🚀", "❤️", "🇩🇪", "👍🏽", "🧮", "✨", "🤖"]
SENTENCES = ["我们需要先计算这个三角形的面积，然后再求出它的周长。", "如果一个数能被三整除，那么它的各位数字之和也能被三整除。",
             "この問題を解くには、まず方程式を立ててから整理します。", "答えは次のとおりです：速度は毎秒三十メートルになります。",
             "먼저 문제를 작은 부분으로 나누어 하나씩 풀어 봅시다.", "따라서 정답은 마흔두 개이고 증명은 여기서 끝납니다.",
             "Следовательно, сумма углов треугольника равна ста восьмидесяти градусам.", "Проверим решение подстановкой."]


def shuffled(sentence, draw):
    """Another sentence of the same characters: parts swap places."""
    parts = [sentence[i:i + 4] for i in range(0, len(sentence), 4)]
    draw.shuffle(parts)
    return "".join(parts)


def read_all(pattern):
    return "".join(open(path, encoding="utf-8").read() for path in sorted(glob.glob(os.path.join(ROOT, pattern))))


def make_mixed(draw):
    code = read_all("core/*.c").split("\n}\n") + read_all("ops/lint/*.py").split("\n\n\n")
    out, size = [], 0
    while size < 2_000_000:
        part = [draw.choice(code), "".join(shuffled(draw.choice(SENTENCES), draw) for _ in range(8)),
                " ".join(draw.choice(MATHS).replace("1", str(draw.randrange(1000))) for _ in range(4)),
                " ".join(draw.choice(EMOJI) for _ in range(10))]
        out.append("\n".join(part) + "\n")
        size += len(out[-1].encode())
    return "".join(out)


def documents(text):
    data, begin, out = text.encode(), 0, []
    while begin < len(data):
        line = data.find(b"\n", begin + DOCUMENT_BYTES)
        end = len(data) if line < 0 or len(data) - begin <= DOCUMENT_BYTES else line + 1
        out.append(data[begin:end].decode())
        begin = end
    return out, len(data)


def peer(model, name, path):
    try:
        import tokenizers
    except ImportError:
        print("the package tokenizers is not here: weir alone", file=sys.stderr)
        return
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(model, "tokenizer.json"))
    texts, size = documents(open(path, encoding="utf-8", newline="").read())
    for call in ("encode_batch", "encode_batch_fast"):
        if not hasattr(tokenizer, call):
            continue
        times = []
        for _ in range(3):
            begin = time.process_time()
            found = getattr(tokenizer, call)(texts, add_special_tokens=False)
            times.append(time.process_time() - begin)
        print(json.dumps({"bench": "tokenizer", "program": f"tokenizers {tokenizers.__version__} {call}", "model": model,
                          "text": name, "bytes": size, "documents": len(texts), "ids": sum(len(e.ids) for e in found),
                          "encode_mb_s": round(size / sorted(times)[1] / 1e6, 1)}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", action="append", required=True)
    parser.add_argument("--english")
    parser.add_argument("--mixed")
    parser.add_argument("--bench", default=os.path.join(ROOT, "build", "dev", "bin", "bench_tokenizer"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = {"english": args.english, "mixed": args.mixed}
        made = {"english": lambda: read_all("docs/*.md") + read_all("*.md"), "mixed": lambda: make_mixed(random.Random(1))}
        for name, path in files.items():
            if path is None:
                files[name] = os.path.join(folder, name)
                with open(files[name], "w", encoding="utf-8", newline="") as out:
                    out.write(made[name]())
        for model in args.model:
            subprocess.run([args.bench, model, *(f"{name}={path}" for name, path in files.items())], check=True)
            for name, path in files.items():
                peer(model, name, path)


if __name__ == "__main__":
    main()
