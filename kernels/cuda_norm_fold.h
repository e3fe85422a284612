/* kernels/cuda_norm_fold.h - LayerNorm done by the matrix products around it: what it takes
 * besides kernels/cuda_matmul.h. */
#ifndef SP_CUDA_NORM_FOLD_H
#define SP_CUDA_NORM_FOLD_H

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows' scales from the parts that a product with a residual has left:
 *   scales[r] = (1 / sqrt(var + eps), mean / sqrt(var + eps))
 * parts     device f32 [SP_CUDA_PARTS(dim), SP_CUDA_SCALES(n_rows), 2]; NULL: every row gets
 *           (1, 0) and so stays as it is
 * dim       elements of a row, 1 .. 8192
 * scales    device f32 [SP_CUDA_SCALES(n_rows), 2]; all of it is written
 * overflow  one u32 or NULL: set to 1 when a row is not finite
 * Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_norm_scales(const float *parts, int dim, int n_rows, float eps,
                           float *scales, uint32_t *overflow, cudaStream_t stream);

/* What weights need whose LayerNorm is left to the product:
 *   sums[i] = sum of row i of `folded`, bias_out[i] = bias[i] + <row i of w, beta>
 * w         device, `type`d [n, k]
 * folded    device, `type`d [n, k]: w with gamma multiplied into its columns
 * bias      device, `type`d [n], or NULL; bias_out likewise
 * beta      device f32 [k]
 * sums      device f32 [n]
 * k a multiple of 8. Queued on `stream`. Errors: EINVAL, ECUDA. */
typedef struct sp_cuda_norm_fold_args {
  sp_cuda_type type;
  const void *w, *folded, *bias;
  const float *beta;
  void *bias_out;
  float *sums;
  int n, k;
} sp_cuda_norm_fold_args;

sp_err sp_cuda_norm_fold(const sp_cuda_norm_fold_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
