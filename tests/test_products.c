/* tests/test_products.c - products with weights of float32, of 16 and of 8 bits: every kernel
 * against sums in double, and against the portable one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/float32.h"
#include "kernels/cpu/int16.h"
#include "kernels/cpu/int8.h"
#include "tests/harness.h"

static uint64_t seed = 5;
static float draw(void) { /* xorshift*, Marsaglia 2003; -1 .. 1 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (float)((double)((seed * 0x2545f4914f6cdd1dull) >> 11) * 0x1p-52 - 1);
}

/* m tokens against n rows. */
typedef struct problem {
  uint32_t n, k;
  size_t m;
  float *w, *x, *bias;
} problem;

static problem make(uint32_t n, uint32_t k, size_t m) {
  problem p = {.n = n, .k = k, .m = m};
  p.w = malloc((size_t)n * k * sizeof *p.w);
  p.x = malloc(m * k * sizeof *p.x);
  p.bias = malloc(n * sizeof *p.bias);
  for (size_t i = 0; i < (size_t)n * k; i++) p.w[i] = draw();
  for (size_t i = 0; i < m * k; i++) p.x[i] = draw() + 0.5f;
  for (size_t i = 0; i < n; i++) p.bias[i] = draw();
  return p;
}

static void drop(problem *p) {
  free(p->w), free(p->x), free(p->bias);
}

/* The shapes reach every number of tokens that a kernel takes at once. */
static const struct {
  uint32_t n, k;
  size_t m;
} SHAPES[] = {{1, 1, 1},      {32, 4, 12},   {33, 7, 13},   {31, 64, 5}, {64, 130, 24},
              {100, 384, 29}, {257, 48, 11}, {96, 1537, 7}, {40, 9, 2},  {40, 300, 3},
              {40, 129, 16},  {65, 5, 20},   {64, 128, 10}};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

static const float *panel_of(const problem *p, uint32_t panel) {
  return p->w + (size_t)panel * SP_PANEL * p->k;
}

/* <x_t, w_j> in double. Rounding x to within x_step and w to within w_step moves it by
 * *room at most. */
static double product(const problem *p, size_t t, size_t j, double x_step, double w_step,
                      double *room) {
  double sum = 0;
  *room = 1e-5 * p->k;
  for (size_t c = 0; c < p->k; c++) {
    double w = p->w[j * p->k + c], x = p->x[t * p->k + c];
    sum += w * x;
    *room += fabs(w) * x_step + (fabs(x) + x_step) * w_step;
  }
  return sum;
}

static sp_float32_matrix lay_out(const problem *p) {
  sp_float32_matrix w;
  assert_int_equal(sp_float32_matrix_new(p->n, p->k, &w), SP_OK);
  for (uint32_t i = 0; i < w.n_panels; i++) sp_float32_matrix_fill(&w, i, panel_of(p, i));
  return w;
}

static void float32_is_right_with_every_kernel(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    sp_float32_matrix w = lay_out(&p);
    float *y = malloc(p.m * p.n * sizeof *y);
    for (int level = SP_CPU_PORTABLE; level <= (int)sp_cpu_detect(); level++) {
      const sp_float32_ops *ops = sp_float32_ops_at((sp_cpu_level)level);
      for (int biased = 0; biased < 2; biased++) {
        memset(y, 0xff, p.m * p.n * sizeof *y);
        for (uint32_t i = 0; i < w.n_panels; i++)
          ops->multiply(&w, i, p.x, p.m, biased ? p.bias : NULL, y + i * SP_PANEL, p.n);
        for (size_t t = 0; t < p.m; t++)
          for (size_t j = 0; j < p.n; j++) {
            double room, want = product(&p, t, j, 0, 0, &room);
            if (biased) want += p.bias[j];
            assert_true(fabs(y[t * p.n + j] - want) <= room);
          }
      }
    }
    free(y);
    sp_float32_matrix_free(&w);
    drop(&p);
  }
}

static void raising_in_float32_finds_the_largest_product(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    sp_float32_matrix w = lay_out(&p);
    for (int level = SP_CPU_PORTABLE; level <= (int)sp_cpu_detect(); level++)
      for (uint32_t i = 0; i < w.n_panels; i++) {
        float best[SP_PANEL];
        for (int j = 0; j < SP_PANEL; j++) best[j] = -0.25f;
        sp_float32_ops_at((sp_cpu_level)level)->raise(&w, i, p.x, p.m, best);
        for (uint32_t j = 0; j < SP_PANEL; j++) {
          double want = -0.25, room = 0;
          for (size_t t = 0; t < p.m && j < sp_panel_rows(p.n, i); t++)
            want = fmax(want, product(&p, t, i * SP_PANEL + j, 0, 0, &room));
          if (j >= sp_panel_rows(p.n, i)) want = 0; /* the rows of zeros */
          assert_true(fabs(best[j] - want) <= room);
        }
      }
    sp_float32_matrix_free(&w);
    drop(&p);
  }
}

static void sixteen_bits_are_right_with_every_kernel(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    sp_int16_matrix w;
    assert_int_equal(sp_int16_matrix_new(p.n, p.k, &w), SP_OK);
    for (uint32_t i = 0; i < w.n_panels; i++)
      sp_int16_matrix_fill(&w, i, panel_of(&p, i));
    int16_t *u = malloc(p.m * w.k2 * sizeof *u);
    float *y = malloc(p.m * p.n * sizeof *y), *scales = malloc(p.m * sizeof *scales);
    for (int i = 0; i < SP_INT16_N_OPS; i++) {
      const sp_int16_ops *ops = sp_int16_ops_at(i);
      if (!ops) continue;
      ops->quantize(p.x, p.m, p.k, u, scales);
      for (uint32_t panel = 0; panel < w.n_panels; panel++)
        ops->multiply(&w, panel, u, scales, p.m, p.bias, y + panel * SP_PANEL, p.n);
      for (size_t t = 0; t < p.m; t++)
        for (size_t j = 0; j < p.n; j++) {
          double room,
              want = product(&p, t, j, 0.51 * scales[t], 0.51 * w.scales[j], &room);
          assert_true(fabs(y[t * p.n + j] - (want + p.bias[j])) <= room);
        }
    }
    free(u), free(y), free(scales);
    sp_int16_matrix_free(&w);
    drop(&p);
  }
}

/* The largest values everywhere, and where they are in few columns: the sums of 256 products
 * must still fit. Three rows of four have zeros. */
static void sums_of_the_largest_products_do_not_overflow(void **state) {
  (void)state;
  problem p = make(32, 300, 12);
  for (size_t i = 0; i < (size_t)p.n * p.k; i++) {
    size_t row = i / p.k, column = i % p.k;
    p.w[i] = row % 4 == 0 || column % (row + 1) == 0 ? 1 : 0;
  }
  for (size_t i = 0; i < p.m * p.k; i++) p.x[i] = -1;
  sp_int16_matrix w;
  assert_int_equal(sp_int16_matrix_new(p.n, p.k, &w), SP_OK);
  sp_int16_matrix_fill(&w, 0, p.w);
  int16_t *u = malloc(p.m * w.k2 * sizeof *u);
  float *y = malloc(p.m * p.n * sizeof *y), scales[12];
  for (int i = 0; i < SP_INT16_N_OPS; i++) {
    const sp_int16_ops *ops = sp_int16_ops_at(i);
    if (!ops) continue;
    ops->quantize(p.x, p.m, p.k, u, scales);
    ops->multiply(&w, 0, u, scales, p.m, NULL, y, p.n);
    for (size_t j = 0; j < p.m * p.n; j++) {
      double room, want = product(&p, j / p.n, j % p.n, 0, 0, &room);
      assert_true(fabs(y[j] - want) < 1e-2);
    }
  }
  free(u), free(y);
  sp_int16_matrix_free(&w);
  drop(&p);
}

/* A problem's weights and tokens in 8 bits. */
typedef struct bytes {
  sp_int8_matrix w;
  uint8_t *u;
  float *scales;
  int32_t *zeros;
} bytes;

static bytes quantize(const sp_int8_ops *ops, const problem *p) {
  bytes q;
  assert_int_equal(sp_int8_matrix_new(p->n, p->k, &q.w), SP_OK);
  for (uint32_t i = 0; i < q.w.n_panels; i++)
    sp_int8_matrix_fill(&q.w, i, panel_of(p, i));
  q.u = malloc(p->m * q.w.k4);
  q.scales = malloc(p->m * sizeof *q.scales);
  q.zeros = malloc(p->m * sizeof *q.zeros);
  ops->quantize(p->x, p->m, p->k, q.u, q.scales, q.zeros);
  return q;
}

static void drop_bytes(bytes *q) {
  sp_int8_matrix_free(&q->w);
  free(q->u), free(q->scales), free(q->zeros);
}

/* y[i, j]: the largest product of w_j with the tokens i .. i+run-1. */
static void raise_runs(const sp_int8_ops *ops, const problem *p, const bytes *q,
                       size_t run, float *y) {
  for (size_t t = 0; t + run <= p->m; t++)
    for (uint32_t panel = 0; panel < q->w.n_panels; panel++) {
      sp_int8_tokens x = {q->u + t * q->w.k4, q->scales + t, q->zeros + t};
      float best[SP_PANEL];
      for (int j = 0; j < SP_PANEL; j++) best[j] = -INFINITY;
      ops->raise(&q->w, panel, &x, run, best);
      memcpy(y + t * p->n + panel * SP_PANEL, best,
             sp_panel_rows(p->n, panel) * sizeof *y);
    }
}

static void eight_bits_are_right_with_every_kernel(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++)
    for (int i = 0; i < SP_INT8_N_OPS; i++) {
      const sp_int8_ops *ops = sp_int8_ops_at(i);
      if (!ops) continue;
      problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
      bytes q = quantize(ops, &p);
      float *y = malloc(p.m * p.n * sizeof *y);
      raise_runs(ops, &p, &q, 1, y);
      for (size_t t = 0; t < p.m; t++)
        for (size_t j = 0; j < p.n; j++) {
          double room,
              want = product(&p, t, j, 0.51 * q.scales[t], 0.51 * q.w.scales[j], &room);
          assert_true(fabs(y[t * p.n + j] - want) <= room);
        }
      free(y);
      drop_bytes(&q);
      drop(&p);
    }
}

static void raising_by_many_tokens_is_raising_by_each(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++)
    for (int i = 0; i < SP_INT8_N_OPS; i++) {
      const sp_int8_ops *ops = sp_int8_ops_at(i);
      if (!ops) continue;
      problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
      bytes q = quantize(ops, &p);
      float *y = malloc(p.m * p.n * sizeof *y), *all = malloc(p.n * sizeof *all);
      raise_runs(ops, &p, &q, 1, y);
      raise_runs(ops, &p, &q, p.m, all);
      for (size_t j = 0; j < p.n; j++) {
        float want = -INFINITY;
        for (size_t t = 0; t < p.m; t++) want = fmaxf(want, y[t * p.n + j]);
        assert_true(all[j] == want);
      }
      free(y), free(all);
      drop_bytes(&q);
      drop(&p);
    }
}

static void every_8_bit_kernel_agrees_with_the_portable_one(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    bytes q = quantize(sp_int8_ops_at(0), &p);
    float *want = malloc(p.m * p.n * sizeof *want), *y = malloc(p.m * p.n * sizeof *y);
    raise_runs(sp_int8_ops_at(0), &p, &q, 1, want);
    for (int i = 1; i < SP_INT8_N_OPS; i++) {
      const sp_int8_ops *ops = sp_int8_ops_at(i);
      if (!ops) continue;
      raise_runs(ops, &p, &q, 1, y);
      for (size_t j = 0; j < p.m * p.n; j++)
        assert_true(fabsf(y[j] - want[j]) <= 1e-6f * fabsf(want[j]));
    }
    free(want), free(y);
    drop_bytes(&q);
    drop(&p);
  }
}

static void tokens_of_one_value_and_of_zeros_are_exact(void **state) {
  (void)state;
  problem p = make(40, 20, 3);
  for (size_t i = 0; i < 3 * 20; i++) p.x[i] = i < 20 ? 0 : i < 40 ? 3 : -2;
  float y[3 * 40];
  for (int i = 0; i < SP_INT8_N_OPS; i++) {
    const sp_int8_ops *ops = sp_int8_ops_at(i);
    if (!ops) continue;
    bytes q = quantize(ops, &p);
    raise_runs(ops, &p, &q, 1, y);
    for (size_t j = 0; j < p.n; j++) {
      double sum = q.w.sums[j] * (double)q.w.scales[j];
      assert_true(fabs(y[j]) < 1e-6);
      assert_true(fabs(y[p.n + j] - 3 * sum) < 1e-4);
      assert_true(fabs(y[2 * p.n + j] - -2 * sum) < 1e-4);
    }
    drop_bytes(&q);
  }
  drop(&p);
}

static void matrices_without_entries_are_refused(void **state) {
  (void)state;
  sp_float32_matrix f;
  sp_int16_matrix h;
  sp_int8_matrix b;
  assert_int_equal(sp_float32_matrix_new(0, 1, &f), SP_EINVAL);
  assert_int_equal(sp_int16_matrix_new(1, 0, &h), SP_EINVAL);
  assert_int_equal(sp_int8_matrix_new(1, SP_INT8_MAX_K + 1, &b), SP_EINVAL);
  sp_float32_matrix_free(&f), sp_int16_matrix_free(&h), sp_int8_matrix_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(float32_is_right_with_every_kernel),
      cmocka_unit_test(raising_in_float32_finds_the_largest_product),
      cmocka_unit_test(sixteen_bits_are_right_with_every_kernel),
      cmocka_unit_test(sums_of_the_largest_products_do_not_overflow),
      cmocka_unit_test(eight_bits_are_right_with_every_kernel),
      cmocka_unit_test(raising_by_many_tokens_is_raising_by_each),
      cmocka_unit_test(every_8_bit_kernel_agrees_with_the_portable_one),
      cmocka_unit_test(tokens_of_one_value_and_of_zeros_are_exact),
      cmocka_unit_test(matrices_without_entries_are_refused),
  };
  return cmocka_run_group_tests_name("products", tests, NULL, NULL);
}
