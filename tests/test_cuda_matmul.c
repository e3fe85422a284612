/* tests/test_cuda_matmul.c - matrix products, activations, rotary positions and copies on
 * the device against plain C. */
#include "kernels/cuda_activation.h"
#include "kernels/cuda_copy.h"
#include "kernels/cuda_matmul.h"
#include "tests/cuda_fixture.h"

static double plain_act(sp_cuda_act act, double x) {
  switch (act) {
    case SP_CUDA_GELU:
      return 0.5 * x * (1 + erf(x * sqrt(0.5)));
    case SP_CUDA_GELU_TANH:
      return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    case SP_CUDA_RELU:
      return fmax(x, 0);
    default:
      return x / (1 + exp(-x));
  }
}

typedef struct product {
  size_t m, n, k;
  bool bias, gelu, accumulate;
  sp_cuda_matmul_path path;
} product;

static void check_product(sp_cuda_matmul *mm, sp_cuda_type type, product p) {
  float *a = random_floats(p.m * p.k, 1, 1), *w = random_floats(p.n * p.k, 0.2f, 2);
  float *bias = random_floats(p.n, 1, 3), *before = random_floats(p.m * p.n, 1, 4);
  void *ad = rows_to_device(type, a, p.m, p.k, p.k);
  void *wd = rows_to_device(type, w, p.n, p.k, p.k);
  void *bd = p.accumulate ? to_device(bias, p.n * sizeof *bias)
                          : rows_to_device(type, bias, 1, p.n, p.n);
  void *d = p.accumulate ? to_device(before, p.m * p.n * sizeof *before)
                         : device_bytes(p.m * p.n * 2, 0xff);
  const sp_cuda_matmul_args args = {
      .type = type,
      .a = ad,
      .w = wd,
      .bias = p.bias ? bd : NULL,
      .d = d,
      .m = (int)p.m,
      .n = (int)p.n,
      .k = (int)p.k,
      .lda = (int)p.k,
      .ldw = (int)p.k,
      .ldd = (int)p.n,
      .epilogue = p.gelu ? SP_CUDA_FUSED_GELU : SP_CUDA_NO_ACT,
      .accumulate = p.accumulate,
      .path = p.path,
      .last_first = p.m > 256};
  expect_ok(sp_cuda_matmul_run(mm, &args, NULL));
  float *got, *want = malloc(p.m * p.n * sizeof *want);
  assert_non_null(want);
  if (p.accumulate) {
    got = malloc(p.m * p.n * sizeof *got);
    assert_non_null(got);
    from_device(got, d, p.m * p.n * sizeof *got);
  } else {
    got = rows_from_device(type, d, p.m, p.n, p.n);
  }
  for (size_t i = 0; i < p.m; i++)
    for (size_t j = 0; j < p.n; j++) {
      double s = p.bias ? bias[j] : 0;
      for (size_t e = 0; e < p.k; e++) s += (double)a[i * p.k + e] * w[j * p.k + e];
      if (p.gelu) s = plain_act(SP_CUDA_GELU, s);
      want[i * p.n + j] = (float)(s + (p.accumulate ? before[i * p.n + j] : 0));
    }
  char what[64];
  snprintf(what, sizeof what, "product %zu x %zu x %zu", p.m, p.n, p.k);
  /* Against exact GELU: the header's promise that the fused form is near enough. */
  expect_near(got, want, p.m * p.n, p.accumulate ? 1e-5 : 2 * rounding(type), what);
  cudaFree(ad), cudaFree(wd), cudaFree(bd), cudaFree(d);
  free(a), free(w), free(bias), free(before), free(got), free(want);
}

static void products_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  sp_cuda_matmul *mm;
  expect_ok(sp_cuda_matmul_create(&mm));
  for (size_t t = 0; t < 2; t++)
    for (size_t m = 1; m < 400; m = m * 3 + 1) {
      check_product(mm, BOTH_TYPES[t], (product){m, 104, 64, false, false, false, 0});
      check_product(mm, BOTH_TYPES[t], (product){m, 64, 104, true, false, false, 0});
      check_product(mm, BOTH_TYPES[t], (product){m, 160, 64, true, true, false, 0});
      check_product(mm, BOTH_TYPES[t], (product){m, 96, 200, false, false, true, 0});
      check_product(mm, BOTH_TYPES[t], (product){m, 96, 200, true, false, true, 0});
    }
  sp_cuda_matmul_free(mm);
}

/* Tiles are 256 tokens by 256 features a cluster, in steps of 64 of k: every way of not
 * filling them, and more tiles than run at a time. */
static void our_own_products_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  if (sp_cuda_capability() != 90) {
    printf("skipped: no Hopper device\n");
    skip();
  }
  static const size_t SHAPES[][3] = {{1, 8, 8},      {7, 64, 64},     {255, 136, 72},
                                     {256, 256, 64}, {257, 264, 200}, {600, 520, 328},
                                     {130, 768, 96}, {36000, 8, 24},  {9000, 264, 8}};
  const sp_cuda_matmul_path own = SP_CUDA_MATMUL_OWN;
  sp_cuda_matmul *mm;
  expect_ok(sp_cuda_matmul_create(&mm));
  for (size_t t = 0; t < 2; t++)
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
      const size_t m = SHAPES[i][0], n = SHAPES[i][1], k = SHAPES[i][2];
      check_product(mm, BOTH_TYPES[t], (product){m, n, k, false, false, false, own});
      check_product(mm, BOTH_TYPES[t], (product){m, n, k, true, false, false, own});
      check_product(mm, BOTH_TYPES[t], (product){m, n, k, true, true, false, own});
    }
  sp_cuda_matmul_free(mm);
}

/* Products of zero with every bias from -4 to 4: what comes out is GELU alone. Where it is
 * computed in float32 it is its flavour's, to 4e-5 and the rounding of x and y. */
static void our_own_gelu_has_two_flavours(void **state) {
  (void)state;
  needs_device();
  if (sp_cuda_capability() != 90) {
    printf("skipped: no Hopper device\n");
    skip();
  }
  enum { N = 512, K = 8 };
  float nothing[N * K] = {0};
  float x[N];
  for (int i = 0; i < N; i++) x[i] = (float)(i - N / 2) / 64;
  sp_cuda_matmul *mm;
  expect_ok(sp_cuda_matmul_create(&mm));
  void *a = rows_to_device(SP_CUDA_F16, nothing, 1, K, K),
       *w = rows_to_device(SP_CUDA_F16, nothing, N, K, K),
       *bias = rows_to_device(SP_CUDA_F16, x, 1, N, N), *d = device_bytes(N * 2, 0xff);
  for (int tanh = 0; tanh < 2; tanh++) {
    const sp_cuda_matmul_args args = {
        .type = SP_CUDA_F16,
        .a = a,
        .w = w,
        .bias = bias,
        .d = d,
        .m = 1,
        .n = N,
        .k = K,
        .lda = K,
        .ldw = K,
        .ldd = N,
        .epilogue = tanh ? SP_CUDA_FUSED_GELU_TANH : SP_CUDA_FUSED_GELU,
        .path = SP_CUDA_MATMUL_OWN};
    expect_ok(sp_cuda_matmul_run(mm, &args, NULL));
    float *got = rows_from_device(SP_CUDA_F16, d, 1, N, N);
    double apart = 0;
    for (int i = 0; i < N; i++) {
      const double y = plain_act(tanh ? SP_CUDA_GELU_TANH : SP_CUDA_GELU, x[i]);
      const double other = plain_act(tanh ? SP_CUDA_GELU : SP_CUDA_GELU_TANH, x[i]);
      assert_true(fabs(got[i] - y) <= 4.1e-5 + fabs(y) * 0x1p-11);
      apart = fmax(apart, fabs(got[i] - other) - fabs(y) * 0x1p-11);
    }
    assert_true(apart > 3e-4); /* they differ by 4.7e-4 at most */
    free(got);
  }
  cudaFree(a), cudaFree(w), cudaFree(bias), cudaFree(d);
  sp_cuda_matmul_free(mm);
}

static void products_that_do_not_fit_are_refused(void **state) {
  (void)state;
  needs_device();
  sp_cuda_matmul *mm;
  expect_ok(sp_cuda_matmul_create(&mm));
  char *p = (char *)64; /* never read */
  sp_cuda_matmul_args a = {.type = SP_CUDA_F16,
                           .a = p,
                           .w = p,
                           .d = p,
                           .m = 1,
                           .n = 60,
                           .k = 64,
                           .lda = 64,
                           .ldw = 64,
                           .ldd = 64};
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL);
  a.n = 64, a.accumulate = true, a.epilogue = SP_CUDA_FUSED_GELU;
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL);
  a.epilogue = SP_CUDA_NO_ACT, a.path = SP_CUDA_MATMUL_OWN; /* adds to nothing */
  assert_int_equal(sp_cuda_matmul_run(mm, &a, NULL), SP_EINVAL);
  sp_cuda_matmul_free(mm);
}

static void activations_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  enum { N = 37, STRIDE = 40 };
  for (size_t t = 0; t < 2; t++)
    for (int act = SP_CUDA_GELU; act <= SP_CUDA_SILU; act++) {
      const sp_cuda_type type = BOTH_TYPES[t];
      float *x = random_floats(N * 2 * STRIDE, 4, 21), *b = random_floats(STRIDE, 1, 22);
      float want[N * STRIDE], gated[N * STRIDE];
      void *xd = rows_to_device(type, x, N, 2 * STRIDE, 2 * STRIDE);
      void *bd = rows_to_device(type, b, 1, STRIDE, STRIDE);
      void *od = device_bytes(N * STRIDE * 2, 0xff);
      expect_ok(sp_cuda_gated_act(type, (sp_cuda_act)act, xd, od, N, STRIDE, NULL));
      for (int r = 0; r < N; r++)
        for (int i = 0; i < STRIDE; i++) {
          const float *row = x + r * 2 * STRIDE;
          gated[r * STRIDE + i] =
              (float)(plain_act((sp_cuda_act)act, row[i]) * row[STRIDE + i]);
        }
      float *got = rows_from_device(type, od, N, STRIDE, STRIDE);
      expect_near(got, gated, N * STRIDE, rounding(type), "gated activation");
      free(got);
      expect_ok(sp_cuda_bias_act(type, (sp_cuda_act)act, xd, bd, N, STRIDE, NULL));
      for (int i = 0; i < N * STRIDE; i++)
        want[i] = (float)plain_act((sp_cuda_act)act, (double)x[i] + b[i % STRIDE]);
      got = rows_from_device(type, xd, N, STRIDE, STRIDE);
      expect_near(got, want, N * STRIDE, rounding(type), "activation");
      cudaFree(xd), cudaFree(bd), cudaFree(od), free(x), free(b), free(got);
    }
}

static void rotary_positions_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  enum { N = 9, HEADS = 3, STRIDE = 400, PLACES = 600 };
  for (int dim = 8; dim <= 128; dim += 60)
    for (size_t t = 0; t < 2; t++) {
      const sp_cuda_type type = BOTH_TYPES[t];
      const int width = HEADS * dim, half = dim / 2;
      const double theta = 160000;
      float *x = random_floats((size_t)N * width, 1, 31),
            *want = calloc((size_t)N * width, 4);
      assert_non_null(want);
      void *xd = rows_to_device(type, x, N, width, STRIDE);
      int32_t at[N];
      for (int i = 0; i < N; i++) at[i] = i * 71 % PLACES;
      void *pd = to_device(at, sizeof at);
      float *table = device_bytes((size_t)PLACES * half * 2 * sizeof *table, 0xff);
      expect_ok(sp_cuda_rope_table(table, PLACES, dim, theta, NULL));
      expect_ok(sp_cuda_rope(type, xd, STRIDE, HEADS, dim, pd, table, N, NULL));
      for (int r = 0; r < N * HEADS; r++)
        for (int i = 0; i < half; i++) {
          const double angle = at[r / HEADS] * pow(theta, -2.0 * i / dim);
          const float *h = x + r * dim;
          want[r * dim + i] = (float)(h[i] * cos(angle) - h[i + half] * sin(angle));
          want[r * dim + i + half] =
              (float)(h[i + half] * cos(angle) + h[i] * sin(angle));
        }
      float *got = rows_from_device(type, xd, N, width, STRIDE);
      expect_near(got, want, (size_t)N * width, rounding(type), "rotary positions");
      cudaFree(xd), cudaFree(pd), cudaFree(table), free(x), free(want), free(got);
    }
}

static void narrowing_rounds_pads_and_reports_overflow(void **state) {
  (void)state;
  needs_device();
  enum { N = 5, COLS = 60, STRIDE = 64 };
  for (int large = 0; large < 2; large++) {
    float *x = random_floats(N * COLS, 2, 41);
    if (large) x[77] = 1e6f;
    float *in = to_device(x, N * COLS * sizeof *x);
    void *out = device_bytes(N * STRIDE * 2, 0xff);
    uint32_t *flag = device_bytes(4, 0), raised;
    expect_ok(sp_cuda_narrow(SP_CUDA_F16, in, N, COLS, NULL, out, STRIDE, flag, NULL));
    float *got = rows_from_device(SP_CUDA_F16, out, N, COLS, STRIDE);
    for (int i = 0; i < N * COLS; i++)
      assert_true(got[i] == sp_f16_to_f32(sp_f32_to_f16(x[i])));
    from_device(&raised, flag, 4);
    assert_int_equal(raised, large);
    cudaFree(in), cudaFree(out), cudaFree(flag), free(x), free(got);
  }
}

static void sparse_vectors_are_packed_in_order(void **state) {
  (void)state;
  needs_device();
  enum { N = 700, CAP = 300 };
  static uint32_t terms[N * CAP], n[N], got_terms[N * CAP], got_n[N];
  static float weights[N * CAP], got_weights[N * CAP];
  for (int b = 0; b < N; b++) {
    n[b] = (uint32_t)(b * 131 % (CAP + 1));
    for (int i = 0; i < CAP; i++) {
      terms[b * CAP + i] = (uint32_t)(b * 1000 + i);
      weights[b * CAP + i] = (float)(b + i);
    }
  }
  void *td = to_device(terms, sizeof terms), *wd = to_device(weights, sizeof weights);
  void *nd = to_device(n, sizeof n), *ot = device_bytes(sizeof terms, 0xff);
  void *ow = device_bytes(sizeof weights, 0xff), *on = device_bytes(sizeof n, 0xff);
  expect_ok(sp_cuda_pack_sparse(td, wd, nd, N, CAP, ot, ow, on, NULL));
  from_device(got_terms, ot, sizeof terms);
  from_device(got_weights, ow, sizeof weights);
  from_device(got_n, on, sizeof n);
  size_t at = 0;
  for (int b = 0; b < N; at += n[b++]) {
    assert_int_equal(got_n[b], n[b]);
    assert_memory_equal(got_terms + at, terms + b * CAP, n[b] * sizeof *terms);
    assert_memory_equal(got_weights + at, weights + b * CAP, n[b] * sizeof *weights);
  }
  cudaFree(td), cudaFree(wd), cudaFree(nd), cudaFree(ot), cudaFree(ow), cudaFree(on);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_equal_plain_c),
      cmocka_unit_test(our_own_products_equal_plain_c),
      cmocka_unit_test(our_own_gelu_has_two_flavours),
      cmocka_unit_test(products_that_do_not_fit_are_refused),
      cmocka_unit_test(activations_equal_plain_c),
      cmocka_unit_test(rotary_positions_equal_plain_c),
      cmocka_unit_test(narrowing_rounds_pads_and_reports_overflow),
      cmocka_unit_test(sparse_vectors_are_packed_in_order),
  };
  return cmocka_run_group_tests_name("cuda_matmul", tests, NULL, NULL);
}
