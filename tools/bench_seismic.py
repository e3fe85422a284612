#!/usr/bin/env python3
"""tools/bench_seismic.py - Spindle and pyseismic-lsr on the same vectors, in turn, on one core.

  python3 tools/bench_seismic.py --docs documents.csr --queries queries.csr --work DIR
          [--spindle build/release/bin/spindle] [--n-queries 1000] [--rounds 3] [--core N]

Vectors are BigANN CSR files. Needs numpy, scipy and pyseismic-lsr; without them it says so
and ends with status 77. Both indexes keep as many postings (in proportion to the
collection: 40 % of all entries, one list at most 6 times the mean); Seismic groups them into
blocks, a fifth as many as postings, with summaries of half their mass.
Then, in rounds, each engine answers the sample for every setting, one thread on one core,
a fresh process each time; the best round of each setting counts. Times are processor time,
so that other processes' turns do not count. A result is found when its exact score
reaches the k-th best (less 0.01 %), for both engines. Seismic is called through Python:
what an empty call costs is measured and printed beside it.
"""
import argparse
import json
import os
import subprocess
import sys
import time

try:
    import numpy as np
    import scipy.sparse as sparse
    import seismic
except ImportError as missing:
    print(f"bench_seismic: skipped: {missing}")
    sys.exit(77)

TARGETS = (0.90, 0.95, 0.97, 0.99)
CUTS = (2, 3, 4, 5, 6, 8, 10, 12)
OUR_CUTS = (3, 4, 6, 8, 10, 16, 0)
FACTORS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.1)


def read_csr(path):
    with open(path, "rb") as f:
        rows, columns, entries = np.fromfile(f, np.int64, 3)
        starts = np.fromfile(f, np.int64, rows + 1)
        terms = np.fromfile(f, np.int32, entries)
        weights = np.fromfile(f, np.float32, entries)
    return sparse.csr_matrix((weights, terms, starts), shape=(rows, columns))


def write_csr(path, m):
    with open(path, "wb") as f:
        np.array([*m.shape, m.nnz], np.int64).tofile(f)
        m.indptr.astype(np.int64).tofile(f)
        m.indices.astype(np.int32).tofile(f)
        m.data.astype(np.float32).tofile(f)


def sample(queries, n):
    filled = np.flatnonzero(np.diff(queries.indptr))
    return queries[np.random.default_rng(1).permutation(filled)[:n]].tocsr()


# ---- Seismic ----------------------------------------------------------------------------


def seismic_build(docs, params, work):
    """Its input: u32 vectors; for each u32 entries, the u32 terms, the f32 weights."""
    source, target = f"{work}/seismic.in", f"{work}/seismic"
    with open(source, "wb") as f:
        np.array([docs.shape[0]], np.uint32).tofile(f)
        for i in range(docs.shape[0]):
            a, b = docs.indptr[i], docs.indptr[i + 1]
            np.array([b - a], np.uint32).tofile(f)
            docs.indices[a:b].astype(np.uint32).tofile(f)
            docs.data[a:b].astype(np.float32).tofile(f)
    began = time.time()
    seismic.SeismicIndexRaw.build(source, **params).save(target)
    os.unlink(source)
    return time.time() - began


def seismic_round(work, k):
    """Runs in a process of its own: every setting once, ids and microseconds a query."""
    index = seismic.SeismicIndexRaw.load(f"{work}/seismic")
    q = read_csr(f"{work}/queries.csr")
    queries = []
    for i in range(q.shape[0]):
        a, b = q.indptr[i], q.indptr[i + 1]
        queries.append((np.ascontiguousarray(q.indices[a:b].astype(np.int32)), np.ascontiguousarray(q.data[a:b])))

    def ask(cut, factor):
        began = time.thread_time_ns()
        results = [index.search(terms, weights, k, cut, factor, 0, True) for terms, weights in queries]
        return results, (time.thread_time_ns() - began) / len(queries) / 1e3

    ask(CUTS[-1], FACTORS[0])
    points = []
    for cut in CUTS:
        for factor in FACTORS:
            results, us = ask(cut, factor)
            points.append(dict(cut=cut, factor=factor, us=us, ids=[[hit[1] for hit in r] for r in results]))
    json.dump(dict(points=points, empty_us=ask(0, 1.0)[1]), open(f"{work}/seismic.json", "w"))


def score_results(docs, queries, points, k):
    """Adds the recall of each point, from exact scores."""
    kth = np.zeros(queries.shape[0])
    n_best = np.zeros(queries.shape[0], int)
    exact = []
    transposed = docs.T.tocsr()
    for i in range(queries.shape[0]):
        scores = np.asarray((queries[i] @ transposed).todense()).ravel()
        best = np.sort(scores[np.argpartition(-scores, k - 1)[:k]])[::-1]
        n_best[i] = (best > 0).sum()
        kth[i] = best[n_best[i] - 1] if n_best[i] else 0
        exact.append(scores.astype(np.float32))
    for p in points:
        found = [min((exact[i][list(set(ids))] >= kth[i] * (1 - 1e-4)).sum(), n_best[i]) / max(n_best[i], 1)
                 for i, ids in enumerate(p["ids"])]
        p["recall"] = float(np.mean(found))


# ---- both -------------------------------------------------------------------------------


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"bench_seismic: {' '.join(command)}: {done.stderr}")


def spindle_round(o, index, out, build=()):
    run([o.spindle, "bench", *build, index, "--queries", f"{o.work}/queries.csr", "--n-queries", "0", "--k", str(o.k), "--passes", "1",
         "--core", str(o.core), "--json", out, "--query-cut", *map(str, OUR_CUTS), "--heap-factor", *map(str, FACTORS)])
    return json.load(open(out))


def keep_best(best, points):
    """The faster round of each setting."""
    for p in points:
        key = (p["cut"], p["factor"])
        if key not in best or p["us"] < best[key]["us"]:
            best[key] = p


def fastest(points, target):
    good = [p for p in points if p["recall"] >= target]
    return min(good, key=lambda p: p["us"]) if good else None


def cell(p):
    return f"{p['us']:.1f} us (cut {p['cut']}, factor {p['factor']:g}, recall {p['recall']:.4f})" if p else "not reached"


def report(ours, theirs, empty_us):
    print("| recall | Spindle | Seismic | times faster | without the call from Python |")
    print("| --- | --- | --- | --- | --- |")
    for target in TARGETS:
        a, b = fastest(ours, target), fastest(theirs, target)
        ratio = f"{b['us'] / a['us']:.2f} | {(b['us'] - empty_us) / a['us']:.2f}" if a and b else " | "
        print(f"| {target:.2f} | {cell(a)} | {cell(b)} | {ratio} |")
    print(f"\nAn empty call of Seismic through Python: {empty_us:.1f} us\n")
    print("Spindle: recall, microseconds\n")
    print("| query_cut | " + " | ".join(f"{f:g}" for f in FACTORS) + " |")
    print("| --- |" + " --- |" * len(FACTORS))
    table = {(p["cut"], p["factor"]): p for p in ours}
    for cut in OUR_CUTS:
        print(f"| {cut} | " + " | ".join(f"{table[cut, f]['recall']:.3f}, {table[cut, f]['us']:.0f}" for f in FACTORS) + " |")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--docs", required=True)
    a.add_argument("--queries", required=True)
    a.add_argument("--work", required=True, help="a folder for both indexes; they are built if they are not there")
    a.add_argument("--spindle", default="build/release/bin/spindle")
    a.add_argument("--n-queries", type=int, default=1000)
    a.add_argument("--rounds", type=int, default=3)
    a.add_argument("--k", type=int, default=10)
    a.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    a.add_argument("--seismic-round", action="store_true", help=argparse.SUPPRESS)
    o = a.parse_args()
    if o.seismic_round:
        seismic_round(o.work, o.k)
        return
    os.makedirs(o.work, exist_ok=True)
    docs, queries = read_csr(o.docs), sample(read_csr(o.queries), o.n_queries)
    write_csr(f"{o.work}/queries.csr", queries)
    n_postings = max(20, round(0.4 * docs.nnz / len(np.unique(docs.indices))))
    shared = dict(n_postings=n_postings, max_fraction=6.0)
    blocks = dict(centroid_fraction=0.2, min_cluster_size=2, summary_energy=0.5)
    if not os.path.exists(f"{o.work}/seismic"):
        print(f"Seismic: built in {seismic_build(docs, shared | blocks, o.work):.1f} s", flush=True)
    if not os.path.exists(f"{o.work}/spindle"):
        options = [x for name, value in shared.items() for x in ("--" + name.replace("_", "-"), str(value))]
        built = spindle_round(o, o.docs, f"{o.work}/spindle.json", ["--memory", "4G", "--index", f"{o.work}/spindle", *options])
        print(f"Spindle: built in {built['build_s']:.1f} s", flush=True)
    print(f"On disk: Seismic {os.path.getsize(o.work + '/seismic') / 1e6:.0f} MB, "
          f"Spindle {os.path.getsize(o.work + '/spindle/data.mdb') / 1e6:.0f} MB\n", flush=True)
    ours, theirs, empty_us = {}, {}, float("inf")
    for _ in range(o.rounds):
        run(["taskset", "-c", str(o.core), sys.executable, os.path.abspath(__file__), "--seismic-round", "--docs", o.docs,
             "--queries", o.queries, "--work", o.work, "--k", str(o.k)])
        round_of_theirs = json.load(open(f"{o.work}/seismic.json"))
        empty_us = min(empty_us, round_of_theirs["empty_us"])
        keep_best(theirs, round_of_theirs["points"])
        round_of_ours = spindle_round(o, f"{o.work}/spindle", f"{o.work}/spindle.json")
        keep_best(ours, [dict(cut=p["query_cut"], factor=round(p["heap_factor"], 4), us=p["cpu_us"], recall=p["recall"])
                         for p in round_of_ours["points"]])
    score_results(docs, queries, list(theirs.values()), o.k)
    report(list(ours.values()), list(theirs.values()), empty_us)


main()
