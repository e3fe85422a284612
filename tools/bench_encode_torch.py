#!/usr/bin/env python3
"""tools/bench_encode_torch.py - documents per second of `spindle encode`, end to end from JSON
lines to a file of vectors, beside PyTorch with transformers on the same device and texts.

    bench_encode_torch.py corpus.jsonl... --model DIR --spindle build/release/bin/spindle

Several files are shuffled together, always in the same way.

PyTorch runs as well as it can be made to: bf16, SDPA, torch.compile, batches of texts of
similar length; its time begins with token ids in pinned memory and ends with the pooled dense
vector on the device, so reading, tokenizing and writing are not in it (tokenizing is given
apart). Spindle's time is the whole command; its start (loading the model, CUDA's context) is
measured with one document and taken off in a line of its own.

The floor is the counted floating-point operations of the model over the real tokens at the
rate of an 8192^3 bf16 matrix product, measured in the same run.
"""
import argparse
import json
import random
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM,
                          AutoTokenizer)


def read_texts(paths, limit):
    lines, texts = [], []
    for path in paths:
        with open(path, encoding="utf-8") as f:
            lines += (line.rstrip("\n") + "\n" for line in f)
    if len(paths) > 1:
        random.Random(1).shuffle(lines)
    lines = lines[:limit]
    for line in lines:
        doc = json.loads(line)
        title = doc.get("title") or ""
        texts.append((title + " " + doc["text"]).strip() if title else doc["text"])
    return texts, lines


def counted_flops(config, lengths):
    """Two for each multiply and add. Attention: scores and sums over the keys seen."""
    get = lambda *names: next(getattr(config, n) for n in names if hasattr(config, n))
    h = get("hidden_size", "dim")
    layers = get("num_hidden_layers", "n_layers")
    heads = get("num_attention_heads", "n_heads")
    head_dim = getattr(config, "head_dim", None) or h // heads
    kv = getattr(config, "num_key_value_heads", heads) * head_dim
    q = heads * head_dim
    inner = get("intermediate_size", "hidden_dim")
    decoder = config.model_type == "mistral"
    weights = layers * (h * (q + 2 * kv) + q * h + (3 if decoder else 2) * h * inner)
    head = h * config.vocab_size + (0 if decoder else h * h)
    flops = 0
    for n in lengths:
        pairs = n * (n + 1) // 2 if decoder else n * n
        flops += 2 * n * (weights + head) + layers * 4 * pairs * q
    return flops


def matmul_rate():
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    times = []
    for _ in range(25):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        a @ b
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return 2 * 8192 ** 3 / (sorted(times[5:])[10] * 1e-3)


def batches_of(ids, budget, step):
    """Longest first; lengths rounded up to `step`; at most `budget` tokens, padding too."""
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    at = 0
    while at < len(order):
        width = -(-max(1, len(ids[order[at]])) // step) * step
        n = max(1, budget // width)
        part = [ids[i] for i in order[at:at + n]]
        at += n
        x = torch.zeros(len(part), width, dtype=torch.long)
        mask = torch.zeros(len(part), width, dtype=torch.long)
        for r, row in enumerate(part):
            x[r, :len(row)] = torch.tensor(row)
            mask[r, :len(row)] = 1
        yield x, mask


def time_torch(model, batches, compiled):
    def pooled(x, mask):
        logits = model(input_ids=x, attention_mask=mask).logits
        return torch.log1p(torch.relu((logits * mask.unsqueeze(-1)).amax(1)))

    step = torch.compile(pooled, dynamic=True) if compiled else pooled
    with torch.inference_mode():
        for x, mask in [batches[0], batches[len(batches) // 2], batches[-1]]:
            step(x.cuda(), mask.cuda())
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for x, mask in batches:
            out = step(x.cuda(non_blocking=True), mask.cuda(non_blocking=True))
        torch.cuda.synchronize()
    assert torch.isfinite(out).all()
    return time.perf_counter() - begin


def time_spindle(a, lines, precision, out):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.writelines(lines)
        f.flush()
        command = [a.spindle, "encode", "--model", a.model, "--device", "cuda",
                   "--precision", precision, "--format", "compact", "-o", out, f.name]
        if a.top_k:
            command += ["--top-k", str(a.top_k)]
        if a.batch_tokens:
            command += ["--batch-tokens", str(a.batch_tokens)]
        begin = time.perf_counter()
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        return time.perf_counter() - begin


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("corpus", nargs="+")
    p.add_argument("--model", required=True)
    p.add_argument("--spindle", required=True, help="the program")
    p.add_argument("--limit", type=int, default=1 << 40, help="documents for spindle")
    p.add_argument("--torch-limit", type=int, default=1 << 40, help="documents for PyTorch")
    p.add_argument("--torch-tokens", type=int, nargs="+", default=[16384])
    p.add_argument("--precision", nargs="+", default=["f16", "bf16"])
    p.add_argument("--top-k", type=int, default=0)
    p.add_argument("--batch-tokens", type=int, default=0)
    p.add_argument("--no-compile", action="store_true", help="PyTorch without torch.compile")
    a = p.parse_args()

    texts, lines = read_texts(a.corpus, a.limit)
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    begin = time.perf_counter()
    ids = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
    tokenize_s = time.perf_counter() - begin
    rate, config = matmul_rate(), AutoConfig.from_pretrained(a.model)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, "
          f"8192^3 bf16 product {rate / 1e12:.0f} TFLOP/s")
    print(f"{len(texts)} documents, {sum(map(len, ids))} tokens "
          f"({sum(map(len, ids)) / len(ids):.1f} each); "
          f"transformers tokenizes {len(texts) / tokenize_s:.0f} documents/s")

    with tempfile.TemporaryDirectory() as d:
        start = {}
        for precision in a.precision:
            start[precision] = time_spindle(a, lines[:1], precision, f"{d}/one.spv")
        for precision in a.precision:
            out = f"{d}/all.spv"
            wall = time_spindle(a, lines, precision, out)
            floor = counted_flops(config, map(len, ids)) / rate
            run = wall - start[precision]
            print(f"spindle {precision}: {wall:.2f} s, {len(texts) / wall:.0f} documents/s; "
                  f"without its start of {start[precision]:.2f} s: "
                  f"{len(texts) / run:.0f} documents/s, {100 * floor / run:.1f} % of the "
                  f"floor of {len(texts) / floor:.0f}; "
                  f"{Path(out).stat().st_size / len(texts):.0f} bytes a vector", flush=True)

    causal = json.loads(Path(a.model, "config.json").read_text())["model_type"] == "mistral"
    kind = AutoModelForCausalLM if causal else AutoModelForMaskedLM
    model = kind.from_pretrained(a.model, dtype=torch.bfloat16, attn_implementation="sdpa")
    model = model.cuda().eval()
    some = ids[::max(1, len(ids) // a.torch_limit)][:a.torch_limit]
    floor = counted_flops(config, map(len, some)) / rate
    for budget in a.torch_tokens:
        batches = [(x.pin_memory(), mask.pin_memory())
                   for x, mask in batches_of(some, budget, 16)]
        took = time_torch(model, batches, not a.no_compile)
        print(f"PyTorch {'eager' if a.no_compile else 'compiled'}, {budget} tokens a batch: "
              f"{took:.2f} s, {len(some) / took:.0f} documents/s, "
              f"{100 * floor / took:.1f} % of the floor", flush=True)


if __name__ == "__main__":
    main()
