/* kernels/cuda_copy.h - what goes to the device and what comes back: weights narrowed on
 * arrival, rows picked out, sparse vectors packed for the host. */
#ifndef SP_CUDA_COPY_H
#define SP_CUDA_COPY_H

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes n_rows rows of `cols` float32 as `type`d rows of `stride`, the padding zero.
 * in        device f32 [n_rows, cols]
 * scale     device f32 [cols] that the columns are multiplied by, or NULL
 * out       device, `type`d, rows of `stride`
 * overflow  device u32: set to 1 when a finite value is too large for the type
 * Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_narrow(sp_cuda_type type, const float *in, int64_t n_rows, int cols,
                      const float *scale, void *out, int stride, uint32_t *overflow,
                      cudaStream_t stream);

/* Sparse vectors in rows of `cap` become one after another, in order:
 * text b's n[b] entries start at the sum of n[0 .. b-1] in out_terms and out_weights.
 * terms, weights  device u32, f32 [n_texts, cap]
 * n               device u32 [n_texts], each at most cap
 * out_*           u32, f32 [sum of n], where the device may write: host memory that is
 *                 pinned and mapped makes this the one copy back
 * out_n           u32 [n_texts], likewise: a copy of n
 * n_texts 0 .. 2^20. Queued on `stream`. Errors: EINVAL, ECUDA. */
sp_err sp_cuda_pack_sparse(const uint32_t *terms, const float *weights, const uint32_t *n,
                           int n_texts, uint32_t cap, uint32_t *out_terms,
                           float *out_weights, uint32_t *out_n, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
