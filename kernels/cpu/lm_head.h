/* kernels/cpu/lm_head.h - the fused head of kernels/lm_head.h on the CPU, in float32.
 *
 * The vocabulary is cut into tiles, the pieces of a thread pool's job. A piece multiplies
 * its tile with the tokens a block at a time (OpenBLAS) and reduces each block of logits
 * at once, so a thread holds one block of 512 KiB and no [tokens, V] matrix exists.
 *
 * OpenBLAS is set to one thread during a call whose pool has several, and set back. */
#ifndef SP_CPU_LM_HEAD_H
#define SP_CPU_LM_HEAD_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/pool.h"
#include "base/vec.h"
#include "kernels/lm_head.h"

/* Another way to the products than OpenBLAS: raises best[0 .. n) to the largest of
 * <h[s], W[v0 + j]> over the tokens row .. row+m-1. v0 is a multiple of 32, n a multiple of 32
 * but for the vocabulary's end; best has room up to the next multiple. Called by several
 * threads at once. */
typedef void (*sp_lm_raise)(const void *context, size_t row, size_t m, size_t v0,
                            size_t n, float *best);

typedef struct sp_lm_cpu {
  const float *w;    /* [vocab, dim] row-major; not read where there is a `raise` */
  sp_lm_raise raise; /* NULL: OpenBLAS; otherwise no argmax may be asked for */
  const void *raise_context;
  const float *bias;    /* [vocab]; NULL: none */
  uint32_t vocab, dim;  /* >= 1 */
  uint32_t log1p_times; /* 1 or 2 */
} sp_lm_cpu;

/* out[texts->n, vocab], overwritten whole; argmax (NULL: not wanted), same shape: the row
 * of h that gave the maximum (the lowest of equal ones), -1 where out is 0.
 * h [n_tokens, dim]. Errors: EINVAL (texts out of order or range), ENOMEM. */
sp_err sp_lm_cpu_dense(const sp_lm_cpu *head, const float *h, uint32_t n_tokens,
                       const sp_lm_texts *texts, sp_pool *pool, float *out,
                       int32_t *argmax);

/* vectors[texts->n] ({0} or reused: overwritten): the entries > 0 and >= threshold, with
 * a top_k > 0 the k largest of them (equal: the lower term). Errors: EINVAL, ENOMEM. */
sp_err sp_lm_cpu_sparse(const sp_lm_cpu *head, const float *h, uint32_t n_tokens,
                        const sp_lm_texts *texts, sp_pool *pool, float threshold,
                        uint32_t top_k, sp_vec *vectors);

#endif
