/* kernels/lm_head.h - the language-model head fused with its pooling:
 *
 *   out[b, v] = f(max over the tokens s of text b of <h[s], W[v]> + bias[v])
 *   f(z) = log1p(relu(z)), or log1p of that once more
 *
 * The maximum commutes with f, so every tile of logits is reduced over the tokens the
 * moment it leaves the arithmetic units: the [tokens, V] logits never exist.
 * The idea is the "Sparton" head of learned sparse retrieval training; SPLADE-max pooling
 * is Formal et al., SPLADE v2, 2021; log1p twice is the "l0" activation of Shen et al.,
 * 2025.
 *
 * This header serves both sides. What begins with sp_lm_head_ runs on the GPU and exists
 * only in builds with CUDA; the CPU's version is kernels/cpu/lm_head.h.
 *
 * Numbers: operands bf16 or fp16, products accumulated in float32, everything after in
 * float32. Of equal logits the lowest token wins. NaN logits count as absent. On the GPU
 * a text's result does not depend on what else is in the batch, nor on timing. */
#ifndef SP_LM_HEAD_H
#define SP_LM_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#ifdef __cplusplus
extern "C" {
#endif

struct CUstream_st; /* struct CUstream_st * is CUDA's cudaStream_t; NULL: the default */

/* Which rows of h each text is pooled over: first[b] .. end[b]-1. The arrays lie in HOST
 * memory and are free again when the call returns. Texts ascend and do not overlap:
 * first[b] <= end[b] <= first[b+1]. Gaps are legal (only part of a text is pooled), and
 * so are empty texts, whose outputs are zero. For texts packed side by side with an
 * offsets array: {offsets, offsets + 1, n_texts}. */
typedef struct sp_lm_texts {
  const uint32_t *first, *end; /* [n] */
  uint32_t n;
} sp_lm_texts;

typedef enum sp_lm_dtype { SP_LM_BF16, SP_LM_F16 } sp_lm_dtype;

/* The implementations. AUTO takes the best the device has. */
typedef enum sp_lm_path {
  SP_LM_AUTO,
  SP_LM_PLAIN, /* float32 arithmetic, any device: what the others are checked against */
  SP_LM_MMA,   /* tensor cores, compute capability 8.0 and newer */
  SP_LM_WGMMA  /* TMA and wgmma, compute capability 9.0 exactly */
} sp_lm_path;

/* Sparse output in two passes, on the WGMMA path: the first multiplies W and h rounded to 8
 * bits and finds the terms of a text that may pass the threshold, by a bound that misses
 * none; the second scores those from W and h themselves, with the same instructions as one
 * pass. So the output is the same, bit for bit. 1.3 to 1.7 times as fast as one pass where
 * few terms pass, as in trained models; half as fast where nearly all do.
 *
 * w and bias must not change while the head lives. It owns more memory then: vocab * dim
 * bytes, n_tokens * dim, and for each text about vocab. */
typedef enum sp_lm_screen {
  SP_LM_SCREEN_NEVER,
  SP_LM_SCREEN_AUTO, /* but where one pass is quicker: a small batch or dim, one long text
                         among few; and for 256 calls after 15 % of all terms went through the
                         first pass */
  SP_LM_SCREEN_ALWAYS /* for tests and benchmarks */
} sp_lm_screen;

typedef struct sp_lm_head_config {
  const void *w;        /* device, [vocab, dim] row-major, 16-byte aligned */
  const float *bias;    /* device, [vocab]; NULL: none */
  uint32_t vocab;       /* 1 .. 2^24 */
  uint32_t dim;         /* 1 .. 2^16 */
  sp_lm_dtype dtype;    /* of w and h */
  uint32_t log1p_times; /* 1 or 2 */
  sp_lm_path path;
  sp_lm_screen screen;
} sp_lm_head_config;

typedef struct sp_lm_head sp_lm_head;

/* Makes a head on the current device. `w` and `bias` are borrowed until
 * sp_lm_head_free(). A head owns its scratch: at most 10 MiB beside inputs and outputs
 * (more for vocabularies above 2^18), plus the staging of sparse output (8 bytes for each
 * of its n * cap entries), plus padded copies of W and h where dim is no multiple of 8.
 * So one call at a time for each head, in stream order: heads are cheap, make one a
 * stream. Errors: EINVAL (a path the device lacks, a bad shape), ENOMEM, ECUDA. */
sp_err sp_lm_head_new(const sp_lm_head_config *config, sp_lm_head **out);

/* Waits for what the head has queued. NULL is fine. */
void sp_lm_head_free(sp_lm_head *head);
sp_lm_path sp_lm_head_path(const sp_lm_head *head);      /* the one in use */
size_t sp_lm_head_scratch_bytes(const sp_lm_head *head); /* device memory it owns */

/* Dense: out[texts->n, vocab], device float32, overwritten whole. argmax (NULL: not
 * wanted), device int32, same shape: the row of h that gave the maximum, -1 where out is
 * 0. h: device, [n_tokens, dim], row-major, 16-byte aligned, of the head's dtype.
 * Queued on `stream`. Errors: EINVAL, ENOMEM, ECUDA. */
sp_err sp_lm_head_dense(sp_lm_head *head, const void *h, uint32_t n_tokens,
                        const sp_lm_texts *texts, float *out, int32_t *argmax,
                        struct CUstream_st *stream);

/* Sparse: per text the entries > 0 and >= threshold, terms ascending; with a top_k only
 * the k largest of them, of equal weights the lower terms. No [texts, vocab] array exists
 * anywhere. */
typedef struct sp_lm_sparse {
  float threshold; /* 0: all entries > 0 */
  uint32_t top_k;  /* 0: no limit */
  uint32_t cap; /* room for entries of a text, before top_k; more than vocab is vocab */
  uint32_t *terms;   /* device [n, cap], text b from b * cap on */
  float *weights;    /* device [n, cap] */
  uint32_t *n_kept;  /* device [n]: entries of terms and weights that are written */
  uint32_t *n_found; /* device [n]: entries that passed the threshold. More than cap: the
                        text did not fit, n_kept is 0; call again with more room */
} sp_lm_sparse;

sp_err sp_lm_head_sparse(sp_lm_head *head, const void *h, uint32_t n_tokens,
                         const sp_lm_texts *texts, const sp_lm_sparse *out,
                         struct CUstream_st *stream);

/* What share of its texts' terms the last screened call scored, of those that have ended; 0
 * before the first, and where AUTO has taken it as a reason to rest. Never waits. */
float sp_lm_head_screen_share(const sp_lm_head *head);

/* Gradients through the maximum. With x = max logit + bias, y = f(x) and dy given:
 *
 *   g[b, v] = dy[b, v] * f'(x) where y[b, v] > 0, else 0   (log1p once: f' = exp(-y))
 *   dw[v] = sum over b of g[b, v] * h[argmax[b, v]]
 *   dh[s] = sum over the (b, v) with argmax[b, v] = s of g[b, v] * W[v]
 *   dbias[v] = sum over b of g[b, v]
 *
 * y and argmax are what sp_lm_head_dense() wrote for the same h and texts. All outputs
 * are device float32, overwritten; any may be NULL: dh [n_tokens, dim], dw [vocab, dim],
 * dbias [vocab]. Every sum has one owner and one order (no floating-point atomics), so
 * the result is the same in every run. Scratch for dh, kept by the head: 8 bytes for each
 * (b, v), and for each token 12 and 4 more for every 2048 terms. Errors: EINVAL, ENOMEM,
 * ECUDA. */
typedef struct sp_lm_grads {
  const float *y, *dy;   /* device [n, vocab] */
  const int32_t *argmax; /* device [n, vocab] */
  float *dh, *dw, *dbias;
} sp_lm_grads;

sp_err sp_lm_head_backward(sp_lm_head *head, const void *h, uint32_t n_tokens,
                           const sp_lm_texts *texts, const sp_lm_grads *grads,
                           struct CUstream_st *stream);

#ifdef __cplusplus
}
#endif
#endif
