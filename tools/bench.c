/* tools/bench.c - the queries, the truth, the clock. */
#include "tools/bench.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/pool.h"
#include "base/progress.h"

sp_err bench_add_query(bench_queries *q, const sp_vec *v) {
  if (q->n == q->cap) {
    uint32_t cap = q->cap ? 2 * q->cap : 1024;
    sp_vec *vecs = realloc(q->vecs, cap * sizeof *vecs);
    if (!vecs) return sp_fail(SP_ENOMEM, "no memory for %u queries", cap);
    q->vecs = vecs;
    q->cap = cap;
  }
  q->vecs[q->n] = (sp_vec){0};
  sp_err err = sp_vec_copy(v, &q->vecs[q->n]);
  if (!err) q->n++;
  return err;
}

/* Splitmix64: any seed is a good one. */
static uint64_t next_random(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void bench_sample(bench_queries *q, uint32_t n, uint64_t seed) {
  for (uint32_t i = q->n; i > 1; i--) {
    uint32_t j = (uint32_t)(next_random(&seed) % i);
    sp_vec swap = q->vecs[i - 1];
    q->vecs[i - 1] = q->vecs[j];
    q->vecs[j] = swap;
  }
  while (n && q->n > n) sp_vec_free(&q->vecs[--q->n]);
}

void bench_free_queries(bench_queries *q) {
  for (uint32_t i = 0; i < q->n; i++) sp_vec_free(&q->vecs[i]);
  free(q->vecs);
  free(q->kth_score);
  free(q->n_best);
  *q = (bench_queries){0};
}

/* --- the truth --- */

enum { TRUTH_PIECE = 16 /* queries a worker takes at a time */ };

typedef struct truth_job {
  bench_queries *q;
  const sp_snapshot *snapshot;
  sp_search_params params;
  sp_searcher **searchers; /* [workers] */
  sp_hit *hits;            /* [workers * k] */
} truth_job;

static sp_err truth_piece(void *arg, size_t piece, unsigned worker) {
  truth_job *job = arg;
  bench_queries *q = job->q;
  sp_hit *hits = job->hits + (size_t)worker * job->params.k;
  if (!job->searchers[worker]) {
    sp_err err = sp_searcher_new(job->snapshot, &job->searchers[worker]);
    if (err) return err;
  }
  uint32_t begin = (uint32_t)piece * TRUTH_PIECE;
  uint32_t end = q->n - begin < TRUTH_PIECE ? q->n : begin + TRUTH_PIECE;
  for (uint32_t i = begin; i < end; i++) {
    uint32_t n;
    sp_err err =
        sp_search(job->searchers[worker], &q->vecs[i], &job->params, hits, &n, NULL);
    if (err) return err;
    q->n_best[i] = n;
    q->kth_score[i] = n ? hits[n - 1].score : 0;
  }
  return SP_OK;
}

sp_err bench_ground_truth(bench_queries *q, const sp_snapshot *s, uint32_t k,
                          unsigned n_threads, FILE *progress) {
  free(q->kth_score);
  free(q->n_best);
  q->k = k;
  q->kth_score = malloc((size_t)(q->n + 1) * sizeof *q->kth_score);
  q->n_best = malloc((size_t)(q->n + 1) * sizeof *q->n_best);
  sp_pool *pool = NULL;
  truth_job job = {q, s, sp_search_defaults(), NULL, NULL};
  job.params.k = k;
  job.params.exact = true;
  sp_err err = sp_pool_new(n_threads, &pool);
  if (err) goto done;
  unsigned n_workers = sp_pool_n_threads(pool);
  job.searchers = calloc(n_workers, sizeof *job.searchers);
  job.hits = malloc((size_t)n_workers * k * sizeof *job.hits);
  if (!q->kth_score || !q->n_best || !job.searchers || !job.hits) {
    err = sp_fail(SP_ENOMEM, "no memory for the exact results of %u queries", q->n);
    goto done;
  }
  sp_progress shown;
  sp_progress_begin(&shown, progress, "exact searches", 0, q->n);
  err = sp_pool_run(pool, (q->n + TRUTH_PIECE - 1) / TRUTH_PIECE, truth_piece, &job);
  sp_progress_set(&shown, q->n);
  if (!err) sp_progress_end(&shown);

done:
  for (unsigned i = 0; job.searchers && i < sp_pool_n_threads(pool); i++)
    sp_searcher_free(job.searchers[i]);
  free(job.searchers);
  free(job.hits);
  sp_pool_free(pool);
  return err;
}

/* --- the clock --- */

static double clock_us(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* The value that a share of the n sorted ones does not exceed. */
static double percentile(const double *sorted, uint32_t n, double share) {
  double at = share * (n - 1);
  uint32_t low = (uint32_t)at;
  if (low + 1 >= n) return sorted[n - 1];
  return sorted[low] + (at - low) * (sorted[low + 1] - sorted[low]);
}

/* Warms up, and fills in what does not depend on time. */
static sp_err untimed_pass(const bench_queries *q, sp_searcher *s,
                           const sp_search_params *params, sp_hit *hits,
                           bench_point *out) {
  double recall = 0;
  for (uint32_t i = 0; i < q->n; i++) {
    uint32_t n, n_good = 0;
    sp_search_stats stats;
    sp_err err = sp_search(s, &q->vecs[i], params, hits, &n, &stats);
    if (err) return err;
    /* a document that ties with the k-th is as good as it */
    while (n_good < n && hits[n_good].score >= q->kth_score[i] * (1 - 1e-4f)) n_good++;
    if (n_good > q->n_best[i]) n_good = q->n_best[i];
    recall += q->n_best[i] ? (double)n_good / q->n_best[i] : 1;
    out->n_docs_scored += stats.n_docs_scored;
    out->n_postings += stats.n_postings;
    out->n_candidates += stats.n_candidates;
  }
  out->recall = recall / q->n;
  out->n_docs_scored /= q->n;
  out->n_postings /= q->n;
  out->n_candidates /= q->n;
  return SP_OK;
}

static sp_err timed_pass(const bench_queries *q, sp_searcher *s,
                         const sp_search_params *params, sp_hit *hits, double *us,
                         bench_point *out) {
  double cpu_began = clock_us(CLOCK_THREAD_CPUTIME_ID), sum = 0;
  for (uint32_t i = 0; i < q->n; i++) {
    uint32_t n;
    double began = clock_us(CLOCK_MONOTONIC);
    sp_err err = sp_search(s, &q->vecs[i], params, hits, &n, NULL);
    us[i] = clock_us(CLOCK_MONOTONIC) - began;
    if (err) return err;
    sum += us[i];
  }
  double cpu = (clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu_began) / q->n;
  if (out->cpu_us == 0 || cpu < out->cpu_us) out->cpu_us = cpu;
  if (out->mean_us > 0 && sum / q->n >= out->mean_us) return SP_OK;
  qsort(us, q->n, sizeof *us, by_value);
  out->mean_us = sum / q->n;
  out->p50_us = percentile(us, q->n, 0.50);
  out->p99_us = percentile(us, q->n, 0.99);
  return SP_OK;
}

sp_err bench_measure(const bench_queries *q, const sp_snapshot *s,
                     const sp_search_params *params, uint32_t n_passes,
                     bench_point *out) {
  *out = (bench_point){.params = *params};
  sp_hit *hits = malloc(params->k * sizeof *hits);
  double *us = malloc((size_t)q->n * sizeof *us);
  sp_searcher *searcher = NULL;
  sp_err err = sp_searcher_new(s, &searcher);
  if (!err && (!hits || !us)) err = sp_fail(SP_ENOMEM, "no memory for measuring");
  if (!err) err = untimed_pass(q, searcher, params, hits, out);
  for (uint32_t pass = 0; !err && pass < n_passes; pass++)
    err = timed_pass(q, searcher, params, hits, us, out);
  sp_searcher_free(searcher);
  free(hits);
  free(us);
  return err;
}

void bench_front(const bench_point *points, uint32_t n, bool *best) {
  for (uint32_t i = 0; i < n; i++) {
    best[i] = true;
    for (uint32_t j = 0; j < n && best[i]; j++) {
      bool no_worse =
          points[j].recall >= points[i].recall && points[j].cpu_us <= points[i].cpu_us;
      bool better =
          points[j].recall > points[i].recall || points[j].cpu_us < points[i].cpu_us;
      if (no_worse && better) best[i] = false;
    }
  }
}

sp_err bench_pin(int core, int *used) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0)
    return sp_fail_errno(errno, "cannot tell which processors may be used");
  for (int i = 0; core < 0 && i < CPU_SETSIZE; i++)
    if (CPU_ISSET(CPU_SETSIZE - 1 - i, &set)) core = CPU_SETSIZE - 1 - i;
  if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &set))
    return sp_fail(SP_EINVAL, "processor %d may not be used by this process", core);
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0)
    return sp_fail_errno(errno, "cannot bind to processor %d", core);
  *used = core;
  return SP_OK;
}
