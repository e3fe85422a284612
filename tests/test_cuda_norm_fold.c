/* tests/test_cuda_norm_fold.c - LayerNorm done by the products around it, against plain C that
 * does one after the other. */
#include "kernels/cuda_matmul.h"
#include "kernels/cuda_norm_fold.h"
#include "tests/cuda_fixture.h"

static const float EPS = 1e-5f;

static void needs_norms(sp_cuda_matmul **mm) {
  needs_device();
  expect_ok(sp_cuda_matmul_create(mm));
  if (sp_cuda_matmul_does_norms(*mm)) return;
  printf("skipped: products do no LayerNorm on this device\n");
  sp_cuda_matmul_free(*mm);
  skip();
}

/* (mean, 1 / std) of a row. */
static void moments(const float *x, size_t n, double out[2]) {
  double mean = 0, var = 0;
  for (size_t i = 0; i < n; i++) mean += x[i];
  mean /= (double)n;
  for (size_t i = 0; i < n; i++) var += (x[i] - mean) * (x[i] - mean);
  out[0] = mean, out[1] = 1 / sqrt(var / (double)n + EPS);
}

/* The scales of n rows, padded with NaN: rows that are not there must not matter. */
static float *scales_to_device(const float *x, size_t n, size_t dim) {
  const size_t pairs = SP_CUDA_SCALES(n);
  float *s = malloc(pairs * 2 * sizeof *s);
  assert_non_null(s);
  for (size_t r = 0; r < pairs; r++) {
    double m[2] = {NAN, NAN};
    if (r < n) moments(x + r * dim, dim, m);
    s[2 * r] = (float)m[1], s[2 * r + 1] = (float)(m[0] * m[1]);
  }
  float *d = to_device(s, pairs * 2 * sizeof *s);
  free(s);
  return d;
}

static void normalise(float *x, size_t n, size_t dim, const float *gamma,
                      const float *beta) {
  for (size_t r = 0; r < n; r++) {
    double m[2];
    moments(x + r * dim, dim, m);
    for (size_t i = 0; i < dim; i++)
      x[r * dim + i] = (float)((x[r * dim + i] - m[0]) * m[1]) * gamma[i] + beta[i];
  }
}

/* Rows whose means are not small beside their spread. */
static float *random_rows(size_t n, size_t dim, uint64_t seed) {
  float *x = random_floats(n * dim, 2, seed);
  for (size_t i = 0; i < n * dim; i++) x[i] += (float)(i / dim % 3) * 0.5f;
  return x;
}

static void multiply(const float *a, const float *w, const float *bias, size_t m,
                     size_t n, size_t k, float *out) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      double s = bias[j];
      for (size_t e = 0; e < k; e++) s += (double)a[i * k + e] * w[j * k + e];
      out[i * n + j] = (float)s;
    }
}

static void check_normed(sp_cuda_matmul *mm, sp_cuda_type type, size_t m, size_t n,
                         size_t k, bool gelu) {
  float *a = random_rows(m, k, 1), *w = random_floats(n * k, 0.1f, 2);
  float *bias = random_floats(n, 1, 3), *gamma = random_floats(k, 1, 4),
        *beta = random_floats(k, 1, 5), *folded = malloc(n * k * sizeof *folded);
  float *want = malloc(m * n * sizeof *want);
  assert_non_null(folded), assert_non_null(want);
  void *ad = rows_to_device(type, a, m, k, k), *wd = rows_to_device(type, w, n, k, k);
  for (size_t i = 0; i < n * k; i++) folded[i] = w[i] * gamma[i % k];
  void *fd = rows_to_device(type, folded, n, k, k),
       *bd = rows_to_device(type, bias, 1, n, n), *d = device_bytes(m * n * 2, 0xff);
  void *fold_bias = device_bytes(n * 2, 0xff);
  float *sums = device_bytes(n * sizeof *sums, 0xff), *scales = scales_to_device(a, m, k),
        *betad = to_device(beta, k * sizeof *beta);
  const sp_cuda_norm_fold_args fold = {type,      wd,   fd,     bd,    betad,
                                       fold_bias, sums, (int)n, (int)k};
  expect_ok(sp_cuda_norm_fold(&fold, NULL));
  const sp_cuda_matmul_args args = {
      .type = type,
      .a = ad,
      .w = fd,
      .bias = fold_bias,
      .d = d,
      .m = (int)m,
      .n = (int)n,
      .k = (int)k,
      .lda = (int)k,
      .ldw = (int)k,
      .ldd = (int)n,
      .epilogue = gelu ? SP_CUDA_FUSED_GELU : SP_CUDA_NO_ACT,
      .last_first = gelu,
      .norm = {scales, sums}};
  expect_ok(sp_cuda_matmul_run(mm, &args, NULL));
  float *got = rows_from_device(type, d, m, n, n);
  normalise(a, m, k, gamma, beta);
  multiply(a, w, bias, m, n, k, want);
  for (size_t i = 0; i < m * n && gelu; i++)
    want[i] = (float)(0.5 * want[i] * (1 + erf(want[i] * sqrt(0.5))));
  /* Rounded are the weights times gamma, the bias, the result. */
  expect_near(got, want, m * n, 3 * rounding(type), "a product of rows to be normalised");
  cudaFree(ad), cudaFree(wd), cudaFree(fd), cudaFree(bd), cudaFree(d),
      cudaFree(fold_bias);
  cudaFree(sums), cudaFree(scales), cudaFree(betad);
  free(a), free(w), free(bias), free(gamma), free(beta), free(folded), free(want),
      free(got);
}

static void a_product_normalises_its_rows(void **state) {
  (void)state;
  sp_cuda_matmul *mm;
  needs_norms(&mm);
  static const size_t SHAPES[][3] = {
      {1, 16, 16}, {70, 48, 64}, {257, 144, 200}, {300, 528, 640}, {9000, 272, 24}};
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
      for (int gelu = 0; gelu < 2; gelu++)
        check_normed(mm, BOTH_TYPES[t], SHAPES[i][0], SHAPES[i][1], SHAPES[i][2], gelu);
  sp_cuda_matmul_free(mm);
}

/* What the product leaves for the next LayerNorm is what that one would find out. */
static void check_scales(const float *parts, size_t m, size_t n, const float *sum) {
  const size_t pairs = SP_CUDA_SCALES(m);
  float *scales = device_bytes(pairs * 2 * sizeof *scales, 0xff);
  uint32_t *flag = device_bytes(4, 0), raised;
  expect_ok(sp_cuda_norm_scales(parts, (int)n, (int)m, EPS, scales, flag, NULL));
  float *got = malloc(pairs * 2 * sizeof *got);
  assert_non_null(got);
  from_device(got, scales, pairs * 2 * sizeof *got);
  from_device(&raised, flag, 4);
  assert_int_equal(raised, 0);
  for (size_t r = 0; r < m; r++) {
    double want[2];
    moments(sum + r * n, n, want);
    assert_true(fabs(got[2 * r] / want[1] - 1) < 2e-3);
    assert_true(fabs(got[2 * r + 1] - want[0] * want[1]) < 4e-3);
  }
  cudaFree(scales), cudaFree(flag);
  free(got);
}

static void check_residual(sp_cuda_matmul *mm, sp_cuda_type type, size_t m, size_t n,
                           size_t k, bool normed) {
  float *a = random_floats(m * k, 1, 1), *w = random_floats(n * k, 0.2f, 2),
        *x = random_rows(m, n, 6);
  float *bias = random_floats(n, 1, 3), *gamma = random_floats(n, 1, 4),
        *beta = random_floats(n, 1, 5), *want = malloc(m * n * sizeof *want);
  assert_non_null(want);
  void *ad = rows_to_device(type, a, m, k, k), *wd = rows_to_device(type, w, n, k, k);
  void *xd = rows_to_device(type, x, m, n, n), *bd = rows_to_device(type, bias, 1, n, n);
  void *d = device_bytes(m * n * 2, 0xff);
  float *gd = to_device(gamma, n * sizeof *gamma),
        *betad = to_device(beta, n * sizeof *beta);
  float *scales = scales_to_device(x, m, n);
  float *parts =
      device_bytes(SP_CUDA_PARTS(n) * SP_CUDA_SCALES(m) * 2 * sizeof *parts, 0xff);
  if (!normed)
    expect_ok(sp_cuda_norm_scales(NULL, (int)n, (int)m, EPS, scales, NULL, NULL));
  const sp_cuda_matmul_args args = {
      .type = type,
      .a = ad,
      .w = wd,
      .bias = bd,
      .d = d,
      .m = (int)m,
      .n = (int)n,
      .k = (int)k,
      .lda = (int)k,
      .ldw = (int)k,
      .ldd = (int)n,
      .last_first = normed,
      .residual = {xd, scales, normed ? gd : NULL, normed ? betad : NULL, parts}};
  expect_ok(sp_cuda_matmul_run(mm, &args, NULL));
  float *got = rows_from_device(type, d, m, n, n);
  if (normed) normalise(x, m, n, gamma, beta);
  multiply(a, w, bias, m, n, k, want);
  for (size_t i = 0; i < m * n; i++) want[i] += x[i];
  expect_near(got, want, m * n, 2 * rounding(type), "a product and its residual");
  check_scales(parts, m, n, got);
  cudaFree(ad), cudaFree(wd), cudaFree(xd), cudaFree(bd), cudaFree(d), cudaFree(gd);
  cudaFree(betad), cudaFree(scales), cudaFree(parts);
  free(a), free(w), free(x), free(bias), free(gamma), free(beta), free(want), free(got);
}

static void a_product_adds_a_residual_that_it_normalises(void **state) {
  (void)state;
  sp_cuda_matmul *mm;
  needs_norms(&mm);
  static const size_t SHAPES[][3] = {
      {1, 16, 16}, {70, 56, 64}, {257, 144, 200}, {300, 528, 840}, {9000, 272, 24}};
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
      for (int normed = 0; normed < 2; normed++)
        check_residual(mm, BOTH_TYPES[t], SHAPES[i][0], SHAPES[i][1], SHAPES[i][2],
                       normed);
  sp_cuda_matmul_free(mm);
}

static void a_row_that_overflowed_raises_the_flag(void **state) {
  (void)state;
  needs_device();
  enum { ROWS = 3, PARTS = 2, DIM = 100 };
  float *parts = calloc(PARTS * SP_CUDA_SCALES(ROWS) * 2, sizeof *parts);
  assert_non_null(parts);
  for (int bad = 0; bad < 2; bad++) {
    if (bad) parts[2 * (SP_CUDA_SCALES(ROWS) + 1)] = INFINITY;
    float *pd = to_device(parts, PARTS * SP_CUDA_SCALES(ROWS) * 2 * sizeof *parts);
    float *scales = device_bytes(SP_CUDA_SCALES(ROWS) * 2 * sizeof *scales, 0xff);
    uint32_t *flag = device_bytes(4, 0), raised;
    expect_ok(sp_cuda_norm_scales(pd, DIM, ROWS, EPS, scales, flag, NULL));
    from_device(&raised, flag, 4);
    assert_int_equal(raised, bad);
    cudaFree(pd), cudaFree(scales), cudaFree(flag);
  }
  free(parts);
}

static void what_does_not_fit_is_refused(void **state) {
  (void)state;
  sp_cuda_matmul *mm;
  needs_norms(&mm);
  float *p = (float *)64; /* never read */
  sp_cuda_matmul_args a = {.type = SP_CUDA_F16,
                           .a = p,
                           .w = p,
                           .d = p,
                           .m = 1,
                           .n = 24,
                           .k = 64,
                           .lda = 64,
                           .ldw = 64,
                           .ldd = 24,
                           .norm = {p, NULL}};
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL); /* no sums */
  a.residual = (sp_cuda_matmul_residual){p + 16, p, p, p, p};
  a.norm = (sp_cuda_matmul_norm){p, p};
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL); /* not both */
  a.norm.scales = NULL, a.residual.x = p;
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL); /* d itself */
  sp_cuda_matmul_free(mm);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_product_normalises_its_rows),
      cmocka_unit_test(a_product_adds_a_residual_that_it_normalises),
      cmocka_unit_test(a_row_that_overflowed_raises_the_flag),
      cmocka_unit_test(what_does_not_fit_is_refused),
  };
  return cmocka_run_group_tests_name("cuda_norm_fold", tests, NULL, NULL);
}
