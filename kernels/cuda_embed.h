/* kernels/cuda_embed.h - token ids become the first hidden states. */
#ifndef SP_CUDA_EMBED_H
#define SP_CUDA_EMBED_H

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x[t] = word[ids[t]] + position[positions[t]] + type, then LayerNorm where there is a
 * gamma: out[t] = (x - mean(x)) / sqrt(var(x) + eps) * gamma + beta
 *
 * ids, positions  i32 [n_tokens]; the caller has checked them against the tables
 * word, position  `type`d rows of `stride`, `position` may be NULL
 * token_type      f32 [stride] or NULL: the one row of the token-type table in use
 * gamma, beta     f32 [stride] or NULL; without gamma nothing is normalised
 * out             `type`d rows of `stride`, or NULL
 * stream_out      f32 rows of `stride`, or NULL: the same values, for a residual stream
 *
 * All on the device. dim 1 .. 8192, stride as in cuda_types.h. Sums and statistics are
 * float32. Queued on `stream`. Errors: EINVAL, ECUDA. */
typedef struct sp_cuda_embed_args {
  sp_cuda_type type;
  const int32_t *ids, *positions;
  const void *word, *position;
  const float *token_type, *gamma, *beta;
  float eps;
  void *out;
  float *stream_out;
  int n_tokens, dim, stride;
} sp_cuda_embed_args;

sp_err sp_cuda_embed(const sp_cuda_embed_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
