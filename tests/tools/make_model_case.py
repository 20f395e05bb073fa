#!/usr/bin/env python3
"""Makes the reference cases of `weir verify` with Hugging Face transformers in float64.

    python3 -m venv V && V/bin/pip install torch transformers safetensors
    V/bin/python tests/tools/make_model_case.py OUT_FOLDER [NAME...]

A case is a folder as model/verify.h describes it: config.json and model.safetensors as save_pretrained writes them, and
what the model computes in float64. Modelling code rounds some steps to float32 on purpose (norms, angles, the router's
softmax); here float32 means float64, so that the case is what the formulas say.
"""
import json
import os
import sys
import zlib

import numpy
import torch

torch.float = torch.float32 = torch.float64
torch.Tensor.float = torch.Tensor.double
torch.set_default_dtype(torch.float64)

import transformers  # noqa: E402  (after the line above: it keeps the name)
from safetensors.numpy import save_file  # noqa: E402

EPS_LOW, EPS_HIGH = 1.0, 2.0
ADAMW = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-15, "weight_decay": 0.1}
LENGTHS, PROMPTS, GREEDY = [4, 19, 42], [2, 5, 11], 30
SMALL = dict(vocab_size=96, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-6, initializer_range=0.15,
             tie_word_embeddings=False, bos_token_id=None, eos_token_id=None, pad_token_id=None, attention_dropout=0.0)
LLAMA3 = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 64,
        "beta_fast": 8.0}


def plain(theta):
    return {"rope_type": "default", "rope_theta": theta}


CASES = {
    "llama3": ("LlamaConfig", "rope_scaling llama3, head_dim not hidden / heads",
               dict(SMALL, head_dim=8, rms_norm_eps=1e-5, rope_parameters=LLAMA3)),
    "llama-bias": ("LlamaConfig", "attention_bias, mlp_bias, tied embeddings, linear scaling",
                   dict(SMALL, num_attention_heads=6, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                        rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0})),
    "qwen2.5": ("Qwen2Config", "q, k, v biases, yarn, untied",
                dict(SMALL, num_attention_heads=2, num_key_value_heads=1, use_sliding_window=False,
                     rope_parameters=YARN)),
    "qwen3": ("Qwen3Config", "q and k norms, head_dim, tied embeddings",
              dict(SMALL, head_dim=8, tie_word_embeddings=True, rope_parameters=plain(1e6))),
    "qwen3-moe": ("Qwen3MoeConfig", "softmax router, weights divided by their sum",
                  dict(SMALL, vocab_size=64, head_dim=8, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=2,
                       norm_topk_prob=True, rope_parameters=plain(1e6))),
    "qwen3-moe-raw": ("Qwen3MoeConfig", "weights of chosen experts as they are, q, k, v, o biases",
                      dict(SMALL, head_dim=6, moe_intermediate_size=12, num_experts=4, num_experts_per_tok=3,
                           norm_topk_prob=False, attention_bias=True, rope_parameters=plain(1e4))),
    "qwen3-moe-dense": ("Qwen3MoeConfig", "layers 0 and 2 without experts",
                        dict(SMALL, vocab_size=64, num_hidden_layers=3, head_dim=6, moe_intermediate_size=12,
                             num_experts=4, num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=2,
                             mlp_only_layers=[0], rope_parameters=plain(1e4))),
    "mistral": ("MistralConfig", "a window in all layers",
                dict(SMALL, sliding_window=8, rope_parameters=plain(1e4))),
    "qwen2-window": ("Qwen2Config", "a window from layer 1 on",
                     dict(SMALL, use_sliding_window=True, sliding_window=5, max_window_layers=1,
                          rope_parameters=plain(1e4))),
    "mixtral": ("MixtralConfig", "softmax over the chosen logits",
                dict(SMALL, vocab_size=64, intermediate_size=12, rms_norm_eps=1e-5, num_local_experts=4, num_experts_per_tok=2,
                     sliding_window=None, rope_parameters=plain(1e6))),
}


def make_model(kind, settings, seed):
    torch.manual_seed(seed)
    config = getattr(transformers, kind)(**settings)
    config._attn_implementation = "eager"
    config._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.dim() == 1:  # norms and biases: not all alike
                value.add_(0.1 * torch.randn_like(value))
            elif "experts" in name or "gate" in name:  # some are left as allocated
                value.copy_(0.15 * torch.randn_like(value))
            value.copy_(value.to(torch.bfloat16).to(torch.float64))
    return model.double().eval()


def run(model, ids):
    out = model(input_ids=ids[None], output_hidden_states=True, use_cache=False)
    return out.logits[0], [h[0] for h in out.hidden_states]


def greedy(model, prompt):
    ids, margins = list(prompt), []
    with torch.no_grad():
        for _ in range(GREEDY):
            best = torch.topk(run(model, torch.tensor(ids))[0][-1], 2)
            margins.append(float(best.values[0] - best.values[1]))
            ids.append(int(best.indices[0]))
    return ids, margins


def tensors_of_sequences(model, sequences, draw):
    """Forward of every sequence: tensors, and the CISPO loss with gradient."""
    kept, lists = {}, {key: [] for key in ("logprob", "entropy", "old_logprob", "is_ratio")}
    advantage, total, count = draw.normal(size=len(sequences)), 0.0, sum(LENGTHS) - sum(PROMPTS)
    for i, ids in enumerate(sequences):
        logits, hidden = run(model, ids)
        logp = torch.log_softmax(logits, -1)
        logprob = logp[:-1].gather(1, ids[1:, None])[:, 0]
        old = logprob.detach() + 0.3 * torch.tensor(draw.normal(size=len(ids) - 1))
        ratio = torch.exp(logprob - old)
        response = slice(PROMPTS[i] - 1, len(ids) - 1)
        weight = ratio.detach().clamp(1.0 - EPS_LOW, 1.0 + EPS_HIGH)
        total = total - (weight * advantage[i] * logprob)[response].sum() / count
        kept[f"logits.{i}"] = logits.detach().numpy().astype(numpy.float32)
        for k, values in enumerate(hidden if i == 0 else []):
            kept[f"hidden.0.{k}"] = values.detach().numpy().astype(numpy.float32)
        for key, values in (("logprob", logprob), ("old_logprob", old), ("is_ratio", ratio),
                            ("entropy", -(logp.exp() * logp).sum(-1))):
            lists[key].append(values.detach().numpy())
    kept.update({key: numpy.concatenate(values) for key, values in lists.items()})
    kept["advantage"] = advantage
    return kept, total


def adamw_step(value, gradient):
    """The first step: bias-corrected moments are g and g^2."""
    step = gradient / (gradient.abs() + ADAMW["eps"])
    return value - ADAMW["lr"] * (step + ADAMW["weight_decay"] * value)


def split(model, name, tensor):
    """Names of model.safetensors: fused experts in memory are one tensor each in files."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        # The router and its experts carry an older name in Mixtral's files.
        old = name.replace(".mlp.", ".block_sparse_moe.") if model.config.model_type == "mixtral" else name
        return {old: tensor}
    mixtral = model.config.model_type == "mixtral"
    stem = name.rsplit(".", 1)[0].replace(".mlp.", ".block_sparse_moe." if mixtral else ".mlp.")
    gate, up, down = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    rows = {}
    for e, part in enumerate(tensor):
        if name.endswith("down_proj"):
            rows[f"{stem}.{e}.{down}.weight"] = part
        else:
            half = part.shape[0] // 2
            rows[f"{stem}.{e}.{gate}.weight"], rows[f"{stem}.{e}.{up}.weight"] = part[:half], part[half:]
    return rows


def make_case(name, folder):
    kind, note, settings = CASES[name]
    seed = zlib.crc32(name.encode())
    draw = numpy.random.default_rng(seed)
    model = make_model(kind, settings, seed)
    sequences = [torch.tensor(draw.integers(0, settings["vocab_size"], size=n)) for n in LENGTHS]
    kept, loss = tensors_of_sequences(model, sequences, draw)
    model.zero_grad()
    loss.backward()
    square = 0.0
    for parameter_name, value in model.named_parameters():
        gradient = torch.zeros_like(value) if value.grad is None else value.grad
        square += float((gradient ** 2).sum())
        after = adamw_step(value.detach(), gradient)
        for row, part in split(model, parameter_name, gradient).items():
            kept["grad." + row] = part.numpy().astype(numpy.float32)
        for row, part in split(model, parameter_name, after).items():
            kept["adamw1." + row] = part.numpy().astype(numpy.float32)
    kept["greedy_ids"], kept["greedy_margin"] = greedy(model, sequences[0][:PROMPTS[0]].tolist())
    kept["input_ids"] = torch.cat(sequences).numpy()
    kept["seq_lens"], kept["prompt_lens"] = LENGTHS, PROMPTS
    for key in ("greedy_ids", "input_ids", "seq_lens", "prompt_lens"):
        kept[key] = numpy.asarray(kept[key], dtype=numpy.int32)
    kept["greedy_margin"] = numpy.asarray(kept["greedy_margin"], dtype=numpy.float64)
    write_case(model, folder, kept, {"name": name, "note": note, "loss_value": float(loss.detach()),
                                     "grad_norm": square ** 0.5})


def write_case(model, folder, kept, about):
    os.makedirs(folder, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    save_file({key: numpy.ascontiguousarray(value) for key, value in kept.items()},
              os.path.join(folder, "case.safetensors"))
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation):
        os.remove(generation)
    about.update(eps_low=EPS_LOW, eps_high=EPS_HIGH, adamw=ADAMW, loss="CISPO, mean over response tokens",
                 reference="transformers in float64", transformers=transformers.__version__,
                 torch=torch.__version__)
    with open(os.path.join(folder, "case.json"), "w") as file:
        json.dump(about, file, indent=1)
        file.write("\n")


def main():
    out, names = sys.argv[1], sys.argv[2:] or list(CASES)
    for name in names:
        folder = os.path.join(out, name)
        make_case(name, folder)
        print(name, sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)), "bytes")


if __name__ == "__main__":
    main()
