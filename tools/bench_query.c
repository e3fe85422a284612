/* tools/bench_query.c - bench_query DIR QUERIES.jsonl DEVICE[:PRECISION]...: what a query
 * waits for its vector when it comes alone, as a server's do.
 *
 * Each query goes through the network by itself, tokenizing included, on each device in
 * turn, so that whatever else the machine does falls on all; median and 99th percentile over
 * the queries and a few rounds, after one round that warms up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/bench_texts.h"
#include "tools/blas_core.h"

enum { MOST_WAYS = 8, MOST_QUERIES = 1000, ROUNDS = 3 };

typedef struct way {
  const char *name; /* as it was given */
  sp_encoder *encoder;
  double *seconds; /* [ROUNDS * n] */
} way;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* "cuda:f16" or "cpu". */
static sp_err open_way(const char *dir, const char *name, size_t n, way *w) {
  w->name = name;
  w->seconds = calloc(ROUNDS * n, sizeof *w->seconds);
  char *device = strdup(name);
  if (!w->seconds || !device) {
    free(device);
    return sp_fail(SP_ENOMEM, "%s: out of memory", name);
  }
  sp_encoder_options o = sp_encoder_defaults();
  o.neural_queries = true; /* a table's look-up is not what is measured */
  o.device = device;
  char *colon = strchr(device, ':');
  if (colon) {
    *colon = '\0';
    o.precision = colon + 1;
  }
  sp_err err = sp_encoder_open(dir, &o, &w->encoder);
  free(device);
  return err;
}

static sp_err time_queries(const way *w, const bench_texts *t, size_t n,
                           double *seconds) {
  sp_vec v = {0};
  sp_err err = SP_OK;
  for (size_t i = 0; i < n && !err; i++) {
    const double began = now_s();
    err = sp_encoder_encode(w->encoder, SP_QUERY, &t->list[i], 1, &v);
    seconds[i] = now_s() - began;
  }
  sp_vec_free(&v);
  return err;
}

static sp_err run(const char *dir, const bench_texts *t, char **names, size_t n_ways,
                  way *ways) {
  const size_t n = t->n < MOST_QUERIES ? t->n : MOST_QUERIES;
  sp_err err = SP_OK;
  for (size_t i = 0; i < n_ways && !err; i++) err = open_way(dir, names[i], n, &ways[i]);
  for (size_t i = 0; i < n_ways && !err; i++)
    err = time_queries(&ways[i], t, n, ways[i].seconds);
  for (size_t r = 0; r < ROUNDS; r++)
    for (size_t i = 0; i < n_ways && !err; i++)
      err = time_queries(&ways[i], t, n, ways[i].seconds + r * n);
  for (size_t i = 0; i < n_ways && !err; i++) {
    const double median = bench_quantile(ways[i].seconds, ROUNDS * n, 0.5);
    printf("%-10s %zu queries: median %.3f ms, 99 %% below %.3f ms\n", ways[i].name, n,
           1e3 * median, 1e3 * bench_quantile(ways[i].seconds, ROUNDS * n, 0.99));
  }
  return err;
}

int main(int argc, char **argv) {
  blas_core_fit(argv);
  if (argc < 4 || argc > 3 + MOST_WAYS) {
    fprintf(stderr, "usage: bench_query DIR QUERIES.jsonl DEVICE[:PRECISION]...\n");
    return 2;
  }
  bench_texts t = {0};
  way ways[MOST_WAYS] = {0};
  const size_t n_ways = (size_t)argc - 3;
  sp_err err = bench_texts_read(argv[2], &t);
  if (!err) err = run(argv[1], &t, argv + 3, n_ways, ways);
  if (err) fprintf(stderr, "bench_query: %s\n", sp_err_message());
  for (size_t i = 0; i < n_ways; i++) {
    sp_encoder_free(ways[i].encoder);
    free(ways[i].seconds);
  }
  bench_texts_free(&t);
  return err ? 1 : 0;
}
