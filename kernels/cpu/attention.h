/* kernels/cpu/attention.h - softmax attention over texts packed side by side, in float32.
 *
 *   out[i, h] = sum over the visible j of softmax_j(<q[i, h], k[j, g]> / sqrt(d)) v[j, g]
 *
 * with g the key-value head that query head h shares (Ainslie et al., GQA, 2023). A text's
 * tokens see only their own text. One call does a block of queries of one head of one text, so
 * that a thread pool can share the work; logits are held for that block only. */
#ifndef SP_CPU_ATTENTION_H
#define SP_CPU_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/dense.h"

enum { SP_ATTENTION_BLOCK = 64 }; /* most queries in one call */

typedef struct sp_attention {
  /* Of the batch's first token; the heads of a token lie side by side, d values each. */
  const float *q, *k, *v;
  size_t q_stride, kv_stride; /* floats from one token to the next */
  float *out;                 /* [tokens, n_heads * d] */
  uint32_t n_heads, n_kv_heads, head_dim;
  bool causal;
  /* 0: all keys; causal: i - window < j <= i; otherwise |i - j| <= window. */
  uint32_t window;
} sp_attention;

/* Floats of scratch for texts of at most `longest` tokens. */
size_t sp_attention_scratch(uint32_t longest);

/* Queries first .. first+n-1 (n <= SP_ATTENTION_BLOCK) of head `head`, in the text that lies
 * at tokens start .. start+length-1; `first` counts from the text's start. Keys from
 * `visible` on (counted so too; <= length, > 0) are seen by nobody. A query that sees no key
 * gives zeros. Calls OpenBLAS. */
void sp_attention_block(const sp_attention *a, const sp_dense_ops *ops, size_t start,
                        uint32_t visible, uint32_t head, uint32_t first, uint32_t n,
                        float *scratch);

#endif
