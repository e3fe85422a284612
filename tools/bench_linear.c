/* tools/bench_linear.c - bench_linear [ROUNDS]: an encoder layer's matrix products, our own
 * kernel beside cuBLASLt, on random data. With GELU our own has the LayerNorm before it to do
 * as well, as in a layer; its scales here change nothing. GELU is the tanh form, which both
 * have.
 *
 * The two answers are compared first. Then all products of a type take turns, so that all
 * meet the card as warm as the others; medians over the rounds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/half.h"
#include "kernels/cuda_matmul.h"
#include "kernels/cuda_norm_fold.h"

typedef struct shape {
  const char *name;
  int m, n, k;
  sp_cuda_epilogue epilogue;
} shape;

static const shape SHAPES[] = {
    {"BERT-base, queries, keys, values", 32768, 2304, 768, SP_CUDA_NO_ACT},
    {"BERT-base, attention's output", 32768, 768, 768, SP_CUDA_NO_ACT},
    {"BERT-base, up, GELU", 32768, 3072, 768, SP_CUDA_FUSED_GELU_TANH},
    {"BERT-base, down", 32768, 768, 3072, SP_CUDA_NO_ACT},
    {"Mistral-7B, queries, keys, values", 8192, 6144, 4096, SP_CUDA_NO_ACT},
    {"Mistral-7B, gate and up", 8192, 28672, 4096, SP_CUDA_NO_ACT},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES, MOST = 8192 * 28672 };

typedef struct bench {
  sp_cuda_matmul *mm;
  sp_cuda_type type;
  void *a, *w, *bias, *d[2];
  float *scales, *sums; /* of a LayerNorm that changes nothing */
  cudaEvent_t begin, end;
} bench;

static sp_err run(const bench *b, const shape *s, sp_cuda_matmul_path path) {
  const bool norm = path == SP_CUDA_MATMUL_OWN && s->epilogue != SP_CUDA_NO_ACT;
  const sp_cuda_matmul_args x = {
      .type = b->type,
      .a = b->a,
      .w = b->w,
      .bias = b->bias,
      .d = b->d[path == SP_CUDA_MATMUL_OWN],
      .m = s->m,
      .n = s->n,
      .k = s->k,
      .lda = s->k,
      .ldw = s->k,
      .ldd = s->n,
      .epilogue = s->epilogue,
      .path = path,
      .norm = {norm ? b->scales : NULL, norm ? b->sums : NULL}};
  return sp_cuda_matmul_run(b->mm, &x, NULL);
}

/* n numbers from -1 to 1, times `scale`. */
static sp_err fill(sp_cuda_type type, void **out, size_t n, float scale) {
  uint16_t *h = malloc(n * sizeof *h);
  if (!h) return sp_fail(SP_ENOMEM, "out of memory");
  uint64_t seed = n;
  for (size_t i = 0; i < n; i++) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const float x = scale * (float)(int32_t)(seed >> 32) * 0x1p-31f;
    h[i] = type == SP_CUDA_F16 ? sp_f32_to_f16(x) : sp_f32_to_bf16(x);
  }
  sp_err err = sp_cuda_check(cudaMalloc(out, n * 2), "numbers");
  if (!err)
    err = sp_cuda_check(cudaMemcpy(*out, h, n * 2, cudaMemcpyHostToDevice), "numbers");
  free(h);
  return err;
}

/* Relative L2 of what the two have computed, over the first and the last rows. */
static sp_err compare(const bench *b, const shape *s) {
  const size_t row = (size_t)s->n, n = 300 * row;
  uint16_t *h = malloc(2 * n * sizeof *h);
  if (!h) return sp_fail(SP_ENOMEM, "out of memory");
  double difference = 0, size = 0;
  sp_err err = SP_OK;
  for (int end = 0; end < 2 && !err; end++) {
    const size_t from = end ? ((size_t)s->m - 300) * row : 0;
    for (int i = 0; i < 2 && !err; i++)
      err = sp_cuda_check(cudaMemcpy(h + (size_t)i * n, (uint16_t *)b->d[i] + from, n * 2,
                                     cudaMemcpyDeviceToHost),
                          "results");
    for (size_t i = 0; i < n && !err; i++) {
      const bool f16 = b->type == SP_CUDA_F16;
      const double x = f16 ? sp_f16_to_f32(h[i]) : sp_bf16_to_f32(h[i]);
      const double y = f16 ? sp_f16_to_f32(h[n + i]) : sp_bf16_to_f32(h[n + i]);
      difference += (x - y) * (x - y);
      size += x * x;
    }
  }
  free(h);
  const double distance = sqrt(difference / size);
  if (!err && !(distance < (b->type == SP_CUDA_F16 ? 1e-3 : 8e-3)))
    err = sp_fail(SP_EINVAL, "%s: relative L2 %g apart", s->name, distance);
  return err;
}

static int by_value(const void *a, const void *b) {
  const float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static sp_err race(const bench *b, int rounds) {
  static const sp_cuda_matmul_path PATHS[2] = {SP_CUDA_MATMUL_LIBRARY,
                                               SP_CUDA_MATMUL_OWN};
  float *times = calloc((size_t)rounds * N_SHAPES * 2, sizeof *times);
  if (!times) return sp_fail(SP_ENOMEM, "out of memory");
  sp_err err = SP_OK;
  for (int i = 0; i < N_SHAPES && !err; i++) {
    for (int p = 0; p < 2 && !err; p++) {
      err = sp_cuda_check(
          cudaMemset(b->d[p], 0xff, (size_t)SHAPES[i].m * (size_t)SHAPES[i].n * 2),
          "results");
      if (!err) err = run(b, &SHAPES[i], PATHS[p]);
    }
    if (!err) err = compare(b, &SHAPES[i]);
  }
  for (int r = -2; r < rounds && !err; r++)
    for (int i = 0; i < N_SHAPES && !err; i++)
      for (int p = 0; p < 2 && !err; p++) {
        float ms = 0;
        cudaEventRecord(b->begin, NULL);
        err = run(b, &SHAPES[i], PATHS[p]);
        cudaEventRecord(b->end, NULL);
        if (!err) err = sp_cuda_check(cudaEventSynchronize(b->end), "a product");
        cudaEventElapsedTime(&ms, b->begin, b->end);
        if (r >= 0) times[(i * 2 + p) * rounds + r] = ms;
      }
  for (int i = 0; i < N_SHAPES && !err; i++) {
    const shape *s = &SHAPES[i];
    double us[2], rate[2];
    for (int p = 0; p < 2; p++) {
      float *t = times + (i * 2 + p) * rounds;
      qsort(t, (size_t)rounds, sizeof *t, by_value);
      us[p] = 1e3 * t[rounds / 2];
      rate[p] = 2e-6 * s->m * s->n * s->k / us[p];
    }
    printf(
        "%-34s %5d x %5d x %5d  %7.1f us %4.0f TFLOP/s  %7.1f us %4.0f TFLOP/s  %.3f\n",
        s->name, s->m, s->n, s->k, us[0], rate[0], us[1], rate[1], us[0] / us[1]);
  }
  free(times);
  return err;
}

static sp_err bench_type(bench *b, int rounds) {
  sp_err err = fill(b->type, &b->a, 32768 * 3072, 1);
  if (!err) err = fill(b->type, &b->w, 28672 * 4096, 0.05f);
  if (!err) err = fill(b->type, &b->bias, 28672, 1);
  for (int i = 0; i < 2 && !err; i++)
    err = sp_cuda_check(cudaMalloc(&b->d[i], (size_t)MOST * 2), "results");
  const size_t pairs = 32768, sums = 3072 * sizeof(float);
  if (!err)
    err = sp_cuda_check(cudaMalloc((void **)&b->scales, pairs * 2 * sizeof(float)),
                        "scales");
  if (!err) err = sp_cuda_norm_scales(NULL, 768, (int)pairs, 0, b->scales, NULL, NULL);
  if (!err) err = sp_cuda_check(cudaMalloc((void **)&b->sums, sums), "sums");
  if (!err) err = sp_cuda_check(cudaMemset(b->sums, 0, sums), "sums");
  if (!err) err = race(b, rounds);
  cudaFree(b->scales), cudaFree(b->sums);
  cudaFree(b->a), cudaFree(b->w), cudaFree(b->bias), cudaFree(b->d[0]), cudaFree(b->d[1]);
  return err;
}

int main(int argc, char **argv) {
  const int rounds = argc > 1 ? atoi(argv[1]) : 25;
  bench b = {0};
  sp_err err = sp_cuda_matmul_create(&b.mm);
  if (!err) err = sp_cuda_check(cudaEventCreate(&b.begin), "events");
  if (!err) err = sp_cuda_check(cudaEventCreate(&b.end), "events");
  for (int t = 0; t < 2 && !err; t++) {
    b.type = t ? SP_CUDA_BF16 : SP_CUDA_F16;
    printf("%s: cuBLASLt, then our own\n", t ? "bf16" : "f16");
    err = bench_type(&b, rounds < 1 ? 1 : rounds);
  }
  sp_cuda_matmul_free(b.mm);
  if (err) fprintf(stderr, "bench_linear: %s\n", sp_err_message());
  return err != SP_OK;
}
