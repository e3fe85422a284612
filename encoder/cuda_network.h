/* encoder/cuda_network.h - a model's weights on the device; private to the CUDA backend.
 *
 * Every width is padded to a multiple of 8 with zeros, so that all products are over whole
 * 16-byte pieces: a matrix is [stride(rows), stride(cols)], and the padding of what it
 * multiplies and of what comes out is zero too. */
#ifndef SP_CUDA_NETWORK_H
#define SP_CUDA_NETWORK_H

#include "encoder/model.h"
#include "kernels/cuda_activation.h"
#include "kernels/cuda_types.h"

/* y = W x + b; n and k with padding. */
typedef struct cuda_linear {
  int n, k;
  const void *w; /* 16-bit [n, k]; NULL: none */
  const void
      *bias; /* 16-bit [n], or f32 where the product is added to float32; or NULL */
  /* The same for inputs whose LayerNorm is left to the product (kernels/cuda_matmul.h);
   * NULL: not made. */
  const void *folded_w, *folded_bias;
  const float *sums; /* [n] */
} cuda_linear;

typedef struct cuda_norm {
  const float *weight; /* [stride(D)]; NULL: the identity */
  const float *shift;  /* [stride(D)], or NULL */
  bool rms;
} cuda_norm;

typedef struct cuda_layer {
  cuda_norm attn_norm, mlp_norm;
  cuda_linear qkv; /* q, k and v one below the other, each padded */
  cuda_linear o;
  cuda_linear in; /* up; where gated, the gate above it, each padded */
  cuda_linear down;
  bool gated;
  int left, right; /* the window, in the words of kernels/cuda_attention.h */
  int rope;        /* which of the two thetas; -1: none */
} cuda_layer;

/* Borrows the model; owns what lies on the device. */
typedef struct cuda_network {
  const sp_model *model;
  sp_cuda_type type;
  int d, d_stride, q_stride, kv_stride;
  const void *word;     /* 16-bit [vocab, stride(D)] */
  const void *position; /* 16-bit [n_position_rows, stride(D)], type 0 added; or NULL */
  const float
      *token_type; /* [stride(D)] of type 0 where there are no positions; or NULL */
  cuda_norm embedding_norm;
  cuda_layer *layers; /* [config.n_layers] */
  cuda_norm final_norm;
  cuda_linear transform; /* w NULL: none */
  cuda_norm transform_norm;
  const void *decoder; /* 16-bit [vocab, stride(D)]; NULL: none */
  const float *decoder_bias;
  cuda_linear projection; /* w NULL: none */
  double theta[2];        /* 0: not used */
  int widest;             /* the largest n of a feed-forward product */
  bool folded;            /* layers have what it takes to leave LayerNorm to products */

  void **owned; /* [n_owned] device allocations */
  size_t n_owned, cap_owned;
} cuda_network;

/* Uploads the weights. `threads` read them; 0: one for each processor. With `fold` those of a
 * post-norm model are folded too, where its norms and width allow it. Ended by
 * cuda_network_free() in either case. Errors: ENOMEM, ECUDA; EINVAL: a weight is too large
 * for the type (float16 ends at 65,504). */
sp_err cuda_network_load(const sp_model *m, sp_cuda_type type, unsigned threads,
                         bool fold, cuda_network *out);
void cuda_network_free(cuda_network *net);

#endif
