/* encoder/cuda_forward.h - from token ids to what the decoder sees, on the device; private to
 * the CUDA backend. */
#ifndef SP_CUDA_FORWARD_H
#define SP_CUDA_FORWARD_H

#include "encoder/cuda_network.h"
#include "kernels/cuda_matmul.h"

/* Buffers that every batch passes through, one batch after the other on one stream. All
 * device; rows of 16-bit elements unless said otherwise. */
typedef struct cuda_work {
  void *memory;    /* the allocation they all lie in */
  uint32_t tokens; /* rows that fit */
  void *x, *t;     /* [tokens, stride(D)] */
  float *stream;   /* [tokens, stride(D)] the residual stream of pre-norm models */
  void *wide;      /* queries, keys, values and context; or the feed-forward's inside */
  /* Of LayerNorms that products do, as kernels/cuda_matmul.h says; NULL where none do. */
  float *parts, *scales[2];
  float *rope[2]; /* tables of the two thetas, by kernels/cuda_activation.h */
  uint32_t rope_rows;
} cuda_work;

/* Frees what was there and makes room for n tokens. Errors: ENOMEM, ECUDA: no room at all
 * is left. */
sp_err cuda_work_resize(cuda_work *w, const cuda_network *net, uint32_t n_tokens);

/* Makes the tables reach `n_positions`. Errors: ENOMEM, ECUDA. */
sp_err cuda_work_positions(cuda_work *w, const cuda_network *net, uint32_t n_positions,
                           cudaStream_t stream);
void cuda_work_free(cuda_work *w);

/* A batch on the device. */
typedef struct cuda_input {
  const int32_t *ids, *positions; /* [n_tokens] */
  const int32_t *starts;          /* [n_texts + 1] */
  const int32_t *key_end;         /* [n_texts], or NULL */
  uint32_t n_tokens, n_texts, max_len;
} cuda_input;

/* Queues the network: y 16-bit [n_tokens, stride(D)], what the decoder sees; tokens f32
 * [n_tokens, projection rows] where not NULL. *overflow (device) becomes 1 when a row is not
 * finite. n_tokens 1 .. w->tokens. Errors: EINVAL, ENOMEM, ECUDA. */
sp_err cuda_forward(const cuda_network *net, sp_cuda_matmul *mm, const cuda_work *w,
                    const cuda_input *in, void *y, float *tokens, uint32_t *overflow,
                    cudaStream_t stream);

#endif
