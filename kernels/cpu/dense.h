/* kernels/cpu/dense.h - what a transformer does between its matrix products, in float32.
 *
 * Matrices are row-major and contiguous, m rows of n; no alignment is asked for; in and out
 * may be the same array, other overlap is not allowed. Every level gives the same values to
 * within a few units in the last place of the largest term. */
#ifndef SP_CPU_DENSE_H
#define SP_CPU_DENSE_H

#include <stddef.h>

#include "base/cpu.h"

/* x * Phi(x); the same with tanh (Hendrycks and Gimpel 2016, both); max(0, x);
 * x * sigmoid(x). erf is formula 7.1.26 of Abramowitz and Stegun, off by 1.5e-7 at most. */
typedef enum sp_dense_act {
  SP_ACT_GELU_ERF,
  SP_ACT_GELU_TANH,
  SP_ACT_RELU,
  SP_ACT_SILU
} sp_dense_act;

typedef struct sp_dense_ops {
  /* x = x + y + bias; y [m, n] or bias [n] may be NULL. */
  void (*add)(float *x, const float *y, const float *bias, size_t m, size_t n);

  /* Per row: (x - mean) / sqrt(variance + eps) * weight + shift; shift NULL: none. */
  void (*layer_norm)(const float *x, const float *weight, const float *shift, float eps,
                     size_t m, size_t n, float *out);
  /* Per row: x / sqrt(mean(x^2) + eps) * weight (Zhang and Sennrich 2019). */
  void (*rms_norm)(const float *x, const float *weight, float eps, size_t m, size_t n,
                   float *out);

  void (*activate)(sp_dense_act act, float *x, size_t m, size_t n);
  /* x [m, 2n], the gate's columns first: out[m, n] = act(gate) * other. out may be x: rows
   * move up. */
  void (*gated)(sp_dense_act act, const float *x, size_t m, size_t n, float *out);

  /* One token's heads, n_heads of d values: turns each pair (x[i], x[i + d/2]) by the angle
   * whose cosine and sine are cos[i], sin[i], i < d/2 (Su et al., RoFormer, 2021; the
   * half-split order of GPT-NeoX). */
  void (*rope)(float *x, const float *cos, const float *sin, size_t n_heads, size_t d);

  /* Per row: x / max(|x|, 1e-12). */
  void (*l2_normalize)(float *x, size_t m, size_t n);
} sp_dense_ops;

/* The operations of a level <= sp_cpu_detect(). Never NULL. */
const sp_dense_ops *sp_dense_ops_at(sp_cpu_level level);

#endif
