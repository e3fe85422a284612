/* kernels/cuda_types.h - what every CUDA kernel header shares: the element type, the
 * limits of a packed batch, and how a CUDA failure becomes an sp_err.
 *
 * Rows. Matrices are row-major. A row has `dim` elements that count and lies `stride`
 * elements after the one before; strides are multiples of 8 and bases 16-byte aligned, so
 * every kernel moves 16 bytes at a time. Elements dim .. stride-1 are padding: kernels
 * that write rows write zeros there, so that a matrix product may run over the padding
 * too.
 *
 * Order. A kernel that takes `last_first` does the last rows first: those are still in the
 * L2 cache if the kernel before wrote them last. Results are the same either way. */
#ifndef SP_CUDA_TYPES_H
#define SP_CUDA_TYPES_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The two 16-bit floats the tensor cores take. Sums are float32 everywhere. */
typedef enum sp_cuda_type { SP_CUDA_F16, SP_CUDA_BF16 } sp_cuda_type;

/* The smallest stride for `dim` elements: rounded up to a multiple of 8. */
static inline int sp_cuda_stride(int dim) {
  return (dim + 7) & ~7;
}

/* SP_OK for cudaSuccess; else says `what` and CUDA's own words. Exhausted device memory
 * is SP_ENOMEM, so that a caller can halve its batch; everything else SP_ECUDA. */
sp_err sp_cuda_check(cudaError_t e, const char *what);

/* The first device's compute capability, 90 for 9.0; 0 when there is no usable device. */
int sp_cuda_capability(void);

#ifdef __cplusplus
}
#endif
#endif
