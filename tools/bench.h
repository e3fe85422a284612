/* tools/bench.h - measures searches of one snapshot: recall against latency. */
#ifndef SP_BENCH_H
#define SP_BENCH_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/vec.h"
#include "index/index.h"
#include "query/search.h"

/* Queries and the scores their results must reach. {0} is empty. */
typedef struct bench_queries {
  sp_vec *vecs; /* [n] */
  uint32_t n, cap;
  uint32_t k;       /* of the two below */
  float *kth_score; /* [n] the worst score among the exact k best */
  uint32_t *n_best; /* [n] how many there are: below k where fewer documents match */
} bench_queries;

/* Copies a query to the end. Errors: ENOMEM. */
sp_err bench_add_query(bench_queries *q, const sp_vec *v);

/* Puts the queries into an order that depends on `seed` alone and keeps the first `n`
 * (0: all): a sample. */
void bench_sample(bench_queries *q, uint32_t n, uint64_t seed);
void bench_free_queries(bench_queries *q);

/* Exact search for every query, `n_threads` at a time (0: all processors).
 * Errors: ENOMEM, EINVAL. */
sp_err bench_ground_truth(bench_queries *q, const sp_snapshot *s, uint32_t k,
                          unsigned n_threads, FILE *progress);

/* One setting's result. Times are of one query in microseconds: wall clock of the faster
 * pass, and processor time (what other processes take does not count). */
typedef struct bench_point {
  sp_search_params params;
  double recall; /* share of the exact k best whose score is reached, less 0.01 % */
  double mean_us, p50_us, p99_us, cpu_us;
  double n_docs_scored, n_postings, n_candidates; /* means */
} bench_point;

/* One pass to warm up and for the recall, then `n_passes` timed ones, all in the calling
 * thread. Errors: ENOMEM, EINVAL. */
sp_err bench_measure(const bench_queries *q, const sp_snapshot *s,
                     const sp_search_params *params, uint32_t n_passes, bench_point *out);

/* Marks in best[n] the points that no other beats in recall and processor time. */
void bench_front(const bench_point *points, uint32_t n, bool *best);

/* Binds the calling thread to one processor: `core`, or the last it may use if negative.
 * Writes which. Errors: EIO. */
sp_err bench_pin(int core, int *used);

#endif
