/* encoder/neural.c - the neural family: a model directory, a tokenizer, a backend. */
#include "encoder/neural.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static uint32_t vocab(const neural *e) {
  return e->model->config.vocab_size;
}

static void neural_free(sp_encoder *base) {
  neural *e = (neural *)base;
  if (e->backend) e->backend->ops->free(e->backend);
  for (int i = 0; i < N_SLOTS; i++) slot_state_free(&e->slots[i]);
  for (int i = 0; i < 4; i++) free(e->echo[i]);
  free(e->skipped);
  sp_query_table_free(&e->table);
  sp_tokenizer_free(e->own_query_tokenizer);
  sp_tokenizer_free(e->tokenizer);
  sp_model_close(e->model);
  sp_pool_free(e->pool);
  free(e->dir);
  free(e->idf);
  pthread_mutex_destroy(&e->pool_lock);
  pthread_mutex_destroy(&e->lock);
  pthread_cond_destroy(&e->run_ended);
  free(e);
}

static uint32_t neural_n_terms(const sp_encoder *base) {
  return vocab((const neural *)base);
}

static sp_err need_decoder(const neural *e) {
  if (e->model->decoder.weight.data) return SP_OK;
  return sp_fail(SP_EINVAL, "%s: the model gives token vectors only, no sparse vectors",
                 e->model->dir);
}

static sp_err table_queries(neural *e, const sp_text *texts, size_t n, sp_vec *out) {
  sp_err err = SP_OK;
  for (size_t i = 0; i < n && !err; i++) err = neural_table_query(e, &texts[i], &out[i]);
  return err;
}

static sp_err neural_encode(sp_encoder *base, sp_side side, const sp_text *texts,
                            size_t n, sp_vec *out) {
  neural *e = (neural *)base;
  sp_err err = need_decoder(e);
  if (err) return err;
  if (side == SP_QUERY && e->use_table) return table_queries(e, texts, n, out);
  wish w = {.side = side, .vectors = true};
  return neural_run(e, &w, texts, n, out, NULL);
}

static uint32_t neural_window(const sp_encoder *base) {
  return ((const neural *)base)->window;
}

static uint32_t neural_at_once(const sp_encoder *base) {
  const uint32_t n = ((const neural *)base)->backend->at_once;
  return n < DOCUMENT_RUNS ? n : DOCUMENT_RUNS;
}

static uint32_t neural_token_dim(const sp_encoder *base) {
  return ((const neural *)base)->model->tokens.linear.weight.rows;
}

static sp_err neural_encode_tokens(sp_encoder *base, sp_side side, const sp_text *texts,
                                   size_t n, sp_vec *vectors, sp_token_rows *out) {
  neural *e = (neural *)base;
  sp_err err = vectors ? need_decoder(e) : SP_OK;
  if (err) return err;
  bool table = vectors && side == SP_QUERY && e->use_table;
  wish w = {.side = side, .tokens = true, .vectors = vectors && !table};
  err = neural_run(e, &w, texts, n, table ? NULL : vectors, out);
  return !err && table ? table_queries(e, texts, n, vectors) : err;
}

static bool neural_query_weights(const sp_encoder *base, float *weight) {
  const neural *e = (const neural *)base;
  if (!e->use_table) return false;
  memcpy(weight, e->table.weights, e->table.n_terms * sizeof *weight);
  return true;
}

static const char *neural_term(const sp_encoder *base, uint32_t term, size_t *n) {
  return sp_tokenizer_token(((const neural *)base)->tokenizer, term, n);
}

static json_t *hex(uint64_t h) {
  char text[17];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)h);
  return json_string(text);
}

static sp_err neural_contract(const sp_encoder *base, json_t **out) {
  const neural *e = (const neural *)base;
  const sp_model *m = e->model;
  json_t *o = json_object();
  int failed = !o;
  failed |= json_object_set_new(o, "family", json_string("neural"));
  failed |= json_object_set_new(
      o, "architecture", json_string(sp_architecture_name(m->config.architecture)));
  failed |= json_object_set_new(o, "weights", hex(e->model_hash));
  failed |= json_object_set_new(o, "tokenizer", hex(sp_tokenizer_hash(e->tokenizer)));
  if (e->table.weights && m->query_table_length && m->query_table_length != m->max_length)
    failed |=
        json_object_set_new(o, "query_table_length", json_integer(m->query_table_length));
  if (e->table.weights) {
    failed |= json_object_set_new(o, "query_table", hex(e->table.hash));
    failed |= json_object_set_new(o, "query_tokenizer",
                                  hex(sp_tokenizer_hash(e->query_tokenizer)));
  }
  failed |= json_object_set_new(o, "n_terms", json_integer(vocab(e)));
  failed |= json_object_set_new(o, "pooling", json_string("max"));
  failed |= json_object_set_new(
      o, "activation",
      json_string(m->log1p_times == 2 ? "log1p_log1p_relu" : "log1p_relu"));
  failed |= json_object_set_new(o, "max_length", json_integer(e->max_length));
  const bool sparse = m->decoder.weight.data; /* token vectors alone have no index */
  if (sparse && m->document_length)
    failed |= json_object_set_new(o, "document_length", json_integer(m->document_length));
  if (sparse && m->query_length)
    failed |= json_object_set_new(o, "query_length", json_integer(m->query_length));
  failed |= json_object_set_new(o, "top_k", json_integer(e->top_k));
  failed |= json_object_set_new(o, "threshold", json_real((double)e->threshold));
  failed |= json_object_set_new(o, "document_prompt", json_string(m->document_prompt));
  failed |= json_object_set_new(o, "query_prompt", json_string(m->query_prompt));
  if (m->echo.template_text) {
    failed |= json_object_set_new(o, "echo", json_string(m->echo.template_text));
    failed |=
        json_object_set_new(o, "echo_tokens", json_integer(m->echo.max_text_tokens));
  }
  if (failed) {
    json_decref(o);
    return sp_fail(SP_ENOMEM, "the encoder's contract: out of memory");
  }
  *out = o;
  return SP_OK;
}

/* {"dir", "idf", "max_length", "top_k", "threshold"}: what opens the same encoder again. */
static sp_err neural_save(const sp_encoder *base, sp_buf *out) {
  const neural *e = (const neural *)base;
  sp_err err = sp_buf_append_str(out, "{\"dir\":");
  if (!err) err = sp_json_put_string(out, e->dir, strlen(e->dir));
  if (!err && e->idf) err = sp_buf_append_str(out, ",\"idf\":");
  if (!err && e->idf) err = sp_json_put_string(out, e->idf, strlen(e->idf));
  if (!err)
    err = sp_buf_printf(out, ",\"max_length\":%u,\"top_k\":%u,\"threshold\":%.9g}",
                        e->max_length, e->top_k, (double)e->threshold);
  return err;
}

static const sp_encoder_ops NEURAL_OPS = {.tag = 'm',
                                          .free = neural_free,
                                          .n_terms = neural_n_terms,
                                          .encode = neural_encode,
                                          .term = neural_term,
                                          .contract = neural_contract,
                                          .save = neural_save,
                                          .query_weights = neural_query_weights,
                                          .window = neural_window,
                                          .at_once = neural_at_once,
                                          .token_dim = neural_token_dim,
                                          .encode_tokens = neural_encode_tokens};

/* A GPU where there is one, unless a precision is asked for that only the CPU has. */
static sp_err open_backend(neural *e, const sp_encoder_options *o) {
  const char *device = o->device ? o->device : "auto";
  const char *precision = o->precision ? o->precision : "auto";
  sp_backend_options b = {.precision = precision,
                          .n_threads = o->n_threads,
                          .max_tokens = o->batch_tokens,
                          .n_slots = N_SLOTS};
  bool any = !strcmp(device, "auto");
  if (!any && strcmp(device, "cpu") && strcmp(device, "cuda"))
    return sp_fail(SP_EINVAL, "the device \"%.50s\" is none of auto, cpu, cuda", device);
  bool cpu_only = !strcmp(precision, "f32") || !strcmp(precision, "int8");
  sp_err err = SP_ECUDA;
#ifdef SP_WITH_CUDA
  if (!strcmp(device, "cuda") || (any && !cpu_only))
    err = sp_cuda_backend_new(e->model, &b, &e->backend);
#else
  if (!strcmp(device, "cuda"))
    return sp_fail(SP_ECUDA, "this build of spindle has no CUDA: the device must be cpu");
#endif
  bool gpu_only = !strcmp(precision, "bf16") || !strcmp(precision, "f16");
  if (!strcmp(device, "cpu") || (any && err == SP_ECUDA && (cpu_only || !gpu_only)))
    err = sp_cpu_backend_new(e->model, &b, &e->backend);
  else if (any && err == SP_ECUDA)
    err = sp_fail(SP_EINVAL, "the precision %s needs a CUDA device, and there is none",
                  precision);
  return err;
}

static sp_err check_ids(const neural *e, const sp_tokenizer *t, const char *path) {
  if (sp_tokenizer_n_ids(t) <= vocab(e)) return SP_OK;
  size_t n = 0;
  uint32_t id = sp_tokenizer_n_ids(t) - 1;
  const char *token = sp_tokenizer_token(t, id, &n);
  return sp_fail(SP_EFORMAT,
                 "%s: the token %.*s has id %u, the model's embedding %u rows", path,
                 (int)(n < 100 ? n : 100), token ? token : "", id, vocab(e));
}

static sp_err open_tokenizers(neural *e) {
  const sp_model *m = e->model;
  sp_architecture a = m->config.architecture;
  const sp_tokenizer_wish rules = {.bert = a == SP_BERT || a == SP_DISTILBERT,
                                   .lowercase = m->lowercase};
  sp_err err = sp_tokenizer_open_for(m->tokenizer_path, &rules, &e->tokenizer);
  if (!err) err = check_ids(e, e->tokenizer, m->tokenizer_path);
  e->query_tokenizer = e->tokenizer;
  if (err || !m->query_tokenizer_path) return err;
  err = sp_tokenizer_open(m->query_tokenizer_path, &e->own_query_tokenizer);
  if (!err) err = check_ids(e, e->own_query_tokenizer, m->query_tokenizer_path);
  if (err) return err;
  if (sp_tokenizer_hash(e->own_query_tokenizer) != sp_tokenizer_hash(e->tokenizer)) {
    e->query_tokenizer = e->own_query_tokenizer;
  } else { /* the same once more: one is enough */
    sp_tokenizer_free(e->own_query_tokenizer);
    e->own_query_tokenizer = NULL;
  }
  return SP_OK;
}

static sp_err open_table(neural *e, const sp_encoder_options *o) {
  const sp_model *m = e->model;
  if (o->idf) {
    e->idf = realpath(o->idf, NULL);
    if (!e->idf) return sp_fail(SP_ENOTFOUND, "%s: there is no such file", o->idf);
    return sp_query_table_load(e->idf, e->query_tokenizer, vocab(e), &e->table);
  }
  if (m->query_table.data)
    return sp_query_table_from_matrix(&m->query_table, m->dir, &e->table);
  if (m->query_words_path)
    return sp_query_table_load(m->query_words_path, e->query_tokenizer, vocab(e),
                               &e->table);
  return SP_OK;
}

static sp_err open_parts(neural *e, const char *dir, const sp_encoder_options *o) {
  sp_err err = sp_model_open(dir, &e->model);
  if (err) return err;
  e->dir = realpath(dir, NULL);
  if (!e->dir) return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  const sp_model *m = e->model;
  e->max_length =
      o->max_length && o->max_length < m->max_length ? o->max_length : m->max_length;
  e->top_k = o->top_k ? o->top_k : m->max_active_dims;
  e->threshold = o->threshold;
  err = sp_pool_new(o->n_threads, &e->pool);
  if (!err) err = open_tokenizers(e);
  if (!err) err = neural_prepare_texts(e);
  if (!err) err = open_table(e, o);
  e->use_table = e->table.weights && !o->neural_queries;
  if (!err) err = sp_model_hash(m, e->pool, &e->model_hash);
  if (!err) err = open_backend(e, o);
  if (err) return err;
  sp_model_forget(m);
  e->batch_tokens = o->batch_tokens ? o->batch_tokens : e->backend->batch_tokens;
  e->window = e->backend->window < NEURAL_WINDOW ? e->backend->window : NEURAL_WINDOW;
  return SP_OK;
}

sp_err sp_encoder_open(const char *dir, const sp_encoder_options *options,
                       sp_encoder **out) {
  *out = NULL;
  sp_encoder_options defaults = sp_encoder_defaults();
  neural *e = calloc(1, sizeof *e);
  if (!e) return sp_fail(SP_ENOMEM, "%s: out of memory", dir);
  e->base.ops = &NEURAL_OPS;
  pthread_mutex_init(&e->pool_lock, NULL);
  pthread_mutex_init(&e->lock, NULL);
  pthread_cond_init(&e->run_ended, NULL);
  sp_err err = open_parts(e, dir, options ? options : &defaults);
  if (err)
    neural_free(&e->base);
  else
    *out = &e->base;
  return err;
}

/* What was saved counts where the caller has no wish of his own. */
sp_err sp_neural_restore(const char *state, size_t n, const char *model_dir,
                         const sp_encoder_options *options, sp_encoder **out) {
  static const char WHERE[] = "the stored encoder";
  *out = NULL;
  json_t *o;
  sp_err err = sp_json_parse(state, n, WHERE, &o);
  if (err) return err;
  sp_encoder_options merged = *options;
  const char *dir = NULL, *idf = NULL;
  uint32_t max_length = 0, top_k = 0;
  double threshold = 0;
  err = sp_json_need_string(o, "dir", WHERE, &dir);
  if (!err) err = sp_json_get_string(o, "idf", WHERE, &idf);
  if (!err) err = sp_json_get_u32(o, "max_length", WHERE, 0, UINT32_MAX, &max_length);
  if (!err) err = sp_json_get_u32(o, "top_k", WHERE, 0, UINT32_MAX, &top_k);
  if (!err) err = sp_json_get_double(o, "threshold", WHERE, 0, 1e30, &threshold);
  if (!merged.idf) merged.idf = idf;
  if (!merged.max_length) merged.max_length = max_length;
  if (!merged.top_k) merged.top_k = top_k;
  if (merged.threshold == 0) merged.threshold = (float)threshold;
  if (!err) err = sp_encoder_open(model_dir ? model_dir : dir, &merged, out);
  json_decref(o);
  return err;
}
