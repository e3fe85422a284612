/* tools/bench_lm_head.c - how fast is the fused LM head, and is its answer right?
 *
 *   bench_lm_head [--path plain|mma|wgmma] [--shape N] [--quick] [--backward | --screen]
 *
 * For each shape: texts of equal length, of three quarters on average (a padded batch's
 * mask, packed), and of lengths as real corpora have them. Every output is poisoned,
 * computed, and compared with the plain path before it is timed. Times are medians of
 * single runs between events. The kinds of output and cuBLAS's 8192^3 product, which the
 * percentages are of, are taken in turn: the card lowers its clock under such load, for
 * all of them alike. --screen: sparse output in one pass and in two, where few terms pass. */
#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/lm_head.h"

enum { RUNS = 30, WARM = 5 };

static void stop(const char *what, const char *why) {
  fprintf(stderr, "bench_lm_head: %s: %s\n", what, why);
  exit(1);
}
#define CUDA(call)                               \
  do {                                           \
    cudaError_t e_ = (call);                     \
    if (e_) stop(#call, cudaGetErrorString(e_)); \
  } while (0)
#define SP(call)                             \
  do {                                       \
    if (call) stop(#call, sp_err_message()); \
  } while (0)
#define BLAS(call)                                  \
  do {                                              \
    cublasStatus_t e_ = (call);                     \
    if (e_) stop(#call, cublasGetStatusString(e_)); \
  } while (0)

static void *device_alloc(size_t bytes) {
  void *p;
  CUDA(cudaMalloc(&p, bytes ? bytes : 16));
  return p;
}

/* xorshift*, Marsaglia 2003 */
static uint64_t seed = 0x9e3779b97f4a7c15ull;
static uint64_t draw(void) {
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return seed * 0x2545f4914f6cdd1dull;
}

static double normal(void) { /* Box and Muller 1958 */
  const double u = ((double)(draw() >> 11) + 1) / 9007199254740993.0;
  const double v = (double)(draw() >> 11) / 9007199254740992.0;
  return sqrt(-2 * log(u)) * cos(6.283185307179586 * v);
}

/* n normal bf16 numbers of the given deviation, from a table: 64 bits give four. */
static void *random_bf16(size_t n, double deviation) {
  static uint16_t table[1 << 14];
  for (size_t i = 0; i < sizeof table / sizeof *table; i++)
    table[i] = sp_f32_to_bf16((float)(deviation * normal()));
  uint16_t *host = malloc((n + 4) * sizeof *host);
  if (!host) stop("random numbers", "out of memory");
  for (size_t i = 0; i < n; i += 4) {
    uint64_t x = draw();
    for (int j = 0; j < 4; j++) host[i + j] = table[x >> (16 * j) & 0x3fff];
  }
  void *p = device_alloc(n * 2);
  CUDA(cudaMemcpy(p, host, n * 2, cudaMemcpyHostToDevice));
  free(host);
  return p;
}

static int by_value(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

typedef void (*action)(void *context);

/* Median milliseconds of one run of each of n <= 4 actions, taken in turn: a card that
 * slows down under load does so for all alike. */
static void time_in_turn(const action *run, void *context, int n, double *ms) {
  cudaEvent_t begin, end;
  CUDA(cudaEventCreate(&begin));
  CUDA(cudaEventCreate(&end));
  float taken[4][RUNS];
  for (int i = 0; i < WARM * n; i++) run[i % n](context);
  for (int i = 0; i < RUNS * n; i++) {
    CUDA(cudaEventRecord(begin, NULL));
    run[i % n](context);
    CUDA(cudaEventRecord(end, NULL));
    CUDA(cudaEventSynchronize(end));
    CUDA(cudaEventElapsedTime(&taken[i % n][i / n], begin, end));
  }
  cudaEventDestroy(begin), cudaEventDestroy(end);
  for (int i = 0; i < n; i++) {
    qsort(taken[i], RUNS, sizeof **taken, by_value);
    ms[i] = taken[i][RUNS / 2];
  }
}

static double time_ms(action run, void *context) {
  double ms;
  time_in_turn(&run, context, 1, &ms);
  return ms;
}

/* The product alone: c[rows, vocab] = h w^T in bf16. */
typedef struct product {
  cublasHandle_t blas;
  const void *h, *w;
  void *c;
  int rows, vocab, dim;
} product;

static void run_product(void *context) {
  product *p = context;
  const float one = 1, zero = 0;
  BLAS(cublasGemmEx(p->blas, CUBLAS_OP_T, CUBLAS_OP_N, p->vocab, p->rows, p->dim, &one,
                    p->w, CUDA_R_16BF, p->dim, p->h, CUDA_R_16BF, p->dim, &zero, p->c,
                    CUDA_R_16BF, p->vocab, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
}

/* What the percentages are of: a product of 8192 cubed. */
enum { N = 8192 };

static product square_new(cublasHandle_t blas) {
  product p = {.blas = blas, .rows = N, .vocab = N, .dim = N};
  p.h = random_bf16((size_t)N * N, 1);
  p.w = random_bf16((size_t)N * N, 0.05);
  p.c = device_alloc((size_t)N * N * 2);
  return p;
}

static double square_tflops(double ms) {
  return 2.0 * N * N * N / ms / 1e9;
}

/* Token counts of texts, [CLS] and [SEP] included, BERT's uncased WordPiece: the middles
 * of 32 equal shares of 5,183 scientific abstracts (BEIR SciFact) and of 6,000 web
 * passages (MS MARCO, health). */
static const uint16_t ABSTRACTS[32] = {
    119, 153, 174, 192, 209, 220, 230, 240, 250, 259, 267, 276, 284, 292, 301, 311,
    321, 332, 343, 354, 367, 378, 390, 404, 417, 432, 449, 468, 492, 522, 573, 705};
static const uint16_t PASSAGES[32] = {32, 42, 46, 49, 51, 53,  54,  56,  57,  59, 60,
                                      62, 63, 64, 65, 66, 68,  69,  71,  72,  74, 76,
                                      78, 80, 84, 89, 95, 102, 111, 122, 134, 156};

typedef enum lengths { EQUAL, MASKED, ABSTRACT, PASSAGE, N_LENGTHS } lengths;
static const char *const LENGTHS[] = {"equal", "masked", "abstracts", "passages"};

typedef struct shape {
  uint32_t b, s, dim, vocab;
} shape;
static const shape SHAPES[] = {
    {64, 256, 768, 30522},  {64, 128, 768, 30522},  {64, 256, 384, 30522},
    {32, 256, 1024, 50368}, {16, 256, 4096, 32000}, {32, 256, 768, 250002},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

/* Offsets of texts. Real lengths are cut at s, and there are as many texts as fill the
 * masked batch's tokens. */
static uint32_t *draw_texts(const shape *s, lengths kind, uint32_t *n_texts) {
  const uint32_t room = s->b * s->s * 3 / 4;
  uint32_t *offsets = calloc(s->b * s->s + 1, sizeof *offsets), n = 0;
  if (!offsets) stop("offsets", "out of memory");
  for (; kind < ABSTRACT ? n < s->b : offsets[n] < room; n++) {
    uint32_t length = s->s;
    if (kind == MASKED) length = s->s / 2 + (uint32_t)(draw() >> 33) % (s->s / 2 + 1);
    if (kind == ABSTRACT) length = ABSTRACTS[draw() >> 59];
    if (kind == PASSAGE) length = PASSAGES[draw() >> 59];
    if (length > s->s) length = s->s;
    if (kind >= ABSTRACT && length > room - offsets[n]) length = room - offsets[n];
    offsets[n + 1] = offsets[n] + length;
  }
  *n_texts = n;
  return offsets;
}

typedef struct call {
  sp_lm_head *head;
  const void *h;
  uint32_t n_tokens;
  sp_lm_texts texts;
  float *out;
  int32_t *argmax;
  sp_lm_sparse sparse;
  sp_lm_grads grads;
  product *square;
} call;

static void run_values(void *c_) {
  call *c = c_;
  SP(sp_lm_head_dense(c->head, c->h, c->n_tokens, &c->texts, c->out, NULL, NULL));
}
static void run_argmax(void *c_) {
  call *c = c_;
  SP(sp_lm_head_dense(c->head, c->h, c->n_tokens, &c->texts, c->out, c->argmax, NULL));
}
static void run_sparse(void *c_) {
  call *c = c_;
  SP(sp_lm_head_sparse(c->head, c->h, c->n_tokens, &c->texts, &c->sparse, NULL));
}
static void run_backward(void *c_) {
  call *c = c_;
  SP(sp_lm_head_backward(c->head, c->h, c->n_tokens, &c->texts, &c->grads, NULL));
}
static void run_square(void *c_) {
  run_product(((call *)c_)->square);
}
static void run_both(void *c_) {
  run_argmax(c_);
  run_backward(c_);
}

typedef struct pair {
  call *one, *two;
} pair;
static void run_one_pass(void *c) {
  run_sparse(((pair *)c)->one);
}
static void run_two_passes(void *c) {
  run_sparse(((pair *)c)->two);
}
static void run_pair_square(void *c) {
  run_square(((pair *)c)->one);
}

static void *fetch(const void *device, size_t bytes) {
  void *p = malloc(bytes);
  if (!p) stop("host copy", "out of memory");
  CUDA(cudaMemcpy(p, device, bytes, cudaMemcpyDeviceToHost));
  return p;
}

/* Values and arg-max against the plain path's. Returns the largest error. */
static double check_dense(call *c, call *plain, uint32_t vocab) {
  const size_t n = (size_t)c->texts.n * vocab;
  CUDA(cudaMemset(c->out, 0xff, n * 4));
  CUDA(cudaMemset(c->argmax, 0x77, n * 4));
  run_argmax(plain);
  float *want = fetch(c->out, n * 4);
  int32_t *want_at = fetch(c->argmax, n * 4);
  CUDA(cudaMemset(c->out, 0xff, n * 4));
  CUDA(cudaMemset(c->argmax, 0x77, n * 4));
  run_argmax(c);
  float *got = fetch(c->out, n * 4);
  int32_t *at = fetch(c->argmax, n * 4);
  CUDA(cudaMemset(c->out, 0xff, n * 4));
  run_values(c);
  float *values = fetch(c->out, n * 4);
  if (memcmp(values, got, n * 4)) stop("check", "values with and without arg-max differ");
  double worst = 0;
  size_t elsewhere = 0;
  for (size_t i = 0; i < n; i++) {
    double error = fabs((double)got[i] - want[i]);
    if (!(error <= worst)) worst = error; /* NaN too */
    elsewhere += at[i] != want_at[i];
  }
  if (!(worst < 2e-4)) {
    fprintf(stderr, "largest difference to the plain path: %g\n", worst);
    stop("check", "values are wrong");
  }
  if (elsewhere > n / 500 + 1) stop("check", "arg-max is wrong");
  free(want), free(want_at), free(got), free(at), free(values);
  return worst;
}

/* Sparse output is the dense one cut at the threshold, bit for bit. With `at_most` entries of
 * the first text the threshold is chosen so that so many pass. */
static double check_sparse(call *c, uint32_t vocab, uint32_t at_most) {
  const uint32_t n = c->texts.n, cap = c->sparse.cap;
  float *dense = fetch(c->out, (size_t)n * vocab * 4);
  float *sorted = malloc(vocab * sizeof *sorted);
  if (!sorted) stop("check", "out of memory");
  memcpy(sorted, dense, vocab * sizeof *sorted);
  qsort(sorted, vocab, sizeof *sorted, by_value);
  c->sparse.threshold = at_most ? sorted[vocab - at_most] : 0;
  free(sorted);
  run_sparse(c);
  uint32_t *terms = fetch(c->sparse.terms, (size_t)n * cap * 4);
  float *weights = fetch(c->sparse.weights, (size_t)n * cap * 4);
  uint32_t *kept = fetch(c->sparse.n_kept, n * 4);
  size_t total = 0;
  for (uint32_t b = 0; b < n; b++) {
    uint32_t m = 0;
    for (uint32_t v = 0; v < vocab; v++) {
      float y = dense[(size_t)b * vocab + v];
      if (!(y > 0) || y < c->sparse.threshold) continue;
      if (m >= cap || terms[(size_t)b * cap + m] != v ||
          weights[(size_t)b * cap + m] != y)
        stop("check", "a sparse entry differs from the dense value");
      m++;
    }
    if (m != kept[b]) stop("check", "the sparse count is wrong");
    total += m;
  }
  free(dense), free(terms), free(weights), free(kept);
  return (double)total / n;
}

static void bench_texts(const shape *s, lengths kind, sp_lm_path path, const void *w,
                        const float *bias, product *square, bool backward,
                        bool with_product) {
  call c = {.square = square}, plain;
  uint32_t *offsets = draw_texts(s, kind, &c.texts.n);
  c.texts.first = offsets, c.texts.end = offsets + 1;
  c.n_tokens = offsets[c.texts.n];
  const void *h = c.h = random_bf16((size_t)c.n_tokens * s->dim, 1);
  sp_lm_head_config config = {.w = w, .bias = bias, .vocab = s->vocab, .dim = s->dim};
  config.dtype = SP_LM_BF16;
  config.log1p_times = 1;
  config.path = path;
  SP(sp_lm_head_new(&config, &c.head));
  config.path = SP_LM_PLAIN;
  plain = c;
  SP(sp_lm_head_new(&config, &plain.head));
  const size_t n = (size_t)c.texts.n * s->vocab;
  plain.out = c.out = device_alloc(n * 4);
  plain.argmax = c.argmax = device_alloc(n * 4);
  c.sparse.cap = 4096;
  c.sparse.terms = device_alloc((size_t)c.texts.n * c.sparse.cap * 4);
  c.sparse.weights = device_alloc((size_t)c.texts.n * c.sparse.cap * 4);
  c.sparse.n_kept = device_alloc(c.texts.n * 4);
  c.sparse.n_found = device_alloc(c.texts.n * 4);

  const double error = check_dense(&c, &plain, s->vocab);
  const size_t scratch = sp_lm_head_scratch_bytes(c.head);
  const double nnz = check_sparse(&c, s->vocab, 200);
  const size_t sparse_scratch = sp_lm_head_scratch_bytes(c.head);
  const double flops = 2.0 * c.n_tokens * s->vocab * s->dim;
  const double alone = time_ms(run_values, &c);
  const action forward[4] = {run_values, run_argmax, run_sparse, run_square};
  double ms[4];
  time_in_turn(forward, &c, 4, ms);
  const double rate = flops / ms[0] / 1e9;
  printf("%3u %4u %5u %7u %-9s %6u %6u | ", s->b, s->s, s->dim, s->vocab, LENGTHS[kind],
         c.texts.n, c.n_tokens);
  printf("%8.4f %6.1f | ", alone, flops / alone / 1e9);
  printf("%8.4f %6.1f %5.1f%% | ", ms[0], rate, 100 * rate / square_tflops(ms[3]));
  printf("%8.4f %+5.1f%% | ", ms[1], 100 * (ms[1] / ms[0] - 1));
  printf("%8.4f %+5.1f%% %6.0f | ", ms[2], 100 * (ms[2] / ms[0] - 1), nnz);
  printf("%5.1f %5.1f | %.1e", (double)scratch / 1048576,
         (double)sparse_scratch / 1048576, error);
  if (with_product) {
    product p = {.blas = square->blas, .h = h, .w = w};
    p.c = device_alloc((size_t)c.n_tokens * s->vocab * 2);
    p.rows = (int)c.n_tokens, p.vocab = (int)s->vocab, p.dim = (int)s->dim;
    printf(" | product alone %.4f", time_ms(run_product, &p));
    cudaFree(p.c);
  }
  printf("\n");
  if (backward) {
    run_argmax(&c);
    float *dy = device_alloc(n * 4);
    CUDA(cudaMemcpy(dy, c.out, n * 4, cudaMemcpyDeviceToDevice));
    c.grads = (sp_lm_grads){.y = c.out, .dy = dy, .argmax = c.argmax};
    c.grads.dh = device_alloc((size_t)c.n_tokens * s->dim * 4);
    c.grads.dw = device_alloc((size_t)s->vocab * s->dim * 4);
    c.grads.dbias = device_alloc(s->vocab * 4);
    const double back = time_ms(run_backward, &c), both = time_ms(run_both, &c);
    printf("    backward %.4f ms, forward and backward %.4f ms, scratch %.1f MiB\n", back,
           both, (double)sp_lm_head_scratch_bytes(c.head) / 1048576);
    cudaFree(dy), cudaFree(c.grads.dh), cudaFree(c.grads.dw), cudaFree(c.grads.dbias);
  }
  fflush(stdout);
  sp_lm_head_free(c.head), sp_lm_head_free(plain.head);
  cudaFree((void *)h), cudaFree(c.out), cudaFree(c.argmax), cudaFree(c.sparse.terms);
  cudaFree(c.sparse.weights), cudaFree(c.sparse.n_kept), cudaFree(c.sparse.n_found);
  free(offsets);
}

/* Biases as trained models have them: they make some terms rare and others common. In two
 * models (D 128 and 384) the pooled logits of different terms lie 2.2 apart, about as
 * these. Exceeded by `share` of all terms. */
static void trained_biases(call *c, sp_lm_head_config *config, float *bias,
                           double share) {
  enum { SOME = 1 << 16 };
  const float far = 30; /* no logit is negative then */
  const size_t vocab = config->vocab, n = c->texts.n * vocab;
  float *host = malloc(vocab * sizeof *host), *some = malloc(SOME * sizeof *some);
  if (!host || !some) stop("biases", "out of memory");
  for (size_t v = 0; v < vocab; v++) host[v] = 2.2f * (float)normal() + far;
  CUDA(cudaMemcpy(bias, host, vocab * 4, cudaMemcpyHostToDevice));
  SP(sp_lm_head_new(config, &c->head));
  run_values(c);
  sp_lm_head_free(c->head);
  float *y = fetch(c->out, n * 4);
  for (int i = 0; i < SOME; i++) some[i] = y[draw() % n];
  qsort(some, SOME, sizeof *some, by_value);
  const float logit = expm1f(some[(int)(SOME * (1 - share))]);
  for (size_t v = 0; v < vocab; v++) host[v] -= logit;
  CUDA(cudaMemcpy(bias, host, vocab * 4, cudaMemcpyHostToDevice));
  free(host), free(some), free(y);
}

/* Sparse output in one pass and in two, of texts of which 0.7 % of all terms have weights. */
static void bench_screen(const shape *s, lengths kind, const void *w, float *bias,
                         product *square) {
  call c = {.square = square};
  uint32_t *offsets = draw_texts(s, kind, &c.texts.n);
  c.n_tokens = offsets[c.texts.n];
  c.texts.first = offsets, c.texts.end = offsets + 1;
  c.h = random_bf16((size_t)c.n_tokens * s->dim, 1);
  c.out = device_alloc((size_t)c.texts.n * s->vocab * 4);
  sp_lm_head_config config = {
      .w = w, .bias = bias, .vocab = s->vocab, .dim = s->dim, .log1p_times = 1};
  trained_biases(&c, &config, bias, 0.007);
  SP(sp_lm_head_new(&config, &c.head));
  c.sparse.cap = 4096;
  c.sparse.terms = device_alloc((size_t)c.texts.n * c.sparse.cap * 4);
  c.sparse.weights = device_alloc((size_t)c.texts.n * c.sparse.cap * 4);
  c.sparse.n_kept = device_alloc(c.texts.n * 4);
  c.sparse.n_found = device_alloc(c.texts.n * 4);
  run_values(&c);
  const double nnz = check_sparse(&c, s->vocab, 0);
  call two = c;
  config.screen = SP_LM_SCREEN_ALWAYS;
  SP(sp_lm_head_new(&config, &two.head));
  check_sparse(&two, s->vocab, 0); /* the same bits */
  pair both = {&c, &two};
  const action actions[3] = {run_one_pass, run_two_passes, run_pair_square};
  double ms[3];
  time_in_turn(actions, &both, 3, ms);
  printf("%3u %4u %5u %7u %-9s %6u %6u | ", s->b, s->s, s->dim, s->vocab, LENGTHS[kind],
         c.texts.n, c.n_tokens);
  printf("%8.4f | %8.4f %5.2f | %6.0f %5.2f%% %5.2f%% | %6.1f MiB\n", ms[0], ms[1],
         ms[0] / ms[1], nnz, 100 * nnz / s->vocab,
         100 * (double)sp_lm_head_screen_share(two.head),
         (double)sp_lm_head_scratch_bytes(two.head) / 1048576);
  fflush(stdout);
  sp_lm_head_free(c.head), sp_lm_head_free(two.head);
  cudaFree((void *)c.h), cudaFree(c.out), cudaFree(c.sparse.terms);
  cudaFree(c.sparse.weights), cudaFree(c.sparse.n_kept), cudaFree(c.sparse.n_found);
  free(offsets);
}

static bool find_path(const char *name, sp_lm_path *path) {
  static const char *const PATHS[] = {"auto", "plain", "mma", "wgmma"};
  for (*path = SP_LM_AUTO; *path <= SP_LM_WGMMA; (*path)++)
    if (!strcmp(name, PATHS[*path])) return true;
  return false;
}

int main(int argc, char **argv) {
  sp_lm_path path = SP_LM_AUTO;
  int only = -1;
  bool quick = false, backward = false, screen = false;
  for (int i = 1; i < argc; i++) {
    const char *value = i + 1 < argc ? argv[i + 1] : "";
    if (!strcmp(argv[i], "--quick")) {
      quick = true;
    } else if (!strcmp(argv[i], "--backward")) {
      backward = true;
    } else if (!strcmp(argv[i], "--screen")) {
      screen = true;
    } else if (!strcmp(argv[i], "--shape") && value[0] >= '0' &&
               value[0] < '0' + N_SHAPES && !value[1]) {
      only = value[0] - '0', i++;
    } else if (!strcmp(argv[i], "--path") && find_path(value, &path)) {
      i++;
    } else {
      fprintf(stderr,
              "usage: bench_lm_head [--path plain|mma|wgmma] [--shape 0..%d] [--quick] "
              "[--backward | --screen]\n",
              N_SHAPES - 1);
      return 2;
    }
  }
  if (backward && screen)
    stop("--backward", "not with --screen, which times sparse output alone");
  struct cudaDeviceProp device;
  CUDA(cudaGetDeviceProperties(&device, 0));
  cublasHandle_t blas;
  BLAS(cublasCreate(&blas));
  product square = square_new(blas);
  printf("%s; cuBLAS 8192^3 bf16 alone: %.1f TFLOP/s; ms are medians of %d runs\n",
         device.name, square_tflops(time_ms(run_product, &square)), RUNS);
  if (screen)
    printf(
        "  b    s   dim   vocab lengths    texts tokens | one pass |      two ratio | "
        "entries, of all, scored twice\n");
  else
    printf(
        "  b    s   dim   vocab lengths    texts tokens |    alone TFLOP/s | "
        " in turn TFLOP/s of sq. |  arg-max      + |   sparse      +    nnz | "
        "MiB dense, sparse | max error\n");
  for (int i = 0; i < N_SHAPES; i++) {
    if (only >= 0 && i != only) continue;
    const shape *s = &SHAPES[i];
    /* --screen: the lengths of a row of W and one of h, multiplied, are about 35 in trained
     * models of D 128 and 384. */
    void *w = random_bf16((size_t)s->vocab * s->dim, screen ? 35. / s->dim : 0.05);
    float *bias = device_alloc(s->vocab * sizeof *bias);
    CUDA(cudaMemset(bias, 0, s->vocab * sizeof *bias));
    if (screen) {
      bench_screen(s, EQUAL, w, bias, &square);
      bench_screen(s, PASSAGE, w, bias, &square);
    }
    for (int kind = 0; kind < (quick ? 2 : N_LENGTHS) && !screen; kind++)
      bench_texts(s, (lengths)kind, path, w, bias, &square, backward && kind == EQUAL,
                  kind == EQUAL);
    cudaFree(w), cudaFree(bias);
  }
  cudaFree((void *)square.h), cudaFree((void *)square.w), cudaFree(square.c);
  cublasDestroy(blas);
  return 0;
}
