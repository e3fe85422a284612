/* encoder/model_config.c - the words of five families for the same few numbers. */
#include "encoder/model_config.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

enum {
  MAX_CONFIG_BYTES = 4 << 20,
  MAX_VOCAB = 1 << 24,
  MAX_HIDDEN = 1 << 16,
  MAX_INTERMEDIATE = 1 << 20,
  MAX_HEADS = 1 << 12,
  MAX_LAYERS = 1 << 10,
  MAX_POSITIONS = 1 << 24
};

static const struct {
  const char *name;
  sp_architecture architecture;
} ARCHITECTURES[] = {{"BertForMaskedLM", SP_BERT},
                     {"BertForPreTraining", SP_BERT},
                     {"BertModel", SP_BERT},
                     {"DistilBertForMaskedLM", SP_DISTILBERT},
                     {"DistilBertModel", SP_DISTILBERT},
                     {"RobertaForMaskedLM", SP_ROBERTA},
                     {"RobertaModel", SP_ROBERTA},
                     {"XLMRobertaForMaskedLM", SP_ROBERTA},
                     {"XLMRobertaModel", SP_ROBERTA},
                     {"CamembertForMaskedLM", SP_ROBERTA},
                     {"CamembertModel", SP_ROBERTA},
                     {"MistralForCausalLM", SP_MISTRAL},
                     {"ModernBertForMaskedLM", SP_MODERNBERT},
                     {"ModernBertModel", SP_MODERNBERT}},
  MODEL_TYPES[] = {{"bert", SP_BERT},        {"distilbert", SP_DISTILBERT},
                   {"roberta", SP_ROBERTA},  {"xlm-roberta", SP_ROBERTA},
                   {"mistral", SP_MISTRAL},  {"modernbert", SP_MODERNBERT},
                   {"camembert", SP_ROBERTA}};

static const struct {
  const char *name;
  sp_activation activation;
} ACTIVATIONS[] = {{"gelu", SP_GELU_ERF},
                   {"gelu_python", SP_GELU_ERF},
                   {"gelu_new", SP_GELU_TANH},
                   {"gelu_fast", SP_GELU_TANH},
                   {"gelu_pytorch_tanh", SP_GELU_TANH},
                   {"relu", SP_RELU},
                   {"silu", SP_SILU},
                   {"swish", SP_SILU}};

const char *sp_architecture_name(sp_architecture a) {
  switch (a) {
    case SP_BERT:
      return "bert";
    case SP_DISTILBERT:
      return "distilbert";
    case SP_ROBERTA:
      return "roberta";
    case SP_MISTRAL:
      return "mistral";
    case SP_MODERNBERT:
      return "modernbert";
  }
  return "unknown";
}

const char *sp_activation_name(sp_activation a) {
  switch (a) {
    case SP_GELU_ERF:
      return "gelu";
    case SP_GELU_TANH:
      return "gelu_tanh";
    case SP_RELU:
      return "relu";
    case SP_SILU:
      return "silu";
  }
  return "unknown";
}

static sp_err find_architecture(const json_t *o, const char *where,
                                sp_architecture *out) {
  const char *name =
      json_string_value(json_array_get(json_object_get(o, "architectures"), 0));
  if (name) {
    for (size_t i = 0; i < sizeof ARCHITECTURES / sizeof *ARCHITECTURES; i++)
      if (!strcmp(ARCHITECTURES[i].name, name)) {
        *out = ARCHITECTURES[i].architecture;
        return SP_OK;
      }
    return sp_fail(SP_EFORMAT, "%s: the architecture %.100s is not supported", where,
                   name);
  }
  sp_err err = sp_json_get_string(o, "model_type", where, &name);
  if (err) return err;
  if (!name)
    return sp_fail(SP_EFORMAT, "%s: neither architectures nor model_type is there",
                   where);
  for (size_t i = 0; i < sizeof MODEL_TYPES / sizeof *MODEL_TYPES; i++)
    if (!strcmp(MODEL_TYPES[i].name, name)) {
      *out = MODEL_TYPES[i].architecture;
      return SP_OK;
    }
  return sp_fail(SP_EFORMAT, "%s: the model_type %.100s is not supported", where, name);
}

static sp_err get_activation(const json_t *o, const char *key, const char *where,
                             sp_activation *out) {
  const char *name = NULL;
  sp_err err = sp_json_get_string(o, key, where, &name);
  if (err || !name) return err;
  for (size_t i = 0; i < sizeof ACTIVATIONS / sizeof *ACTIVATIONS; i++)
    if (!strcmp(ACTIVATIONS[i].name, name)) {
      *out = ACTIVATIONS[i].activation;
      return SP_OK;
    }
  return sp_fail(SP_EFORMAT, "%s: the activation %.100s (%s) is not supported", where,
                 name, key);
}

static sp_err get_float(const json_t *o, const char *key, const char *where, double max,
                        float *out) {
  double x = *out;
  sp_err err = sp_json_get_double(o, key, where, 0, max, &x);
  *out = (float)x;
  return err;
}

/* A flag that only one value of is computed right. */
static sp_err want_bool(const json_t *o, const char *key, const char *where,
                        bool wanted) {
  bool given = wanted;
  sp_err err = sp_json_get_bool(o, key, where, &given);
  if (!err && given != wanted)
    err = sp_fail(SP_EFORMAT, "%s: %s %s is not supported", where, key,
                  given ? "true" : "false");
  return err;
}

/* The shape, under BERT's names or DistilBERT's. */
typedef struct shape_words {
  const char *hidden, *layers, *heads, *intermediate, *activation;
} shape_words;
static const shape_words COMMON = {"hidden_size", "num_hidden_layers",
                                   "num_attention_heads", "intermediate_size",
                                   "hidden_act"};
static const shape_words DISTIL = {"dim", "n_layers", "n_heads", "hidden_dim",
                                   "activation"};
static const shape_words MODERN = {"hidden_size", "num_hidden_layers",
                                   "num_attention_heads", "intermediate_size",
                                   "hidden_activation"};

static sp_err parse_shape(const json_t *o, const char *where, const shape_words *w,
                          sp_model_config *c) {
  sp_err err = sp_json_need_u32(o, "vocab_size", where, 1, MAX_VOCAB, &c->vocab_size);
  if (!err) err = sp_json_need_u32(o, w->hidden, where, 1, MAX_HIDDEN, &c->hidden_size);
  if (!err) err = sp_json_need_u32(o, w->layers, where, 1, MAX_LAYERS, &c->n_layers);
  if (!err) err = sp_json_need_u32(o, w->heads, where, 1, MAX_HEADS, &c->n_heads);
  if (!err)
    err = sp_json_need_u32(o, w->intermediate, where, 1, MAX_INTERMEDIATE,
                           &c->intermediate_size);
  if (!err)
    err = sp_json_need_u32(o, "max_position_embeddings", where, 1, MAX_POSITIONS,
                           &c->max_positions);
  if (!err) err = get_activation(o, w->activation, where, &c->activation);
  if (!err) err = sp_json_get_bool(o, "tie_word_embeddings", where, &c->tied);
  if (err) return err;
  c->head_activation = c->activation;
  c->n_kv_heads = c->n_heads;
  bool own_head_dim =
      c->architecture == SP_MISTRAL && json_is_integer(json_object_get(o, "head_dim"));
  if (!own_head_dim && c->hidden_size % c->n_heads)
    return sp_fail(SP_EFORMAT, "%s: %s %u is not a multiple of %s %u", where, w->hidden,
                   c->hidden_size, w->heads, c->n_heads);
  c->head_dim = c->hidden_size / c->n_heads;
  return SP_OK;
}

static sp_err parse_bert(const json_t *o, const char *where, sp_model_config *c) {
  c->n_position_rows = c->max_positions;
  c->n_types = 2;
  const char *kind = NULL;
  sp_err err = sp_json_get_string(o, "position_embedding_type", where, &kind);
  if (!err && kind && strcmp(kind, "absolute"))
    err = sp_fail(SP_EFORMAT, "%s: position_embedding_type %.100s is not supported",
                  where, kind);
  if (!err) err = want_bool(o, "is_decoder", where, false);
  if (!err) err = get_float(o, "layer_norm_eps", where, 1, &c->norm_eps);
  if (!err) err = sp_json_get_u32(o, "type_vocab_size", where, 1, 1 << 16, &c->n_types);
  if (!err)
    err = sp_json_get_u32(o, "pad_token_id", where, 0, c->vocab_size - 1, &c->pad_id);
  if (err || c->architecture != SP_ROBERTA) return err;
  if (c->max_positions <= c->pad_id + 1)
    return sp_fail(SP_EFORMAT,
                   "%s: max_position_embeddings %u leaves no position after %u", where,
                   c->max_positions, c->pad_id);
  c->max_positions -= c->pad_id + 1;
  c->head_activation = SP_GELU_ERF; /* RobertaLMHead asks no config */
  return SP_OK;
}

/* One set of RoPE words: {"rope_theta": .., "rope_type": ..}. */
static sp_err parse_rope(const json_t *o, const char *where, float *theta) {
  if (!o || json_is_null(o)) return SP_OK;
  if (!json_is_object(o))
    return sp_fail(SP_EFORMAT, "%s: the RoPE parameters are not an object", where);
  const char *type = NULL;
  sp_err err = sp_json_get_string(o, "rope_type", where, &type);
  if (!err && !type) err = sp_json_get_string(o, "type", where, &type);
  if (!err && type && strcmp(type, "default"))
    err = sp_fail(SP_EFORMAT, "%s: the rope_type %.100s is not supported", where, type);
  float part = 1; /* of each head that is turned */
  if (!err) err = get_float(o, "partial_rotary_factor", where, 1, &part);
  if (!err && part != 1)
    err = sp_fail(SP_EFORMAT, "%s: partial_rotary_factor %g is not supported", where,
                  (double)part);
  return err ? err : get_float(o, "rope_theta", where, 1e12, theta);
}

static sp_err check_rope(const char *where, sp_model_config *c) {
  if (c->rope_theta < 1 || c->rope_theta_local < 1)
    return sp_fail(SP_EFORMAT, "%s: rope_theta must be at least 1", where);
  if (c->head_dim % 2)
    return sp_fail(SP_EFORMAT, "%s: head_dim %u is odd: RoPE turns pairs", where,
                   c->head_dim);
  return SP_OK;
}

static sp_err parse_mistral(const json_t *o, const char *where, sp_model_config *c) {
  c->rope_theta = 10000;
  c->n_kv_heads = 8;
  c->causal = true;
  c->window = 4096; /* transformers' defaults for a config that says nothing */
  const json_t *window = json_object_get(o, "sliding_window");
  if (json_is_null(window)) c->window = 0;
  sp_err err = sp_json_get_u32(o, "sliding_window", where, 1, MAX_POSITIONS, &c->window);
  if (!err)
    err = sp_json_get_u32(o, "num_key_value_heads", where, 1, MAX_HEADS, &c->n_kv_heads);
  if (!err) err = sp_json_get_u32(o, "head_dim", where, 1, MAX_HIDDEN, &c->head_dim);
  if (!err) err = sp_json_get_bool(o, "is_causal", where, &c->causal);
  if (!err) err = get_float(o, "rms_norm_eps", where, 1, &c->norm_eps);
  if (!err) err = get_float(o, "rope_theta", where, 1e12, &c->rope_theta);
  if (!err) err = parse_rope(json_object_get(o, "rope_scaling"), where, &c->rope_theta);
  if (!err)
    err = parse_rope(json_object_get(o, "rope_parameters"), where, &c->rope_theta);
  if (err) return err;
  if (c->n_heads % c->n_kv_heads)
    return sp_fail(
        SP_EFORMAT,
        "%s: num_attention_heads %u is not a multiple of num_key_value_heads %u", where,
        c->n_heads, c->n_kv_heads);
  c->rope_theta_local = c->rope_theta;
  return check_rope(where, c);
}

static sp_err parse_layer_types(const json_t *o, const char *where, sp_model_config *c) {
  const json_t *types = json_object_get(o, "layer_types");
  if (!types || json_is_null(types)) return SP_OK;
  if (json_array_size(types) != c->n_layers)
    return sp_fail(SP_EFORMAT, "%s: layer_types is not an array of num_hidden_layers %u",
                   where, c->n_layers);
  char *kinds = malloc(c->n_layers);
  if (!kinds) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  c->layer_types = kinds;
  for (size_t i = 0; i < c->n_layers; i++) {
    const char *type = json_string_value(json_array_get(types, i));
    if (type && !strcmp(type, "full_attention"))
      kinds[i] = 'g';
    else if (type && !strcmp(type, "sliding_attention"))
      kinds[i] = 'l';
    else
      return sp_fail(SP_EFORMAT, "%s: layer_types[%zu] (%.100s) is not supported", where,
                     i, type ? type : "not a string");
  }
  return SP_OK;
}

static sp_err parse_modernbert(const json_t *o, const char *where, sp_model_config *c) {
  c->rope_theta = 160000;
  c->rope_theta_local = 10000;
  c->global_every = 3;
  uint32_t both_sides = 128; /* how wide the local window is in all */
  sp_err err =
      sp_json_get_u32(o, "local_attention", where, 2, MAX_POSITIONS, &both_sides);
  if (!err)
    err = sp_json_get_u32(o, "global_attn_every_n_layers", where, 1, MAX_LAYERS,
                          &c->global_every);
  bool decoder_bias = true;
  if (!err) err = sp_json_get_bool(o, "decoder_bias", where, &decoder_bias);
  c->no_decoder_bias = !decoder_bias;
  if (!err) err = get_float(o, "norm_eps", where, 1, &c->norm_eps);
  if (!err) err = get_activation(o, "classifier_activation", where, &c->head_activation);
  if (!err) err = get_float(o, "global_rope_theta", where, 1e12, &c->rope_theta);
  c->rope_theta_local = 10000;
  if (!err) err = get_float(o, "local_rope_theta", where, 1e12, &c->rope_theta_local);
  const json_t *rope = json_object_get(o, "rope_parameters");
  if (!err && (json_object_get(rope, "rope_theta") || json_object_get(rope, "rope_type")))
    err = sp_fail(SP_EFORMAT,
                  "%s: rope_parameters are not those of full_attention and "
                  "sliding_attention",
                  where);
  if (!err)
    err = parse_rope(json_object_get(rope, "full_attention"), where, &c->rope_theta);
  if (!err)
    err = parse_rope(json_object_get(rope, "sliding_attention"), where,
                     &c->rope_theta_local);
  if (!err) err = parse_layer_types(o, where, c);
  c->window = both_sides / 2;
  return err ? err : check_rope(where, c);
}

sp_err sp_model_config_parse(const json_t *o, const char *where, sp_model_config *out) {
  *out = (sp_model_config){.norm_eps = 1e-12f, .activation = SP_GELU_ERF, .tied = true};
  if (!json_is_object(o)) return sp_fail(SP_EFORMAT, "%s: not a JSON object", where);
  sp_err err = find_architecture(o, where, &out->architecture);
  if (err) return err;
  const shape_words *words = &COMMON;
  switch (out->architecture) {
    case SP_DISTILBERT:
      words = &DISTIL;
      break;
    case SP_MODERNBERT:
      words = &MODERN;
      out->norm_eps = 1e-5f;
      break;
    case SP_MISTRAL:
      out->norm_eps = 1e-6f;
      out->activation = SP_SILU;
      out->tied = false;
      break;
    case SP_ROBERTA:
      out->pad_id = 1;
      break;
    case SP_BERT:
      break;
  }
  err = parse_shape(o, where, words, out);
  if (err) return err;
  switch (out->architecture) {
    case SP_BERT:
    case SP_ROBERTA:
      err = parse_bert(o, where, out);
      break;
    case SP_DISTILBERT:
      out->n_position_rows = out->max_positions; /* sinusoidal ones lie in the file too */
      break;
    case SP_MISTRAL:
      err = parse_mistral(o, where, out);
      break;
    case SP_MODERNBERT:
      err = parse_modernbert(o, where, out);
      break;
  }
  if (err) sp_model_config_free(out);
  return err;
}

sp_err sp_model_config_load(const char *path, sp_model_config *out) {
  *out = (sp_model_config){0};
  json_t *o;
  sp_err err = sp_json_load_file(path, MAX_CONFIG_BYTES, &o);
  if (err) return err;
  err = sp_model_config_parse(o, path, out);
  json_decref(o);
  return err;
}

void sp_model_config_free(sp_model_config *c) {
  free((void *)(uintptr_t)c->layer_types);
  c->layer_types = NULL;
}
