/* encoder/model_config.h - config.json: which network a model is, and of what shape.
 *
 * Reads the words of transformers 4 and 5 ("rope_theta" or "rope_parameters" ...).
 * Whatever would silently give other vectors (an unknown activation, relative positions,
 * scaled RoPE) is refused. All sizes are bounded, so that products of two fit 64 bits. */
#ifndef SP_MODEL_CONFIG_H
#define SP_MODEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

typedef enum sp_architecture {
  SP_BERT,
  SP_DISTILBERT,
  SP_ROBERTA, /* XLM-RoBERTa too: they differ in the tokenizer only */
  SP_MISTRAL,
  SP_MODERNBERT
} sp_architecture;

/* x * Phi(x) with Phi by erf or by Hendrycks' tanh formula; max(0, x); x * sigmoid(x). */
typedef enum sp_activation { SP_GELU_ERF, SP_GELU_TANH, SP_RELU, SP_SILU } sp_activation;

typedef struct sp_model_config {
  sp_architecture architecture;
  uint32_t vocab_size;  /* rows of the embedding and of the decoder, padding included */
  uint32_t hidden_size; /* D */
  uint32_t n_layers;
  uint32_t n_heads;    /* query heads */
  uint32_t n_kv_heads; /* key and value heads; divides n_heads */
  uint32_t head_dim;   /* d; n_heads * d need not be D */
  uint32_t intermediate_size;
  uint32_t max_positions;   /* tokens that one text may have */
  uint32_t n_position_rows; /* rows of the position table (RoBERTa: max_positions + 2); 0:
                               none */
  uint32_t n_types;         /* rows of the token type table; 0: none */
  uint32_t pad_id;          /* RoBERTa counts positions from pad_id + 1 */
  float norm_eps;
  sp_activation activation;      /* of the feed-forward layers */
  sp_activation head_activation; /* of the transform before the decoder */
  float rope_theta;              /* of layers that see everything; 0: no RoPE */
  float rope_theta_local;        /* of layers with a window (ModernBERT) */
  uint32_t window;         /* Mistral: keys a token sees, itself included; ModernBERT:
                              |i - j| <= window in local layers; 0: none */
  uint32_t global_every;   /* ModernBERT: layer l is global where l % global_every == 0 */
  const char *layer_types; /* NULL, or [n_layers]: 'g' global, 'l' local; owned */
  bool tied;               /* the decoder is the word embedding */
  bool no_decoder_bias;    /* ModernBERT: one that the file has does not count */
  bool causal;             /* a token sees none behind it: Mistral, unless is_causal says
                              false; the window is then ModernBERT's */
} sp_model_config;

/* Reads path (.../config.json). The caller ends *out with sp_model_config_free().
 * Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT. */
sp_err sp_model_config_load(const char *path, sp_model_config *out);

/* The same from parsed JSON; `where` names it in messages. */
sp_err sp_model_config_parse(const json_t *config, const char *where,
                             sp_model_config *out);
void sp_model_config_free(sp_model_config *c);

const char *sp_architecture_name(sp_architecture a); /* "bert", "distilbert" ... */
const char *sp_activation_name(sp_activation a);

#endif
