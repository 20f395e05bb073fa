/* names.js - units and short labels of the metrics the pages know; any other has its path and no unit. */
import { amount } from "./format.js";

const KNOWN = {
  "reward/mean": ["", "reward"], "reward/trained_mean": ["", "of trained"], "reward/shaped_mean": ["", "shaped"],
  "reward/min": ["", "min"], "reward/max": ["", "max"], "reward/std": ["", "std"],
  "len/mean": ["tokens", "mean"], "len/p50": ["tokens", "p50"], "len/p90": ["tokens", "p90"], "len/p99": ["tokens", "p99"], "len/max": ["tokens", "max"],
  "len/truncated_frac": ["share", "at the cap"], "rep/cut_frac": ["share", "repetition cut"], "train/masked_frac": ["share", "masked"],
  "group/zero_std_frac": ["share", "zero-variance groups"], "entropy/mean": ["nats", "entropy"],
  "loss/policy": ["", "policy loss"], "loss/aux": ["", "router balance"], "loss/kl": ["nats", "KL to start"],
  "is/rollout_weight": ["", "rollout weight"], "is/mean": ["", "mean"], "is/min": ["", "min"], "is/max": ["", "max"], "is/ess": ["share", "effective samples"],
  "cispo/clip_frac": ["share", "clipped"],
  "mismatch/max_abs_dlogprob": ["nats", "max |Δlogprob|"], "mismatch/tokens": ["tokens", "tokens compared"], "mismatch/share": ["share", "compared"],
  "mismatch/pearson": ["", "Pearson"], "mismatch/abs_mean": ["", "mean |Δp|"], "mismatch/k3_kl": ["nats", "k3 KL"],
  "optim/grad_norm": ["", "grad norm"], "optim/lr": ["", "learning rate"], "optim/updates": ["updates", "updates"],
  "optim/skipped": ["updates", "skipped"], "optim/non_finite": ["updates", "not finite"],
  "stale/mean": ["versions", "mean"], "stale/max": ["versions", "max"],
  "train/rollouts": ["rollouts", "rollouts"], "train/tokens": ["tokens", "tokens"],
  "perf/tok_s": ["tok/s", "learner"], "perf/mfu": ["share", "MFU"], "time/step": ["s", "step"], "learner/wait_s": ["s", "waits for rollouts"], "time/train": ["s", "trains"],
  "sync/seconds": ["s", "publishes weights"], "time/checkpoint": ["s", "checkpoint"], "weights/send_ms": ["ms", "broadcast"], "weights/members": ["actors", "actors in the broadcast"],
};

export function unitOf(name) {
  if (KNOWN[name]) return KNOWN[name][0];
  if (/_frac$|\/share$|pass_rate|pass@|avg_at|\/mfu$/.test(name)) return "share";
  if (/_ms$/.test(name)) return "ms";
  if (/_s$|seconds$|^time\//.test(name)) return "s";
  if (/bytes/.test(name)) return "bytes";
  if (/^len\//.test(name)) return "tokens";
  return "";
}

export function labelOf(name) {
  return KNOWN[name] ? KNOWN[name][1] : name;
}

export function show(name, value) {
  return amount(value, unitOf(name));
}
