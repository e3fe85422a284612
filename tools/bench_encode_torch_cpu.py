#!/usr/bin/env python3
"""tools/bench_encode_torch_cpu.py - tokens per second of the encoder on the CPU, f32 and int8,
beside PyTorch float32 with transformers on the same processors and texts.

    bench_encode_torch_cpu.py corpus.jsonl --model DIR --bench build/release/bin/bench_encoder

PyTorch runs as well as it can be made to: SDPA, inference mode, batches of texts of similar
length in the best of several sizes; its time begins with token ids in memory and ends with the
pooled dense vectors. Spindle's is bench_encoder's: from texts to sparse vectors, tokenizing
included. The answers are compared first (bench_encoder compares int8 with f32); then all take
turns, so that whatever else the machine does falls on each; medians of the rounds. Where other
programs compete for the processors, processor time tells more than the wall's clock: threads
of OpenMP wait for the one that was interrupted, and here they sleep meanwhile.

The texts are every so-manieth of the corpus, so that their lengths are its own.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # waiting is no work
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from bench_encode_torch import batches_of, read_texts


def pooled(model, x, mask):
    logits = model(input_ids=x, attention_mask=mask).logits
    return torch.log1p(torch.relu((logits * mask.unsqueeze(-1)).amax(1)))


def time_torch(step, batches):
    """Seconds of the wall's clock and of the processor's."""
    clocks = [time.perf_counter, time.process_time]
    begin = [now() for now in clocks]
    with torch.inference_mode():
        for x, mask in batches:
            step(x, mask)
    return [now() - then for now, then in zip(clocks, begin)]


def time_spindle(a, texts_path):
    """The same of f32 and of int8, one round each."""
    out = subprocess.run([a.bench, a.model, texts_path, str(a.threads), "1"], check=True,
                         text=True, stdout=subprocess.PIPE).stdout
    lines = [re.search(rf"^{p} +([0-9.]+) s +([0-9.]+) processor-s", out, re.M)
             for p in ("f32", "int8")]
    return [[float(seconds) for seconds in line.groups()] for line in lines]


def check_answers(a, step, tokenizer, texts):
    """Relative L2 of `spindle encode` against PyTorch over some texts."""
    spindle = Path(a.bench).with_name("spindle")
    lines = "".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(texts))
    out = subprocess.run([spindle, "encode", "--model", a.model, "--device", "cpu"],
                         check=True, input=lines, text=True, stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL).stdout
    worst = 0
    for text, line in zip(texts, out.splitlines(), strict=True):
        ids = tokenizer([text], truncation=True, max_length=512, return_tensors="pt")
        with torch.inference_mode():
            wanted = step(ids["input_ids"], ids["attention_mask"])[0]
        vector = json.loads(line)
        got = torch.zeros_like(wanted)
        got[torch.tensor(vector["terms"])] = torch.tensor(vector["weights"])
        worst = max(worst, float((got - wanted).norm() / wanted.norm()))
    print(f"f32 against PyTorch: relative L2 {worst:.1e} at most")
    assert worst < 1e-4


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("corpus")
    p.add_argument("--model", required=True)
    p.add_argument("--bench", required=True, help="bench_encoder, with spindle beside it")
    p.add_argument("--texts", type=int, default=256)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--torch-tokens", type=int, nargs="+", default=[512, 1024, 2048, 4096])
    p.add_argument("--compile", action="store_true", help="PyTorch with torch.compile")
    a = p.parse_args()
    torch.set_num_threads(a.threads)

    texts, lines = read_texts([a.corpus], 1 << 40)
    step = max(1, len(texts) // a.texts)
    texts, lines = texts[::step][:a.texts], lines[::step][:a.texts]
    tokenizer = AutoTokenizer.from_pretrained(a.model)
    ids = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
    tokens = sum(map(len, ids))
    model = AutoModelForMaskedLM.from_pretrained(a.model, dtype=torch.float32,
                                                 attn_implementation="sdpa").eval()
    print(f"torch {torch.__version__}, {a.threads} threads; {len(texts)} texts, {tokens} tokens")

    run = lambda x, mask: pooled(model, x, mask)
    check_answers(a, run, tokenizer, texts[:8])
    if a.compile:
        run = torch.compile(run, dynamic=True)
    sizes = {}
    for budget in a.torch_tokens:
        batches = list(batches_of(ids, budget, 1))
        time_torch(run, batches[:1] + batches[-1:])
        wall, sizes[budget] = time_torch(run, batches)
        print(f"PyTorch, {budget} tokens a batch: {wall:.3f} s, "
              f"{sizes[budget]:.3f} processor-s", flush=True)
    batches = list(batches_of(ids, min(sizes, key=sizes.get), 1))

    rounds = []
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.writelines(lines)
        f.flush()
        for _ in range(a.rounds):
            rounds.append([time_torch(run, batches), *time_spindle(a, f.name)])
    for i, name in enumerate(["PyTorch f32", "Spindle f32", "Spindle int8"]):
        wall, processor = ([r[i][clock] for r in rounds] for clock in range(2))
        ratios = [statistics.median(r[0][clock] / r[i][clock] for r in rounds)
                  for clock in range(2)]
        print(f"{name:<12} {tokens / statistics.median(wall):9.0f} tokens/s, "
              f"{ratios[0]:.2f} times PyTorch; "
              f"{tokens / statistics.median(processor):9.0f} a processor-second, "
              f"{ratios[1]:.2f} times PyTorch")


if __name__ == "__main__":
    main()
