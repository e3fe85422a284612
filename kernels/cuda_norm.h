/* kernels/cuda_norm.h - LayerNorm with its residual, RMSNorm, and unit-length token
 * vectors.
 */
#ifndef SP_CUDA_NORM_H
#define SP_CUDA_NORM_H

#include <stdbool.h>

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* With v = x + residual:
 *   LayerNorm  out = (v - mean(v)) / sqrt(var(v) + eps) * gamma + beta
 *   RMSNorm    out = v / sqrt(mean(v^2) + eps) * gamma
 *
 * x         rows of `stride`: `type`d, or f32 where x_f32 (a residual stream)
 * residual  `type`d rows of `stride`, or NULL; not with x_f32
 * gamma     f32 [stride]; beta f32 [stride] or NULL
 * out       `type`d rows of `stride`; may be x or residual
 * overflow  one u32 or NULL: set to 1 when a row is not finite (float16 ran out of range)
 *
 * All on the device. dim 1 .. 8192. Statistics are float32, the variance from the
 * differences, not from the squares. Queued on `stream`. Errors: EINVAL, ECUDA. */
typedef struct sp_cuda_norm_args {
  sp_cuda_type type;
  bool rms, x_f32;
  const void *x, *residual;
  const float *gamma, *beta;
  float eps;
  void *out;
  uint32_t *overflow;
  int n_rows, dim, stride;
  bool last_first; /* the order of work, as kernels/cuda_types.h says */
} sp_cuda_norm_args;

sp_err sp_cuda_norm(const sp_cuda_norm_args *args, cudaStream_t stream);

/* Token vectors leave the device: out[i] = x[i], or with l2 x[i] / |x[i]|, where a zero row
 * stays zero (the divisor is at least 1e-12).
 *
 * x     device, `type`d rows of `stride`
 * out   device f32 [n_rows, dim], without padding
 * dim 1 .. 8192. Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_token_rows(sp_cuda_type type, const void *x, int stride, int n_rows,
                          int dim, bool l2, float *out, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
