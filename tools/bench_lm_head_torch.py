#!/usr/bin/env python3
"""tools/bench_lm_head_torch.py - what the fused LM head is compared with, in PyTorch.

For each shape: the product alone (cuBLAS), the eager head, the compiled head, and a fused
Triton kernel; then forward and backward through autograd over the eager head, with its
peak memory. Padded input with a mask three quarters full on average, as training code has
it. Every kernel's answer is compared with float64 on a small shape first. Needs PyTorch
with CUDA, and Triton. Usage: bench_lm_head_torch.py [--backward]
"""
import sys

import torch
import triton
import triton.language as tl
from triton.testing import do_bench

SHAPES = [
    (64, 256, 768, 30522),
    (64, 128, 768, 30522),
    (64, 256, 384, 30522),
    (32, 256, 1024, 50368),
    (16, 256, 4096, 32000),
    (32, 256, 768, 250002),
]


def eager(h, w, bias, mask):
    z = torch.matmul(h, w.t()) + bias
    return torch.log1p(torch.relu(z * mask[:, :, None])).amax(dim=1)


def configs():
    return [
        triton.Config({"TERMS": terms, "TOKENS": tokens, "DEPTH": 64},
                      num_warps=warps, num_stages=stages)
        for terms, tokens, warps, stages in [
            (128, 128, 8, 3), (128, 128, 4, 4), (128, 256, 8, 3), (256, 128, 8, 3),
            (128, 256, 8, 4), (256, 128, 8, 4),
        ]
    ]


@triton.autotune(configs=configs(), key=["seq", "dim", "vocab"])
@triton.jit
def fused_kernel(h, w, bias, lengths, out, seq, dim, vocab,
                 TERMS: tl.constexpr, TOKENS: tl.constexpr, DEPTH: tl.constexpr):
    """One program: one text, one tile of terms; tokens a block at a time."""
    text = tl.program_id(0)
    terms = tl.program_id(1) * TERMS + tl.arange(0, TERMS)
    length = tl.load(lengths + text)
    best = tl.full([TERMS], 0.0, tl.float32)
    shift = tl.load(bias + terms, mask=terms < vocab, other=0.0).to(tl.float32)
    for s0 in range(0, length, TOKENS):
        tokens = s0 + tl.arange(0, TOKENS)
        acc = tl.zeros([TOKENS, TERMS], tl.float32)
        for k0 in range(0, dim, DEPTH):
            k = k0 + tl.arange(0, DEPTH)
            a = tl.load(h + (text * seq + tokens[:, None]) * dim + k[None, :],
                        mask=tokens[:, None] < length, other=0.0)
            b = tl.load(w + terms[None, :].to(tl.int64) * dim + k[:, None],
                        mask=terms[None, :] < vocab, other=0.0)
            acc = tl.dot(a, b, acc)
        acc = tl.where(tokens[:, None] < length, acc + shift[None, :], 0.0)
        best = tl.maximum(best, tl.max(acc, axis=0))
    y = tl.log(1.0 + best)
    tl.store(out + text.to(tl.int64) * vocab + terms, y, mask=terms < vocab)


def fused(h, w, bias, lengths):
    batch, seq, dim = h.shape
    vocab = w.shape[0]
    out = torch.empty(batch, vocab, device=h.device, dtype=torch.float32)
    grid = lambda c: (batch, triton.cdiv(vocab, c["TERMS"]))
    fused_kernel[grid](h, w, bias, lengths, out, seq, dim, vocab)
    return out


def make(batch, seq, dim, vocab):
    g = torch.Generator(device="cuda").manual_seed(1)
    h = torch.randn(batch, seq, dim, device="cuda", generator=g).bfloat16()
    w = (torch.randn(vocab, dim, device="cuda", generator=g) * 0.05).bfloat16()
    bias = torch.zeros(vocab, device="cuda", dtype=torch.bfloat16)
    lengths = torch.randint(seq // 2, seq + 1, (batch,), device="cuda", generator=g,
                            dtype=torch.int32)
    mask = (torch.arange(seq, device="cuda")[None] < lengths[:, None]).bfloat16()
    return h, w, bias, mask, lengths


def check():
    h, w, bias, mask, lengths = make(5, 64, 192, 1003)
    want = eager(h.double(), w.double(), bias.double(), mask.double())
    for name, got in (("eager", eager(h, w, bias, mask)), ("triton", fused(h, w, bias, lengths))):
        error = ((got.double() - want).norm() / want.norm()).item()
        if not error < 1e-2:
            sys.exit(f"bench_lm_head_torch: {name}: relative error {error}")


def ms(run):
    return do_bench(run, warmup=20, rep=100, return_mode="median")


def backward(h, w, bias, mask):
    """Milliseconds and peak MiB beyond the inputs of forward and backward."""
    h, w = h.clone().requires_grad_(), w.clone().requires_grad_()
    dy = torch.randn(h.shape[0], w.shape[0], device="cuda").bfloat16()

    def run():
        h.grad = w.grad = None
        eager(h, w, bias, mask).backward(dy)

    run()
    torch.cuda.synchronize()
    h.grad = w.grad = None
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    return ms(run), peak


def main():
    check()
    with_backward = "--backward" in sys.argv[1:]
    print(f"{torch.cuda.get_device_name()}; torch {torch.__version__}, triton "
          f"{triton.__version__}; medians, ms")
    compiled = torch.compile(eager, dynamic=False)
    for shape in SHAPES:
        h, w, bias, mask, lengths = make(*shape)
        flat = h.view(-1, h.shape[-1])
        full = torch.full_like(lengths, shape[1])
        line = f"{shape}: product alone {ms(lambda: flat @ w.t()):.3f}"
        line += f", eager {ms(lambda: eager(h, w, bias, mask)):.3f}"
        line += f", compiled {ms(lambda: compiled(h, w, bias, mask)):.3f}"
        line += f", triton full {ms(lambda: fused(h, w, bias, full)):.3f}"
        line += f", triton masked {ms(lambda: fused(h, w, bias, lengths)):.3f}"
        if with_backward and shape in (SHAPES[0], SHAPES[5]):
            time, peak = backward(h, w, bias, mask)
            line += f", autograd {time:.3f} (peak {peak:.0f} MiB)"
        print(line, flush=True)
        del h, w, bias, mask, lengths, flat, full
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
