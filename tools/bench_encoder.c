/* tools/bench_encoder.c - bench_encoder DIR TEXTS.jsonl [THREADS [ROUNDS]]: the CPU's f32
 * against its int8, texts in memory, tokenizing included.
 *
 * The answers are compared first: relative L2 above 1 % ends the run. Then the two take
 * turns, so that whatever else the machine does falls on both; medians over the rounds, and
 * the ratio of the medians, of the wall's clock and of the processor's, which counts only
 * the time that the process was given. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "encoder/tokenizer.h"
#include "tools/bench_texts.h"
#include "tools/blas_core.h"

enum { WALL, PROCESSOR, N_CLOCKS };

static double now_s(int which) {
  static const clockid_t CLOCKS[N_CLOCKS] = {CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID};
  struct timespec t;
  clock_gettime(CLOCKS[which], &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* |a - b| / |b| by dot products; both are sorted. */
static double distance(const sp_vec *a, const sp_vec *b) {
  double bb = sp_vec_dot(b, b), gap = sp_vec_dot(a, a) - 2 * sp_vec_dot(a, b) + bb;
  return bb > 0 ? sqrt(fmax(gap, 0) / bb) : a->n > 0;
}

/* Tokens as the encoder cuts them; 0 where the tokenizer lies elsewhere. */
static uint64_t count_tokens(const char *dir, const bench_texts *t, uint32_t max_length) {
  sp_tokenizer *tokenizer;
  if (sp_tokenizer_open(dir, &tokenizer)) return 0;
  sp_tokens tokens = {0};
  sp_tokenize_options o = {.special_tokens = true, .max_length = max_length};
  uint64_t total = 0;
  for (size_t i = 0; i < t->n; i++)
    if (!sp_tokenizer_encode(tokenizer, t->list[i].data, t->list[i].n, &o, &tokens))
      total += tokens.n;
  sp_tokens_free(&tokens);
  sp_tokenizer_free(tokenizer);
  return total;
}

static uint32_t max_length_of(const sp_encoder *e) {
  json_t *contract;
  if (sp_encoder_contract(e, &contract)) return 0;
  uint32_t n = (uint32_t)json_integer_value(json_object_get(contract, "max_length"));
  json_decref(contract);
  return n;
}

static sp_err check(sp_encoder *const e[2], const bench_texts *t, sp_vec *const out[2]) {
  double sum = 0, worst = 0;
  for (int p = 0; p < 2; p++) {
    sp_err err = sp_encoder_encode(e[p], SP_DOCUMENT, t->list, t->n, out[p]);
    if (err) return err;
  }
  for (size_t i = 0; i < t->n; i++) {
    double d = distance(&out[1][i], &out[0][i]);
    sum += d;
    worst = fmax(worst, d);
  }
  printf("int8 against f32: relative L2 %.2e on average, %.2e at most\n",
         sum / (double)t->n, worst);
  if (worst > 0.01) return sp_fail(SP_EINVAL, "int8 is off by %.3g", worst);
  return SP_OK;
}

enum { F32, INT8, N_PRECISIONS };
static const char *const PRECISIONS[N_PRECISIONS] = {"f32", "int8"};

/* What the rounds took: seconds[precision][clock] of `rounds` each. */
typedef struct times {
  double *seconds[N_PRECISIONS][N_CLOCKS];
  int rounds;
} times;

static double median(const times *m, int precision, int clock) {
  return bench_quantile(m->seconds[precision][clock], (size_t)m->rounds, 0.5);
}

static sp_err run_rounds(sp_encoder *const e[N_PRECISIONS], const bench_texts *t,
                         sp_vec *const out[N_PRECISIONS], times *m) {
  for (int r = 0; r < m->rounds; r++)
    for (int p = 0; p < N_PRECISIONS; p++) {
      double began[N_CLOCKS];
      for (int c = 0; c < N_CLOCKS; c++) began[c] = now_s(c);
      sp_err err = sp_encoder_encode(e[p], SP_DOCUMENT, t->list, t->n, out[p]);
      if (err) return err;
      for (int c = 0; c < N_CLOCKS; c++) m->seconds[p][c][r] = now_s(c) - began[c];
    }
  return SP_OK;
}

static void report(const times *m, size_t n_texts, uint64_t n_tokens) {
  for (int p = 0; p < N_PRECISIONS; p++) {
    double wall = median(m, p, WALL);
    printf("%-5s %8.3f s  %8.3f processor-s  %8.1f texts/s  %9.0f tokens/s\n",
           PRECISIONS[p], wall, median(m, p, PROCESSOR), (double)n_texts / wall,
           (double)n_tokens / wall);
  }
  printf("int8 is %.2f times as fast, with 1/%.2f of the processor time\n",
         median(m, F32, WALL) / median(m, INT8, WALL),
         median(m, F32, PROCESSOR) / median(m, INT8, PROCESSOR));
}

static sp_err race(const char *dir, const bench_texts *t, unsigned threads, int rounds) {
  sp_encoder *e[N_PRECISIONS] = {NULL, NULL};
  sp_vec *out[N_PRECISIONS];
  times m = {.rounds = rounds};
  sp_err err = SP_OK;
  for (int p = 0; p < N_PRECISIONS; p++) {
    sp_encoder_options o = {
        .device = "cpu", .precision = PRECISIONS[p], .n_threads = threads};
    out[p] = calloc(t->n, sizeof *out[p]);
    for (int c = 0; c < N_CLOCKS; c++) {
      m.seconds[p][c] = calloc((size_t)rounds, sizeof(double));
      if (!out[p] || !m.seconds[p][c])
        err = sp_fail(SP_ENOMEM, "the rounds' results: out of memory");
    }
    if (!err) err = sp_encoder_open(dir, &o, &e[p]);
  }
  if (!err) err = check(e, t, out);
  if (!err) err = run_rounds(e, t, out, &m);
  if (!err) report(&m, t->n, count_tokens(dir, t, max_length_of(e[F32])));
  for (int p = 0; p < N_PRECISIONS; p++) {
    for (size_t i = 0; out[p] && i < t->n; i++) sp_vec_free(&out[p][i]);
    free(out[p]);
    for (int c = 0; c < N_CLOCKS; c++) free(m.seconds[p][c]);
    sp_encoder_free(e[p]);
  }
  return err;
}

int main(int argc, char **argv) {
  blas_core_fit(argv);
  if (argc < 3 || argc > 5) {
    fprintf(stderr, "usage: bench_encoder DIR TEXTS.jsonl [THREADS [ROUNDS]]\n");
    return 2;
  }
  bench_texts t = {0};
  int rounds = argc > 4 ? atoi(argv[4]) : 5;
  sp_err err = bench_texts_read(argv[2], &t);
  if (!err)
    err = race(argv[1], &t, argc > 3 ? (unsigned)atoi(argv[3]) : 0,
               rounds < 1 ? 1 : rounds);
  if (err) fprintf(stderr, "bench_encoder: %s\n", sp_err_message());
  bench_texts_free(&t);
  return err ? 1 : 0;
}
