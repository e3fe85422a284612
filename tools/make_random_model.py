#!/usr/bin/env python3
"""tools/make_random_model.py - a model directory of a real shape with random weights, for
benchmarks.

    make_random_model.py bert-base OUT --tokenizer tokenizer.json
    make_random_model.py distilbert OUT --tokenizer tokenizer.json
    make_random_model.py mistral-7b OUT --tokenizer tokenizer.json   (14.5 GB)

Weights are N(0, 0.02^2), norms 1. A random head would find every term in every text: where
there is a decoder bias it is set so low that a text of --tokens tokens keeps about --nnz terms,
as a trained SPLADE model's does (the Mistral has none: encode with --top-k). Needs numpy.
"""
import argparse
import json
import shutil
import statistics
from pathlib import Path

import numpy as np

BERT = {
    "architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_act": "gelu",
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2,
    "vocab_size": 30522, "layer_norm_eps": 1e-12, "initializer_range": 0.02,
    "pad_token_id": 0, "position_embedding_type": "absolute", "tie_word_embeddings": True,
}
DISTILBERT = {
    "architectures": ["DistilBertForMaskedLM"], "model_type": "distilbert",
    "activation": "gelu", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072,
    "max_position_embeddings": 512, "vocab_size": 30522, "initializer_range": 0.02,
    "pad_token_id": 0, "sinusoidal_pos_embds": False, "tie_word_embeddings": True,
}
MISTRAL = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_act": "silu",
    "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 128, "intermediate_size": 14336,
    "max_position_embeddings": 32768, "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
    "sliding_window": 4096, "vocab_size": 32000, "bos_token_id": 1, "eos_token_id": 2,
    "tie_word_embeddings": False,
}


def linear(name, rows, cols, bias=True):
    tensors = [(name + ".weight", (rows, cols), "random")]
    return tensors + ([(name + ".bias", (rows,), "zero")] if bias else [])


def norm(name, dim, bias=True):
    tensors = [(name + ".weight", (dim,), "one")]
    return tensors + ([(name + ".bias", (dim,), "zero")] if bias else [])


def bert_tensors(c):
    h, i = c["hidden_size"], c["intermediate_size"]
    e = "bert.embeddings."
    t = [(e + "word_embeddings.weight", (c["vocab_size"], h), "random"),
         (e + "position_embeddings.weight", (c["max_position_embeddings"], h), "random"),
         (e + "token_type_embeddings.weight", (c["type_vocab_size"], h), "random")]
    t += norm(e + "LayerNorm", h)
    for n in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{n}."
        for part in ("query", "key", "value"):
            t += linear(p + "attention.self." + part, h, h)
        t += linear(p + "attention.output.dense", h, h)
        t += norm(p + "attention.output.LayerNorm", h)
        t += linear(p + "intermediate.dense", i, h) + linear(p + "output.dense", h, i)
        t += norm(p + "output.LayerNorm", h)
    t += linear("cls.predictions.transform.dense", h, h)
    t += norm("cls.predictions.transform.LayerNorm", h)
    return t + [("cls.predictions.bias", (c["vocab_size"],), "bias")]


def distilbert_tensors(c):
    h, i = c["dim"], c["hidden_dim"]
    e = "distilbert.embeddings."
    t = [(e + "word_embeddings.weight", (c["vocab_size"], h), "random"),
         (e + "position_embeddings.weight", (c["max_position_embeddings"], h), "random")]
    t += norm(e + "LayerNorm", h)
    for n in range(c["n_layers"]):
        p = f"distilbert.transformer.layer.{n}."
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            t += linear(p + "attention." + part, h, h)
        t += norm(p + "sa_layer_norm", h)
        t += linear(p + "ffn.lin1", i, h) + linear(p + "ffn.lin2", h, i)
        t += norm(p + "output_layer_norm", h)
    t += linear("vocab_transform", h, h) + norm("vocab_layer_norm", h)
    return t + [("vocab_projector.bias", (c["vocab_size"],), "bias")]


def mistral_tensors(c):
    h, i, d = c["hidden_size"], c["intermediate_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * d, c["num_key_value_heads"] * d
    t = [("model.embed_tokens.weight", (c["vocab_size"], h), "random")]
    for n in range(c["num_hidden_layers"]):
        p = f"model.layers.{n}."
        t += norm(p + "input_layernorm", h, bias=False)
        for part, rows in (("q_proj", q), ("k_proj", kv), ("v_proj", kv)):
            t += linear(p + "self_attn." + part, rows, h, bias=False)
        t += linear(p + "self_attn.o_proj", h, q, bias=False)
        t += norm(p + "post_attention_layernorm", h, bias=False)
        for part in ("gate_proj", "up_proj"):
            t += linear(p + "mlp." + part, i, h, bias=False)
        t += linear(p + "mlp.down_proj", h, i, bias=False)
    t += norm("model.norm", h, bias=False)
    return t + linear("lm_head", c["vocab_size"], h, bias=False)


SHAPES = {"bert-base": (BERT, bert_tensors), "distilbert": (DISTILBERT, distilbert_tensors),
          "mistral-7b": (MISTRAL, mistral_tensors)}


def decoder_bias(hidden, vocab, nnz, tokens):
    """A text's largest logit passes 0 for nnz of vocab terms: logits of normalised states
    are N(0, 0.02^2 hidden), and a text has `tokens` nearly independent ones."""
    beyond = 1 - (1 - nnz / vocab) ** (1 / tokens)
    return -statistics.NormalDist().inv_cdf(1 - beyond) * 0.02 * hidden ** 0.5


def write_model(path, tensors, dtype, bias, seed):
    """safetensors: u64 length, JSON header, data. The random numbers come from one table, read
    from another place for each tensor: drawing billions of them would take minutes."""
    kind, name = {"f32": (np.float32, "F32"), "bf16": (np.uint16, "BF16")}[dtype]
    rng = np.random.default_rng(seed)
    table = (rng.standard_normal(30_000_001, dtype=np.float32) * np.float32(0.02))

    def narrow(x):
        x = x.astype(np.float32)
        if kind is np.float32:
            return x
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)

    table, width = narrow(table), np.dtype(kind).itemsize
    header, at = {}, 0
    for key, shape, _ in tensors:
        size = int(np.prod(shape)) * width
        header[key] = {"dtype": name, "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head)
        for _, shape, fill in tensors:
            left = int(np.prod(shape))
            if fill != "random":
                value = {"zero": 0.0, "one": 1.0, "bias": bias}[fill]
                f.write(narrow(np.full(left, value)).tobytes())
                continue
            while left:
                start = int(rng.integers(0, len(table)))
                piece = table[start:start + left]
                f.write(piece.tobytes())
                left -= len(piece)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("out", type=Path)
    p.add_argument("--tokenizer", type=Path, required=True, help="a tokenizer.json")
    p.add_argument("--nnz", type=int, default=200, help="terms that a text keeps")
    p.add_argument("--tokens", type=int, default=128, help="of such a text")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    config, tensors = SHAPES[a.shape]
    config = dict(config)
    dtype = "bf16" if a.shape == "mistral-7b" else "f32"
    config["torch_dtype"] = "bfloat16" if dtype == "bf16" else "float32"
    hidden = config.get("hidden_size", config.get("dim"))
    bias = decoder_bias(hidden, config["vocab_size"], a.nnz, a.tokens)
    a.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.tokenizer, a.out / "tokenizer.json")
    limit = min(512, config["max_position_embeddings"])
    (a.out / "tokenizer_config.json").write_text(json.dumps({"model_max_length": limit}))
    (a.out / "config.json").write_text(json.dumps(config, indent=1))
    write_model(a.out / "model.safetensors", tensors(config), dtype, bias, a.seed)
    print(f"{a.out}: {a.shape}, {dtype}, seed {a.seed}, decoder bias {bias:.3f}")


if __name__ == "__main__":
    main()
