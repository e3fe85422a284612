#!/usr/bin/env python3
"""tools/mix_vectors.py - a larger collection made of a real one, to see how costs grow.

  mix_vectors.py documents.csr COPIES mixed.csr

Writes COPIES times as many vectors. The first are the documents themselves; in each further
copy a document is crossed with another, drawn at random: a hash that is drawn for each pair
says of every term which of the two it comes from. Files are BigANN CSR. Needs numpy. The same
input gives the same output.
"""
import os
import shutil
import sys

import numpy as np


def crossed(a, b, multiplier):
    """Terms and weights of two documents, each term from one of them."""
    (i, v), (j, w) = a, b
    from_a = (i.astype(np.int64) * multiplier >> 7 & 1) == 0
    from_b = (j.astype(np.int64) * multiplier >> 7 & 1) == 1
    terms = np.concatenate([i[from_a], j[from_b]])
    weights = np.concatenate([v[from_a], w[from_b]])
    order = np.argsort(terms)
    return terms[order], weights[order]


def main():
    if len(sys.argv) != 4 or not sys.argv[2].isdigit():
        sys.exit("usage: mix_vectors.py documents.csr COPIES mixed.csr")
    source, copies, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    n, n_terms, nnz = np.fromfile(source, np.int64, 3)
    start = np.fromfile(source, np.int64, n + 1, offset=24)
    at = 24 + 8 * (n + 1)
    terms = np.memmap(source, np.int32, "r", at, (nnz,))
    weights = np.memmap(source, np.float32, "r", at + 4 * nnz, (nnz,))

    def document(d):
        return terms[start[d]:start[d + 1]], weights[start[d]:start[d + 1]]

    random = np.random.default_rng(1)
    lengths = []
    with open(out + ".terms", "wb") as terms_out, open(out + ".weights", "wb") as weights_out:
        for copy in range(copies):
            others = random.permutation(n) if copy else range(n)
            for d in range(n):
                t, w = document(d)
                if copy:
                    multiplier = random.integers(0, 2**31) | 1
                    t, w = crossed((t, w), document(others[d]), multiplier)
                lengths.append(len(t))
                t.astype(np.int32).tofile(terms_out)
                w.astype(np.float32).tofile(weights_out)
    ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    with open(out, "wb") as f:
        np.array([len(lengths), n_terms, ends[-1]], np.int64).tofile(f)
        ends.tofile(f)
        for part in (".terms", ".weights"):
            with open(out + part, "rb") as p:
                shutil.copyfileobj(p, f, 1 << 24)
            os.unlink(out + part)


if __name__ == "__main__":
    main()
