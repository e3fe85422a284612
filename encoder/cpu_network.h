/* encoder/cpu_network.h - a model's weights made ready for the CPU; private to the CPU
 * backend. */
#ifndef SP_CPU_NETWORK_H
#define SP_CPU_NETWORK_H

#include "base/pool.h"
#include "encoder/model.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/float32.h"
#include "kernels/cpu/int16.h"
#include "kernels/cpu/int8.h"

/* y = W x + b; k inputs, n outputs; one of the two matrices is filled. */
typedef struct cpu_linear {
  uint32_t n, k;
  sp_float32_matrix f32;
  sp_int16_matrix int16;
  float *bias; /* [n], or NULL */
} cpu_linear;

typedef struct cpu_norm {
  const float *weight; /* [D]; NULL: the identity */
  const float *shift;  /* [D], or NULL */
  bool rms;
} cpu_norm;

typedef struct cpu_layer {
  cpu_norm attn_norm, mlp_norm;
  cpu_linear qkv; /* q, k and v one below the other */
  cpu_linear o;
  cpu_linear in; /* up; where gated, the gate above it */
  cpu_linear down;
  bool gated;
  uint32_t window;
  int rope; /* which of the two tables; -1: none */
} cpu_layer;

/* Borrows the model; owns what it had to widen and what it laid out. */
typedef struct cpu_network {
  const sp_model *model;
  bool quantized; /* the layers are of 16 bits, the decoder is the finder's */
  uint32_t d, q_dim, kv_dim;
  const float
      *positions; /* [n_position_rows, D], the token type's row added; NULL: none */
  cpu_norm embedding_norm;
  cpu_layer *layers; /* [n_layers] */
  cpu_norm final_norm;
  cpu_linear transform; /* n 0: none */
  cpu_norm transform_norm;
  cpu_linear projection; /* n 0: none */
  cpu_linear decoder;    /* n 0: none, or 8 bits */
  /* The decoder in 8 bits finds the terms that float32 then weighs; weights NULL: none. */
  sp_int8_matrix finder;
  float *finder_bias;   /* [vocab] the bias raised by what 8 bits may take from a logit */
  const float *weigher; /* [vocab, D] */
  const float *weigher_bias; /* [vocab], or NULL */
  float theta[2];            /* of the RoPE tables; 0: not used */
  sp_dense_act act, head_act;

  void **owned; /* [n_owned] allocations */
  size_t n_owned, cap_owned;
} cpu_network;

/* The pool's threads share the work. Errors: ENOMEM, EINVAL. Ended by cpu_network_free() in
 * either case. */
sp_err cpu_network_load(const sp_model *m, bool quantized, sp_pool *pool,
                        cpu_network *out);
void cpu_network_free(cpu_network *net);

#endif
