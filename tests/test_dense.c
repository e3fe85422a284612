/* tests/test_dense.c - norms, activations and RoPE of every processor level against sums in
 * double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/dense.h"
#include "tests/harness.h"

static uint64_t seed = 9;
static float draw(void) { /* xorshift*, Marsaglia 2003; -2 .. 2 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (float)((double)((seed * 0x2545f4914f6cdd1dull) >> 11) * 0x1p-51 - 2);
}

static float *draw_array(size_t n) {
  float *x = malloc((n + 1) * sizeof *x);
  for (size_t i = 0; i < n; i++) x[i] = draw();
  return x;
}

/* Runs the rest of the block for every level this processor has. */
#define FOR_EACH_LEVEL(ops)                                      \
  for (int level_ = 0; level_ <= (int)sp_cpu_detect(); level_++) \
    for (const sp_dense_ops *ops = sp_dense_ops_at((sp_cpu_level)level_); ops; ops = NULL)

static const size_t WIDTHS[] = {1, 3, 16, 17, 48, 100, 384, 769};
enum { N_WIDTHS = sizeof WIDTHS / sizeof *WIDTHS };

static void expect_near(float got, double want, double room) {
  if (!(fabs(got - want) <= room)) fail_msg("%.9g, expected %.9g", (double)got, want);
}

static void layer_norm_has_mean_shift_and_unit_variance(void **state) {
  (void)state;
  FOR_EACH_LEVEL(ops)
  for (int s = 0; s < N_WIDTHS; s++) {
    size_t n = WIDTHS[s], m = 3;
    float *x = draw_array(m * n), *w = draw_array(n), *b = draw_array(n);
    float *y = draw_array(m * n), *z = draw_array(m * n);
    ops->layer_norm(x, w, b, 1e-5f, m, n, y);
    ops->layer_norm(x, w, NULL, 1e-5f, m, n, z);
    for (size_t r = 0; r < m; r++) {
      double mean = 0, square = 0;
      for (size_t i = 0; i < n; i++) mean += x[r * n + i];
      mean /= (double)n;
      for (size_t i = 0; i < n; i++) square += pow(x[r * n + i] - mean, 2);
      double inverse = 1 / sqrt(square / (double)n + 1e-5);
      for (size_t i = 0; i < n; i++) {
        double want = (x[r * n + i] - mean) * inverse * w[i];
        expect_near(y[r * n + i], want + b[i], 2e-5);
        expect_near(z[r * n + i], want, 2e-5);
      }
    }
    free(x), free(w), free(b), free(y), free(z);
  }
}

static void rms_norm_and_l2_have_their_lengths(void **state) {
  (void)state;
  FOR_EACH_LEVEL(ops)
  for (int s = 0; s < N_WIDTHS; s++) {
    size_t n = WIDTHS[s];
    float *x = draw_array(n), *w = draw_array(n), *y = draw_array(n);
    double square = 0;
    for (size_t i = 0; i < n; i++) square += (double)x[i] * x[i];
    ops->rms_norm(x, w, 1e-6f, 1, n, y);
    for (size_t i = 0; i < n; i++)
      expect_near(y[i], x[i] / sqrt(square / (double)n + 1e-6) * w[i], 1e-5);
    memcpy(y, x, n * sizeof *y);
    ops->l2_normalize(y, 1, n);
    for (size_t i = 0; i < n; i++) expect_near(y[i], x[i] / sqrt(square), 1e-6);
    free(x), free(w), free(y);
  }
}

static double activation(sp_dense_act act, double x) {
  switch (act) {
    case SP_ACT_GELU_ERF:
      return x / 2 * (1 + erf(x / sqrt(2)));
    case SP_ACT_GELU_TANH:
      return x / 2 * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case SP_ACT_RELU:
      return x > 0 ? x : 0;
    case SP_ACT_SILU:
      break;
  }
  return x / (1 + exp(-x));
}

static void activations_follow_their_formulas(void **state) {
  (void)state;
  enum { N = 4001 };
  float x[N];
  FOR_EACH_LEVEL(ops)
  for (int act = SP_ACT_GELU_ERF; act <= SP_ACT_SILU; act++) {
    for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) / 100;
    ops->activate((sp_dense_act)act, x, 1, N);
    for (int i = 0; i < N; i++) {
      double at = (float)(i - N / 2) / 100;
      expect_near(x[i], activation((sp_dense_act)act, at), 4e-7 * (1 + fabs(at)));
    }
  }
}

static void activations_survive_the_largest_values(void **state) {
  (void)state;
  FOR_EACH_LEVEL(ops)
  for (int act = SP_ACT_GELU_ERF; act <= SP_ACT_SILU; act++) {
    float x[4] = {1e30f, -1e30f, 200, -200};
    ops->activate((sp_dense_act)act, x, 1, 4);
    expect_near(x[0], 1e30f, 1e24);
    expect_near(x[2], 200, 1e-4);
    expect_near(x[3], 0, 1e-4);
    assert_true(x[1] <= 0 && isfinite(x[1]));
  }
}

static void gates_multiply_the_other_half(void **state) {
  (void)state;
  FOR_EACH_LEVEL(ops)
  for (int s = 0; s < N_WIDTHS; s++) {
    size_t n = WIDTHS[s], m = 3;
    float *x = draw_array(2 * m * n), *same = malloc(2 * m * n * sizeof *same);
    float *y = draw_array(m * n);
    memcpy(same, x, 2 * m * n * sizeof *same);
    ops->gated(SP_ACT_SILU, x, m, n, y);
    ops->gated(SP_ACT_SILU, same, m, n, same);
    for (size_t i = 0; i < m * n; i++) {
      size_t at = i / n * 2 * n + i % n;
      expect_near(y[i], activation(SP_ACT_SILU, x[at]) * x[at + n], 2e-6);
      assert_true(same[i] == y[i]);
    }
    free(x), free(same), free(y);
  }
}

static void rope_turns_pairs_of_the_two_halves(void **state) {
  (void)state;
  FOR_EACH_LEVEL(ops)
  for (size_t d = 2; d <= 64; d += 14) {
    size_t half = d / 2, heads = 3;
    float *x = draw_array(heads * d), *y = malloc(heads * d * sizeof *y);
    float *c = draw_array(half), *s = draw_array(half);
    memcpy(y, x, heads * d * sizeof *y);
    ops->rope(y, c, s, heads, d);
    for (size_t h = 0; h < heads; h++)
      for (size_t i = 0; i < half; i++) {
        const float *a = x + h * d + i, *b = a + half;
        expect_near(y[h * d + i], (double)*a * c[i] - (double)*b * s[i], 1e-5);
        expect_near(y[h * d + half + i], (double)*b * c[i] + (double)*a * s[i], 1e-5);
      }
    free(x), free(y), free(c), free(s);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(layer_norm_has_mean_shift_and_unit_variance),
      cmocka_unit_test(rms_norm_and_l2_have_their_lengths),
      cmocka_unit_test(activations_follow_their_formulas),
      cmocka_unit_test(activations_survive_the_largest_values),
      cmocka_unit_test(gates_multiply_the_other_half),
      cmocka_unit_test(rope_turns_pairs_of_the_two_halves),
  };
  return cmocka_run_group_tests_name("dense", tests, NULL, NULL);
}
