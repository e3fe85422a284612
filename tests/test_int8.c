/* tests/test_int8.c - products of 8 and of 13 bits: every kernel against sums in double, and
 * against each other. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/int16.h"
#include "tests/harness.h"

static uint64_t seed = 5;
static float draw(void) { /* xorshift*, Marsaglia 2003; -1 .. 1 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (float)((double)((seed * 0x2545f4914f6cdd1dull) >> 11) * 0x1p-52 - 1);
}

typedef struct problem {
  uint32_t n, k;
  size_t m;
  float *w, *x, *bias;
  sp_int8_matrix q;
  uint8_t *u;
  float *scales;
  int32_t *zeros;
} problem;

static problem make(uint32_t n, uint32_t k, size_t m) {
  problem p = {.n = n, .k = k, .m = m};
  p.w = malloc((size_t)n * k * sizeof *p.w);
  p.x = malloc((m * k + 1) * sizeof *p.x);
  p.bias = malloc(n * sizeof *p.bias);
  for (size_t i = 0; i < (size_t)n * k; i++) p.w[i] = draw();
  for (size_t i = 0; i < m * k; i++) p.x[i] = draw() + 0.5f;
  for (size_t i = 0; i < n; i++) p.bias[i] = draw();
  assert_int_equal(sp_int8_matrix_new(p.w, n, k, &p.q), SP_OK);
  p.u = malloc(m * p.q.k4 + 1);
  p.scales = malloc((m + 1) * sizeof *p.scales);
  p.zeros = malloc((m + 1) * sizeof *p.zeros);
  return p;
}

static void drop(problem *p) {
  sp_int8_matrix_free(&p->q);
  free(p->w), free(p->x), free(p->bias), free(p->u), free(p->scales), free(p->zeros);
}

/* All of w for all tokens, panel by panel, into y [m, n]. */
static void multiply_all(const sp_int8_ops *ops, problem *p, float *y) {
  ops->quantize(p->x, p->m, p->k, p->u, p->scales, p->zeros);
  sp_int8_tokens x = {p->u, p->scales, p->zeros};
  for (uint32_t panel = 0; panel < p->q.n_panels; panel++)
    ops->multiply(&p->q, panel, &x, p->m, p->bias, y + panel * SP_INT8_PANEL, p->n);
}

static const struct {
  uint32_t n, k;
  size_t m;
} SHAPES[] = {{1, 1, 1},     {32, 4, 12},    {33, 7, 13},   {31, 64, 5},
              {64, 130, 24}, {100, 384, 29}, {257, 48, 11}, {96, 1537, 7}};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

static void products_are_right_to_within_eight_bits(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    float *y = malloc(p.m * p.n * sizeof *y);
    multiply_all(sp_int8_ops_at(0), &p, y);
    for (size_t i = 0; i < p.m; i++)
      for (size_t j = 0; j < p.n; j++) {
        double sum = p.bias[j], room = 1e-4;
        for (size_t c = 0; c < p.k; c++) {
          double w = p.w[j * p.k + c], x = p.x[i * p.k + c];
          sum += w * x;
          /* half a step of either side, and of both */
          room += fabs(w) * p.scales[i] * 0.51 +
                  (fabs(x) + p.scales[i]) * p.q.scales[j] * 0.51;
        }
        assert_true(fabs(y[i * p.n + j] - sum) <= room);
      }
    free(y);
    drop(&p);
  }
}

static void every_kernel_agrees_with_the_portable_one(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    float *want = malloc(p.m * p.n * sizeof *want), *y = malloc(p.m * p.n * sizeof *y);
    multiply_all(sp_int8_ops_at(0), &p, want);
    for (int i = 1; i < SP_INT8_N_OPS; i++) {
      const sp_int8_ops *ops = sp_int8_ops_at(i);
      if (!ops) continue;
      memset(y, 0xff, p.m * p.n * sizeof *y);
      multiply_all(ops, &p, y);
      for (size_t j = 0; j < p.m * p.n; j++)
        assert_true(fabsf(y[j] - want[j]) <= 2e-6f * (fabsf(want[j]) + (float)p.k));
    }
    free(want), free(y);
    drop(&p);
  }
}

static void raising_finds_the_largest_product(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++)
    for (int i = 0; i < SP_INT8_N_OPS; i++) {
      const sp_int8_ops *ops = sp_int8_ops_at(i);
      if (!ops) continue;
      problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
      memset(p.bias, 0, p.n * sizeof *p.bias);
      float *y = malloc(p.m * p.n * sizeof *y), best[SP_INT8_PANEL];
      multiply_all(ops, &p, y);
      sp_int8_tokens x = {p.u, p.scales, p.zeros};
      for (uint32_t panel = 0; panel < p.q.n_panels; panel++) {
        for (int j = 0; j < SP_INT8_PANEL; j++) best[j] = -1;
        ops->raise(&p.q, panel, &x, p.m, best);
        for (uint32_t j = 0; j < SP_INT8_PANEL && panel * SP_INT8_PANEL + j < p.n; j++) {
          float want = -1;
          for (size_t t = 0; t < p.m; t++)
            want = fmaxf(want, y[t * p.n + panel * SP_INT8_PANEL + j]);
          assert_true(fabsf(best[j] - want) <= 1e-5f * (fabsf(want) + 1));
        }
      }
      free(y);
      drop(&p);
    }
}

static void tokens_of_one_value_and_of_zeros_are_exact(void **state) {
  (void)state;
  problem p = make(40, 20, 3);
  for (size_t i = 0; i < 3 * 20; i++) p.x[i] = i < 20 ? 0 : i < 40 ? 3 : -2;
  float *y = malloc(p.m * p.n * sizeof *y);
  for (int i = 0; i < SP_INT8_N_OPS; i++) {
    const sp_int8_ops *ops = sp_int8_ops_at(i);
    if (!ops) continue;
    multiply_all(ops, &p, y);
    for (size_t j = 0; j < p.n; j++) {
      double sum = p.q.sums[j] * (double)p.q.scales[j];
      assert_true(fabs(y[j] - p.bias[j]) < 1e-6);
      assert_true(fabs(y[p.n + j] - (3 * sum + p.bias[j])) < 1e-4);
      assert_true(fabs(y[2 * p.n + j] - (-2 * sum + p.bias[j])) < 1e-4);
    }
  }
  free(y);
  drop(&p);
}

static void thirteen_bits_are_right_with_every_kernel(void **state) {
  (void)state;
  for (int s = 0; s < N_SHAPES; s++) {
    problem p = make(SHAPES[s].n, SHAPES[s].k, SHAPES[s].m);
    sp_int16_matrix q;
    assert_int_equal(sp_int16_matrix_new(p.w, p.n, p.k, &q), SP_OK);
    int16_t *u = malloc((p.m * q.k2 + 1) * sizeof *u);
    float *y = malloc(p.m * p.n * sizeof *y);
    for (int i = 0; i < SP_INT16_N_OPS; i++) {
      const sp_int16_ops *ops = sp_int16_ops_at(i);
      if (!ops) continue;
      ops->quantize(p.x, p.m, p.k, u, p.scales);
      for (uint32_t panel = 0; panel < q.n_panels; panel++)
        ops->multiply(&q, panel, u, p.scales, p.m, p.bias, y + panel * SP_INT8_PANEL,
                      p.n);
      for (size_t t = 0; t < p.m; t++)
        for (size_t j = 0; j < p.n; j++) {
          double sum = p.bias[j], room = 1e-5 * p.k;
          for (size_t c = 0; c < p.k; c++) {
            double w = p.w[j * p.k + c], x = p.x[t * p.k + c];
            sum += w * x;
            room += fabs(w) * p.scales[t] * 0.51 +
                    (fabs(x) + p.scales[t]) * q.scales[j] * 0.51;
          }
          assert_true(fabs(y[t * p.n + j] - sum) <= room);
        }
    }
    free(u), free(y);
    sp_int16_matrix_free(&q);
    drop(&p);
  }
}

/* The largest values everywhere: 128 products of 4095^2 must still fit. */
static void sums_of_the_largest_products_do_not_overflow(void **state) {
  (void)state;
  problem p = make(32, 300, 12);
  for (size_t i = 0; i < (size_t)p.n * p.k; i++) p.w[i] = 1;
  for (size_t i = 0; i < p.m * p.k; i++) p.x[i] = -1;
  sp_int16_matrix q;
  assert_int_equal(sp_int16_matrix_new(p.w, p.n, p.k, &q), SP_OK);
  int16_t *u = malloc(p.m * q.k2 * sizeof *u);
  float *y = malloc(p.m * p.n * sizeof *y);
  for (int i = 0; i < SP_INT16_N_OPS; i++) {
    const sp_int16_ops *ops = sp_int16_ops_at(i);
    if (!ops) continue;
    ops->quantize(p.x, p.m, p.k, u, p.scales);
    ops->multiply(&q, 0, u, p.scales, p.m, NULL, y, p.n);
    for (size_t j = 0; j < p.m * p.n; j++) assert_true(fabsf(y[j] + 300) < 1e-2f);
  }
  free(u), free(y);
  sp_int16_matrix_free(&q);
  drop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_are_right_to_within_eight_bits),
      cmocka_unit_test(every_kernel_agrees_with_the_portable_one),
      cmocka_unit_test(raising_finds_the_largest_product),
      cmocka_unit_test(thirteen_bits_are_right_with_every_kernel),
      cmocka_unit_test(sums_of_the_largest_products_do_not_overflow),
      cmocka_unit_test(tokens_of_one_value_and_of_zeros_are_exact),
  };
  return cmocka_run_group_tests_name("int8", tests, NULL, NULL);
}
