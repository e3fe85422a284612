/* kernels/cuda_attention.h - attention over packed sequences, without a score matrix.
 *
 * For each sequence, head h and query i:
 *   out[i] = sum_j softmax_j(scale * <q[i], k[j]>) v[j]
 * over the keys j of the same sequence with i - left <= j <= i + right and j < key_end.
 * Bidirectional: left = right = -1 (no bound). Causal: right = 0. Sliding window of w
 * tokens that sees itself and the w-1 before: left = w-1, right = 0. Local |i-j| <= r:
 * both r.
 *
 * Algorithm: FlashAttention-2 (arXiv 2307.08691): tiles of keys with a running maximum
 * and sum, on tensor cores (mma.sync m16n8k16) for head_dim 32, 64, 96 and 128; a plain
 * path, one warp a query, for every other head_dim. On the first path weights are rounded
 * to the 16-bit type before they multiply v; everything else is float32. */
#ifndef SP_CUDA_ATTENTION_H
#define SP_CUDA_ATTENTION_H

#include <stdbool.h>

#include "kernels/cuda_types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* q, k, v    device, `type`d; head h of token t at t * stride + h * head_dim, the key and
 *            value head of query head h being h / (n_heads / n_kv_heads)
 * out        device, `type`d, laid out as q with out_stride; not q, k or v. The
 *            n_heads * head_dim elements are written, and zeros up to the next multiple
 *            of 8
 * starts     device i32 [n_seqs + 1], ascending from 0: tokens of a sequence
 * key_end    device i32 [n_seqs], or NULL: how many tokens of each sequence, from its
 *            first, may be attended to; NULL: all
 * max_len    no sequence is longer; known on the host. Results do not depend on it, nor on
 *            what else is in the batch, but the time does
 *
 * strides multiples of 8 and pointers 16-byte aligned for the head_dims of the
 * tensor-core path; head_dim 1 .. 256; n_heads a multiple of n_kv_heads; n_seqs 0 ..
 * 65535. A query without any key gives zeros. Queued on `stream`. Errors: EINVAL, ECUDA.
 */
typedef struct sp_cuda_attention_args {
  sp_cuda_type type;
  const void *q, *k, *v;
  void *out;
  const int32_t *starts, *key_end;
  int stride, out_stride; /* elements */
  int n_seqs, max_len, n_heads, n_kv_heads, head_dim;
  int left, right; /* -1: no bound */
  float scale;
  bool last_first; /* the order of work, as kernels/cuda_types.h says */
} sp_cuda_attention_args;

sp_err sp_cuda_attention(const sp_cuda_attention_args *args, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
