/* tests/cuda_fixture.h - arrays on the device, random numbers in 16 bits, and how far off
 * a result is: what the tests of CUDA kernels share. */
#ifndef SP_TESTS_CUDA_FIXTURE_H
#define SP_TESTS_CUDA_FIXTURE_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cuda_types.h"
#include "tests/harness.h"

/* Skips the test where there is no device, and says so. */
static inline void needs_device(void) {
  if (sp_cuda_capability() >= 80) return;
  printf("skipped: no CUDA device of compute capability 8.0 or newer\n");
  skip();
}

static inline void expect_ok(sp_err err) {
  if (err) printf("%s\n", sp_err_message());
  assert_int_equal(err, SP_OK);
}

/* A repeatable number in [-1, 1). */
static inline float random_unit(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (float)(int32_t)(*seed >> 32) * 0x1p-31f;
}

static inline float *random_floats(size_t n, float scale, uint64_t seed) {
  float *x = malloc((n ? n : 1) * sizeof *x);
  assert_non_null(x);
  for (size_t i = 0; i < n; i++) x[i] = scale * random_unit(&seed);
  return x;
}

static inline uint16_t narrow(sp_cuda_type type, float x) {
  return type == SP_CUDA_F16 ? sp_f32_to_f16(x) : sp_f32_to_bf16(x);
}
static inline float widen(sp_cuda_type type, uint16_t x) {
  return type == SP_CUDA_F16 ? sp_f16_to_f32(x) : sp_bf16_to_f32(x);
}

/* n bytes on the device, filled with `fill` so that whatever a kernel forgets shows. */
static inline void *device_bytes(size_t n, int fill) {
  void *p = NULL;
  assert_int_equal(cudaMalloc(&p, n ? n : 1), cudaSuccess);
  assert_int_equal(cudaMemset(p, fill, n), cudaSuccess);
  return p;
}
static inline void *to_device(const void *in, size_t n) {
  void *p = device_bytes(n, 0);
  assert_int_equal(cudaMemcpy(p, in, n, cudaMemcpyHostToDevice), cudaSuccess);
  return p;
}
static inline void from_device(void *out, const void *in, size_t n) {
  assert_int_equal(cudaDeviceSynchronize(), cudaSuccess);
  assert_int_equal(cudaMemcpy(out, in, n, cudaMemcpyDeviceToHost), cudaSuccess);
}

/* Rows of `dim` floats as 16-bit rows of `stride` on the device, padding zero; x becomes
 * what the device holds. */
static inline void *rows_to_device(sp_cuda_type type, float *x, size_t n, size_t dim,
                                   size_t stride) {
  uint16_t *h = calloc(n * stride + 1, sizeof *h);
  assert_non_null(h);
  for (size_t r = 0; r < n; r++)
    for (size_t i = 0; i < dim; i++) {
      h[r * stride + i] = narrow(type, x[r * dim + i]);
      x[r * dim + i] = widen(type, h[r * stride + i]);
    }
  void *p = to_device(h, n * stride * sizeof *h);
  free(h);
  return p;
}

/* And back; the padding up to the next multiple of 8 must be zero. */
static inline float *rows_from_device(sp_cuda_type type, const void *p, size_t n,
                                      size_t dim, size_t stride) {
  uint16_t *h = calloc(n * stride + 1, sizeof *h);
  float *x = malloc((n * dim + 1) * sizeof *x);
  assert_non_null(h);
  assert_non_null(x);
  from_device(h, p, n * stride * sizeof *h);
  for (size_t r = 0; r < n; r++) {
    for (size_t i = 0; i < dim; i++) x[r * dim + i] = widen(type, h[r * stride + i]);
    for (size_t i = dim; i < (dim + 7) / 8 * 8; i++)
      assert_int_equal(h[r * stride + i], 0);
  }
  free(h);
  return x;
}

/* Relative L2 distance; NaN never passes a comparison with it. */
static inline double distance(const float *got, const float *want, size_t n) {
  double d = 0, w = 0;
  for (size_t i = 0; i < n; i++) {
    d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
    w += (double)want[i] * want[i];
  }
  return sqrt(d / (w > 0 ? w : 1));
}
static inline void expect_near(const float *got, const float *want, size_t n,
                               double tolerance, const char *what) {
  const double d = distance(got, want, n);
  if (!(d <= tolerance)) printf("%s: relative L2 %g, allowed %g\n", what, d, tolerance);
  assert_true(d <= tolerance);
}

/* One rounding of the result to 16 bits is 2^-9 (bf16) or 2^-12 (f16) at most for an
 * element; relative L2 stays below. Twice that leaves room for the order of float32 sums.
 */
static inline double rounding(sp_cuda_type type) {
  return type == SP_CUDA_F16 ? 0x1p-11 : 0x1p-8;
}

static const sp_cuda_type BOTH_TYPES[] = {SP_CUDA_F16, SP_CUDA_BF16};

#endif
