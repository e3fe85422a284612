/* kernels/cuda_activation.h - what stands between two matrix products: the activation,
 * the gated activation (SwiGLU, GeGLU), and rotary positions. */
#ifndef SP_CUDA_ACTIVATION_H
#define SP_CUDA_ACTIVATION_H

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* GELU is x Phi(x) with the error function; GELU_TANH its published approximation, at
 * most 4.8e-4 away. */
typedef enum sp_cuda_act {
  SP_CUDA_GELU,
  SP_CUDA_GELU_TANH,
  SP_CUDA_RELU,
  SP_CUDA_SILU
} sp_cuda_act;

/* x = act(x + bias), in place.
 * x     device, `type`d, n_rows rows of `stride`
 * bias  device, `type`d [stride], or NULL
 * Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_bias_act(sp_cuda_type type, sp_cuda_act act, void *x, const void *bias,
                        int n_rows, int stride, cudaStream_t stream);

/* out[r, i] = act(x[r, i]) * x[r, stride + i], i in 0 .. stride-1
 * x    device, `type`d, rows of 2 * stride: the gate, then what it gates
 * out  device, `type`d, rows of `stride`; not x
 * Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_gated_act(sp_cuda_type type, sp_cuda_act act, const void *x, void *out,
                         int n_rows, int stride, cudaStream_t stream);

/* Fills table[p * head_dim/2 + i] = (cos, sin) of p * theta^(-2i / head_dim) for
 * positions 0 .. n_positions-1. Computed in float64. Device f32 [n_positions, head_dim/2,
 * 2]. head_dim even, 2 .. 256. Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_rope_table(float *table, int n_positions, int head_dim, double theta,
                          cudaStream_t stream);

/* Rotates n_heads neighbouring heads of every row in place (RoFormer, arXiv 2104.09864,
 * in the half-split layout of the model hubs: element i pairs with i + head_dim/2). x
 * device, `type`d, n_tokens rows of `stride`; x points at the first head; this kernel
 * asks for 2-byte alignment only positions  device i32 [n_tokens], each below the table's
 * n_positions Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_rope(sp_cuda_type type, void *x, int stride, int n_heads, int head_dim,
                    const int32_t *positions, const float *table, int n_tokens,
                    cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
