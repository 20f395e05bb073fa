"""A small random model with a tokenizer, served by weir, for the scripts beside this one.

They run where the packages they compare with can be imported (WEIR_PEERS_PYTHON names a Python that can; CI has none)
and end with 77, a skip, otherwise. WEIR_PEERS_TOKENIZER: a folder with tokenizer.json to use; else one is made here.
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

SKIP = 77
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
QWEN2 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXT = ("the quick brown fox jumps over the lazy dog while seven wizards quietly count 1234567890 stars; "
        "numbers such as 3 + 4 = 7 and 12 - 5 = 7 are sums, and a question ends with a mark? yes. ") * 20


def want(*names):
    """Imports the modules or skips."""
    modules = []
    for name in names:
        try:
            modules.append(__import__(name))
        except ImportError:
            print(f"skipped: the Python package {name} is not installed")
            sys.exit(SKIP)
    return modules


def make_tokenizer(folder):
    """A byte-level BPE tokenizer trained on a paragraph, cut as Qwen2's: transformers cuts so for a Qwen2 model, whatever
    tokenizer.json says."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=480, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False)
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "chat_template": CHAT_TEMPLATE}))


def make_model(binaries, folder):
    model = folder / "model"
    files = folder / "tokenizer"
    files.mkdir()
    given = os.environ.get("WEIR_PEERS_TOKENIZER")
    if given:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(pathlib.Path(given) / name, files / name)
    else:
        make_tokenizer(files)
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
    eos = tokenizer.token_to_id("<|im_end|>")
    vocabulary = tokenizer.get_vocab_size()
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "hidden_size": 64,
        "intermediate_size": 128, "initializer_range": 0.3, "max_position_embeddings": 2048, "num_attention_heads": 4,
        "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": False, "torch_dtype": "float32", "vocab_size": vocabulary, "eos_token_id": eos}))
    subprocess.run([binaries / "weir", "init", folder / "config.json", model, "7"], check=True)
    for file in files.iterdir():
        shutil.copy(file, model / file.name)
    return model


@contextlib.contextmanager
def served(binaries, model, *more):
    """The server's URL without /v1; it ends with the block."""
    command = [binaries / "weir", "serve", model, "--port", "0", *more]
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        match = re.search(r"http://[0-9.:]+", line)
        if not match:
            raise RuntimeError(f"weir serve said {line!r}")
        yield match[0]
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=30)
        assert code == 0, f"weir serve ended with {code}"


@contextlib.contextmanager
def world(*more):
    """(model folder, URL, folder for files) of a served random model; sys.argv[1] is the folder of programs."""
    binaries = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="weir-peers-") as name:
        folder = pathlib.Path(name)
        model = make_model(binaries, folder)
        with served(binaries, model, *more) as url:
            yield model, url, folder
