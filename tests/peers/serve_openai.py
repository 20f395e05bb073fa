"""The official openai client against weir serve; figures against transformers on the same folder.

    python3 tests/peers/serve_openai.py build/release/bin
"""
import math
import peer_world

openai, torch, transformers = peer_world.want("openai", "torch", "transformers")
WORST = 1e-4  # of a log-probability, f32 against f32


def reference_logprobs(model, ids):
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].double()
    return torch.log_softmax(logits, -1)


def check_completions(client, name, model, tokenizer):
    prompt = "the quick brown fox"
    ids = tokenizer.encode(prompt)
    answer = client.completions.create(model=name, prompt=prompt, max_tokens=12, temperature=0, logprobs=3, echo=True)
    choice = answer.choices[0]
    count = len(choice.logprobs.tokens)
    greedy = model.generate(torch.tensor([ids]), max_new_tokens=12, do_sample=False)[0].tolist()
    assert count == len(greedy), (count, len(greedy))
    reference = reference_logprobs(model, greedy)
    worst = 0.0
    for at in range(1, count):
        got = choice.logprobs.token_logprobs[at]
        worst = max(worst, abs(got - reference[at - 1, greedy[at]].item()))
        best = reference[at - 1].topk(3).values
        tops = sorted(choice.logprobs.top_logprobs[at].values(), reverse=True)[:3]
        worst = max(worst, *(abs(a - b) for a, b in zip(tops, best.tolist())))
    assert choice.logprobs.token_logprobs[0] is None
    assert worst < WORST, worst
    body = tokenizer.decode([i for i in greedy[len(ids):] if i not in tokenizer.all_special_ids])
    assert choice.text == prompt + body, (choice.text, prompt + body)
    assert answer.usage.prompt_tokens == len(ids)
    assert answer.system_fingerprint == "w0"
    by_ids = client.completions.create(model=name, prompt=[ids, ids[:2]], max_tokens=5, temperature=0)
    assert [c.index for c in by_ids.choices] == [0, 1]
    assert (prompt + by_ids.choices[0].text).startswith(choice.text[:len(prompt) + 2])
    print(f"completions: {count} tokens, worst logprob difference {worst:.2e} (limit {WORST})")


def check_seed_and_stop(client, name):
    ask = dict(model=name, prompt="seven wizards", max_tokens=40, seed=11, temperature=1.0)
    texts = {client.completions.create(**ask).choices[0].text for _ in range(3)}
    assert len(texts) == 1
    text = texts.pop()
    stop = text[len(text) // 2:len(text) // 2 + 2]
    cut = client.completions.create(**ask, stop=[stop])
    assert cut.choices[0].text == text[:text.index(stop)] and cut.choices[0].finish_reason == "stop"
    many = client.completions.create(**{**ask, "n": 3})
    assert many.choices[0].text == text and len({c.text for c in many.choices}) == 3
    pieces = client.completions.create(**ask, stream=True)
    assert "".join(p.choices[0].text for p in pieces if p.choices) == text
    print("seed, stop, n, stream: as asked")


def check_chat(client, name, tokenizer):
    messages = [{"role": "system", "content": "count"}, {"role": "user", "content": [{"type": "text", "text": "3 + 4?"}]}]
    plain = [{"role": m["role"], "content": m["content"] if isinstance(m["content"], str) else m["content"][0]["text"]}
             for m in messages]
    ids = tokenizer.apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
    whole = client.chat.completions.create(model=name, messages=messages, max_tokens=20, seed=3, logprobs=True,
                                           top_logprobs=2)
    choice = whole.choices[0]
    assert choice.message.role == "assistant" and choice.finish_reason in ("stop", "length")
    assert whole.usage.prompt_tokens == len(ids), (whole.usage.prompt_tokens, len(ids))
    assert len(choice.logprobs.content) == whole.usage.completion_tokens
    assert all(len(entry.top_logprobs) == 2 and math.isfinite(entry.logprob) for entry in choice.logprobs.content)
    same = client.completions.create(model=name, prompt=ids, max_tokens=20, seed=3)
    assert same.choices[0].text == choice.message.content
    stream = client.chat.completions.create(model=name, messages=messages, max_tokens=20, seed=3, stream=True,
                                            stream_options={"include_usage": True})
    text, usage, role, reason = "", None, None, None
    for event in stream:
        usage = event.usage or usage
        for part in event.choices:
            role = role or part.delta.role
            text += part.delta.content or ""
            reason = part.finish_reason or reason
    assert (text, role, reason) == (choice.message.content, "assistant", choice.finish_reason)
    assert usage.completion_tokens == whole.usage.completion_tokens
    print(f"chat: {len(ids)} prompt tokens as transformers', stream and whole answer agree")


def refused(kind, call, says):
    try:
        call()
    except kind as error:
        assert says in str(error), (says, str(error))
        return
    raise AssertionError(f"{says}: not refused")


def check_errors(client, name, url):
    make = client.completions.create
    refused(openai.NotFoundError, lambda: make(model="other", prompt="a"), "there is no model")
    refused(openai.BadRequestError, lambda: make(model=name, prompt="a", max_tokens=10**6), "2048 tokens together")
    refused(openai.BadRequestError, lambda: make(model=name, prompt="a", frequency_penalty=1.0), "frequency_penalty")
    refused(openai.BadRequestError, lambda: make(model=name, prompt=[[10**7]]), "vocabulary")
    refused(openai.BadRequestError, lambda: client.chat.completions.create(model=name, messages=[]), "messages")
    refused(openai.NotFoundError, lambda: client.embeddings.create(model=name, input="a"), "nothing at")
    print("errors: 404 and 400 as the client's own exceptions")


def main():
    with peer_world.world("--context", "2048") as (folder, url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        name = client.models.list().data[0].id
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        check_completions(client, name, model, tokenizer)
        check_seed_and_stop(client, name)
        check_chat(client, name, tokenizer)
        check_errors(client, name, url)


main()
