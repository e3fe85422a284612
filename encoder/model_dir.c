/* encoder/model_dir.c - a directory as hubs ship it becomes a model.
 *
 *   config.json, model.safetensors (or shards), tokenizer.json or vocab.txt
 *   tokenizer_config.json, sentence_bert_config.json        the longest input
 *   config_sentence_transformers.json                       prompts, max_active_dims
 *   modules.json, router_config.json and module folders     see encoder/model_modules.c
 *   idf.json or query_token_weights.txt                     queries without a network
 *   adapter_config.json, adapter_model.safetensors          see encoder/model_lora.c
 *   spindle.json                                            what no other file tells:
 *     "input": "echo", "template", "pool": "second", "max_text_tokens"  (echo embeddings)
 *     "pooling_strategy", "activation_function"             as in SpladePooling
 *     "token_vectors": {"input": "mlm_transform" | "last_hidden", "projection": folder,
 *                       "dim", "normalize": "l2"}
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "encoder/model_parts.h"

enum { MAX_JSON_BYTES = 16 << 20 };

static sp_err out_of_memory(const sp_model *m) {
  return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
}

char *sp_path_if_exists(const char *dir, const char *name, sp_err *err) {
  char *path = sp_path_join(dir, name);
  if (!path) {
    *err = SP_ENOMEM;
  } else if (!sp_path_exists(path)) {
    free(path);
    path = NULL;
  }
  return path;
}

/* The file's JSON and path, or NULL where there is no such file. Whole numbers come in as
 * doubles where `big`: tokenizer_config.json may say 10^30. */
static sp_err load_if_exists(const char *dir, const char *name, bool big, char **path,
                             json_t **out) {
  *out = NULL;
  sp_err err = SP_OK;
  *path = sp_path_if_exists(dir, name, &err);
  if (err || !*path) return err;
  if (!big) return sp_json_load_file(*path, MAX_JSON_BYTES, out);
  char *text;
  size_t n;
  err = sp_file_read(*path, MAX_JSON_BYTES, &text, &n);
  if (err) return err;
  json_error_t e;
  *out = json_loadb(text, n, JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &e);
  if (!*out) err = sp_fail(SP_EFORMAT, "%s:%d: not JSON: %s", *path, e.line, e.text);
  free(text);
  return err;
}

/* config_sentence_transformers.json: the prompt of each side, under the names that
 * sentence-transformers looks for, in its order. */
static sp_err read_prompt(const json_t *o, const char *where, const char *const *names,
                          char **out) {
  const json_t *prompts = json_object_get(o, "prompts");
  const char *prompt = NULL, *fallback = NULL;
  for (; *names && !prompt; names++) {
    sp_err err = sp_json_get_string(prompts, *names, where, &prompt);
    if (err) return err;
  }
  sp_err err = sp_json_get_string(o, "default_prompt_name", where, &fallback);
  if (!err && !prompt && fallback)
    err = sp_json_get_string(prompts, fallback, where, &prompt);
  if (err) return err;
  *out = strdup(prompt ? prompt : "");
  return *out ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", where);
}

static sp_err read_prompts(sp_model *m) {
  static const char *const DOCUMENT[] = {"document", "passage", "corpus", NULL};
  static const char *const QUERY[] = {"query", NULL};
  char *path;
  json_t *o;
  sp_err err =
      load_if_exists(m->dir, "config_sentence_transformers.json", false, &path, &o);
  const char *where = path ? path : m->dir;
  if (!err) err = read_prompt(o, where, DOCUMENT, &m->document_prompt);
  if (!err) err = read_prompt(o, where, QUERY, &m->query_prompt);
  if (!err)
    err =
        sp_json_get_u32(o, "max_active_dims", where, 1, UINT32_MAX, &m->max_active_dims);
  json_decref(o);
  free(path);
  return err;
}

static sp_err read_expansion(sp_model *m, const char *path, const json_t *o) {
  sp_token_projection *t = &m->tokens;
  const json_t *e = json_object_get(o, "query_expansion");
  sp_err err =
      sp_json_get_u32(o, "document_length", path, 1, m->max_length, &t->document_length);
  if (err || !e || json_is_null(e)) return err;
  const char *strategy = "fixed", *token = NULL;
  err = sp_json_get_string(e, "strategy", path, &strategy);
  if (!err) err = sp_json_get_string(e, "token", path, &token);
  if (!err && (strcmp(strategy, "fixed") || token))
    err = sp_fail(SP_EFORMAT,
                  "%s: query_expansion other than \"fixed\" with [MASK] is not "
                  "supported",
                  path);
  if (!err) err = sp_json_get_bool(e, "attend", path, &t->attend_to_fill);
  if (!err) err = sp_json_get_u32(e, "length", path, 1, m->max_length, &t->query_length);
  return err;
}

/* The longest input: max_seq_length where the directory says it, else the tokenizer's
 * model_max_length; never more than the network has positions for. */
static sp_err read_lengths(sp_model *m, const char *dir) {
  char *path = NULL, *tokenizer_path = NULL;
  json_t *o = NULL, *tokenizer = NULL;
  uint32_t positions = m->config.max_positions;
  m->max_length = positions;
  uint32_t seq_length = 0;
  double model_max = positions;
  sp_err err = load_if_exists(dir, "sentence_bert_config.json", false, &path, &o);
  if (!err)
    err = load_if_exists(dir, "tokenizer_config.json", true, &tokenizer_path, &tokenizer);
  if (!err) err = sp_json_get_u32(o, "max_seq_length", path, 1, UINT32_MAX, &seq_length);
  if (!err)
    err = sp_json_get_double(tokenizer, "model_max_length", tokenizer_path, 1, 1e300,
                             &model_max);
  double limit = seq_length ? seq_length : model_max;
  if (limit < positions) m->max_length = (uint32_t)limit;
  if (!err) err = read_expansion(m, path, o);
  json_decref(o);
  json_decref(tokenizer);
  free(path);
  free(tokenizer_path);
  return err;
}

static sp_err read_tokenizer_path(sp_model *m, const char *dir, char **out) {
  sp_err err = SP_OK;
  *out = sp_path_if_exists(dir, "tokenizer.json", &err);
  sp_architecture a = m->config.architecture;
  if (!err && !*out && (a == SP_BERT || a == SP_DISTILBERT))
    *out = sp_path_if_exists(dir, "vocab.txt", &err);
  return err;
}

/* The projection in `dir`: "linear.weight" [dim, D], with a bias or without. */
static sp_err bind_projection(sp_model *m, const char *dir) {
  sp_tensors *t;
  sp_err err = sp_model_add_file(m, dir, NULL, &t);
  if (err) return err;
  const sp_tensor *w = sp_tensors_find(t, "linear.weight");
  if (!w || w->n_dims != 2 || w->shape[0] < 1 || w->shape[0] > 1 << 16)
    return sp_fail(SP_EFORMAT, "%s: linear.weight is no matrix [dim, hidden_size]",
                   sp_tensors_path(t));
  uint32_t dim = (uint32_t)w->shape[0];
  sp_linear *l = &m->tokens.linear;
  err = sp_matrix_bind(t, "linear.weight", dim, m->config.hidden_size, &l->weight);
  if (!err && sp_tensors_find(t, "linear.bias"))
    err = sp_matrix_bind(t, "linear.bias", 1, dim, &l->bias);
  return err;
}

static sp_err read_token_vectors(sp_model *m, const char *where, const json_t *o) {
  const char *input = "last_hidden", *folder = NULL, *normalize = NULL;
  uint32_t dim = 0;
  sp_err err = sp_json_get_string(o, "input", where, &input);
  if (!err) err = sp_json_need_string(o, "projection", where, &folder);
  if (!err) err = sp_json_get_string(o, "normalize", where, &normalize);
  if (!err) err = sp_json_get_u32(o, "dim", where, 1, 1 << 16, &dim);
  if (err) return err;
  if (strcmp(input, "last_hidden") && strcmp(input, "mlm_transform"))
    return sp_fail(SP_EFORMAT, "%s: the token_vectors input %.100s is not supported",
                   where, input);
  if (normalize && strcmp(normalize, "l2"))
    return sp_fail(SP_EFORMAT, "%s: normalize %.100s is not supported", where, normalize);
  if (strchr(folder, '/') || *folder == '.' || !*folder)
    return sp_fail(SP_EFORMAT,
                   "%s: the projection %.100s is not a folder of the directory", where,
                   folder);
  m->tokens.input = strcmp(input, "last_hidden") ? SP_FROM_TRANSFORM : SP_FROM_HIDDEN;
  m->tokens.l2 = normalize != NULL;
  if (m->tokens.input == SP_FROM_TRANSFORM && !m->transform.weight.data)
    return sp_fail(SP_EFORMAT, "%s: the model has no mlm_transform", where);
  char *dir = sp_path_join(m->dir, folder);
  err = dir ? bind_projection(m, dir) : SP_ENOMEM;
  free(dir);
  if (!err && dim && dim != m->tokens.linear.weight.rows)
    err = sp_fail(SP_EFORMAT, "%s: dim is %u, the projection has %u rows", where, dim,
                  m->tokens.linear.weight.rows);
  return err;
}

static sp_err read_echo(sp_model *m, const char *where, const json_t *o) {
  const char *template = NULL, *pool = "second";
  m->echo.max_text_tokens = m->max_length;
  sp_err err = sp_json_need_string(o, "template", where, &template);
  if (!err) err = sp_json_get_string(o, "pool", where, &pool);
  if (!err)
    err = sp_json_get_u32(o, "max_text_tokens", where, 1, m->config.max_positions,
                          &m->echo.max_text_tokens);
  if (err) return err;
  if (strcmp(pool, "second"))
    return sp_fail(SP_EFORMAT, "%s: the pool %.100s is not supported", where, pool);
  uint32_t n = 0;
  for (const char *p = template; (p = strstr(p, "{text}")); p += 6) n++;
  if (n != 2)
    return sp_fail(SP_EFORMAT, "%s: the template holds {text} %u times, expected 2",
                   where, n);
  m->echo.template_text = strdup(template);
  return m->echo.template_text ? SP_OK : out_of_memory(m);
}

static sp_err read_spindle_json(sp_model *m) {
  char *path;
  json_t *o;
  sp_err err = load_if_exists(m->dir, "spindle.json", false, &path, &o);
  const char *input = "plain", *pooling = "max", *activation = NULL;
  if (!err && !o) goto done;
  if (!err) err = sp_json_get_string(o, "input", path, &input);
  if (!err) err = sp_json_get_string(o, "pooling_strategy", path, &pooling);
  if (!err) err = sp_json_get_string(o, "activation_function", path, &activation);
  if (err) goto done;
  if (strcmp(input, "plain") && strcmp(input, "echo"))
    err = sp_fail(SP_EFORMAT, "%s: the input %.100s is not supported", path, input);
  else if (strcmp(pooling, "max"))
    err = sp_fail(SP_EFORMAT, "%s: the pooling_strategy %.100s is not supported", path,
                  pooling);
  else if (activation && strcmp(activation, "relu") && strcmp(activation, "log1p_relu"))
    err = sp_fail(SP_EFORMAT, "%s: the activation_function %.100s is not supported", path,
                  activation);
  else if (activation)
    m->log1p_times = strcmp(activation, "relu") ? 2 : 1;
  if (!err && !strcmp(input, "echo")) err = read_echo(m, path, o);
  const json_t *tokens = json_object_get(o, "token_vectors");
  if (!err && tokens && !json_is_null(tokens)) err = read_token_vectors(m, path, tokens);
done:
  json_decref(o);
  free(path);
  return err;
}

/* The table of a SparseStaticEmbedding: its tensor, else a JSON of words beside it. */
static sp_err bind_query_table(sp_model *m, const char *dir) {
  sp_err err = SP_OK;
  m->query_tokenizer_path = sp_path_if_exists(dir, "tokenizer.json", &err);
  char *tensor = err ? NULL : sp_path_if_exists(dir, "model.safetensors", &err);
  if (!err && !tensor) m->query_words_path = sp_path_if_exists(dir, "idf.json", &err);
  if (!err && !tensor && !m->query_words_path)
    m->query_words_path = sp_path_if_exists(m->dir, "idf.json", &err);
  sp_tensors *t = NULL;
  if (!err && (tensor || !m->query_words_path)) err = sp_model_add_file(m, dir, NULL, &t);
  free(tensor);
  if (err || !t) return err;
  const sp_tensor *w = sp_tensors_find(t, "weight");
  if (w && w->n_dims == 1 && w->shape[0] != m->config.vocab_size)
    return sp_fail(SP_EFORMAT, "%s: the query table has %llu weights, the vocabulary %u",
                   sp_tensors_path(t), (unsigned long long)w->shape[0],
                   m->config.vocab_size);
  return sp_matrix_bind(t, "weight", 1, m->config.vocab_size, &m->query_table);
}

/* A plain directory's table of words. */
static sp_err find_query_words(sp_model *m) {
  sp_err err = SP_OK;
  m->query_words_path = sp_path_if_exists(m->dir, "idf.json", &err);
  if (!err && !m->query_words_path)
    m->query_words_path = sp_path_if_exists(m->dir, "query_token_weights.txt", &err);
  return err;
}

static sp_err read_network(sp_model *m, const sp_layout *layout) {
  char *path = sp_path_join(layout->transformer_dir, "config.json");
  sp_err err = path ? sp_model_config_load(path, &m->config) : SP_ENOMEM;
  free(path);
  sp_tensors *weights = NULL;
  if (!err) err = read_lengths(m, layout->transformer_dir);
  if (!err) err = sp_model_add_file(m, layout->transformer_dir, NULL, &weights);
  if (!err) err = sp_model_bind(m, weights, layout->has_pooling);
  if (err || !layout->has_pooling) m->decoder = (sp_linear){0};
  if (!err) err = read_tokenizer_path(m, layout->transformer_dir, &m->tokenizer_path);
  return err;
}

static sp_err read_directory(sp_model *m) {
  sp_layout layout;
  sp_err err = sp_layout_read(m, &layout);
  if (err) return err;
  err = read_network(m, &layout);
  if (!err && layout.dense_dir) err = bind_projection(m, layout.dense_dir);
  if (!err) err = read_prompts(m);
  if (!err) err = read_spindle_json(m);
  if (!err && layout.query_table_dir)
    err = bind_query_table(m, layout.query_table_dir);
  else if (!err)
    err = find_query_words(m);
  sp_layout_free(&layout);
  return err;
}

static sp_err is_adapter(const char *dir, bool *yes) {
  sp_err err = SP_OK;
  char *config = sp_path_if_exists(dir, "adapter_config.json", &err);
  char *weights = sp_path_if_exists(dir, "model.safetensors", &err);
  if (!weights) weights = sp_path_if_exists(dir, "model.safetensors.index.json", &err);
  *yes = config && !weights;
  free(config);
  free(weights);
  return err;
}

static sp_err open_base(const char *dir, sp_model **out) {
  sp_model *m = calloc(1, sizeof *m);
  if (m) m->dir = strdup(dir);
  if (!m || !m->dir) {
    free(m);
    return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  }
  sp_err err = read_directory(m);
  if (err)
    sp_model_close(m);
  else
    *out = m;
  return err;
}

/* The base, then the adapter on it; the adapter's own tokenizer where it brings one. */
static sp_err open_adapter(const char *dir, sp_model **out) {
  char *base = NULL;
  bool again = false;
  sp_err err = sp_lora_base(dir, &base);
  if (!err) err = is_adapter(base, &again);
  if (!err && again)
    err = sp_fail(SP_EFORMAT, "%s: its base model is an adapter itself", dir);
  sp_model *m = NULL;
  if (!err) err = open_base(base, &m);
  if (!err) err = sp_lora_apply(m, dir);
  char *own = err ? NULL : sp_path_if_exists(dir, "tokenizer.json", &err);
  if (own) {
    free(m->tokenizer_path);
    m->tokenizer_path = own;
  }
  free(base);
  if (err)
    sp_model_close(m);
  else
    *out = m;
  return err;
}

sp_err sp_model_open(const char *dir, sp_model **out) {
  *out = NULL;
  if (!sp_path_is_dir(dir))
    return sp_fail(SP_ENOTFOUND, "%s: there is no such model directory", dir);
  bool adapter;
  sp_err err = is_adapter(dir, &adapter);
  if (!err) err = adapter ? open_adapter(dir, out) : open_base(dir, out);
  if (err) return err;
  if (!(*out)->tokenizer_path) {
    err = sp_fail(SP_ENOTFOUND, "%s/tokenizer.json: the file is missing", (*out)->dir);
    sp_model_close(*out);
    *out = NULL;
  }
  return err;
}
