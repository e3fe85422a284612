/* encoder/model_weights.c - what each family calls its tensors, and of what shape they
 * must be. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/model_parts.h"

/* Where names are looked up: `prefix` is "bert." or "", `scope` a layer's. The first
 * failure stays; what follows it does nothing. */
typedef struct binder {
  const sp_tensors *t;
  const char *prefix;
  char scope[96];
  sp_err err;
} binder;

enum { NAME_MAX_BYTES = 256 };

static void full_name(const binder *b, const char *name, char out[NAME_MAX_BYTES]) {
  snprintf(out, NAME_MAX_BYTES, "%s%s%s", b->prefix, b->scope, name);
}

static bool has(const binder *b, const char *name) {
  char full[NAME_MAX_BYTES];
  full_name(b, name, full);
  return sp_tensors_find(b->t, full) != NULL;
}

static void shape_text(const sp_tensor *t, char *out, size_t n) {
  size_t at = (size_t)snprintf(out, n, "[");
  for (uint32_t i = 0; i < t->n_dims && at < n; i++)
    at += (size_t)snprintf(out + at, n - at, "%s%llu", i ? ", " : "",
                           (unsigned long long)t->shape[i]);
  if (at < n) snprintf(out + at, n - at, "]");
}

sp_err sp_matrix_bind(const sp_tensors *t, const char *name, uint32_t rows, uint32_t cols,
                      sp_matrix *out) {
  const sp_tensor *x = sp_tensors_find(t, name);
  if (!x) return sp_fail(SP_EFORMAT, "%s: %s is missing", sp_tensors_path(t), name);
  bool fits = rows == 1 && x->n_dims == 1
                  ? x->shape[0] == cols
                  : x->n_dims == 2 && x->shape[0] == rows && x->shape[1] == cols;
  if (!fits) {
    char shape[200], wanted[64];
    shape_text(x, shape, sizeof shape);
    if (rows == 1)
      snprintf(wanted, sizeof wanted, "[%u]", cols);
    else
      snprintf(wanted, sizeof wanted, "[%u, %u]", rows, cols);
    return sp_fail(SP_EFORMAT, "%s: the shape of %s is %s, config.json asks for %s",
                   x->file, name, shape, wanted);
  }
  if (x->dtype == SP_NOT_A_WEIGHT)
    return sp_fail(SP_EFORMAT,
                   "%s: the dtype of %s is %s, weights must be F32, F16 or BF16", x->file,
                   name, x->dtype_name);
  *out = (sp_matrix){.data = x->data, .dtype = x->dtype, .rows = rows, .cols = cols};
  return SP_OK;
}

static void take(binder *b, const char *name, uint32_t rows, uint32_t cols,
                 sp_matrix *out) {
  if (b->err) return;
  char full[NAME_MAX_BYTES];
  full_name(b, name, full);
  b->err = sp_matrix_bind(b->t, full, rows, cols, out);
}

static void take_if_there(binder *b, const char *name, uint32_t rows, uint32_t cols,
                          sp_matrix *out) {
  if (has(b, name)) take(b, name, rows, cols, out);
}

/* "NAME.weight" [out, in] and "NAME.bias" [out]. */
static void take_linear(binder *b, const char *name, uint32_t out, uint32_t in,
                        bool need_bias, sp_linear *l) {
  char part[96];
  snprintf(part, sizeof part, "%s.weight", name);
  take(b, part, out, in, &l->weight);
  snprintf(part, sizeof part, "%s.bias", name);
  (need_bias ? take : take_if_there)(b, part, 1, out, &l->bias);
}

/* "NAME.weight" and "NAME.bias", or TensorFlow's words of the first BERTs: gamma, beta.
 */
static void take_norm(binder *b, const char *name, uint32_t n, bool need_bias,
                      sp_norm *norm) {
  char part[96];
  snprintf(part, sizeof part, "%s.gamma", name);
  bool old = has(b, part);
  if (!old) snprintf(part, sizeof part, "%s.weight", name);
  take(b, part, 1, n, &norm->weight);
  snprintf(part, sizeof part, "%s.%s", name, old ? "beta" : "bias");
  (need_bias ? take : take_if_there)(b, part, 1, n, &norm->bias);
}

/* Rows first .. first+n-1 of a matrix that holds several. */
static sp_matrix part_of(const sp_matrix *m, uint32_t first, uint32_t n) {
  sp_matrix part = *m;
  size_t bytes = m->dtype == SP_F32 ? 4 : 2;
  if (m->data) part.data = (const char *)m->data + (size_t)first * m->cols * bytes;
  part.rows = m->rows == 1 ? 1 : n;
  return part;
}

/* Versions of transformers differ in which of two tensors they take where a file has one
 * parameter twice: they must be equal. `why` ends the sentence. */
static void need_equal(binder *b, const char *name, const sp_matrix *m, const char *why) {
  char full[NAME_MAX_BYTES];
  full_name(b, name, full);
  const sp_tensor *t = b->err ? NULL : sp_tensors_find(b->t, full);
  if (!t) return;
  size_t bytes = (size_t)m->rows * m->cols * (m->dtype == SP_F32 ? 4 : 2);
  if (t->dtype != m->dtype || t->n_bytes != bytes || memcmp(t->data, m->data, bytes))
    b->err = sp_fail(SP_EFORMAT, "%s: %s is not equal to %s", t->file, full, why);
}

/* The decoder: the word embedding where tied, else a matrix of its own; its bias under
 * the first of two names that is there. */
static void take_decoder(binder *b, sp_model *m, const char *weight, const char *bias,
                         const char *other_bias) {
  const sp_model_config *c = &m->config;
  if (c->tied)
    m->decoder.weight = m->word;
  else
    take(b, weight, c->vocab_size, c->hidden_size, &m->decoder.weight);
  if (bias)
    take(b, has(b, bias) || !has(b, other_bias) ? bias : other_bias, 1, c->vocab_size,
         &m->decoder.bias);
  if (c->tied)
    need_equal(
        b, weight, &m->word,
        "the word embedding, although config.json ties them (tie_word_embeddings)");
  if (bias) need_equal(b, other_bias, &m->decoder.bias, "the decoder's other bias");
}

/* True when a decoder is to be bound; a head that is needed and missing is a failure. */
static bool wants_head(binder *b, bool need, const char *mark, const char *words) {
  if (b->err) return false;
  bool there = has(b, mark);
  if (need && !there)
    b->err =
        sp_fail(SP_EFORMAT,
                "%s: there is no language-model head (%s): the weights are of a bare "
                "encoder",
                sp_tensors_path(b->t), words);
  return there;
}

static void bind_embeddings(binder *b, sp_model *m) {
  const sp_model_config *c = &m->config;
  take(b, "embeddings.word_embeddings.weight", c->vocab_size, c->hidden_size, &m->word);
  take(b, "embeddings.position_embeddings.weight", c->n_position_rows, c->hidden_size,
       &m->position);
  if (c->n_types)
    take(b, "embeddings.token_type_embeddings.weight", c->n_types, c->hidden_size,
         &m->type);
  take_norm(b, "embeddings.LayerNorm", c->hidden_size, true, &m->embedding_norm);
}

/* The layers' names, for the families that have the same parts under other names. */
typedef struct layer_words {
  const char *scope; /* with %u for the layer */
  const char *q, *k, *v, *o, *attn_norm, *up, *gate, *down, *mlp_norm;
} layer_words;
static const layer_words BERT_WORDS = {
    "encoder.layer.%u.",      "attention.self.query",
    "attention.self.key",     "attention.self.value",
    "attention.output.dense", "attention.output.LayerNorm",
    "intermediate.dense",     NULL,
    "output.dense",           "output.LayerNorm"};
static const layer_words DISTIL_WORDS = {"transformer.layer.%u.",
                                         "attention.q_lin",
                                         "attention.k_lin",
                                         "attention.v_lin",
                                         "attention.out_lin",
                                         "sa_layer_norm",
                                         "ffn.lin1",
                                         NULL,
                                         "ffn.lin2",
                                         "output_layer_norm"};
static const layer_words MISTRAL_WORDS = {
    "layers.%u.",       "self_attn.q_proj",        "self_attn.k_proj", "self_attn.v_proj",
    "self_attn.o_proj", "input_layernorm",         "mlp.up_proj",      "mlp.gate_proj",
    "mlp.down_proj",    "post_attention_layernorm"};

static void bind_layers(binder *b, sp_model *m, const layer_words *w, bool biases) {
  const sp_model_config *c = &m->config;
  uint32_t d = c->hidden_size, f = c->intermediate_size;
  uint32_t q = c->n_heads * c->head_dim, kv = c->n_kv_heads * c->head_dim;
  for (uint32_t i = 0; i < c->n_layers && !b->err; i++) {
    sp_layer *l = &m->layers[i];
    snprintf(b->scope, sizeof b->scope, w->scope, i);
    take_linear(b, w->q, q, d, biases, &l->q);
    take_linear(b, w->k, kv, d, biases, &l->k);
    take_linear(b, w->v, kv, d, biases, &l->v);
    take_linear(b, w->o, d, q, biases, &l->o);
    take_norm(b, w->attn_norm, d, biases, &l->attn_norm);
    take_linear(b, w->up, f, d, biases, &l->up);
    if (w->gate) take_linear(b, w->gate, f, d, biases, &l->gate);
    take_linear(b, w->down, d, f, biases, &l->down);
    take_norm(b, w->mlp_norm, d, biases, &l->mlp_norm);
  }
  b->scope[0] = '\0';
}

/* BERT, DistilBERT and RoBERTa: the same network under three sets of names. */
typedef struct family_words {
  const char *prefix; /* of the encoder's tensors, left out where it was saved bare */
  const layer_words *layers;
  const char *head; /* for the message when there is none */
  const char *transform, *norm, *decoder, *bias, *other_bias;
} family_words;
static const family_words BERT_FAMILY = {"bert.",
                                         &BERT_WORDS,
                                         "cls.predictions.*",
                                         "cls.predictions.transform.dense",
                                         "cls.predictions.transform.LayerNorm",
                                         "cls.predictions.decoder.weight",
                                         "cls.predictions.bias",
                                         "cls.predictions.decoder.bias"};
static const family_words DISTILBERT_FAMILY = {
    "distilbert.",          &DISTIL_WORDS,         "vocab_transform.*",
    "vocab_transform",      "vocab_layer_norm",    "vocab_projector.weight",
    "vocab_projector.bias", "vocab_projector.bias"};
static const family_words ROBERTA_FAMILY = {
    "roberta.",      &BERT_WORDS,           "lm_head.*",
    "lm_head.dense", "lm_head.layer_norm",  "lm_head.decoder.weight",
    "lm_head.bias",  "lm_head.decoder.bias"};

static void bind_bert_like(binder *b, sp_model *m, bool need_decoder,
                           const family_words *w) {
  uint32_t d = m->config.hidden_size;
  char mark[NAME_MAX_BYTES];
  b->prefix = w->prefix;
  if (!has(b, "embeddings.word_embeddings.weight")) b->prefix = "";
  bind_embeddings(b, m);
  bind_layers(b, m, w->layers, true);
  b->prefix = "";
  snprintf(mark, sizeof mark, "%s.weight", w->transform);
  if (!wants_head(b, need_decoder, mark, w->head)) return;
  take_linear(b, w->transform, d, d, true, &m->transform);
  take_norm(b, w->norm, d, true, &m->transform_norm);
  take_decoder(b, m, w->decoder, w->bias, w->other_bias);
}

static void bind_mistral(binder *b, sp_model *m, bool need_decoder) {
  const sp_model_config *c = &m->config;
  b->prefix = sp_tensors_find(b->t, "model.embed_tokens.weight") ? "model." : "";
  take(b, "embed_tokens.weight", c->vocab_size, c->hidden_size, &m->word);
  bind_layers(b, m, &MISTRAL_WORDS, false);
  take_norm(b, "norm", c->hidden_size, false, &m->final_norm);
  m->final_norm.rms = true;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    sp_layer *l = &m->layers[i];
    l->attn_norm.rms = l->mlp_norm.rms = true;
    l->window = c->window;
    l->rope_theta = c->rope_theta;
  }
  b->prefix = "";
  if (b->err || (!c->tied && !wants_head(b, need_decoder, "lm_head.weight", "lm_head.*")))
    return;
  take_decoder(b, m, "lm_head.weight", NULL, NULL);
}

/* Wqkv holds q, k and v one below the other, Wi the gated half above the other. */
static void bind_modernbert_layer(binder *b, sp_model *m, uint32_t i) {
  const sp_model_config *c = &m->config;
  uint32_t d = c->hidden_size, f = c->intermediate_size, inner = c->n_heads * c->head_dim;
  sp_layer *l = &m->layers[i];
  snprintf(b->scope, sizeof b->scope, "layers.%u.", i);
  sp_linear qkv = {0}, in = {0};
  if (i) take_norm(b, "attn_norm", d, false, &l->attn_norm);
  take_linear(b, "attn.Wqkv", 3 * inner, d, false, &qkv);
  take_linear(b, "attn.Wo", d, inner, false, &l->o);
  take_norm(b, "mlp_norm", d, false, &l->mlp_norm);
  take_linear(b, "mlp.Wi", 2 * f, d, false, &in);
  take_linear(b, "mlp.Wo", d, f, false, &l->down);
  if (b->err) return;
  sp_linear *parts[] = {&l->q, &l->k, &l->v};
  for (uint32_t p = 0; p < 3; p++)
    parts[p]->weight = part_of(&qkv.weight, p * inner, inner);
  l->gate.weight = part_of(&in.weight, 0, f);
  l->up.weight = part_of(&in.weight, f, f);
  if (qkv.bias.data || in.bias.data)
    b->err =
        sp_fail(SP_EFORMAT, "%s: biases in ModernBERT's fused layers are not supported",
                sp_tensors_path(b->t));
  bool global = c->layer_types ? c->layer_types[i] == 'g' : i % c->global_every == 0;
  l->window = global ? 0 : c->window;
  l->rope_theta = global ? c->rope_theta : c->rope_theta_local;
}

static void bind_modernbert(binder *b, sp_model *m, bool need_decoder) {
  const sp_model_config *c = &m->config;
  uint32_t d = c->hidden_size;
  b->prefix =
      sp_tensors_find(b->t, "model.embeddings.tok_embeddings.weight") ? "model." : "";
  take(b, "embeddings.tok_embeddings.weight", c->vocab_size, d, &m->word);
  take_norm(b, "embeddings.norm", d, false, &m->embedding_norm);
  for (uint32_t i = 0; i < c->n_layers && !b->err; i++) bind_modernbert_layer(b, m, i);
  b->scope[0] = '\0';
  take_norm(b, "final_norm", d, false, &m->final_norm);
  b->prefix = "";
  if (!wants_head(b, need_decoder, "head.dense.weight", "head.*, decoder.*")) return;
  take_linear(b, "head.dense", d, d, false, &m->transform);
  take_norm(b, "head.norm", d, false, &m->transform_norm);
  bool bias = !c->no_decoder_bias && has(b, "decoder.bias");
  take_decoder(b, m, "decoder.weight", bias ? "decoder.bias" : NULL, "decoder.bias");
}

sp_err sp_model_bind(sp_model *m, const sp_tensors *t, bool need_decoder) {
  binder b = {.t = t, .prefix = ""};
  m->layers = calloc(m->config.n_layers, sizeof *m->layers);
  if (!m->layers) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
  switch (m->config.architecture) {
    case SP_BERT:
      bind_bert_like(&b, m, need_decoder, &BERT_FAMILY);
      break;
    case SP_DISTILBERT:
      bind_bert_like(&b, m, need_decoder, &DISTILBERT_FAMILY);
      break;
    case SP_ROBERTA:
      bind_bert_like(&b, m, need_decoder, &ROBERTA_FAMILY);
      break;
    case SP_MISTRAL:
      m->pre_norm = true;
      m->causal = m->config.causal;
      bind_mistral(&b, m, need_decoder);
      break;
    case SP_MODERNBERT:
      m->pre_norm = true;
      bind_modernbert(&b, m, need_decoder);
      break;
  }
  return b.err;
}
