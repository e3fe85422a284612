/* tests/test_lm_head_cuda.c - the fused head on the GPU: every path against sums in
 * double, against the plain path, and against itself. */
#include <cuda_runtime_api.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/vec.h"
#include "kernels/lm_head.h"
#include "tests/harness.h"

static uint64_t seed;
static uint32_t draw(uint32_t below) { /* xorshift*, Marsaglia 2003 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (uint32_t)((seed * 0x2545f4914f6cdd1dull) >> 33) % below;
}

static void seed_with(uint64_t s) {
  seed = (s + 1) * 0x9e3779b97f4a7c15ull;
}

#define CUDA(call) assert_int_equal((call), cudaSuccess)

static void *to_device(const void *data, size_t bytes) {
  void *p;
  CUDA(cudaMalloc(&p, bytes + 16));
  if (bytes) CUDA(cudaMemcpy(p, data, bytes, cudaMemcpyHostToDevice));
  return p;
}

/* An output of `bytes`, all of it poisoned, with a guard behind it. */
enum { POISON = 0xcb, GUARD = 64 };
static void *poisoned(size_t bytes) {
  void *p;
  CUDA(cudaMalloc(&p, bytes + GUARD));
  CUDA(cudaMemset(p, POISON, bytes + GUARD));
  return p;
}
static void *fetch(const void *device, size_t bytes) {
  uint8_t *p = malloc(bytes + GUARD);
  assert_non_null(p);
  CUDA(cudaMemcpy(p, device, bytes + GUARD, cudaMemcpyDeviceToHost));
  for (int i = 0; i < GUARD; i++) assert_int_equal(p[bytes + i], POISON);
  return p;
}

typedef struct problem {
  sp_lm_head_config config;
  sp_lm_texts texts;
  uint32_t n_tokens;
  uint16_t *w, *h; /* host */
  float *bias;
  uint32_t *first, *end;
  void *device_h;
} problem;

/* Values coarse: small integers, so that sums are exact and ties frequent. */
static uint16_t draw_value(const problem *p, bool coarse) {
  float x = coarse ? (float)draw(3) - 1 : (float)draw(2001) / 1000 - 1;
  return p->config.dtype == SP_LM_BF16 ? sp_f32_to_bf16(x) : sp_f32_to_f16(x);
}

static problem make(uint32_t vocab, uint32_t dim, uint32_t n_texts, uint32_t max_len,
                    uint32_t gap, bool coarse) {
  problem p = {.config = {.vocab = vocab, .dim = dim}};
  p.config.dtype = draw(2) ? SP_LM_BF16 : SP_LM_F16;
  p.config.log1p_times = 1 + draw(2);
  p.first = malloc((n_texts + 1) * sizeof *p.first);
  p.end = malloc((n_texts + 1) * sizeof *p.end);
  for (uint32_t b = 0; b < n_texts; b++) {
    p.first[b] = p.n_tokens + (gap ? draw(gap) : 0);
    p.end[b] = p.first[b] + (draw(8) ? draw(max_len) : draw(3));
    p.n_tokens = p.end[b];
  }
  p.n_tokens += gap;
  p.texts = (sp_lm_texts){p.first, p.end, n_texts};
  const size_t w_size = (size_t)vocab * dim, h_size = (size_t)p.n_tokens * dim;
  p.w = malloc(w_size * 2);
  p.h = malloc(h_size * 2 + 2);
  p.bias = malloc(vocab * sizeof *p.bias);
  for (size_t i = 0; i < w_size; i++) p.w[i] = draw_value(&p, coarse);
  for (size_t i = 0; i < h_size; i++) p.h[i] = draw_value(&p, coarse);
  for (size_t i = 0; i < vocab; i++)
    p.bias[i] = coarse ? 0.25f : (float)draw(2001) / 1000 - 1.5f;
  p.config.w = to_device(p.w, w_size * 2);
  p.config.bias = draw(4) ? to_device(p.bias, vocab * sizeof *p.bias) : NULL;
  p.device_h = to_device(p.h, h_size * 2);
  return p;
}

static void drop(problem *p) {
  cudaFree((void *)p->config.w), cudaFree((void *)p->config.bias), cudaFree(p->device_h);
  free(p->w), free(p->h), free(p->bias), free(p->first), free(p->end);
}

static double value(const problem *p, uint16_t bits) {
  return p->config.dtype == SP_LM_BF16 ? sp_bf16_to_f32(bits) : sp_f16_to_f32(bits);
}
static double logit(const problem *p, uint32_t row, uint32_t v) {
  const uint32_t dim = p->config.dim;
  double sum = p->config.bias ? p->bias[v] : 0;
  for (uint32_t k = 0; k < dim; k++)
    sum += value(p, p->h[(size_t)row * dim + k]) * value(p, p->w[(size_t)v * dim + k]);
  return sum;
}

typedef struct dense {
  float *y;
  int32_t *at;
} dense;

static void drop_dense(dense *d) {
  free(d->y), free(d->at);
}

static sp_lm_head *open_head(const problem *p, sp_lm_path path) {
  sp_lm_head_config config = p->config;
  config.path = path;
  sp_lm_head *head;
  if (sp_lm_head_new(&config, &head)) fail_msg("%s", sp_err_message());
  return head;
}

/* Values and arg-max of one path; the values alone must be the same bits. */
static dense run_dense(const problem *p, sp_lm_path path) {
  sp_lm_head *head = open_head(p, path);
  const size_t n = (size_t)p->texts.n * p->config.vocab;
  float *y = poisoned(n * 4), *values = poisoned(n * 4);
  int32_t *at = poisoned(n * 4);
  if (sp_lm_head_dense(head, p->device_h, p->n_tokens, &p->texts, y, at, NULL) ||
      sp_lm_head_dense(head, p->device_h, p->n_tokens, &p->texts, values, NULL, NULL))
    fail_msg("%s", sp_err_message());
  CUDA(cudaDeviceSynchronize());
  dense d = {fetch(y, n * 4), fetch(at, n * 4)};
  float *again = fetch(values, n * 4);
  assert_memory_equal(again, d.y, n * 4);
  free(again);
  cudaFree(y), cudaFree(values), cudaFree(at);
  sp_lm_head_free(head);
  return d;
}

static void check_sparse(const problem *p, sp_lm_path path, const dense *d,
                         float threshold, uint32_t top_k, uint32_t cap) {
  sp_lm_head *head = open_head(p, path);
  const uint32_t n = p->texts.n, vocab = p->config.vocab;
  sp_lm_sparse out = {.threshold = threshold, .top_k = top_k, .cap = cap};
  out.terms = poisoned((size_t)n * cap * 4);
  out.weights = poisoned((size_t)n * cap * 4);
  out.n_kept = poisoned(n * 4);
  out.n_found = poisoned(n * 4);
  for (int twice = 0; twice < 2; twice++)
    if (sp_lm_head_sparse(head, p->device_h, p->n_tokens, &p->texts, &out, NULL))
      fail_msg("%s", sp_err_message());
  CUDA(cudaDeviceSynchronize());
  uint32_t *terms = fetch(out.terms, (size_t)n * cap * 4);
  float *weights = fetch(out.weights, (size_t)n * cap * 4);
  uint32_t *kept = fetch(out.n_kept, n * 4), *found = fetch(out.n_found, n * 4);
  sp_vec want = {0};
  for (uint32_t b = 0; b < n; b++) {
    sp_vec_clear(&want);
    for (uint32_t v = 0; v < vocab; v++) {
      const float y = d->y[(size_t)b * vocab + v];
      if (y > 0 && y >= threshold) assert_int_equal(sp_vec_push(&want, v, y), SP_OK);
    }
    assert_int_equal(found[b], want.n);
    if (want.n > cap) {
      assert_int_equal(kept[b], 0);
      continue;
    }
    if (top_k) assert_int_equal(sp_vec_keep_top(&want, top_k), SP_OK);
    assert_int_equal(kept[b], want.n);
    if (!want.n) continue;
    assert_memory_equal(terms + (size_t)b * cap, want.terms, want.n * 4);
    assert_memory_equal(weights + (size_t)b * cap, want.weights, want.n * 4);
  }
  sp_vec_free(&want);
  free(terms), free(weights), free(kept), free(found);
  cudaFree(out.terms), cudaFree(out.weights), cudaFree(out.n_kept);
  cudaFree(out.n_found);
  sp_lm_head_free(head);
}

/* The same in two passes: the same bits too. */
static void check_screen(const problem *p, sp_lm_path path, const dense *d,
                         float threshold, uint32_t top_k, uint32_t cap) {
  problem screened = *p;
  screened.config.screen = SP_LM_SCREEN_ALWAYS;
  check_sparse(&screened, path, d, threshold, top_k, cap);
}

static bool close_to(double a, double b) {
  return fabs(a - b) <= 3e-5 * (1 + fabs(b));
}

/* Against sums in double. exact: all sums are exact, so arg-max is too. */
static void check_double(const problem *p, const dense *d, bool exact) {
  for (uint32_t b = 0; b < p->texts.n; b++)
    for (uint32_t v = 0; v < p->config.vocab; v++) {
      double best = -INFINITY;
      int32_t at = -1;
      for (uint32_t s = p->first[b]; s < p->end[b]; s++) {
        const double z = logit(p, s, v);
        if (z > best) best = z, at = (int32_t)s;
      }
      double y = best > 0 ? log1p(best) : 0;
      if (p->config.log1p_times == 2) y = log1p(y);
      const size_t i = (size_t)b * p->config.vocab + v;
      if (!close_to(d->y[i], y))
        fail_msg("text %u, term %u: %g, not %g", b, v, d->y[i], y);
      if (exact) assert_int_equal(d->at[i], y > 0 ? at : -1);
    }
}

/* Two paths: near values, and where the arg-max differs, near logits. */
static void check_alike(const problem *p, const dense *a, const dense *b, bool exact) {
  const uint32_t vocab = p->config.vocab;
  const size_t n = (size_t)p->texts.n * vocab;
  if (exact) {
    for (size_t i = 0; i < n; i++)
      if (a->y[i] != b->y[i] || a->at[i] != b->at[i])
        fail_msg("text %zu, term %zu: %g at %d, not %g at %d", i / vocab, i % vocab,
                 a->y[i], a->at[i], b->y[i], b->at[i]);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    if (!close_to(a->y[i], b->y[i]))
      fail_msg("text %zu, term %zu: %g, not %g", i / vocab, i % vocab, a->y[i], b->y[i]);
    if (a->at[i] == b->at[i]) continue;
    const uint32_t text = (uint32_t)(i / vocab), v = (uint32_t)(i % vocab);
    if (a->at[i] < 0 || b->at[i] < 0) {
      assert_true(a->y[i] + b->y[i] < 1e-4);
      continue;
    }
    assert_in_range(a->at[i], p->first[text], p->end[text] - 1);
    assert_true(
        close_to(logit(p, (uint32_t)a->at[i], v), logit(p, (uint32_t)b->at[i], v)));
  }
}

static sp_lm_path best_path; /* of this device and this build */

#define NEED_DEVICE()                                                \
  do {                                                               \
    if (!best_path) {                                                \
      print_message(                                                 \
          "skipped: no CUDA device, so nothing of the GPU head was " \
          "tested\n");                                               \
      skip();                                                        \
    }                                                                \
  } while (0)

/* A head that wrongly fell back would be right, and slow. */
static void auto_is_the_best_path_of_the_device_and_the_build(void **state) {
  (void)state;
  NEED_DEVICE();
  seed_with(5);
  problem p = make(10, 8, 2, 9, 0, false);
  sp_lm_head *head = open_head(&p, SP_LM_AUTO);
  assert_int_equal(sp_lm_head_path(head), best_path);
  sp_lm_head_free(head);
  drop(&p);
}

static void every_path_equals_the_sum_in_double(void **state) {
  (void)state;
  NEED_DEVICE();
  for (uint64_t s = 0; s < 40; s++) {
    seed_with(s);
    const bool coarse = s % 2;
    problem p =
        make(1 + draw(400), 1 + draw(90), draw(6), 1 + draw(40), draw(50), coarse);
    for (sp_lm_path path = SP_LM_PLAIN; path <= best_path; path++) {
      dense d = run_dense(&p, path);
      check_double(&p, &d, coarse);
      if (path == SP_LM_WGMMA) check_screen(&p, path, &d, 0.5f, 0, p.config.vocab);
      drop_dense(&d);
    }
    drop(&p);
  }
}

static void compare_with_plain(problem *p, bool coarse) {
  dense plain = run_dense(p, SP_LM_PLAIN);
  for (sp_lm_path path = SP_LM_MMA; path <= best_path; path++) {
    dense d = run_dense(p, path);
    check_alike(p, &d, &plain, coarse);
    const float threshold = draw(2) ? 0.7f : 0;
    const uint32_t top_k = draw(2) ? 1 + draw(100) : 0;
    const uint32_t cap = draw(3) ? p->config.vocab + draw(9) : 1 + draw(p->config.vocab);
    check_sparse(p, path, &d, threshold, top_k, cap);
    check_screen(p, path, &d, threshold, top_k, cap);
    drop_dense(&d);
  }
  drop_dense(&plain);
}

static void random_shapes_equal_the_plain_path(void **state) {
  (void)state;
  NEED_DEVICE();
  for (uint64_t s = 100; s < 400; s++) {
    seed_with(s);
    const bool coarse = s % 2;
    const uint32_t n_texts = draw(10) ? 1 + draw(40) : 1 + draw(400);
    const uint32_t max_len = draw(10) ? 1 + draw(100) : 1 + draw(1500);
    problem p =
        make(1 + draw(1500), 1 + draw(200), n_texts,
             n_texts > 40 ? 1 + max_len % 40 : max_len, draw(3) ? 0 : draw(300), coarse);
    compare_with_plain(&p, coarse);
    drop(&p);
  }
}

static void long_texts_and_long_runs_of_tiles_equal_the_plain_path(void **state) {
  (void)state;
  NEED_DEVICE();
  const uint32_t shapes[][4] = {
      /* vocab, dim, texts, longest */
      {20011, 24, 80, 240}, {5003, 1032, 40, 520}, {2999, 16, 3, 8193},
      {40009, 8, 1, 8192},  {9001, 64, 9000, 2},   {70001, 40, 5, 900},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    for (int coarse = 0; coarse < 2; coarse++) {
      seed_with(i);
      problem p = make(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], 0, coarse);
      if (shapes[i][2] == 1) p.end[0] = p.n_tokens; /* one text, whole */
      compare_with_plain(&p, coarse);
      drop(&p);
    }
}

/* Where few terms pass, as in trained models: a first pass in 8 bits finds them. */
static void a_screen_finds_what_one_pass_finds(void **state) {
  (void)state;
  NEED_DEVICE();
  const uint32_t shapes[][4] = {
      /* vocab, dim, texts, longest */
      {20011, 24, 80, 240},  {5003, 1033, 30, 520}, {2999, 129, 3, 8193},
      {30522, 384, 1, 8192}, {9001, 64, 9000, 2},   {70001, 200, 25, 300},
      {30522, 768, 40, 90},
  };
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    seed_with(i);
    problem p = make(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3], 0, false);
    if (shapes[i][2] == 1) p.end[0] = p.n_tokens; /* one text, whole */
    if (!p.config.bias) p.config.bias = to_device(p.bias, p.config.vocab * 4);
    for (int level = 1; level < 5; level++) { /* of many terms, few, very few, none */
      const float by = sqrtf((float)p.config.dim) / 3 * (float)(level + 1);
      for (uint32_t v = 0; v < p.config.vocab; v++)
        p.bias[v] = -by + 0.1f * (float)draw(100) / 100;
      CUDA(cudaMemcpy((void *)p.config.bias, p.bias, p.config.vocab * 4,
                      cudaMemcpyHostToDevice));
      dense d = run_dense(&p, best_path);
      check_screen(&p, best_path, &d, 0, 0, p.config.vocab);
      check_screen(&p, best_path, &d, 0.25f, 100, p.config.vocab / 2);
      drop_dense(&d);
    }
    drop(&p);
  }
}

/* A model whose vectors are not sparse: the next call does not try again. */
static void a_screen_that_lets_much_through_rests(void **state) {
  (void)state;
  NEED_DEVICE();
  if (best_path != SP_LM_WGMMA) skip();
  seed_with(17);
  problem p = make(30011, 256, 100, 250, 0, false);
  p.config.screen = SP_LM_SCREEN_AUTO;
  sp_lm_head *head = open_head(&p, best_path);
  const uint32_t n = p.texts.n, cap = 10;
  sp_lm_sparse out = {.cap = cap};
  out.terms = poisoned((size_t)n * cap * 4), out.weights = poisoned((size_t)n * cap * 4);
  out.n_kept = poisoned(n * 4), out.n_found = poisoned(n * 4);
  assert_true(sp_lm_head_screen_share(head) == 0);
  for (int call = 0; call < 3; call++) {
    if (sp_lm_head_sparse(head, p.device_h, p.n_tokens, &p.texts, &out, NULL))
      fail_msg("%s", sp_err_message());
    CUDA(cudaDeviceSynchronize());
    const float share = sp_lm_head_screen_share(head);
    assert_true(call == 0 ? share > 0.5f : share == 0);
  }
  cudaFree(out.terms), cudaFree(out.weights), cudaFree(out.n_kept);
  cudaFree(out.n_found);
  sp_lm_head_free(head);
  dense d = run_dense(&p, best_path);
  check_sparse(&p, best_path, &d, 0, 20, 30011);
  drop_dense(&d);
  drop(&p);
}

static void empty_batches_and_negative_logits_give_zeros(void **state) {
  (void)state;
  NEED_DEVICE();
  for (sp_lm_path path = SP_LM_PLAIN; path <= best_path; path++) {
    seed_with(7);
    problem p = make(300, 16, 6, 1, 0, false); /* six texts without tokens */
    p.n_tokens = 0;
    for (int i = 0; i < 6; i++) p.first[i] = p.end[i] = 0;
    dense d = run_dense(&p, path);
    for (int i = 0; i < 6 * 300; i++) assert_true(d.y[i] == 0 && d.at[i] == -1);
    check_sparse(&p, path, &d, 0, 0, 10);
    check_screen(&p, path, &d, 0, 0, 10);
    drop_dense(&d);
    p.texts.n = 0;
    d = run_dense(&p, path);
    drop_dense(&d);
    drop(&p);

    p = make(300, 16, 6, 30, 0, false);
    for (size_t i = 0; i < (size_t)300 * 16; i++) p.w[i] &= 0x7fff;
    for (size_t i = 0; i < (size_t)p.n_tokens * 16; i++) p.h[i] |= 0x8000;
    CUDA(cudaMemcpy((void *)p.config.w, p.w, 300 * 16 * 2, cudaMemcpyHostToDevice));
    CUDA(cudaMemcpy(p.device_h, p.h, (size_t)p.n_tokens * 32, cudaMemcpyHostToDevice));
    cudaFree((void *)p.config.bias);
    p.config.bias = NULL;
    d = run_dense(&p, path);
    for (int i = 0; i < 6 * 300; i++) assert_true(d.y[i] == 0 && d.at[i] == -1);
    check_sparse(&p, path, &d, 0, 5, 10);
    check_screen(&p, path, &d, 0, 5, 10);
    drop_dense(&d);
    drop(&p);
  }
}

static void nan_logits_count_as_absent(void **state) {
  (void)state;
  NEED_DEVICE();
  for (sp_lm_path path = SP_LM_PLAIN; path <= best_path; path++) {
    seed_with(11);
    problem p = make(200, 32, 3, 20, 0, true);
    const uint32_t row = p.first[1];
    if (p.end[1] == row) continue;
    const uint16_t nan = p.config.dtype == SP_LM_BF16 ? 0x7fc0 : 0x7e00;
    for (int k = 0; k < 32; k++) p.h[row * 32 + k] = nan;
    CUDA(cudaMemcpy(p.device_h, p.h, (size_t)p.n_tokens * 64, cudaMemcpyHostToDevice));
    dense d = run_dense(&p, path);
    check_screen(&p, path, &d, 0, 0, 200);
    p.first[1]++; /* as if the row were not there */
    check_double(&p, &d, true);
    drop_dense(&d);
    drop(&p);
  }
}

static void a_text_gives_the_same_bits_in_any_batch(void **state) {
  (void)state;
  NEED_DEVICE();
  for (sp_lm_path path = SP_LM_PLAIN; path <= best_path; path++) {
    seed_with(13);
    problem p = make(1000, 72, 30, 200, 0, false);
    dense all = run_dense(&p, path);
    problem one = p;
    for (uint32_t b = 0; b < 30; b += 7) {
      one.texts = (sp_lm_texts){p.first + b, p.end + b, 1};
      dense d = run_dense(&one, path);
      assert_memory_equal(d.y, all.y + (size_t)b * 1000, 1000 * 4);
      assert_memory_equal(d.at, all.at + (size_t)b * 1000, 1000 * 4);
      drop_dense(&d);
    }
    drop_dense(&all);
    drop(&p);
  }
}

/* dh, dw and dbias in double. */
static void expected_gradients(const problem *p, const dense *d, const float *dy,
                               double *dh, double *dw, double *dbias) {
  const uint32_t vocab = p->config.vocab, dim = p->config.dim;
  for (size_t i = 0; i < (size_t)p->texts.n * vocab; i++) {
    if (!(d->y[i] > 0)) continue;
    const double y = d->y[i];
    double g = dy[i] * exp(-y);
    if (p->config.log1p_times == 2) g *= exp(-expm1(y));
    const size_t v = i % vocab, s = (size_t)d->at[i];
    dbias[v] += g;
    for (uint32_t k = 0; k < dim; k++) {
      dw[v * dim + k] += g * value(p, p->h[s * dim + k]);
      dh[s * dim + k] += g * value(p, p->w[v * dim + k]);
    }
  }
}

static void expect_near_in_norm(const float *got, const double *want, size_t n,
                                const char *what) {
  double error = 0, norm = 1e-30;
  for (size_t i = 0; i < n; i++) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  if (!(sqrt(error / norm) < 1e-5)) fail_msg("%s: error %g", what, sqrt(error / norm));
}

static void check_backward(const problem *p, sp_lm_path path) {
  const uint32_t vocab = p->config.vocab, dim = p->config.dim;
  const size_t n = (size_t)p->texts.n * vocab;
  const size_t dh_n = (size_t)p->n_tokens * dim, dw_n = (size_t)vocab * dim;
  dense d = run_dense(p, path);
  float *dy = malloc(n * 4 + 4);
  for (size_t i = 0; i < n; i++) dy[i] = draw(5) ? (float)draw(2001) / 1000 - 1 : 0;
  double *dh = calloc(dh_n + 1, 8), *dw = calloc(dw_n, 8), *dbias = calloc(vocab, 8);
  expected_gradients(p, &d, dy, dh, dw, dbias);

  sp_lm_head *head = open_head(p, path);
  sp_lm_grads g = {.y = to_device(d.y, n * 4), .dy = to_device(dy, n * 4)};
  g.argmax = to_device(d.at, n * 4);
  float *kept[3] = {0};
  for (int twice = 0; twice < 2; twice++) {
    g.dh = poisoned(dh_n * 4), g.dw = poisoned(dw_n * 4), g.dbias = poisoned(vocab * 4);
    if (sp_lm_head_backward(head, p->device_h, p->n_tokens, &p->texts, &g, NULL))
      fail_msg("%s", sp_err_message());
    CUDA(cudaDeviceSynchronize());
    float *got[3] = {fetch(g.dh, dh_n * 4), fetch(g.dw, dw_n * 4),
                     fetch(g.dbias, vocab * 4)};
    expect_near_in_norm(got[0], dh, dh_n, "dh");
    expect_near_in_norm(got[1], dw, dw_n, "dw");
    expect_near_in_norm(got[2], dbias, vocab, "dbias");
    const size_t sizes[3] = {dh_n * 4, dw_n * 4, vocab * 4};
    for (int i = 0; i < 3; i++) {
      if (twice) assert_memory_equal(got[i], kept[i], sizes[i]); /* the same bits */
      free(kept[i]);
      kept[i] = got[i];
    }
    cudaFree(g.dh), cudaFree(g.dw), cudaFree(g.dbias);
  }
  for (int i = 0; i < 3; i++) free(kept[i]);
  cudaFree((void *)g.y), cudaFree((void *)g.dy), cudaFree((void *)g.argmax);
  sp_lm_head_free(head);
  drop_dense(&d);
  free(dy), free(dh), free(dw), free(dbias);
}

static void gradients_equal_the_sums_in_double(void **state) {
  (void)state;
  NEED_DEVICE();
  for (uint64_t s = 0; s < 25; s++) {
    seed_with(s + 1000);
    problem p = make(1 + draw(5000), 1 + draw(s % 5 ? 130 : 1300), draw(12),
                     1 + draw(150), draw(3) ? 0 : draw(60), s % 2);
    check_backward(&p, best_path);
    drop(&p);
  }
}

static void bad_arguments_are_refused(void **state) {
  (void)state;
  NEED_DEVICE();
  seed_with(3);
  problem p = make(10, 8, 2, 9, 0, false);
  sp_lm_head *head = (sp_lm_head *)1;
  sp_lm_head_config config = p.config;
  config.vocab = 0;
  assert_int_equal(sp_lm_head_new(&config, &head), SP_EINVAL);
  assert_null(head);
  config = p.config;
  config.log1p_times = 3;
  assert_int_equal(sp_lm_head_new(&config, &head), SP_EINVAL);
  head = open_head(&p, SP_LM_AUTO);
  float *out = poisoned(2 * 10 * 4);
  const uint32_t overlap[4] = {0, 1, 2, 3};
  sp_lm_texts texts = {overlap, overlap + 2, 2}; /* 0..2 and 1..3 */
  assert_int_equal(sp_lm_head_dense(head, p.device_h, 9, &texts, out, NULL, NULL),
                   SP_EINVAL);
  texts = (sp_lm_texts){overlap, overlap + 1, 2};
  assert_int_equal(sp_lm_head_dense(head, p.device_h, 1, &texts, out, NULL, NULL),
                   SP_EINVAL);
  assert_int_equal(
      sp_lm_head_dense(head, (char *)p.device_h + 2, 9, &texts, out, NULL, NULL),
      SP_EINVAL);
  cudaFree(out);
  sp_lm_head_free(head);
  sp_lm_head_free(NULL);
  drop(&p);
}

/* The best path that the device has and that this build was compiled for. */
static void find_best_path(void) {
  int n = 0, major = 0, minor = 0;
  if (cudaGetDeviceCount(&n) || n == 0) return;
  CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
  CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0));
  best_path = major >= 8 ? SP_LM_MMA : SP_LM_PLAIN;
  if (major != 9 || minor != 0) return;
#ifdef SP_TEST_SM90A
  best_path = SP_LM_WGMMA;
#else
  print_message("no code for sm_90a in this build, so the wgmma path is not tested\n");
#endif
}

/* An argument chooses tests by a pattern: a sanitizer has time for a few only. */
int main(int argc, char **argv) {
  if (argc > 1) cmocka_set_test_filter(argv[1]);
  find_best_path();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(auto_is_the_best_path_of_the_device_and_the_build),
      cmocka_unit_test(every_path_equals_the_sum_in_double),
      cmocka_unit_test(random_shapes_equal_the_plain_path),
      cmocka_unit_test(long_texts_and_long_runs_of_tiles_equal_the_plain_path),
      cmocka_unit_test(a_screen_finds_what_one_pass_finds),
      cmocka_unit_test(a_screen_that_lets_much_through_rests),
      cmocka_unit_test(empty_batches_and_negative_logits_give_zeros),
      cmocka_unit_test(nan_logits_count_as_absent),
      cmocka_unit_test(a_text_gives_the_same_bits_in_any_batch),
      cmocka_unit_test(gradients_equal_the_sums_in_double),
      cmocka_unit_test(bad_arguments_are_refused),
  };
  return cmocka_run_group_tests_name("lm_head_cuda", tests, NULL, NULL);
}
