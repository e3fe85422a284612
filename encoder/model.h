/* encoder/model.h - a model as its directory describes it: every weight by name and
 * shape, whatever family it is of, and what happens before and after the network.
 *
 * The network is one graph for all families (D hidden size, t tokens, x [t, D]):
 *
 *   x = word[id] (+ position[p]) (+ type[0]);  x = norm(x) if embedding_norm
 *   per layer:
 *     post_norm (BERT, DistilBERT, RoBERTa):   x = attn_norm(x + attention(x))
 *                                              x = mlp_norm(x + mlp(x))
 *     pre_norm  (Mistral, ModernBERT):         x = x + attention(attn_norm(x))
 *                                              x = x + mlp(mlp_norm(x))
 *   x = final_norm(x) if there is one
 *   attention: q, k, v = Wq x + bq ...; RoPE on q and k if rope_theta > 0; per head
 *              softmax(q k / sqrt(head_dim)) v over the keys it may see; then o
 *   mlp:       down(act(up x + b)), or where `gate` is there: down(act(gate x) * (up x))
 *   head:      y = transform_norm(act(transform x + b)) if there is a transform, else x
 *              logits = decoder y + bias
 *   vector = activation(max over the pooled positions of the logits)
 *
 * A norm or matrix that a model lacks has data NULL. */
#ifndef SP_MODEL_H
#define SP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/pool.h"
#include "encoder/model_config.h"
#include "encoder/safetensors.h"

/* A low-rank addition to a matrix: W + scale * B A (Hu et al., LoRA, 2021). */
typedef struct sp_lora {
  const sp_tensor *a; /* [rank, cols] */
  const sp_tensor *b; /* [rows, rank] */
  uint32_t first_row; /* of B, where the matrix is a part of a fused one */
  float scale;
} sp_lora;

/* A matrix [rows, cols] row-major, y = W x, or a vector (rows 1). `data` lies in the
 * mapped file, unaligned, in `dtype`; read it with sp_matrix_read(). */
typedef struct sp_matrix {
  const void *data; /* NULL: the model has none */
  sp_dtype dtype;
  uint32_t rows, cols;
  sp_lora lora; /* a NULL: none */
} sp_matrix;

/* Writes rows first .. first+n-1 as float32 to out[n * cols], widened exactly, LoRA
 * merged. Any number of threads at once. */
void sp_matrix_read(const sp_matrix *m, uint32_t first, uint32_t n, float *out);

typedef struct sp_linear {
  sp_matrix weight;
  sp_matrix bias; /* [1, rows of weight], or none */
} sp_linear;

typedef struct sp_norm {
  sp_matrix weight; /* [1, D] */
  sp_matrix bias;   /* [1, D], or none */
  bool rms;         /* RMSNorm: x / sqrt(mean(x^2) + eps) * weight; else LayerNorm */
} sp_norm;

typedef struct sp_layer {
  sp_norm attn_norm; /* none: the identity (ModernBERT's first layer) */
  sp_linear q, k, v, o;
  sp_norm mlp_norm;
  sp_linear up, gate, down;
  /* Which keys j a query i sees: all (0), or with a window w: causal: i - w < j <= i;
   * otherwise |i - j| <= w. */
  uint32_t window;
  float rope_theta; /* rotates (x[m], x[m + d/2]) by p * theta^(-2m/d); 0: no RoPE */
} sp_layer;

typedef enum sp_token_input { SP_FROM_HIDDEN, SP_FROM_TRANSFORM } sp_token_input;

/* Token vectors (ColBERT): projection of the last hidden state, or of the head's
 * transform output; divided by its L2 norm. */
typedef struct sp_token_projection {
  sp_linear linear; /* [dim, D]; none: the model has no token vectors */
  sp_token_input input;
  bool l2;
  uint32_t query_length; /* queries are filled up with [MASK] to this; 0: they are not */
  bool attend_to_fill;   /* others see the filled-in [MASK]s */
  char **skip_words;     /* document tokens of these spellings give no vector */
  size_t n_skip_words;
} sp_token_projection;

typedef struct sp_echo {
  char *template_text; /* holds "{text}" exactly twice; NULL: the input is not an echo */
  uint32_t max_text_tokens;
} sp_echo;

/* What the directory says, checked; all of it lives until sp_model_close(). */
typedef struct sp_model {
  char *dir;
  char *base_dir; /* where files that `dir` lacks are looked for; NULL: nowhere */
  sp_model_config config;
  bool pre_norm, causal;

  sp_matrix word, position, type; /* [vocab, D], [n_position_rows, D], [n_types, D] */
  sp_norm embedding_norm;
  sp_layer *layers; /* [config.n_layers] */
  sp_norm final_norm;
  sp_linear transform; /* [D, D] */
  sp_norm transform_norm;
  sp_linear decoder; /* [vocab, D]; none: token vectors only */

  uint32_t log1p_times;                   /* 1: log1p(relu); 2: log1p(log1p(relu)) */
  uint32_t max_active_dims;               /* keep this many largest weights; 0: all */
  uint32_t max_length;                    /* tokens of a text, special ones included */
  uint32_t document_length, query_length; /* of a side's, where it has a limit; else 0 */
  char *document_prompt, *query_prompt; /* put before the text; "" where there is none */
  sp_echo echo;
  sp_token_projection tokens;

  char *tokenizer_path;        /* tokenizer.json or vocab.txt */
  bool lowercase;              /* texts, before the tokenizer's own steps */
  char *query_tokenizer_path;  /* of the query table; NULL: the same */
  uint32_t query_table_length; /* tokens of a query for the table; 0: max_length */
  /* Inference-free queries; at most one is there. */
  sp_matrix query_table;  /* [1, vocab] */
  char *query_words_path; /* idf.json or query_token_weights.txt: token -> weight */

  sp_tensors **files; /* what the weights lie in */
  size_t n_files;
} sp_model;

/* Opens a model directory as hubs ship it (see encoder/model_dir.c for the files), or a
 * LoRA adapter's directory, whose base is opened with it: config.json and the weights are
 * the base's. An adapter with a modules.json (as sentence-transformers saves it) says the
 * rest itself; to one without, as PEFT saves it, its base's layout applies, and whatever
 * files it lacks are the base's. Weights are checked against
 * config.json. On SP_OK the caller ends *out with sp_model_close().
 * Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT: the file and what is wrong with it. */
sp_err sp_model_open(const char *dir, sp_model **out);
void sp_model_close(sp_model *m); /* NULL is fine */

/* Once a backend has its own copy of the weights: sp_map_forget() of their files. */
void sp_model_forget(const sp_model *m);

/* Calls visit for every matrix that the network uses, in a fixed order, with its role
 * ("layers.3.attention.q.weight"). Stops at the first failure. */
typedef sp_err (*sp_matrix_visit)(void *context, const char *role, const sp_matrix *m);
sp_err sp_model_visit(const sp_model *m, sp_matrix_visit visit, void *context);

/* 64-bit hash of everything that decides the network's answers: every weight it uses,
 * whole, with its role and shape, and the numbers of its configuration. `pool` shares the
 * work. Errors: ENOMEM. */
sp_err sp_model_hash(const sp_model *m, sp_pool *pool, uint64_t *out);

#endif
