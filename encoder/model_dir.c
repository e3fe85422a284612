/* encoder/model_dir.c - a directory as hubs ship it becomes a model.
 *
 *   config.json, model.safetensors (or shards), tokenizer.json or vocab.txt
 *   tokenizer_config.json, added_tokens.json                see encoder/tokenizer.h
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

static sp_err out_of_memory(const sp_model *m) {
  return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
}

/* "dir/name" of the model's own directory, else of its base's; NULL where neither has it. */
static char *find_file(const sp_model *m, const char *name, sp_err *err) {
  char *path = sp_path_if_exists(m->dir, name, err);
  if (!path && !*err && m->base_dir) path = sp_path_if_exists(m->base_dir, name, err);
  return path;
}

sp_err sp_model_load_json(const sp_model *m, const char *name, char **path,
                          json_t **out) {
  sp_err err = sp_json_load_beside(m->dir, name, false, path, out);
  if (err || *path || !m->base_dir) return err;
  return sp_json_load_beside(m->base_dir, name, false, path, out);
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
  char *dir = find_file(m, folder, &err);
  if (!err && !dir)
    err = sp_fail(SP_ENOTFOUND, "%s: the projection %.100s is not there", where, folder);
  if (!err) err = bind_projection(m, dir);
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
  sp_err err = sp_model_load_json(m, "spindle.json", &path, &o);
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
  double limit = UINT32_MAX; /* sentence-transformers takes the tokenizer's own alone */
  if (!err && m->query_tokenizer_path) {
    err = sp_model_max_length(dir, &limit);
    m->query_table_length = limit < UINT32_MAX ? (uint32_t)limit : UINT32_MAX;
  }
  char *tensor = err ? NULL : sp_path_if_exists(dir, "model.safetensors", &err);
  if (!err && !tensor) m->query_words_path = sp_path_if_exists(dir, "idf.json", &err);
  if (!err && !tensor && !m->query_words_path)
    m->query_words_path = find_file(m, "idf.json", &err);
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
  m->query_words_path = find_file(m, "idf.json", &err);
  if (!err && !m->query_words_path)
    m->query_words_path = find_file(m, "query_token_weights.txt", &err);
  return err;
}

static sp_err read_network(sp_model *m, const sp_layout *layout) {
  char *path = sp_path_join(layout->transformer_dir, "config.json");
  sp_err err = path ? sp_model_config_load(path, &m->config) : SP_ENOMEM;
  free(path);
  sp_tensors *weights = NULL;
  if (!err) err = sp_model_read_input(m, layout);
  if (!err) err = sp_model_add_file(m, layout->transformer_dir, NULL, &weights);
  if (!err) err = sp_model_bind(m, weights, layout->has_pooling);
  if (err || !layout->has_pooling) m->decoder = (sp_linear){0};
  return err;
}

/* What PEFT's loader takes for an adapter. Weights beside its config alone are a whole
 * model. */
static sp_err is_adapter(const char *dir, bool *yes) {
  sp_err err = SP_OK;
  char *config = sp_path_if_exists(dir, "adapter_config.json", &err);
  char *own = err ? NULL : sp_path_if_exists(dir, "adapter_model.safetensors", &err);
  char *weights = err ? NULL : sp_path_if_exists(dir, "model.safetensors", &err);
  if (!err && !weights)
    weights = sp_path_if_exists(dir, "model.safetensors.index.json", &err);
  *yes = config && (own || !weights);
  free(config);
  free(own);
  free(weights);
  return err;
}

/* The transformer's folder holds an adapter: its base has config.json and the weights. A
 * directory with modules.json says all else itself; one without takes its base's layout,
 * and from its base whatever file it lacks. */
static sp_err find_base(sp_model *m, sp_layout *layout) {
  char *base = NULL;
  bool again = false;
  sp_err err = sp_lora_base(layout->transformer_dir, &base);
  if (!err) err = is_adapter(base, &again);
  if (!err && again)
    err = sp_fail(SP_EFORMAT, "%s: its base model is an adapter itself",
                  layout->transformer_dir);
  if (err) {
    free(base);
    return err;
  }
  char *adapter = layout->transformer_dir;
  if (layout->own_modules) {
    layout->transformer_dir = base;
  } else {
    m->base_dir = base;
    layout->transformer_dir = NULL;
    sp_layout_free(layout);
    err = sp_layout_read(m, base, layout);
    layout->own_modules = false;
  }
  layout->adapter_dir = adapter;
  return err;
}

static sp_err read_directory(sp_model *m, sp_layout *layout) {
  bool adapter = false;
  sp_err err = sp_layout_read(m, m->dir, layout);
  if (!err) err = is_adapter(layout->transformer_dir, &adapter);
  if (!err && adapter) err = find_base(m, layout);
  if (!err) err = read_network(m, layout);
  if (!err && layout->dense_dir) err = bind_projection(m, layout->dense_dir);
  if (!err) err = read_spindle_json(m);
  if (!err && layout->query_table_dir)
    err = bind_query_table(m, layout->query_table_dir);
  else if (!err)
    err = find_query_words(m);
  if (!err && layout->adapter_dir) err = sp_lora_apply(m, layout->adapter_dir);
  if (!err && !m->tokenizer_path)
    err = sp_fail(SP_ENOTFOUND, "%s/tokenizer.json: the file is missing",
                  layout->transformer_dir);
  return err;
}

sp_err sp_model_open(const char *dir, sp_model **out) {
  *out = NULL;
  if (!sp_path_is_dir(dir))
    return sp_fail(SP_ENOTFOUND, "%s: there is no such model directory", dir);
  sp_model *m = calloc(1, sizeof *m);
  if (m) m->dir = strdup(dir);
  if (!m || !m->dir) {
    free(m);
    return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  }
  sp_layout layout = {0};
  sp_err err = read_directory(m, &layout);
  sp_layout_free(&layout);
  if (err)
    sp_model_close(m);
  else
    *out = m;
  return err;
}
