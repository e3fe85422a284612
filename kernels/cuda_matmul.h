/* kernels/cuda_matmul.h - matrix products with what can be done in passing:
 *
 *   d = epilogue(a w^T + bias) [+ d]
 *
 * by cuBLASLt, or on Hopper by a kernel of our own, which does a residual and the LayerNorms
 * around a product too.
 *
 * GELU has two flavours, by the error function and by its published tanh approximation.
 * cuBLASLt has the second only and takes it for both. Our kernel has both; where the rows of a
 * are still to be normalised it computes them in float16 and cuts what is beyond its range,
 * 65,504, off before. */
#ifndef SP_CUDA_MATMUL_H
#define SP_CUDA_MATMUL_H

#include <stdbool.h>

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Owns cuBLASLt, which is loaded when a product first needs it, its workspace, and the
 * algorithm chosen for each shape. For one stream at a time: products that share the workspace
 * must not overlap. */
typedef struct sp_cuda_matmul sp_cuda_matmul;

/* On SP_OK the caller owns *out. Errors: ENOMEM, ECUDA. */
sp_err sp_cuda_matmul_create(sp_cuda_matmul **out);
void sp_cuda_matmul_free(sp_cuda_matmul *mm); /* NULL is fine */

/* Can products take a LayerNorm and a residual in? It needs Hopper. */
bool sp_cuda_matmul_does_norms(const sp_cuda_matmul *mm);

typedef enum sp_cuda_epilogue {
  SP_CUDA_NO_ACT,
  SP_CUDA_FUSED_GELU,
  SP_CUDA_FUSED_GELU_TANH
} sp_cuda_epilogue;

/* Who computes: the faster one by a fixed rule, the same for the same shape; cuBLASLt; our
 * own kernel, which needs Hopper and takes products without `accumulate`. */
typedef enum sp_cuda_matmul_path {
  SP_CUDA_MATMUL_AUTO,
  SP_CUDA_MATMUL_LIBRARY,
  SP_CUDA_MATMUL_OWN
} sp_cuda_matmul_path;

/* Pairs of floats for m rows, with the room that our own kernel's tiles need; parts of a row
 * of n. */
#define SP_CUDA_SCALES(m) (((m) + 255) / 256 * 256)
#define SP_CUDA_PARTS(n) (((n) + 63) / 64)

/* LayerNorm of the rows of a, left to the product: with gamma multiplied into w's columns,
 *   out = (a w^T) / std - (mean / std) sums + bias
 * scales  device f32 [SP_CUDA_SCALES(m), 2]: 1 / std and mean / std of each row; NULL: none
 * sums    device f32 [n]: of each row of w, as it is in its 16 bits
 * kernels/cuda_norm_fold.h makes them. */
typedef struct sp_cuda_matmul_norm {
  const float *scales, *sums;
} sp_cuda_matmul_norm;

/* A residual that is added to the product, itself still to be normalised, and what the
 * LayerNorm of the sum needs to know:
 *   d = a w^T + bias + gamma (x / std - mean / std) + beta
 * x            device, `type`d [m, n], rows of ldd; not d; NULL: none
 * scales       device f32 [SP_CUDA_SCALES(m), 2], as above, of x's rows
 * gamma, beta  device f32 [n], or NULL: 1, 0
 * parts        device f32 [SP_CUDA_PARTS(n), SP_CUDA_SCALES(m), 2]: of every 64 neighbours of
 *              a row of d, their mean and their sum of squared differences from it */
typedef struct sp_cuda_matmul_residual {
  const void *x;
  const float *scales, *gamma, *beta;
  float *parts;
} sp_cuda_matmul_residual;

/* a     device, `type`d [m, k], rows of lda: the activations
 * w     device, `type`d [n, k], rows of ldw: the weights as model files hold them
 * bias  device, `type`d [n] (f32 with accumulate), 16-byte aligned, or NULL
 * d     device [m, n], rows of ldd: `type`d, or f32 with `accumulate`, which adds the
 *       product to what is there
 *
 * GELU does not go with accumulate. Strides are multiples of 8, pointers 16-byte aligned,
 * m 1 .. 2^30, n and k multiples of 8. Sums are float32. The first product of a shape that
 * cuBLASLt takes (m counted in steps of an eighth of a power of two) asks its heuristics on
 * the host; later ones find the answer kept. Queued on `stream`. Errors: EINVAL, ENOMEM,
 * ECUDA (there is no cuBLASLt to load, too). */
typedef struct sp_cuda_matmul_args {
  sp_cuda_type type;
  const void *a, *w, *bias;
  void *d;
  int m, n, k, lda, ldw, ldd;
  sp_cuda_epilogue epilogue;
  bool accumulate;
  sp_cuda_matmul_path path;
  bool last_first; /* the order of work, as kernels/cuda_types.h says; our own kernel's */
  sp_cuda_matmul_norm norm;         /* these two by our own kernel alone; */
  sp_cuda_matmul_residual residual; /* a product has at most one */
} sp_cuda_matmul_args;

sp_err sp_cuda_matmul_run(sp_cuda_matmul *mm, const sp_cuda_matmul_args *args,
                          cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
