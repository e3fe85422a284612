/* encoder/backend.h - a device that runs a model's network over packed batches.
 *
 * Two fill it in: encoder/cpu_backend.c and, where CUDA is built, encoder/cuda_backend.c.
 * encoder/neural.c above them tokenizes, cuts batches and puts results back in order.
 *
 * A batch is begun in a slot and ended there later: between the two a GPU computes while
 * the caller prepares the next. Different slots may be begun and ended by different
 * threads at once; a backend locks what it must. */
#ifndef SP_BACKEND_H
#define SP_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"
#include "encoder/model.h"

/* Texts' tokens side by side: text b is the tokens starts[b] .. starts[b+1]-1. Every
 * array stays valid and unchanged from begin to end. Texts may be empty: empty vectors.
 */
typedef struct sp_batch {
  uint32_t n_texts;
  uint32_t n_tokens;   /* starts[n_texts] */
  const uint32_t *ids; /* [n_tokens], < vocab_size */
  const uint32_t
      *positions;         /* [n_tokens]: rows of the position table, or RoPE positions */
  const uint32_t *starts; /* [n_texts + 1], ascending from 0 */
  /* Tokens of the text that are pooled, counted from its start: first <= end <= length.
   */
  const uint32_t *pool_first, *pool_end; /* [n_texts] */
  /* Tokens from here on (counted from the text's start) are seen by nobody, though they
   * see the others; NULL: all are seen. Only for models that are not causal. */
  const uint32_t *attend_end; /* [n_texts] */

  bool want_vectors; /* the sparse vectors: needs a decoder */
  uint32_t top_k;    /* keep the k largest weights (equal: the lower term); 0: all */
  float threshold;   /* keep weights > 0 and >= threshold */
  bool want_tokens;  /* the token vectors of every position: needs a projection */
} sp_batch;

typedef struct sp_backend_options {
  const char *precision; /* "auto", or one of the backend's own: "f32", "int8" (CPU),
                            "bf16", "f16" (CUDA) */
  unsigned n_threads;    /* host threads; 0: one for each processor */
  uint32_t max_tokens;   /* most tokens in one batch, unless one text alone has more */
  uint32_t n_slots;      /* batches that may be under way at once, 1.. */
} sp_backend_options;

typedef struct sp_backend sp_backend;

typedef struct sp_backend_ops {
  const char *device; /* "cpu", "cuda" */
  /* Queues the batch in a free slot < n_slots and returns without waiting for its
   * results. ENOMEM: it does not fit (the slot is free again; try a smaller one). */
  sp_err (*begin)(sp_backend *b, uint32_t slot, const sp_batch *batch);
  /* Waits for the slot's batch and frees the slot, whatever is returned. vectors[n_texts]
   * ({0} or reused: overwritten) where want_vectors; tokens[n_tokens * dim] where
   * want_tokens. Errors: ENOMEM (as above), ECUDA. */
  sp_err (*end)(sp_backend *b, uint32_t slot, sp_vec *vectors, float *tokens);
  void (*free)(sp_backend *b);
} sp_backend_ops;

/* The head of every backend's own struct. */
struct sp_backend {
  const sp_backend_ops *ops;
  const char *precision; /* the one in use */
  uint32_t
      batch_tokens; /* tokens that make a good batch here, if the caller has no wish */
  uint32_t window;  /* texts to tokenize, sort and cut into batches together; >= 1 */
  uint32_t at_once; /* rows of batches that keep the device busy; >= 1 */
};

/* Each reads the weights it needs from `m`, which must outlive the backend. Errors:
 * ENOMEM, ECUDA (no device), EINVAL (a precision it does not have). */
sp_err sp_cpu_backend_new(const sp_model *m, const sp_backend_options *options,
                          sp_backend **out);
sp_err sp_cuda_backend_new(const sp_model *m, const sp_backend_options *options,
                           sp_backend **out);

#endif
