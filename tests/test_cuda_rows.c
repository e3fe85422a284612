/* tests/test_cuda_rows.c - embedding, norms and token vectors on the device against plain C.
 */
#include "kernels/cuda_embed.h"
#include "kernels/cuda_norm.h"
#include "tests/cuda_fixture.h"

/* In float64. `beta` NULL and `rms` as the kernels have them. */
static void plain_norm(bool rms, const float *x, const float *gamma, const float *beta,
                       double eps, size_t dim, float *out) {
  double mean = 0, var = 0;
  for (size_t i = 0; i < dim && !rms; i++) mean += x[i] / (double)dim;
  for (size_t i = 0; i < dim; i++) var += (x[i] - mean) * (x[i] - mean) / (double)dim;
  for (size_t i = 0; i < dim; i++)
    out[i] = (float)((x[i] - mean) / sqrt(var + eps) * gamma[i] + (beta ? beta[i] : 0));
}

/* A vector of parameters with `stride` elements, those beyond dim poisoned: a kernel that
 * lets padding count is caught. */
static float *parameter(size_t dim, size_t stride, uint64_t seed, float **on_device) {
  float *p = random_floats(stride, 1, seed);
  for (size_t i = dim; i < stride; i++) p[i] = 1e30f;
  *on_device = to_device(p, stride * sizeof *p);
  return p;
}

static const size_t DIMS[] = {8,   48,   60,   96,   250,  256, 512,
                              768, 1000, 1024, 2050, 4096, 8192};

static void check_norm(sp_cuda_type type, size_t dim, bool rms, bool x_f32,
                       bool residual) {
  const size_t n = 13, stride = (size_t)sp_cuda_stride((int)dim);
  float *x = random_floats(n * dim, 3, dim), *y = random_floats(n * dim, 2, dim + 1);
  for (size_t i = 0; i < n * dim; i++) x[i] += 5; /* a mean that squares would lose */
  float *gamma_d, *beta_d, *gamma = parameter(dim, stride, 3, &gamma_d),
                           *beta = parameter(dim, stride, 4, &beta_d);
  void *xd;
  if (x_f32) {
    float *padded = calloc(n * stride, sizeof *padded);
    assert_non_null(padded);
    for (size_t r = 0; r < n; r++)
      memcpy(padded + r * stride, x + r * dim, dim * sizeof *x);
    xd = to_device(padded, n * stride * sizeof *padded);
    free(padded);
  } else {
    xd = rows_to_device(type, x, n, dim, stride);
  }
  void *yd = rows_to_device(type, y, n, dim, stride);
  void *out = device_bytes(n * stride * 2, 0xff);
  const sp_cuda_norm_args args = {type,
                                  rms,
                                  x_f32,
                                  xd,
                                  residual ? yd : NULL,
                                  gamma_d,
                                  rms ? NULL : beta_d,
                                  1e-5f,
                                  out,
                                  NULL,
                                  (int)n,
                                  (int)dim,
                                  (int)stride,
                                  n % 2 == 0};
  expect_ok(sp_cuda_norm(&args, NULL));
  float *got = rows_from_device(type, out, n, dim, stride);
  float *want = malloc(n * dim * sizeof *want);
  assert_non_null(want);
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < dim && residual; i++) x[r * dim + i] += y[r * dim + i];
    plain_norm(rms, x + r * dim, gamma, rms ? NULL : beta, 1e-5, dim, want + r * dim);
  }
  expect_near(got, want, n * dim, rounding(type), rms ? "RMSNorm" : "LayerNorm");
  cudaFree(xd), cudaFree(yd), cudaFree(out), cudaFree(gamma_d), cudaFree(beta_d);
  free(x), free(y), free(gamma), free(beta), free(got), free(want);
}

static void norms_equal_plain_c_for_every_size(void **state) {
  (void)state;
  needs_device();
  for (size_t t = 0; t < 2; t++)
    for (size_t d = 0; d < sizeof DIMS / sizeof *DIMS; d++) {
      check_norm(BOTH_TYPES[t], DIMS[d], false, false, true);
      check_norm(BOTH_TYPES[t], DIMS[d], false, true, false);
      check_norm(BOTH_TYPES[t], DIMS[d], true, true, false);
      check_norm(BOTH_TYPES[t], DIMS[d], true, false, false);
    }
}

static void a_row_that_overflowed_raises_the_flag(void **state) {
  (void)state;
  needs_device();
  float x[2 * 64], *gamma = random_floats(64, 1, 1);
  for (int i = 0; i < 128; i++) x[i] = (float)i;
  for (int bad = 0; bad < 2; bad++) {
    if (bad) x[70] = INFINITY;
    void *xd = rows_to_device(SP_CUDA_F16, x, 2, 64, 64);
    float *gd = to_device(gamma, 64 * sizeof *gamma);
    uint32_t *flag = device_bytes(4, 0), raised;
    const sp_cuda_norm_args args = {SP_CUDA_F16, false, false, xd, NULL, gd, NULL,
                                    1e-5f,       xd,    flag,  2,  64,   64, true};
    expect_ok(sp_cuda_norm(&args, NULL));
    from_device(&raised, flag, 4);
    assert_int_equal(raised, bad);
    cudaFree(xd), cudaFree(gd), cudaFree(flag);
  }
  free(gamma);
}

static void check_embed(sp_cuda_type type, size_t dim, bool position, bool norm) {
  enum { N = 21, WORDS = 37, PLACES = 9 };
  const size_t stride = (size_t)sp_cuda_stride((int)dim);
  float *word = random_floats(WORDS * dim, 1, 11),
        *place = random_floats(PLACES * dim, 1, 12);
  void *word_d = rows_to_device(type, word, WORDS, dim, stride);
  void *place_d = rows_to_device(type, place, PLACES, dim, stride);
  float *type_d, *gamma_d, *beta_d, *kind = parameter(dim, stride, 13, &type_d);
  float *gamma = parameter(dim, stride, 14, &gamma_d),
        *beta = parameter(dim, stride, 15, &beta_d);
  int32_t ids[N], at[N];
  for (int t = 0; t < N; t++) ids[t] = t * 7 % WORDS, at[t] = t * 5 % PLACES;
  void *ids_d = to_device(ids, sizeof ids), *at_d = to_device(at, sizeof at);
  void *out = device_bytes(N * stride * 2, 0xff),
       *wide = device_bytes(N * stride * 4, 0xff);
  const sp_cuda_embed_args args = {type,
                                   ids_d,
                                   position ? at_d : NULL,
                                   word_d,
                                   position ? place_d : NULL,
                                   type_d,
                                   norm ? gamma_d : NULL,
                                   norm ? beta_d : NULL,
                                   1e-12f,
                                   out,
                                   wide,
                                   N,
                                   (int)dim,
                                   (int)stride};
  expect_ok(sp_cuda_embed(&args, NULL));
  float *got = rows_from_device(type, out, N, dim, stride);
  float *got_wide = malloc(N * stride * sizeof *got_wide),
        *want = malloc(N * dim * sizeof *want);
  assert_non_null(got_wide);
  assert_non_null(want);
  from_device(got_wide, wide, N * stride * sizeof *got_wide);
  for (size_t t = 0; t < N; t++) {
    float *w = want + t * dim;
    for (size_t i = 0; i < dim; i++)
      w[i] = word[(size_t)ids[t] * dim + i] + kind[i] +
             (position ? place[(size_t)at[t] * dim + i] : 0);
    if (norm) plain_norm(false, w, gamma, beta, 1e-12, dim, w);
    expect_near(got_wide + t * stride, w, dim, 1e-6, "stream");
    for (size_t i = dim; i < stride; i++) assert_true(got_wide[t * stride + i] == 0);
  }
  expect_near(got, want, N * dim, rounding(type), "embedding");
  cudaFree(word_d), cudaFree(place_d), cudaFree(type_d), cudaFree(gamma_d),
      cudaFree(beta_d);
  cudaFree(ids_d), cudaFree(at_d), cudaFree(out), cudaFree(wide);
  free(word), free(place), free(kind), free(gamma), free(beta);
  free(got), free(got_wide), free(want);
}

static void embeddings_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  for (size_t t = 0; t < 2; t++)
    for (size_t d = 0; d < sizeof DIMS / sizeof *DIMS; d++) {
      check_embed(BOTH_TYPES[t], DIMS[d], true, true);
      check_embed(BOTH_TYPES[t], DIMS[d], false, true);
      check_embed(BOTH_TYPES[t], DIMS[d], false, false);
    }
}

static void token_vectors_have_length_one_and_zero_stays_zero(void **state) {
  (void)state;
  needs_device();
  for (size_t t = 0; t < 4; t++) {
    enum { N = 10, DIM = 18, STRIDE = 24 };
    const bool l2 = t >= 2;
    float *x = random_floats(N * DIM, 1, 5), got[N * DIM], want[N * DIM];
    memset(x + 4 * DIM, 0, DIM * sizeof *x);
    void *xd = rows_to_device(BOTH_TYPES[t % 2], x, N, DIM, STRIDE);
    void *od = device_bytes(sizeof got, 0xff);
    expect_ok(sp_cuda_token_rows(BOTH_TYPES[t % 2], xd, STRIDE, N, DIM, l2, od, NULL));
    from_device(got, od, sizeof got);
    for (int r = 0; r < N; r++) {
      double s = 0;
      for (int i = 0; i < DIM; i++) s += pow(x[r * DIM + i], 2);
      for (int i = 0; i < DIM; i++)
        want[r * DIM + i] = (float)(x[r * DIM + i] / (l2 ? fmax(sqrt(s), 1e-12) : 1));
    }
    expect_near(got, want, N * DIM, 1e-6, "token vectors");
    cudaFree(xd), cudaFree(od), free(x);
  }
}

static void shapes_that_do_not_fit_are_refused(void **state) {
  (void)state;
  float x; /* never read */
  sp_cuda_norm_args n = {
      .x = &x, .gamma = &x, .out = &x, .n_rows = 1, .dim = 9000, .stride = 9000};
  assert_int_equal(sp_cuda_norm(&n, NULL), SP_EINVAL);
  n.dim = 60, n.stride = 60;
  assert_int_equal(sp_cuda_norm(&n, NULL), SP_EINVAL);
  sp_cuda_embed_args e = {.n_tokens = 1, .dim = 8, .stride = 8};
  assert_int_equal(sp_cuda_embed(&e, NULL), SP_EINVAL);
  assert_int_equal(sp_cuda_token_rows(SP_CUDA_F16, &x, 4, 1, 8, true, &x, NULL),
                   SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(norms_equal_plain_c_for_every_size),
      cmocka_unit_test(a_row_that_overflowed_raises_the_flag),
      cmocka_unit_test(embeddings_equal_plain_c),
      cmocka_unit_test(token_vectors_have_length_one_and_zero_stays_zero),
      cmocka_unit_test(shapes_that_do_not_fit_are_refused),
  };
  return cmocka_run_group_tests_name("cuda_rows", tests, NULL, NULL);
}
