/* encoder/cuda_network.c - weights go to the device: read as float32 by a few threads, in
 * pieces through pinned memory, narrowed and padded there. */
#include "encoder/cuda_network.h"

#include <stdlib.h>
#include <string.h>

#include "base/pool.h"
#include "kernels/cuda_copy.h"
#include "kernels/cuda_norm_fold.h"

enum {
  STAGE_FLOATS = 2 << 20
}; /* 8 MiB a piece: pinning more takes longer than it saves */

/* Two pieces: while one is copied, the next is read. */
typedef struct loader {
  cuda_network *net;
  sp_pool *pool;
  float *host[2], *device[2];
  cudaEvent_t copied[2];
  cudaStream_t stream;
  uint32_t *overflow;
  unsigned turn;

  /* The piece being read. */
  const sp_matrix *matrix;
  const float *add;   /* [cols] added to every row, or NULL */
  const float *scale; /* device [cols] that every row is multiplied by, or NULL */
  uint32_t first, n_rows;
  float *out;
} loader;

static sp_err allocate(cuda_network *net, size_t bytes, void **out) {
  *out = NULL;
  if (net->n_owned == net->cap_owned) {
    size_t cap = net->cap_owned ? net->cap_owned * 2 : 64;
    void **grown = realloc(net->owned, cap * sizeof *grown);
    if (!grown) return sp_fail(SP_ENOMEM, "%s: out of memory", net->model->dir);
    net->owned = grown;
    net->cap_owned = cap;
  }
  sp_err err = sp_cuda_check(cudaMalloc(out, bytes ? bytes : 16), "weights");
  if (!err) net->owned[net->n_owned++] = *out;
  return err;
}

enum { ROWS_PER_READ = 64 };

static sp_err read_rows(void *job, size_t piece, unsigned worker) {
  (void)worker;
  const loader *l = job;
  const size_t cols = l->matrix->cols;
  const uint32_t from = (uint32_t)piece * ROWS_PER_READ;
  const uint32_t left = l->n_rows - from;
  const uint32_t n = left < ROWS_PER_READ ? left : ROWS_PER_READ;
  float *out = l->out + from * cols;
  sp_matrix_read(l->matrix, l->first + from, n, out);
  for (size_t r = 0; r < n && l->add; r++)
    for (size_t i = 0; i < cols; i++) out[r * cols + i] += l->add[i];
  return SP_OK;
}

/* Reads n rows into the stage whose turn it is and queues their way to the device; *from is
 * where they lie there, in the order of the stream. */
static sp_err stage_rows(loader *l, const sp_matrix *m, uint32_t first, uint32_t n,
                         const float **from) {
  const unsigned t = l->turn++ % 2;
  sp_err err = sp_cuda_check(cudaEventSynchronize(l->copied[t]), "weights");
  if (err) return err;
  l->matrix = m, l->first = first, l->n_rows = n, l->out = l->host[t];
  err = sp_pool_run(l->pool, (n + ROWS_PER_READ - 1) / ROWS_PER_READ, read_rows, l);
  if (err) return err;
  err = sp_cuda_check(
      cudaMemcpyAsync(l->device[t], l->host[t], (size_t)n * m->cols * sizeof(float),
                      cudaMemcpyHostToDevice, l->stream),
      "weights");
  if (!err) err = sp_cuda_check(cudaEventRecord(l->copied[t], l->stream), "weights");
  *from = l->device[t];
  return err;
}

/* Fills out[stride(rows), stride(cols)]; `out` is zero before. */
static sp_err upload_into(loader *l, const sp_matrix *m, void *out) {
  const int stride = sp_cuda_stride((int)m->cols);
  if (m->cols == 0 || m->cols > STAGE_FLOATS)
    return sp_fail(SP_EINVAL, "%s: a matrix of %u columns", l->net->model->dir, m->cols);
  const uint32_t piece = STAGE_FLOATS / m->cols;
  sp_err err = SP_OK;
  for (uint32_t r = 0; r < m->rows && !err; r += piece) {
    const uint32_t n = m->rows - r < piece ? m->rows - r : piece;
    const float *from;
    err = stage_rows(l, m, r, n, &from);
    if (!err)
      err = sp_cuda_narrow(l->net->type, from, n, (int)m->cols, l->scale,
                           (uint16_t *)out + (size_t)r * stride, stride, l->overflow,
                           l->stream);
  }
  return err;
}

static sp_err allocate_zeros(loader *l, size_t bytes, void **out) {
  sp_err err = allocate(l->net, bytes, out);
  return err ? err : sp_cuda_check(cudaMemsetAsync(*out, 0, bytes, l->stream), "weights");
}

/* 16-bit rows; a table of ids needs no padding rows, so `rows` are exact. */
static sp_err upload_table(loader *l, const sp_matrix *m, const void **out) {
  *out = NULL;
  if (!m->data) return SP_OK;
  void *p;
  const size_t stride = (size_t)sp_cuda_stride((int)m->cols);
  sp_err err = allocate_zeros(l, m->rows * stride * 2, &p);
  if (!err) err = upload_into(l, m, p);
  *out = p;
  return err;
}

/* A vector [1, n] as float32 [stride(n)]. */
static sp_err upload_f32(loader *l, const sp_matrix *m, const float **out) {
  *out = NULL;
  if (!m->data) return SP_OK;
  void *p;
  const float *from;
  sp_err err =
      allocate_zeros(l, (size_t)sp_cuda_stride((int)m->cols) * sizeof(float), &p);
  if (!err && m->cols > STAGE_FLOATS)
    err = sp_fail(SP_EINVAL, "%s: a vector of %u", l->net->model->dir, m->cols);
  if (!err) err = stage_rows(l, m, 0, 1, &from);
  if (!err)
    err = sp_cuda_check(cudaMemcpyAsync(p, from, m->cols * sizeof(float),
                                        cudaMemcpyDeviceToDevice, l->stream),
                        "weights");
  *out = p;
  return err;
}

static sp_err upload_norm(loader *l, const sp_norm *n, cuda_norm *out) {
  out->rms = n->rms;
  sp_err err = upload_f32(l, &n->weight, &out->weight);
  return err ? err : upload_f32(l, &n->bias, &out->shift);
}

/* Several matrices of equal width one below the other, each padded; those without a bias
 * have zeros where others have one. */
static sp_err upload_joined(loader *l, const sp_linear *const *parts, size_t n_parts,
                            cuda_linear *out) {
  bool biased = false;
  out->k = sp_cuda_stride((int)parts[0]->weight.cols);
  for (size_t p = 0; p < n_parts; p++) {
    out->n += sp_cuda_stride((int)parts[p]->weight.rows);
    biased |= parts[p]->bias.data != NULL;
  }
  void *w, *bias = NULL;
  sp_err err = allocate_zeros(l, (size_t)out->n * out->k * 2, &w);
  if (!err && biased) err = allocate_zeros(l, (size_t)out->n * 2, &bias);
  size_t row = 0;
  for (size_t p = 0; p < n_parts && !err; p++) {
    err = upload_into(l, &parts[p]->weight, (uint16_t *)w + row * out->k);
    if (!err && parts[p]->bias.data)
      err = upload_into(l, &parts[p]->bias, (uint16_t *)bias + row);
    row += (size_t)sp_cuda_stride((int)parts[p]->weight.rows);
  }
  out->w = w;
  out->bias = bias;
  return err;
}

static sp_err upload_linear(loader *l, const sp_linear *linear, cuda_linear *out) {
  return linear->weight.data ? upload_joined(l, &linear, 1, out) : SP_OK;
}

/* `out`, uploaded from the same parts, once more for inputs that `before` has yet to
 * normalise. */
static sp_err upload_folded(loader *l, const sp_linear *const *parts, size_t n_parts,
                            const cuda_norm *before, cuda_linear *out) {
  void *w, *bias, *sums;
  sp_err err = allocate_zeros(l, (size_t)out->n * out->k * 2, &w);
  if (!err) err = allocate_zeros(l, (size_t)out->n * 2, &bias);
  if (!err) err = allocate_zeros(l, (size_t)out->n * sizeof(float), &sums);
  l->scale = before->weight;
  size_t row = 0;
  for (size_t p = 0; p < n_parts && !err; p++) {
    err = upload_into(l, &parts[p]->weight, (uint16_t *)w + row * out->k);
    row += (size_t)sp_cuda_stride((int)parts[p]->weight.rows);
  }
  l->scale = NULL;
  if (err) return err;
  out->folded_w = w, out->folded_bias = bias, out->sums = sums;
  const sp_cuda_norm_fold_args a = {.type = l->net->type,
                                    .w = out->w,
                                    .folded = w,
                                    .bias = out->bias,
                                    .beta = before->shift,
                                    .bias_out = bias,
                                    .sums = sums,
                                    .n = out->n,
                                    .k = out->k};
  return sp_cuda_norm_fold(&a, l->stream);
}

/* The same, for a product that is added to the float32 residual stream. */
static sp_err upload_added(loader *l, const sp_linear *linear, cuda_linear *out) {
  if (!l->net->model->pre_norm) return upload_linear(l, linear, out);
  const sp_linear unbiased = {.weight = linear->weight};
  const float *bias;
  sp_err err = upload_linear(l, &unbiased, out);
  if (!err) err = upload_f32(l, &linear->bias, &bias);
  if (!err) out->bias = bias;
  return err;
}

/* Which of the model's two thetas; layers have one or the other. */
static int rope_of(cuda_network *net, double theta) {
  if (!(theta > 0)) return -1;
  const int i = net->theta[0] == 0 || net->theta[0] == theta ? 0 : 1;
  net->theta[i] = theta;
  return i;
}

/* `before` normalises what comes into the layer; NULL: it comes normalised. */
static sp_err upload_layer(loader *l, const sp_layer *layer, const cuda_norm *before,
                           cuda_layer *out) {
  cuda_network *net = l->net;
  const sp_linear *qkv[] = {&layer->q, &layer->k, &layer->v};
  const sp_linear *gated[] = {&layer->gate, &layer->up}, *up = &layer->up;
  const bool causal = net->model->causal;
  const int window = (int)layer->window;
  out->left = window == 0 ? -1 : causal ? window - 1 : window;
  out->right = causal ? 0 : window == 0 ? -1 : window;
  out->rope = rope_of(net, layer->rope_theta);
  out->gated = layer->gate.weight.data != NULL;
  sp_err err = upload_norm(l, &layer->attn_norm, &out->attn_norm);
  if (!err) err = upload_norm(l, &layer->mlp_norm, &out->mlp_norm);
  if (!err) err = upload_joined(l, qkv, 3, &out->qkv);
  if (!err) err = upload_added(l, &layer->o, &out->o);
  if (!err)
    err = out->gated ? upload_joined(l, gated, 2, &out->in)
                     : upload_linear(l, &layer->up, &out->in);
  if (!err) err = upload_added(l, &layer->down, &out->down);
  if (!err && net->folded && before) err = upload_folded(l, qkv, 3, before, &out->qkv);
  if (!err && net->folded)
    err = out->gated ? upload_folded(l, gated, 2, &out->attn_norm, &out->in)
                     : upload_folded(l, &up, 1, &out->attn_norm, &out->in);
  if (out->in.n > net->widest) net->widest = out->in.n;
  return err;
}

/* Every text is of type 0: its row is added to the positions in float32, before they are
 * narrowed. */
static sp_err upload_positions(loader *l) {
  const sp_model *m = l->net->model;
  if (!m->position.data) {
    sp_matrix row = m->type;
    row.rows = 1;
    return upload_f32(l, &row, &l->net->token_type);
  }
  float *type = NULL;
  if (m->type.data) {
    type = malloc(m->type.cols * sizeof *type);
    if (!type) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
    sp_matrix_read(&m->type, 0, 1, type);
  }
  l->add = type;
  sp_err err = upload_table(l, &m->position, &l->net->position);
  l->add = NULL;
  free(type);
  return err;
}

static sp_err upload_head(loader *l) {
  cuda_network *net = l->net;
  const sp_model *m = net->model;
  sp_err err = upload_linear(l, &m->transform, &net->transform);
  if (!err) err = upload_norm(l, &m->transform_norm, &net->transform_norm);
  if (err) return err;
  if (m->decoder.weight.data == m->word.data && !m->decoder.weight.lora.a &&
      !m->word.lora.a && m->decoder.weight.rows == m->word.rows)
    net->decoder = net->word; /* tied */
  else
    err = upload_table(l, &m->decoder.weight, &net->decoder);
  if (!err) err = upload_f32(l, &m->decoder.bias, &net->decoder_bias);
  return err ? err : upload_linear(l, &m->tokens.linear, &net->projection);
}

static sp_err upload_all(loader *l) {
  cuda_network *net = l->net;
  const sp_model *m = net->model;
  sp_err err = upload_table(l, &m->word, &net->word);
  if (!err) err = upload_positions(l);
  if (!err) err = upload_norm(l, &m->embedding_norm, &net->embedding_norm);
  for (uint32_t i = 0; i < m->config.n_layers && !err; i++)
    err = upload_layer(l, &m->layers[i], i > 0 ? &net->layers[i - 1].mlp_norm : NULL,
                       &net->layers[i]);
  if (!err) err = upload_norm(l, &m->final_norm, &net->final_norm);
  if (!err) err = upload_head(l);
  uint32_t overflow = 0;
  if (!err)
    err = sp_cuda_check(
        cudaMemcpyAsync(&overflow, l->overflow, 4, cudaMemcpyDeviceToHost, l->stream),
        "weights");
  if (!err) err = sp_cuda_check(cudaStreamSynchronize(l->stream), "weights");
  if (!err && overflow)
    err = sp_fail(SP_EINVAL, "%s: a weight is too large for float16: use bf16", m->dir);
  return err;
}

static sp_err loader_open(loader *l, unsigned threads) {
  sp_err err = sp_pool_new(threads, &l->pool);
  if (!err) err = sp_cuda_check(cudaStreamCreate(&l->stream), "weights");
  for (int i = 0; i < 2 && !err; i++) {
    const size_t bytes = (size_t)STAGE_FLOATS * sizeof(float);
    err = sp_cuda_check(cudaMallocHost((void **)&l->host[i], bytes), "weights");
    if (!err) err = sp_cuda_check(cudaMalloc((void **)&l->device[i], bytes), "weights");
    if (!err)
      err = sp_cuda_check(cudaEventCreateWithFlags(&l->copied[i], cudaEventDisableTiming),
                          "weights");
  }
  if (!err) err = sp_cuda_check(cudaMalloc((void **)&l->overflow, 4), "weights");
  if (!err) err = sp_cuda_check(cudaMemsetAsync(l->overflow, 0, 4, l->stream), "weights");
  return err;
}

static void loader_close(loader *l) {
  if (l->stream) cudaStreamSynchronize(l->stream);
  for (int i = 0; i < 2; i++) {
    cudaFreeHost(l->host[i]);
    cudaFree(l->device[i]);
    if (l->copied[i]) cudaEventDestroy(l->copied[i]);
  }
  cudaFree(l->overflow);
  if (l->stream) cudaStreamDestroy(l->stream);
  sp_pool_free(l->pool);
}

/* Products know nothing of padding, which has no part in a LayerNorm. */
static bool can_fold(const sp_model *m) {
  const sp_model_config *c = &m->config;
  bool can = !m->pre_norm && c->hidden_size % 8 == 0;
  for (uint32_t i = 0; i < c->n_layers; i++) {
    const sp_norm *norms[] = {&m->layers[i].attn_norm, &m->layers[i].mlp_norm};
    for (int n = 0; n < 2; n++)
      can = can && norms[n]->weight.data && norms[n]->bias.data && !norms[n]->rms;
  }
  return can;
}

sp_err cuda_network_load(const sp_model *m, sp_cuda_type type, unsigned threads,
                         bool fold, cuda_network *net) {
  const sp_model_config *c = &m->config;
  *net = (cuda_network){.model = m,
                        .type = type,
                        .folded = fold && can_fold(m),
                        .d = (int)c->hidden_size,
                        .d_stride = sp_cuda_stride((int)c->hidden_size),
                        .q_stride = sp_cuda_stride((int)(c->n_heads * c->head_dim)),
                        .kv_stride = sp_cuda_stride((int)(c->n_kv_heads * c->head_dim))};
  net->layers = calloc(c->n_layers ? c->n_layers : 1, sizeof *net->layers);
  if (!net->layers) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
  loader l = {.net = net};
  sp_err err = loader_open(&l, threads);
  if (!err) err = upload_all(&l);
  loader_close(&l);
  return err;
}

void cuda_network_free(cuda_network *net) {
  for (size_t i = 0; i < net->n_owned; i++) cudaFree(net->owned[i]);
  free(net->owned);
  free(net->layers);
  *net = (cuda_network){0};
}
