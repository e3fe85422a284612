/* encoder/cpu_network.h - a model's weights made ready for the CPU; private to the CPU
 * backend. */
#ifndef SP_CPU_NETWORK_H
#define SP_CPU_NETWORK_H

#include "encoder/model.h"
#include "kernels/cpu/dense.h"

/* y = W x + b; k inputs, n outputs. */
typedef struct cpu_linear {
  uint32_t n, k;
  const float *w;    /* [n, k] */
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
  cpu_linear transform; /* w NULL: none */
  cpu_norm transform_norm;
  cpu_linear decoder;    /* w NULL: none */
  cpu_linear projection; /* w NULL: none */
  float theta[2];        /* of the RoPE tables; 0: not used */
  sp_dense_act act, head_act;

  void **owned; /* [n_owned] allocations */
  size_t n_owned, cap_owned;
} cpu_network;

/* Errors: ENOMEM. Ended by cpu_network_free() in either case. */
sp_err cpu_network_load(const sp_model *m, cpu_network *out);
void cpu_network_free(cpu_network *net);

#endif
