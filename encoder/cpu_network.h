/* encoder/cpu_network.h - a model's weights made ready for the CPU; private to the CPU
 * backend. */
#ifndef SP_CPU_NETWORK_H
#define SP_CPU_NETWORK_H

#include "encoder/model.h"
#include "kernels/cpu/dense.h"
#include "kernels/cpu/int16.h"

/* y = W x + b; k inputs, n outputs. */
typedef struct cpu_linear {
  uint32_t n, k;
  const float *w;    /* [n, k]; NULL where q stands for it */
  sp_int16_matrix q; /* its weights NULL: none */
  const float *bias; /* [n], or NULL */
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

/* Borrows the model; owns what it had to widen or put together. */
typedef struct cpu_network {
  const sp_model *model;
  uint32_t d, q_dim, kv_dim;
  const float
      *positions; /* [n_position_rows, D], the token type's row added; NULL: none */
  cpu_norm embedding_norm;
  cpu_layer *layers; /* [n_layers] */
  cpu_norm final_norm;
  cpu_linear transform; /* n 0: none */
  cpu_norm transform_norm;
  cpu_linear decoder;    /* n 0: none */
  cpu_linear projection; /* n 0: none */
  /* The decoder once more in 8 bits, which finds the terms that float32 then weighs; its
   * weights NULL: float32 alone. `margin`: how far its logits may be off. */
  sp_int8_matrix finder;
  float *finder_bias; /* [vocab] the bias raised by the margin */
  float theta[2];     /* of the RoPE tables; 0: not used */
  sp_dense_act act, head_act;

  void **owned; /* [n_owned] allocations */
  size_t n_owned, cap_owned;
} cpu_network;

/* With `quantized` the layers' matrices are of 13 bits (their float32 copies are gone
 * again) and the decoder gets its finder. Errors: ENOMEM, EINVAL. Ended by
 * cpu_network_free() in either case. */
sp_err cpu_network_load(const sp_model *m, bool quantized, cpu_network *out);
void cpu_network_free(cpu_network *net);

#endif
