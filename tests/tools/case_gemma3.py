#!/usr/bin/env python3
"""Makes tests/golden/model/gemma3: a tiny random Gemma 3 text model of transformers, in float64 throughout.

    python3 tests/tools/case_gemma3.py OUT_FOLDER        (needs torch and transformers)

Written: config.json and model.safetensors (weights that bf16 holds exactly) by save_pretrained, case.safetensors and
case.json as `weir verify` reads them: logits, hidden states of the first sequence, log-probabilities, entropies, the
CISPO loss and its gradients, one AdamW step from these gradients, a greedy continuation.

transformers computes norms, rotary angles and the softmax of attention in f32 whatever the model's type: here they are
replaced by float64 ones of the same formulas.
"""
import json
import math
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import Gemma3ForCausalLM, Gemma3TextConfig
from transformers.models.gemma3 import modeling_gemma3

LENGTHS, PROMPTS, GREEDY = [5, 37, 83], [3, 9, 20], 53
ADAMW = {"lr": 1e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-15, "weight_decay": 0.1}
EPS_LOW, EPS_HIGH = 1.0, 2.0


def norm(self, x):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * (1.0 + self.weight)


def rotary(self, x, position_ids, layer_type):
    parameters = self.config.rope_parameters[layer_type]
    size = self.config.head_dim
    steps = torch.arange(0, size, 2, dtype=torch.float64) / size
    frequency = parameters["rope_theta"] ** -steps / parameters.get("factor", 1.0)
    angle = position_ids[..., None].double() * frequency
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def attention(module, query, key, value, attention_mask, scaling, **_):
    groups = module.num_key_value_groups
    key, value = (modeling_gemma3.repeat_kv(x, groups) for x in (key, value))
    score = query @ key.transpose(2, 3) * scaling
    place = torch.arange(score.shape[-1])
    behind = place[-score.shape[-2]:, None] - place[None, :]
    seen = behind >= 0
    if module.is_sliding:
        seen &= behind < module.config.sliding_window
    weight = torch.softmax(score.masked_fill(~seen, -math.inf), dim=-1)
    return (weight @ value).transpose(1, 2).contiguous(), weight


def make_model():
    torch.manual_seed(20250616)
    config = Gemma3TextConfig(
        vocab_size=199, hidden_size=48, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=24, sliding_window=11, sliding_window_pattern=3,
        max_position_embeddings=4096, rms_norm_eps=1e-6, attn_implementation="eager", pad_token_id=None,
        bos_token_id=None, eos_token_id=None,
        rope_parameters={"sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
                         "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1000000.0}})
    model = Gemma3ForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.2 if "norm" in name else 0.35 if "embed" in name else 1.7 / math.sqrt(parameter.shape[-1])
            parameter.copy_((torch.randn(parameter.shape) * scale).bfloat16())
    return model


def run(model, ids):
    kept = {}
    hooks = [model.model.embed_tokens.register_forward_hook(lambda m, i, o: kept.update({0: o}))]
    for index, layer in enumerate(model.model.layers):
        def keep(module, inputs, output, index=index):
            kept[index + 1] = output[0] if isinstance(output, tuple) else output
        hooks.append(layer.register_forward_hook(keep))
    last = len(model.model.layers)
    hooks.append(model.model.norm.register_forward_hook(lambda m, i, o: kept.update({last: o})))
    logits = model(input_ids=ids[None], use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return logits, [kept[k][0] for k in range(last + 1)]


def greedy(model, ids):
    margins = []
    with torch.no_grad():
        for _ in range(GREEDY):
            best = torch.topk(run(model, ids)[0][-1], 2)
            margins.append(float(best.values[0] - best.values[1]))
            ids = torch.cat((ids, best.indices[:1]))
    return ids, margins


def losses(model, case):
    """Fills the case with what the forward pass gives; returns the loss."""
    noise = torch.Generator().manual_seed(7)
    ids = torch.randint(0, model.config.vocab_size, (sum(LENGTHS),), generator=noise)
    advantage = torch.randn(len(LENGTHS), generator=noise, dtype=torch.float64)
    parts = {"logprob": [], "entropy": [], "old_logprob": [], "is_ratio": []}
    total, tokens, first = 0.0, 0, 0
    for index, length in enumerate(LENGTHS):
        sequence = ids[first:first + length]
        first += length
        logits, hidden = run(model, sequence)
        every = torch.log_softmax(logits, dim=-1)
        logprob = every[:-1].gather(1, sequence[1:, None])[:, 0]
        old = (logprob + 0.4 * torch.randn(length - 1, generator=noise, dtype=torch.float64)).detach()
        ratio = (logprob - old).exp()
        response = slice(PROMPTS[index] - 1, None)
        weight = ratio.detach().clamp(1 - EPS_LOW, 1 + EPS_HIGH)
        total = total - (weight * advantage[index] * logprob)[response].sum()
        tokens += length - PROMPTS[index]
        case[f"logits.{index}"] = logits.detach().float()
        for name, value in (("logprob", logprob), ("entropy", -(every.exp() * every).sum(-1)),
                            ("old_logprob", old), ("is_ratio", ratio)):
            parts[name].append(value.detach())
        if index == 0:
            for k, value in enumerate(hidden):
                case[f"hidden.0.{k}"] = value.detach().float().contiguous()
    case.update({name: torch.cat(values) for name, values in parts.items()})
    case["input_ids"], case["advantage"] = ids.int(), advantage
    return total / tokens


def main(folder):
    modeling_gemma3.Gemma3RMSNorm.forward = norm
    modeling_gemma3.Gemma3RotaryEmbedding.forward = rotary
    modeling_gemma3.eager_attention_forward = attention
    transformers.AttentionInterface.register("float64", attention)
    transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["float64"] = lambda *a, **k: None
    model = make_model()
    model.to(torch.bfloat16).save_pretrained(folder)
    model = model.double()
    embedding = model.model.embed_tokens  # its factor was rounded to bf16 with the weights
    embedding.embed_scale = torch.tensor(embedding.scalar_embed_scale, dtype=torch.float32).double()
    model.config._attn_implementation = "float64"
    model.train(False)
    case = {}
    loss = losses(model, case)
    loss.backward()
    squares = 0.0
    for name, parameter in model.named_parameters():
        gradient = parameter.grad
        squares += float(gradient.pow(2).sum())
        step = gradient / (gradient.abs() + ADAMW["eps"]) + ADAMW["weight_decay"] * parameter.detach()
        case[f"grad.{name}"] = gradient.float()
        case[f"adamw1.{name}"] = (parameter.detach() - ADAMW["lr"] * step).float()
    ids, margins = greedy(model, case["input_ids"][:PROMPTS[0]].long())
    case["greedy_ids"], case["greedy_margin"] = ids.int(), torch.tensor(margins, dtype=torch.float64)
    case["seq_lens"] = torch.tensor(LENGTHS, dtype=torch.int32)
    case["prompt_lens"] = torch.tensor(PROMPTS, dtype=torch.int32)
    save_file({name: value.contiguous() for name, value in case.items()}, f"{folder}/case.safetensors")
    text = {"name": "gemma3", "note": "sliding window 11 below the lengths, two rope bases, one scaled by 8",
            "loss": "CISPO, token-mean over response tokens", "loss_value": loss.item(),
            "grad_norm": math.sqrt(squares), "eps_low": EPS_LOW, "eps_high": EPS_HIGH, "adamw": ADAMW,
            "reference": "transformers in float64", "transformers": transformers.__version__,
            "torch": torch.__version__}
    with open(f"{folder}/case.json", "w") as file:
        json.dump(text, file, indent=1)


main(sys.argv[1])
