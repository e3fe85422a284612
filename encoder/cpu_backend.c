/* encoder/cpu_backend.c - the network of encoder/model.h on the CPU, over packed batches.
 *
 * A layer is two jobs for the thread pool: attention, in pieces of a few queries, and all the
 * rest, in pieces of a block of tokens: such a block goes from the attention's output through
 * the feed-forward part to the next layer's queries, keys and values while it is in the
 * cache. Its products are kernels/cpu's own. What is left to OpenBLAS, the weighing of found
 * terms, is called on the pool's threads: it is set to one thread for the whole process when
 * a backend is made, since its threads and the pool's would multiply.
 *
 * The precision "int8": with 8 bits for weights and activations alike, vectors of a trained
 * model of six layers were 3 % off (activations 2.4 %, weights 1.6 %, decoder 0.9 %), more
 * than the 1 % that is promised. So the layers' products, attention's among them, are of
 * 16-bit numbers, which VNNI multiplies at half the rate; and 8 bits serve the decoder, half
 * of the work, exactly: with a margin for what they lose they only find the terms that may be
 * positive, a few hundred of 30,000, and float32 weighs those. */
#include <cblas.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/pool.h"
#include "encoder/backend.h"
#include "encoder/cpu_network.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/lm_head.h"

enum { TOKEN_BLOCK = 128, GOOD_BATCH = 8192, GOOD_WINDOW = 512, WEIGH = 64 };
enum { FEW_QUERIES = 64 }; /* of a piece of attention: fewer pay for no thread */

typedef struct buffer {
  float *data;
  size_t n;
} buffer;

/* Cosines and sines of one theta, rows of head_dim / 2, for positions below n_rows. */
typedef struct rope_table {
  buffer cos, sin;
  uint32_t n_rows;
} rope_table;

typedef struct query_block {
  uint32_t text, first, n;
} query_block;

typedef struct cpu_backend {
  sp_backend base;
  cpu_network net;
  const sp_dense_ops *ops;
  const sp_attention_ops *attention;
  const sp_float32_ops *float32;
  const sp_int16_ops *int16;
  const sp_int8_ops *int8;
  sp_pool *pool;
  uint32_t n_slots;
  const sp_batch **slots; /* [n_slots] begun batches, or NULL */

  pthread_mutex_t lock; /* of everything below: one batch computes at a time */
  buffer x;             /* [tokens, D] hidden states */
  buffer qkv;           /* [tokens, q_dim + 2 kv_dim] */
  buffer context;       /* [tokens, q_dim] what attention gives */
  buffer y;             /* [tokens, D] what the decoder sees */
  buffer codes;   /* y quantized: [tokens] scales, [tokens] zeros, [tokens, k4] bytes */
  buffer scratch; /* [threads, scratch_each] */
  size_t scratch_each, codes_each;
  rope_table rope[2];
  query_block *blocks;
  size_t n_blocks, cap_blocks;
  uint32_t *pool_first, *pool_end; /* as rows of y */
  size_t cap_texts;

  /* The batch at work. */
  const sp_batch *batch;
  uint32_t layer, heads_per_piece;
  float *tokens;
  sp_vec *vectors;
} cpu_backend;

static sp_err grow(buffer *b, size_t n) {
  if (n <= b->n) return SP_OK;
  free(b->data);
  *b = (buffer){0};
  size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
  b->data = aligned_alloc(64, bytes);
  if (!b->data) return sp_fail(SP_ENOMEM, "%zu bytes for a batch: out of memory", bytes);
  b->n = n;
  return SP_OK;
}

/* y = W x + b for m tokens; `codes` is room for them quantized. */
static void apply(const cpu_backend *b, const cpu_linear *l, const float *x, size_t m,
                  float *codes, float *y) {
  if (l->f32.weights) {
    for (uint32_t p = 0; p < l->f32.n_panels; p++)
      b->float32->multiply(&l->f32, p, x, m, l->bias, y + (size_t)p * SP_PANEL, l->n);
    return;
  }
  int16_t *u = (int16_t *)(void *)(codes + m);
  b->int16->quantize(x, m, l->k, u, codes);
  for (uint32_t p = 0; p < l->int16.n_panels; p++)
    b->int16->multiply(&l->int16, p, u, codes, m, l->bias, y + (size_t)p * SP_PANEL,
                       l->n);
}

/* Floats of room for m tokens of k values in 8 bits (finder) or 16 (layers). */
static size_t codes8_room(size_t m, size_t k) {
  return m * (2 + (k + 3) / 4);
}
static size_t codes16_room(size_t m, size_t k) {
  return m * (1 + (k + 1) / 2);
}

static void norm(const cpu_backend *b, const cpu_norm *n, const float *x, size_t m,
                 float *out) {
  size_t d = b->net.d;
  float eps = b->net.model->config.norm_eps;
  if (!n->weight) {
    if (out != x) memcpy(out, x, m * d * sizeof *out);
  } else if (n->rms) {
    b->ops->rms_norm(x, n->weight, eps, m, d, out);
  } else {
    b->ops->layer_norm(x, n->weight, n->shift, eps, m, d, out);
  }
}

/* A block of tokens and the worker's scratch: h and t [TOKEN_BLOCK, D], codes for the widest
 * input of a matrix, wide [TOKEN_BLOCK, widest output]. */
typedef struct block {
  size_t first, m;
  float *h, *t, *codes, *wide;
} block;

static block block_of(const cpu_backend *b, size_t piece, unsigned worker) {
  size_t first = piece * TOKEN_BLOCK, left = b->batch->n_tokens - first;
  float *s = b->scratch.data + worker * b->scratch_each;
  size_t part = (size_t)TOKEN_BLOCK * b->net.d;
  return (block){.first = first,
                 .m = left < TOKEN_BLOCK ? left : TOKEN_BLOCK,
                 .h = s,
                 .t = s + part,
                 .codes = s + 2 * part,
                 .wide = s + 2 * part + b->codes_each};
}

static float *row(const buffer *b, size_t first, size_t width) {
  return b->data + first * width;
}

/* Queries, keys and values of a layer for the block, turned where there is RoPE. */
static void project_qkv(cpu_backend *b, uint32_t layer, const block *k) {
  const cpu_network *net = &b->net;
  const cpu_layer *l = &net->layers[layer];
  const sp_model_config *c = &net->model->config;
  const float *in = row(&b->x, k->first, net->d);
  if (net->model->pre_norm) {
    norm(b, &l->attn_norm, in, k->m, k->h);
    in = k->h;
  }
  float *out = row(&b->qkv, k->first, l->qkv.n);
  apply(b, &l->qkv, in, k->m, k->codes, out);
  if (l->rope < 0) return;
  const rope_table *r = &b->rope[l->rope];
  for (size_t i = 0; i < k->m; i++, out += l->qkv.n) {
    size_t at = (size_t)b->batch->positions[k->first + i] * (c->head_dim / 2);
    b->ops->rope(out, r->cos.data + at, r->sin.data + at, c->n_heads + c->n_kv_heads,
                 c->head_dim);
  }
}

static sp_err embed_block(void *job, size_t piece, unsigned worker) {
  cpu_backend *b = job;
  const cpu_network *net = &b->net;
  block k = block_of(b, piece, worker);
  for (size_t i = 0; i < k.m; i++) {
    float *x = row(&b->x, k.first + i, net->d);
    sp_matrix_read(&net->model->word, b->batch->ids[k.first + i], 1, x);
    if (net->positions)
      b->ops->add(x, net->positions + (size_t)b->batch->positions[k.first + i] * net->d,
                  NULL, 1, net->d);
  }
  float *x = row(&b->x, k.first, net->d);
  norm(b, &net->embedding_norm, x, k.m, x);
  project_qkv(b, 0, &k);
  return SP_OK;
}

static sp_err attend_piece(void *job, size_t piece, unsigned worker) {
  cpu_backend *b = job;
  const cpu_network *net = &b->net;
  const sp_model_config *c = &net->model->config;
  size_t pieces_per_block = c->n_heads / b->heads_per_piece;
  const query_block *q = &b->blocks[piece / pieces_per_block];
  uint32_t head = (uint32_t)(piece % pieces_per_block) * b->heads_per_piece;
  size_t stride = net->q_dim + 2 * (size_t)net->kv_dim;
  sp_attention a = {.q = b->qkv.data,
                    .k = b->qkv.data + net->q_dim,
                    .v = b->qkv.data + net->q_dim + net->kv_dim,
                    .q_stride = stride,
                    .kv_stride = stride,
                    .out = b->context.data,
                    .n_heads = c->n_heads,
                    .n_kv_heads = c->n_kv_heads,
                    .head_dim = c->head_dim,
                    .causal = net->model->causal,
                    .window = net->layers[b->layer].window};
  uint32_t start = b->batch->starts[q->text];
  uint32_t visible = b->batch->attend_end ? b->batch->attend_end[q->text]
                                          : b->batch->starts[q->text + 1] - start;
  float *scratch = b->scratch.data + worker * b->scratch_each;
  for (uint32_t h = 0; h < b->heads_per_piece; h++)
    b->attention->attend(&a, start, visible, head + h, q->first, q->n, scratch);
  return SP_OK;
}

static void feed_forward(cpu_backend *b, const cpu_layer *l, const block *k,
                         const float *in) {
  const cpu_network *net = &b->net;
  apply(b, &l->in, in, k->m, k->codes, k->wide);
  if (l->gated)
    b->ops->gated(net->act, k->wide, k->m, l->down.k, k->wide);
  else
    b->ops->activate(net->act, k->wide, k->m, l->in.n);
  apply(b, &l->down, k->wide, k->m, k->codes, k->t);
}

/* What follows the last layer: the final norm, the head's transform, the token vectors. */
static void finish_block(cpu_backend *b, const block *k) {
  const cpu_network *net = &b->net;
  float *x = row(&b->x, k->first, net->d), *y = row(&b->y, k->first, net->d);
  norm(b, &net->final_norm, x, k->m, x);
  if (net->transform.n) {
    apply(b, &net->transform, x, k->m, k->codes, y);
    b->ops->activate(net->head_act, y, k->m, net->d);
    norm(b, &net->transform_norm, y, k->m, y);
  } else {
    memcpy(y, x, k->m * net->d * sizeof *y);
  }
  if (!b->tokens) return;
  const sp_token_projection *p = &net->model->tokens;
  float *out = b->tokens + k->first * net->projection.n;
  apply(b, &net->projection, p->input == SP_FROM_TRANSFORM ? y : x, k->m, k->codes, out);
  if (p->l2) b->ops->l2_normalize(out, k->m, net->projection.n);
}

/* From the attention's output of layer b->layer to the next layer's qkv. */
static sp_err finish_layer(void *job, size_t piece, unsigned worker) {
  cpu_backend *b = job;
  const cpu_network *net = &b->net;
  const cpu_layer *l = &net->layers[b->layer];
  block k = block_of(b, piece, worker);
  float *x = row(&b->x, k.first, net->d);
  bool pre = net->model->pre_norm;

  apply(b, &l->o, row(&b->context, k.first, net->q_dim), k.m, k.codes, k.t);
  b->ops->add(x, k.t, NULL, k.m, net->d);
  norm(b, pre ? &l->mlp_norm : &l->attn_norm, x, k.m, pre ? k.h : x);
  feed_forward(b, l, &k, pre ? k.h : x);
  b->ops->add(x, k.t, NULL, k.m, net->d);
  if (!pre) norm(b, &l->mlp_norm, x, k.m, x);

  if (b->layer + 1 == net->model->config.n_layers)
    finish_block(b, &k);
  else
    project_qkv(b, b->layer + 1, &k);
  return SP_OK;
}

static sp_err fill_rope(cpu_backend *b, int which, uint32_t n_rows) {
  rope_table *r = &b->rope[which];
  float theta = b->net.theta[which];
  if (theta == 0 || n_rows <= r->n_rows) return SP_OK;
  uint32_t d = b->net.model->config.head_dim, half = d / 2;
  n_rows += n_rows / 2; /* so that slowly growing texts do not fill it anew each time */
  r->n_rows = 0;
  sp_err err = grow(&r->cos, (size_t)n_rows * half);
  if (!err) err = grow(&r->sin, (size_t)n_rows * half);
  if (err) return err;
  for (uint32_t i = 0; i < half; i++) {
    float frequency = 1.0f / powf(theta, (float)(2 * i) / (float)d);
    for (size_t p = 0; p < n_rows; p++) {
      float angle = (float)p * frequency; /* float32, as the models were trained */
      r->cos.data[p * half + i] = cosf(angle);
      r->sin.data[p * half + i] = sinf(angle);
    }
  }
  r->n_rows = n_rows;
  return SP_OK;
}

/* Most queries in a piece: many, since each piece lays its keys out, but not so many that
 * threads go without. */
static uint32_t queries_in_piece(const cpu_backend *b) {
  size_t rows = (size_t)b->batch->n_tokens * b->net.model->config.n_heads;
  size_t pieces = 4 * (size_t)sp_pool_n_threads(b->pool);
  uint32_t n = SP_ATTENTION_QUERIES;
  while (n > FEW_QUERIES && rows / n < pieces) n /= 2;
  return n;
}

/* Cuts the texts into blocks of queries; *longest is the longest text's tokens. */
static sp_err cut_queries(cpu_backend *b, uint32_t *longest) {
  const sp_batch *batch = b->batch;
  const uint32_t each = queries_in_piece(b);
  b->n_blocks = 0;
  *longest = 0;
  size_t most = batch->n_tokens / each + batch->n_texts;
  if (most > b->cap_blocks) {
    free(b->blocks);
    b->cap_blocks = 0;
    b->blocks = malloc(most * sizeof *b->blocks);
    if (!b->blocks) return sp_fail(SP_ENOMEM, "a batch of queries: out of memory");
    b->cap_blocks = most;
  }
  for (uint32_t t = 0; t < batch->n_texts; t++) {
    uint32_t length = batch->starts[t + 1] - batch->starts[t];
    if (length > *longest) *longest = length;
    for (uint32_t first = 0; first < length; first += each) {
      uint32_t left = length - first;
      b->blocks[b->n_blocks++] = (query_block){t, first, left < each ? left : each};
    }
  }
  unsigned threads = sp_pool_n_threads(b->pool);
  b->heads_per_piece =
      b->n_blocks >= 8 * (size_t)threads ? b->net.model->config.n_heads : 1;
  return SP_OK;
}

static sp_err place_pools(cpu_backend *b) {
  const sp_batch *batch = b->batch;
  if (batch->n_texts > b->cap_texts) {
    free(b->pool_first);
    free(b->pool_end);
    b->cap_texts = 0;
    b->pool_first = malloc(batch->n_texts * sizeof *b->pool_first);
    b->pool_end = malloc(batch->n_texts * sizeof *b->pool_end);
    if (!b->pool_first || !b->pool_end)
      return sp_fail(SP_ENOMEM, "a batch of texts: out of memory");
    b->cap_texts = batch->n_texts;
  }
  for (uint32_t t = 0; t < batch->n_texts; t++) {
    b->pool_first[t] = batch->starts[t] + batch->pool_first[t];
    b->pool_end[t] = batch->starts[t] + batch->pool_end[t];
  }
  return SP_OK;
}

/* Floats of scratch that weigh_text() needs for texts of at most `longest` tokens. */
static size_t weigh_scratch(const cpu_network *net, uint32_t longest) {
  return WEIGH * ((size_t)net->d + longest);
}

static sp_err prepare(cpu_backend *b) {
  const cpu_network *net = &b->net;
  size_t n = b->batch->n_tokens;
  uint32_t longest, max_position = 0, widest = 0;
  uint32_t deepest = net->d > net->q_dim ? net->d : net->q_dim;
  sp_err err = cut_queries(b, &longest);
  if (!err) err = place_pools(b);
  for (size_t i = 0; i < n; i++)
    if (b->batch->positions[i] > max_position) max_position = b->batch->positions[i];
  for (uint32_t i = 0; i < net->model->config.n_layers; i++)
    if (net->layers[i].in.n > widest) widest = net->layers[i].in.n;
  for (uint32_t i = 0; i < net->model->config.n_layers; i++)
    if (net->layers[i].down.k > deepest) deepest = net->layers[i].down.k;
  for (int i = 0; i < 2 && !err; i++) err = fill_rope(b, i, max_position + 1);
  if (!err) err = grow(&b->x, n * net->d);
  if (!err) err = grow(&b->qkv, n * (net->q_dim + 2 * (size_t)net->kv_dim));
  if (!err) err = grow(&b->context, n * net->q_dim);
  if (!err) err = grow(&b->y, n * net->d);
  if (!err && net->finder.weights) err = grow(&b->codes, codes8_room(n, net->d));
  if (err) return err;
  b->codes_each = net->quantized ? codes16_room(TOKEN_BLOCK, deepest) : 0;
  size_t blocks = (size_t)TOKEN_BLOCK * (2 * (size_t)net->d + widest) + b->codes_each;
  size_t attention = sp_attention_scratch(net->model->config.head_dim),
         weighing = weigh_scratch(net, longest);
  size_t most = blocks > attention ? blocks : attention;
  b->scratch_each = ((most > weighing ? most : weighing) + 15) / 16 * 16;
  return grow(&b->scratch, sp_pool_n_threads(b->pool) * b->scratch_each);
}

static sp_err run_layers(cpu_backend *b) {
  const sp_model_config *c = &b->net.model->config;
  size_t token_blocks = (b->batch->n_tokens + TOKEN_BLOCK - 1) / TOKEN_BLOCK;
  b->layer = 0;
  sp_err err = sp_pool_run(b->pool, token_blocks, embed_block, b);
  for (b->layer = 0; b->layer < c->n_layers && !err; b->layer++) {
    size_t pieces = b->n_blocks * (c->n_heads / b->heads_per_piece);
    err = sp_pool_run(b->pool, pieces, attend_piece, b);
    if (!err) err = sp_pool_run(b->pool, token_blocks, finish_layer, b);
  }
  return err;
}

static sp_lm_cpu head_of(const cpu_backend *b, uint32_t vocab, const float *bias,
                         sp_lm_raise raise, const void *context) {
  return (sp_lm_cpu){.bias = bias,
                     .raise = raise,
                     .raise_context = context,
                     .vocab = vocab,
                     .dim = b->net.d,
                     .log1p_times = b->net.model->log1p_times};
}

static void raise_in_float32(const void *context, size_t row, size_t m, size_t v0,
                             size_t n, float *best) {
  const cpu_backend *b = context;
  const sp_float32_matrix *w = &b->net.decoder.f32;
  for (size_t v = 0; v < n; v += SP_PANEL)
    b->float32->raise(w, (uint32_t)((v0 + v) / SP_PANEL), b->y.data + row * w->k, m,
                      best + v);
}

/* The decoder's 8-bit weights against a batch's tokens. */
typedef struct finder {
  const sp_int8_ops *ops;
  const sp_int8_matrix *w;
  sp_int8_tokens y;
} finder;

static void raise_found(const void *context, size_t row, size_t m, size_t v0, size_t n,
                        float *best) {
  const finder *f = context;
  sp_int8_tokens at = {f->y.u + row * f->w->k4, f->y.scales + row, f->y.zeros + row};
  for (size_t v = 0; v < n; v += SP_PANEL)
    f->ops->raise(f->w, (uint32_t)((v0 + v) / SP_PANEL), &at, m, best + v);
}

/* The terms that may be positive, in 8 bits: with the bias raised by what those may lose. */
static sp_err find_terms(cpu_backend *b, const sp_lm_texts *texts, sp_vec *vectors) {
  const cpu_network *net = &b->net;
  size_t n = b->batch->n_tokens;
  float *scales = b->codes.data;
  int32_t *zeros = (int32_t *)(void *)(scales + n);
  uint8_t *u = (uint8_t *)(scales + 2 * n);
  b->int8->quantize(b->y.data, n, net->d, u, scales, zeros);
  finder f = {b->int8, &net->finder, {u, scales, zeros}};
  sp_lm_cpu head = head_of(b, net->finder.n, net->finder_bias, raise_found, &f);
  return sp_lm_cpu_sparse(&head, b->y.data, (uint32_t)n, texts, b->pool, 0, 0, vectors);
}

/* Weighs one text's found terms in float32, WEIGH at a time, and drops what is not > 0. */
static sp_err weigh_text(void *job, size_t text, unsigned worker) {
  cpu_backend *b = job;
  const cpu_network *net = &b->net;
  sp_vec *v = &b->vectors[text];
  uint32_t first = b->pool_first[text], m = b->pool_end[text] - first, kept = 0;
  float *rows = b->scratch.data + worker * b->scratch_each,
        *logits = rows + WEIGH * net->d;
  for (uint32_t at = 0; at < v->n; at += WEIGH) {
    uint32_t n = v->n - at < WEIGH ? v->n - at : WEIGH;
    for (uint32_t i = 0; i < n; i++)
      memcpy(rows + (size_t)i * net->d, net->weigher + (size_t)v->terms[at + i] * net->d,
             net->d * sizeof *rows);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)m, (int)net->d, 1,
                rows, (int)net->d, b->y.data + (size_t)first * net->d, (int)net->d, 0,
                logits, (int)m);
    for (uint32_t i = 0; i < n; i++) {
      float best = logits[(size_t)i * m];
      for (uint32_t t = 1; t < m; t++) best = fmaxf(best, logits[(size_t)i * m + t]);
      uint32_t term = v->terms[at + i];
      if (net->weigher_bias) best += net->weigher_bias[term];
      float weight = best > 0 ? log1pf(best) : 0;
      if (net->model->log1p_times == 2) weight = log1pf(weight);
      if (!(weight > 0 && weight >= b->batch->threshold)) continue;
      v->terms[kept] = term;
      v->weights[kept++] = weight;
    }
  }
  v->n = kept;
  return b->batch->top_k ? sp_vec_keep_top(v, b->batch->top_k) : SP_OK;
}

static sp_err run_head(cpu_backend *b, sp_vec *vectors) {
  const sp_batch *batch = b->batch;
  sp_lm_texts texts = {b->pool_first, b->pool_end, batch->n_texts};
  const cpu_linear *decoder = &b->net.decoder;
  if (decoder->n) {
    sp_lm_cpu head = head_of(b, decoder->n, decoder->bias, raise_in_float32, b);
    return sp_lm_cpu_sparse(&head, b->y.data, batch->n_tokens, &texts, b->pool,
                            batch->threshold, batch->top_k, vectors);
  }
  b->vectors = vectors;
  sp_err err = find_terms(b, &texts, vectors);
  return err ? err : sp_pool_run(b->pool, batch->n_texts, weigh_text, b);
}

static sp_err compute(cpu_backend *b, const sp_batch *batch, sp_vec *vectors,
                      float *tokens) {
  b->batch = batch;
  b->tokens = batch->want_tokens ? tokens : NULL;
  if (batch->n_tokens == 0) {
    for (uint32_t t = 0; t < batch->n_texts && batch->want_vectors; t++)
      sp_vec_clear(&vectors[t]);
    return SP_OK;
  }
  sp_err err = prepare(b);
  if (!err) err = run_layers(b);
  if (!err && batch->want_vectors) err = run_head(b, vectors);
  return err;
}

static sp_err cpu_begin(sp_backend *base, uint32_t slot, const sp_batch *batch) {
  ((cpu_backend *)base)->slots[slot] = batch;
  return SP_OK;
}

/* There is nothing to overlap with on the same processors: the work is done here. */
static sp_err cpu_end(sp_backend *base, uint32_t slot, sp_vec *vectors, float *tokens) {
  cpu_backend *b = (cpu_backend *)base;
  const sp_batch *batch = b->slots[slot];
  b->slots[slot] = NULL;
  pthread_mutex_lock(&b->lock);
  sp_err err = compute(b, batch, vectors, tokens);
  pthread_mutex_unlock(&b->lock);
  return err;
}

static void cpu_free(sp_backend *base) {
  cpu_backend *b = (cpu_backend *)base;
  buffer *buffers[] = {&b->x,           &b->qkv,        &b->context,     &b->y,
                       &b->codes,       &b->scratch,    &b->rope[0].cos, &b->rope[0].sin,
                       &b->rope[1].cos, &b->rope[1].sin};
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++) free(buffers[i]->data);
  cpu_network_free(&b->net);
  sp_pool_free(b->pool);
  pthread_mutex_destroy(&b->lock);
  free(b->blocks);
  free(b->pool_first);
  free(b->pool_end);
  free(b->slots);
  free(b);
}

static const sp_backend_ops CPU_OPS = {"cpu", cpu_begin, cpu_end, cpu_free};

sp_err sp_cpu_backend_new(const sp_model *m, const sp_backend_options *o,
                          sp_backend **out) {
  *out = NULL;
  const char *precision = o->precision ? o->precision : "auto";
  bool int8 = !strcmp(precision, "int8");
  if (!int8 && strcmp(precision, "auto") && strcmp(precision, "f32"))
    return sp_fail(SP_EINVAL, "the CPU computes in f32 or int8, not in %s", precision);
  cpu_backend *b = calloc(1, sizeof *b);
  if (!b) return sp_fail(SP_ENOMEM, "CPU backend: out of memory");
  b->base = (sp_backend){&CPU_OPS, int8 ? "int8" : "f32", GOOD_BATCH, GOOD_WINDOW, 1};
  pthread_mutex_init(&b->lock, NULL);
  sp_cpu_level level = sp_cpu_detect();
  b->ops = sp_dense_ops_at(level);
  b->attention = int8 ? sp_attention_int16_get(level) : sp_attention_float32_at(level);
  b->float32 = sp_float32_ops_at(level);
  b->int16 = sp_int16_ops_get(level);
  b->int8 = sp_int8_ops_get(level);
  b->n_slots = o->n_slots;
  b->slots = calloc(o->n_slots, sizeof *b->slots);
  sp_err err = b->slots ? SP_OK : sp_fail(SP_ENOMEM, "CPU backend: out of memory");
  if (!err) err = sp_pool_new(o->n_threads, &b->pool);
  if (!err) err = cpu_network_load(m, int8, b->pool, &b->net);
  if (err) {
    cpu_free(&b->base);
    return err;
  }
  openblas_set_num_threads(1);
  *out = &b->base;
  return SP_OK;
}
