#!/usr/bin/env python3
"""The side of transformers in tests/test_transformers.c, and the same by hand.

    round_trip.py make WORK     tiny random models: WORK/<case>/saved (save_pretrained) and their logits
    round_trip.py load WORK     WORK/<case>/written, which weir wrote, into AutoModelForCausalLM: logits, and
                                WORK/<case>/half, its bf16 form, which must load without a word

Exits with 77 and one line where torch or transformers cannot be imported. Every parameter is random, norms and biases,
too, so that one which is left out or exchanged shows. Logits are those of float32 on the CPU.
"""
import json
import pathlib
import sys

try:
    import torch
    import transformers
    from safetensors.torch import save_file
except ImportError as error:
    print(f"skipped: {error}; pip install torch transformers runs this test")
    sys.exit(77)

TOKENS = 48
SIZES = dict(vocab_size=331, hidden_size=64, intermediate_size=96, num_hidden_layers=4,
             num_attention_heads=4, num_key_value_heads=2, head_dim=16, initializer_range=0.1,
             max_position_embeddings=512, bos_token_id=1, eos_token_id=2)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 16}


def theta(value):
    return {"rope_type": "default", "rope_theta": value}


MINIMAX = dict(layer_types=["linear_attention", "full_attention", "linear_attention",
                            "full_attention"], num_local_experts=4, num_experts_per_tok=2,
               full_attn_alpha_factor=1.4, linear_attn_alpha_factor=1.5, mlp_alpha_factor=1.6,
               rope_parameters=theta(10000.0))
# Tables of native minimax that follow from config.json; the class computes what a folder lacks.
COMPUTED = ("slope_rate", "query_decay", "key_decay", "diagonal_decay")
# (case, config class, what differs from SIZES, bytes of a shard)
CASES = [
    ("minimax", "MiniMaxConfig", MINIMAX, "100KB"),
    ("qwen2", "Qwen2Config", dict(rope_parameters=theta(1e6)), "5GB"),
    ("qwen2-tied", "Qwen2Config", dict(tie_word_embeddings=True), "60KB"),
    ("qwen3", "Qwen3Config", dict(rope_parameters=theta(1e6), tie_word_embeddings=True), "5GB"),
    ("llama", "LlamaConfig", dict(rope_parameters=theta(500000.0)), "5GB"),
    ("llama3-rope", "LlamaConfig", dict(rope_parameters=LLAMA3, eos_token_id=[2, 3]), "60KB"),
    ("mixtral", "MixtralConfig", dict(num_local_experts=4, num_experts_per_tok=2,
                                      sliding_window=None), "100KB"),
    ("qwen3-moe", "Qwen3MoeConfig", dict(num_experts=8, num_experts_per_tok=2,
                                         moe_intermediate_size=32, norm_topk_prob=True,
                                         decoder_sparse_step=1, mlp_only_layers=[]), "5GB"),
    ("gemma3", "Gemma3TextConfig", dict(sliding_window=8, query_pre_attn_scalar=16,
                                        num_hidden_layers=6), "5GB"),
]


def write_logits(model, path):
    ids = (torch.arange(TOKENS) * 37 + 11) % model.config.vocab_size
    with torch.no_grad():
        logits = model(ids[None]).logits[0].float()
    save_file({"ids": ids.int(), "logits": logits.contiguous()}, str(path))


def make(work):
    for name, config_class, extra, shard in CASES:
        config = getattr(transformers, config_class)(**{**SIZES, **extra})
        config._attn_implementation = "eager"
        torch.manual_seed(1)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.data += 0.3 * torch.randn(parameter.shape)
        folder = work / name / "saved"
        model.save_pretrained(folder, max_shard_size=shard)
        write_logits(model, work / name / "saved.safetensors")
    (work / "cases").write_text("".join(f"{case[0]}\n" for case in CASES))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


def load(work):
    for name in (work / "written").read_text().split():
        folder = work / name / "written"
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, attn_implementation="eager")
        for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
            wrong = [key for key in info.get(kind) or [] if not str(key).endswith(COMPUTED)]
            if wrong:
                sys.exit(f"{folder}: {kind} {wrong}")
        write_logits(model.eval(), work / name / "written.safetensors")
        half = transformers.AutoModelForCausalLM.from_pretrained(work / name / "half", dtype="auto")
        if half.dtype != torch.bfloat16:
            sys.exit(f"{name}: dtype of the bf16 folder is {half.dtype}")
        generation = transformers.GenerationConfig.from_pretrained(folder)
        wanted = json.loads((work / name / "saved" / "config.json").read_text())["eos_token_id"]
        if generation.eos_token_id != wanted:
            sys.exit(f"{name}: eos_token_id {generation.eos_token_id}, not {wanted}")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("make", "load"):
        sys.exit(__doc__)
    transformers.logging.set_verbosity_error()
    {"make": make, "load": load}[sys.argv[1]](pathlib.Path(sys.argv[2]))
