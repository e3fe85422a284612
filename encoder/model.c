/* encoder/model.c - the files, matrices and hash of a model. */
#include "encoder/model_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/half.h"

sp_err sp_model_add_file(sp_model *m, const char *dir, const char *file,
                         sp_tensors **out) {
  *out = NULL;
  sp_tensors **grown = realloc(m->files, (m->n_files + 1) * sizeof *grown);
  if (!grown) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
  m->files = grown;
  sp_err err;
  if (file) {
    char *path = sp_path_join(dir, file);
    err = path ? sp_tensors_open(path, out) : SP_ENOMEM;
    free(path);
  } else {
    err = sp_tensors_open_dir(dir, out);
  }
  if (!err) m->files[m->n_files++] = *out;
  return err;
}

static size_t dtype_bytes(sp_dtype d) {
  return d == SP_F32 ? 4 : 2;
}

/* n elements from `first` on; the file's bytes may lie at odd addresses. */
static void widen(const void *data, sp_dtype dtype, size_t first, size_t n, float *out) {
  const unsigned char *bytes = (const unsigned char *)data + first * dtype_bytes(dtype);
  if (dtype == SP_F32) {
    memcpy(out, bytes, n * sizeof *out);
    return;
  }
  enum { RUN = 512 };
  uint16_t run[RUN];
  for (size_t at = 0; at < n; at += RUN) {
    size_t here = n - at < RUN ? n - at : RUN;
    memcpy(run, bytes + at * 2, here * 2);
    if (dtype == SP_F16)
      sp_f16_to_f32_array(run, out + at, here);
    else
      sp_bf16_to_f32_array(run, out + at, here);
  }
}

static void add_lora(const sp_matrix *m, uint32_t row, float *out) {
  const sp_lora *l = &m->lora;
  size_t rank = l->a->shape[0];
  enum { RUN = 256 };
  float a[RUN];
  for (size_t k = 0; k < rank; k++) {
    float b;
    widen(l->b->data, l->b->dtype, (l->first_row + row) * rank + k, 1, &b);
    b *= l->scale;
    for (size_t at = 0; at < m->cols; at += RUN) {
      size_t here = m->cols - at < RUN ? m->cols - at : RUN;
      widen(l->a->data, l->a->dtype, k * m->cols + at, here, a);
      for (size_t i = 0; i < here; i++) out[at + i] += b * a[i];
    }
  }
}

void sp_matrix_read(const sp_matrix *m, uint32_t first, uint32_t n, float *out) {
  widen(m->data, m->dtype, (size_t)first * m->cols, (size_t)n * m->cols, out);
  for (uint32_t i = 0; i < n && m->lora.a; i++)
    add_lora(m, first + i, out + (size_t)i * m->cols);
}

/* A walk in progress: `role` is the path so far. */
typedef struct walk {
  sp_matrix_visit visit;
  void *context;
  char role[64];
} walk;

static sp_err walk_matrix(walk *w, const char *name, const sp_matrix *m) {
  if (!m->data) return SP_OK;
  char role[128];
  snprintf(role, sizeof role, "%s%s", w->role, name);
  return w->visit(w->context, role, m);
}

static sp_err walk_pair(walk *w, const char *name, const sp_matrix *weight,
                        const sp_matrix *bias) {
  char part[48];
  snprintf(part, sizeof part, "%s.weight", name);
  sp_err err = walk_matrix(w, part, weight);
  snprintf(part, sizeof part, "%s.bias", name);
  return err ? err : walk_matrix(w, part, bias);
}

static sp_err walk_linear(walk *w, const char *name, const sp_linear *l) {
  return walk_pair(w, name, &l->weight, &l->bias);
}

static sp_err walk_norm(walk *w, const char *name, const sp_norm *n) {
  return walk_pair(w, name, &n->weight, &n->bias);
}

static sp_err walk_layer(walk *w, const sp_layer *l) {
  sp_err err = walk_norm(w, "attention_norm", &l->attn_norm);
  if (!err) err = walk_linear(w, "q", &l->q);
  if (!err) err = walk_linear(w, "k", &l->k);
  if (!err) err = walk_linear(w, "v", &l->v);
  if (!err) err = walk_linear(w, "o", &l->o);
  if (!err) err = walk_norm(w, "mlp_norm", &l->mlp_norm);
  if (!err) err = walk_linear(w, "up", &l->up);
  if (!err) err = walk_linear(w, "gate", &l->gate);
  return err ? err : walk_linear(w, "down", &l->down);
}

sp_err sp_model_visit(const sp_model *m, sp_matrix_visit visit, void *context) {
  walk w = {.visit = visit, .context = context};
  sp_err err = walk_matrix(&w, "word", &m->word);
  if (!err) err = walk_matrix(&w, "position", &m->position);
  if (!err) err = walk_matrix(&w, "type", &m->type);
  if (!err) err = walk_norm(&w, "embedding_norm", &m->embedding_norm);
  for (uint32_t i = 0; i < m->config.n_layers && !err; i++) {
    snprintf(w.role, sizeof w.role, "layers.%u.", i);
    err = walk_layer(&w, &m->layers[i]);
  }
  w.role[0] = '\0';
  if (!err) err = walk_norm(&w, "final_norm", &m->final_norm);
  if (!err) err = walk_linear(&w, "transform", &m->transform);
  if (!err) err = walk_norm(&w, "transform_norm", &m->transform_norm);
  if (!err) err = walk_linear(&w, "decoder", &m->decoder);
  return err ? err : walk_linear(&w, "token_projection", &m->tokens.linear);
}

/* All matrices and the hash of each, filled in by the pool's threads. */
typedef struct hash_job {
  struct hash_item {
    const sp_matrix *m;
    uint64_t hash;
  } * items;
  size_t n, cap;
} hash_job;

static sp_err collect(void *context, const char *role, const sp_matrix *m) {
  hash_job *job = context;
  if (job->n == job->cap) {
    size_t cap = job->cap ? job->cap * 2 : 64;
    void *grown = realloc(job->items, cap * sizeof *job->items);
    if (!grown) return sp_fail(SP_ENOMEM, "hashing the weights: out of memory");
    job->items = grown;
    job->cap = cap;
  }
  uint64_t seed = XXH3_64bits(role, strlen(role));
  job->items[job->n++] = (struct hash_item){m, seed};
  return SP_OK;
}

static sp_err hash_matrix(void *context, size_t i, unsigned worker) {
  (void)worker;
  struct hash_item *item = &((hash_job *)context)->items[i];
  const sp_matrix *m = item->m;
  const uint64_t facts[4] = {item->hash, m->dtype, m->rows, m->cols};
  uint64_t h = XXH3_64bits(facts, sizeof facts);
  h = XXH3_64bits_withSeed(m->data, (size_t)m->rows * m->cols * dtype_bytes(m->dtype), h);
  if (m->lora.a) {
    h = XXH3_64bits_withSeed(m->lora.a->data, m->lora.a->n_bytes, h);
    h = XXH3_64bits_withSeed(m->lora.b->data, m->lora.b->n_bytes, h);
    h = XXH3_64bits_withSeed(&m->lora.scale, sizeof m->lora.scale, h);
  }
  item->hash = h;
  return SP_OK;
}

static uint64_t hash_config(const sp_model *m) {
  const sp_model_config *c = &m->config;
  const double facts[] = {c->architecture, c->n_heads,    c->n_kv_heads,
                          c->head_dim,     c->norm_eps,   c->activation,
                          c->pad_id,       c->rope_theta, c->head_activation,
                          m->tokens.input, m->tokens.l2};
  uint64_t h = XXH3_64bits(facts, sizeof facts);
  if (c->architecture == SP_MISTRAL && !m->causal) h++;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    const double layer[] = {m->layers[i].window, m->layers[i].rope_theta};
    h = XXH3_64bits_withSeed(layer, sizeof layer, h);
  }
  return h;
}

sp_err sp_model_hash(const sp_model *m, sp_pool *pool, uint64_t *out) {
  hash_job job = {0};
  sp_err err = sp_model_visit(m, collect, &job);
  if (!err) err = sp_pool_run(pool, job.n, hash_matrix, &job);
  uint64_t h = hash_config(m);
  for (size_t i = 0; i < job.n && !err; i++)
    h = XXH3_64bits_withSeed(&job.items[i].hash, sizeof h, h);
  *out = h;
  free(job.items);
  return err;
}

void sp_model_forget(const sp_model *m) {
  for (size_t i = 0; i < m->n_files; i++) sp_tensors_forget(m->files[i]);
}

void sp_model_close(sp_model *m) {
  if (!m) return;
  for (size_t i = 0; i < m->n_files; i++) sp_tensors_close(m->files[i]);
  for (size_t i = 0; i < m->tokens.n_skip_words; i++) free(m->tokens.skip_words[i]);
  free(m->tokens.skip_words);
  free(m->files);
  free(m->layers);
  free(m->document_prompt);
  free(m->query_prompt);
  free(m->echo.template_text);
  free(m->tokenizer_path);
  free(m->query_tokenizer_path);
  free(m->query_words_path);
  free(m->dir);
  free(m->base_dir);
  sp_model_config_free(&m->config);
  free(m);
}
