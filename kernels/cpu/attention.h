/* kernels/cpu/attention.h - softmax attention over texts packed side by side.
 *
 *   out[i, h] = sum over the visible j of softmax_j(<q[i, h], k[j, g]> / sqrt(d)) v[j, g]
 *
 * with g the key-value head that query head h shares (Ainslie et al., GQA, 2023). A text's
 * tokens see only their own text. One call does some queries of one head of one text, so that
 * a thread pool can share the work.
 *
 * Keys and values are laid out SP_ATTENTION_KEYS at a time; against those go 32 queries at a
 * time, whose scores are all that is ever kept. Where a text has more keys, the sums so far
 * are brought to the new largest score (Milakov and Gimelshein, Online normalizer calculation
 * for softmax, 2018; Dao et al., FlashAttention, 2022). exp is off by 2.2e-7 of itself at
 * most, below 2^-126 it is 0.
 *
 * In two formats. float32: products and sums in float32. int16: queries, keys, values and
 * weights are rounded to whole numbers, whose products and sums are exact. Keys and values
 * have a step for each column of those that are laid out, max|x| / 8191 of it, for keys more
 * where d products would not fit 31 bits (max|x| / 5792 at d = 64); a query, times the keys'
 * steps, its own. A weight is rounded to 1 / S, S the largest number at which the largest
 * weight is at most 32767 and their sum at most 261,800: few weights have 15 bits, many have
 * less and their errors average out. The result is off by up to 4e-4 of the largest value
 * where d is at most 128 and scores at most some 8; 8e-4 at d = 256. */
#ifndef SP_CPU_ATTENTION_H
#define SP_CPU_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"

enum {
  SP_ATTENTION_QUERIES = 512, /* most in one call; few in many calls lay keys out anew */
  SP_ATTENTION_KEYS = 512     /* laid out at a time; a multiple of four */
};

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

typedef struct sp_attention_ops {
  const char *name; /* "avx512", "avx512-vnni", "avx2", "portable" */

  /* Queries first .. first+n-1 (n <= SP_ATTENTION_QUERIES) of head `head`, in the text that
   * lies at tokens start .. start+length-1; `first` counts from the text's start. Keys from
   * `visible` on (counted so too; <= length, > 0) are seen by nobody and not read. A query
   * that sees no key gives zeros. `scratch` is the caller's, as large as
   * sp_attention_scratch() says, 64-byte aligned. */
  void (*attend)(const sp_attention *a, size_t start, uint32_t visible, uint32_t head,
                 uint32_t first, uint32_t n, float *scratch);
} sp_attention_ops;

/* Floats of scratch for heads of head_dim, whatever the texts' length. */
size_t sp_attention_scratch(uint32_t head_dim);

/* The operations in float32 of a level <= sp_cpu_detect(), and the best in int16 of this
 * processor at or below `level`. Never NULL. */
const sp_attention_ops *sp_attention_float32_at(sp_cpu_level level);
const sp_attention_ops *sp_attention_int16_get(sp_cpu_level level);

/* All that this processor can run, the portable ones first, for tests: number i, or NULL
 * where it cannot; i < SP_ATTENTION_N_OPS. Even numbers are float32, odd ones int16. */
enum { SP_ATTENTION_N_OPS = 6 };
const sp_attention_ops *sp_attention_ops_at(int i);

#endif
