/* kernels/cpu/dense_body.h - the operations of kernels/cpu/dense.h as plain loops that a
 * compiler turns into vector code; compiled once for each level, which defines
 * SP_DENSE_OPS_NAME first. Kept free of branches inside the loops for that reason. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "kernels/cpu/dense.h"

/* e^x by 2^k * e^r, |r| <= ln 2 / 2, and Taylor's series to r^7: two units in the last place.
 * Below -87 it is 0 (to within the smallest normal float), above 88 e^88. */
static inline float exp_of(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
  float t = x * 1.44269504f + magic;
  float k = t - magic;
  float r = x - k * 0.693359375f;
  r = r + k * 2.12194440e-4f;
  float p = 1.9841270e-4f;
  p = p * r + 1.3888889e-3f;
  p = p * r + 8.3333333e-3f;
  p = p * r + 4.1666667e-2f;
  p = p * r + 1.6666667e-1f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  int32_t bits;
  memcpy(&bits, &t, sizeof bits);
  bits = (int32_t)((uint32_t)bits << 23) + 0x3f800000; /* 2^k */
  float power;
  memcpy(&power, &bits, sizeof power);
  return p * power;
}

static inline float erf_of(float x) {
  float a = fabsf(x);
  float t = 1.0f / (1.0f + 0.3275911f * a);
  float p = 1.061405429f;
  p = p * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  float y = 1.0f - p * t * exp_of(-a * a);
  return copysignf(y, x);
}

static inline float gelu_erf(float x) {
  return 0.5f * x * (1.0f + erf_of(x * 0.70710678f));
}

static inline float gelu_tanh(float x) {
  float u = 0.79788456f * (x + 0.044715f * x * x * x);
  return x - x / (exp_of(2 * u) + 1.0f); /* x/2 (1 + tanh u) */
}

static inline float silu(float x) {
  return x / (1.0f + exp_of(-x));
}

static inline float relu(float x) {
  return x > 0 ? x : 0;
}

static void add(float *x, const float *y, const float *bias, size_t m, size_t n) {
  for (size_t r = 0; r < m; r++, x += n) {
    if (y) {
#pragma omp simd
      for (size_t i = 0; i < n; i++) x[i] += y[i];
      y += n;
    }
    if (bias) {
#pragma omp simd
      for (size_t i = 0; i < n; i++) x[i] += bias[i];
    }
  }
}

static void layer_norm(const float *x, const float *weight, const float *shift, float eps,
                       size_t m, size_t n, float *out) {
  for (size_t r = 0; r < m; r++, x += n, out += n) {
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i];
    float mean = sum / (float)n;
#pragma omp simd reduction(+ : squares)
    for (size_t i = 0; i < n; i++) squares += (x[i] - mean) * (x[i] - mean);
    float inverse = 1.0f / sqrtf(squares / (float)n + eps);
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = (x[i] - mean) * inverse * weight[i];
    if (shift) {
#pragma omp simd
      for (size_t i = 0; i < n; i++) out[i] += shift[i];
    }
  }
}

static float sum_of_squares(const float *x, size_t n) {
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (size_t i = 0; i < n; i++) sum += x[i] * x[i];
  return sum;
}

static void rms_norm(const float *x, const float *weight, float eps, size_t m, size_t n,
                     float *out) {
  for (size_t r = 0; r < m; r++, x += n, out += n) {
    float inverse = 1.0f / sqrtf(sum_of_squares(x, n) / (float)n + eps);
#pragma omp simd
    for (size_t i = 0; i < n; i++) out[i] = x[i] * inverse * weight[i];
  }
}

static void activate(sp_dense_act act, float *x, size_t m, size_t n) {
  size_t count = m * n;
  switch (act) {
    case SP_ACT_GELU_ERF:
#pragma omp simd
      for (size_t i = 0; i < count; i++) x[i] = gelu_erf(x[i]);
      break;
    case SP_ACT_GELU_TANH:
#pragma omp simd
      for (size_t i = 0; i < count; i++) x[i] = gelu_tanh(x[i]);
      break;
    case SP_ACT_RELU:
#pragma omp simd
      for (size_t i = 0; i < count; i++) x[i] = relu(x[i]);
      break;
    case SP_ACT_SILU:
#pragma omp simd
      for (size_t i = 0; i < count; i++) x[i] = silu(x[i]);
      break;
  }
}

static void gated(sp_dense_act act, const float *x, size_t m, size_t n, float *out) {
  enum { RUN = 512 };
  float gate[RUN];
  for (size_t r = 0; r < m; r++, x += 2 * n, out += n) {
    for (size_t at = 0; at < n; at += RUN) {
      size_t here = n - at < RUN ? n - at : RUN;
      memcpy(gate, x + at, here * sizeof *gate);
      activate(act, gate, 1, here);
      const float *other = x + n + at;
      for (size_t i = 0; i < here; i++) gate[i] *= other[i];
      memcpy(out + at, gate, here * sizeof *gate);
    }
  }
}

static void rope(float *x, const float *cosine, const float *sine, size_t n_heads,
                 size_t d) {
  size_t half = d / 2;
  for (size_t h = 0; h < n_heads; h++, x += d) {
    float *low = x, *high = x + half;
#pragma omp simd
    for (size_t i = 0; i < half; i++) {
      float a = low[i], b = high[i];
      low[i] = a * cosine[i] - b * sine[i];
      high[i] = b * cosine[i] + a * sine[i];
    }
  }
}

static void l2_normalize(float *x, size_t m, size_t n) {
  for (size_t r = 0; r < m; r++, x += n) {
    float length = sqrtf(sum_of_squares(x, n));
    float inverse = 1.0f / (length > 1e-12f ? length : 1e-12f);
#pragma omp simd
    for (size_t i = 0; i < n; i++) x[i] *= inverse;
  }
}

extern const sp_dense_ops SP_DENSE_OPS_NAME;
const sp_dense_ops SP_DENSE_OPS_NAME = {add,   layer_norm, rms_norm,    activate,
                                        gated, rope,       l2_normalize};
