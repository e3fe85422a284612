/* kernels/cuda_matmul.h - matrix products through cuBLASLt, with what it can fuse.
 *
 *   d = epilogue(a w^T + bias) [+ d]
 *
 * cuBLASLt's GELU is the tanh approximation. Fused, it reads the float32 sums; a kernel
 * of its own reads them rounded to 16 bits. Over inputs from N(0, 1) the relative L2
 * error against exact GELU is 1.7e-3 fused and 2.6e-3 for exact GELU of bf16 inputs
 * (f16: 2.9e-4 and 3.2e-4), so the fused form stands for both flavours of GELU. */
#ifndef SP_CUDA_MATMUL_H
#define SP_CUDA_MATMUL_H

#include <stdbool.h>

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Owns cuBLASLt's handle, its workspace, and the algorithm chosen for each shape. For one
 * stream at a time: products that share the workspace must not overlap. */
typedef struct sp_cuda_matmul sp_cuda_matmul;

/* On SP_OK the caller owns *out. Errors: ENOMEM, ECUDA. */
sp_err sp_cuda_matmul_create(sp_cuda_matmul **out);
void sp_cuda_matmul_free(sp_cuda_matmul *mm); /* NULL is fine */

typedef enum sp_cuda_epilogue { SP_CUDA_NO_ACT, SP_CUDA_FUSED_GELU } sp_cuda_epilogue;

/* a     device, `type`d [m, k], rows of lda: the activations
 * w     device, `type`d [n, k], rows of ldw: the weights as model files hold them
 * bias  device, `type`d [n] (f32 with accumulate), 16-byte aligned, or NULL
 * d     device [m, n], rows of ldd: `type`d, or f32 with `accumulate`, which adds the
 *       product to what is there
 *
 * GELU does not go with accumulate. Strides are multiples of 8, pointers 16-byte aligned, m 1 .. 2^30, n and k multiples
 * of 8. Sums are float32. The first product of a shape (m counted in steps of an eighth
 * of a power of two) asks cuBLASLt's heuristics on the host; later ones find the answer
 * kept. Queued on `stream`. Errors: EINVAL, ENOMEM, ECUDA. */
typedef struct sp_cuda_matmul_args {
  sp_cuda_type type;
  const void *a, *w, *bias;
  void *d;
  int m, n, k, lda, ldw, ldd;
  sp_cuda_epilogue epilogue;
  bool accumulate;
} sp_cuda_matmul_args;

sp_err sp_cuda_matmul_run(sp_cuda_matmul *mm, const sp_cuda_matmul_args *args,
                          cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
