"""lm-eval's local-completions against weir serve, and lm-eval's own transformers model on the same folder.

    python3 tests/peers/serve_lm_eval.py build/release/bin
"""
import json
import os
import peer_world

os.environ.update(HF_DATASETS_OFFLINE="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
lm_eval, torch, transformers = peer_world.want("lm_eval", "torch", "transformers")
from lm_eval.tasks import TaskManager  # noqa: E402

WORST = 1e-3  # of the sum of an answer's log-probabilities
CHOICES = """task: weir_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "question: {{{{question}}}}\\nanswer:"
doc_to_target: gold
doc_to_choice: "{{{{options}}}}"
target_delimiter: " "
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
LAST_WORD = """task: weir_last_word
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{question}}}}"
doc_to_target: " {{{{options[gold]}}}}"
metric_list: [{{metric: perplexity}}, {{metric: acc}}]
"""
GENERATE = """task: weir_generate
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
test_split: test
output_type: generate_until
doc_to_text: "question: {{{{question}}}}\\nanswer:"
doc_to_target: "{{{{options[gold]}}}}"
generation_kwargs: {{until: ["\\n\\n", "the "], max_gen_toks: 24, do_sample: false, temperature: 0}}
metric_list: [{{metric: exact_match}}]
"""


def write_tasks(folder):
    rows = folder / "rows.jsonl"
    with rows.open("w") as file:
        for i in range(12):
            options = [str(i + 5), f"{i} stars", "a lazy dog", "yes. seven"][:2 + i % 3]
            file.write(json.dumps({"question": f"what is {i} + 5, said {'very ' * (i % 5)}quietly?", "options": options,
                                   "gold": i % len(options)}) + "\n")
    tasks = folder / "tasks"
    tasks.mkdir()
    for name, text in (("choices", CHOICES), ("last_word", LAST_WORD), ("generate", GENERATE)):
        (tasks / f"{name}.yaml").write_text(text.format(rows=rows))
    return ["weir_choices", "weir_last_word", "weir_generate"], TaskManager(include_path=str(tasks))


def evaluate(model, arguments, tasks, manager, **more):
    return lm_eval.simple_evaluate(model=model, model_args=arguments, tasks=tasks, task_manager=manager,
                                   log_samples=True, bootstrap_iters=0, **more)


def compare(ours, theirs, tasks):
    worst, answers, texts = 0.0, 0, 0
    for task in tasks:
        assert len(ours["samples"][task]) == len(theirs["samples"][task]) == 12
        by_id = {sample["doc_id"]: sample for sample in theirs["samples"][task]}
        for sample in ours["samples"][task]:
            other = by_id[sample["doc_id"]]
            for mine, his in zip(sample["resps"], other["resps"], strict=True):
                if isinstance(mine[0], str):
                    assert mine[0] == his[0], (task, mine, his)
                    texts += 1
                    continue
                worst = max(worst, abs(float(mine[0][0]) - float(his[0][0])))
                assert str(mine[0][1]) == str(his[0][1]), (task, mine, his)
                answers += 1
        for metric, value in ours["results"][task].items():
            if isinstance(value, float):
                assert abs(value - theirs["results"][task][metric]) <= 1e-3 * max(1.0, abs(value)), (task, metric)
    assert worst < WORST, worst
    print(f"lm-eval: {answers} log-likelihoods, worst difference {worst:.2e} (limit {WORST}), {texts} texts equal")


def main():
    with peer_world.world("--context", "2048") as (folder, url, files):
        tasks, manager = write_tasks(files)
        theirs = evaluate("hf", f"pretrained={folder},dtype=float32,device=cpu", tasks, manager, batch_size=4)
        remote = f"model={folder.name},base_url={url}/v1/completions,num_concurrent=4,max_retries=1,max_length=2047"
        compare(evaluate("local-completions", remote, tasks, manager, batch_size=3), theirs, tasks)
        texts = remote + f",tokenizer_backend=huggingface,tokenizer={folder},tokenized_requests=False"
        compare(evaluate("local-completions", texts, tasks, manager), theirs, tasks)


main()
