/* encoder/cpu_network.c - widens the weights, joins what is multiplied together, and lays it
 * out for the kernels, a panel of rows at a time. */
#include "encoder/cpu_network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static sp_err allocate(cpu_network *net, size_t n, float **out) {
  if (net->n_owned == net->cap_owned) {
    size_t cap = net->cap_owned ? net->cap_owned * 2 : 64;
    void **grown = realloc(net->owned, cap * sizeof *grown);
    if (!grown) return sp_fail(SP_ENOMEM, "%s: out of memory", net->model->dir);
    net->owned = grown;
    net->cap_owned = cap;
  }
  size_t bytes = (n * sizeof(float) + 63) / 64 * 64;
  *out = aligned_alloc(64, bytes ? bytes : 64);
  if (!*out)
    return sp_fail(SP_ENOMEM, "%s: %zu bytes for weights: out of memory", net->model->dir,
                   bytes);
  net->owned[net->n_owned++] = *out;
  return SP_OK;
}

/* Used where it lies when it can be, else widened into memory of our own. */
static sp_err load(cpu_network *net, const sp_matrix *m, const float **out) {
  *out = NULL;
  if (!m->data) return SP_OK;
  if (m->dtype == SP_F32 && !m->lora.a && (uintptr_t)m->data % sizeof(float) == 0) {
    *out = m->data;
    return SP_OK;
  }
  float *copy;
  sp_err err = allocate(net, (size_t)m->rows * m->cols, &copy);
  if (err) return err;
  sp_matrix_read(m, 0, m->rows, copy);
  *out = copy;
  return SP_OK;
}

static sp_err load_norm(cpu_network *net, const sp_norm *n, cpu_norm *out) {
  out->rms = n->rms;
  sp_err err = load(net, &n->weight, &out->weight);
  return err ? err : load(net, &n->bias, &out->shift);
}

/* Lays out one matrix after the other. */
typedef struct loader {
  cpu_network *net;
  sp_pool *pool;
  float *rows; /* [threads][rows_each] of the panels at work */
  size_t rows_each;

  /* The matrix at work: these, one below the other. */
  const sp_linear *const *parts;
  size_t n_parts;
  cpu_linear *out; /* NULL: the finder */
} loader;

/* Rows first .. first+n-1 of the parts. */
static void read_rows(const loader *l, uint32_t first, uint32_t n, float *out) {
  for (size_t p = 0; p < l->n_parts && n; p++) {
    const sp_matrix *m = &l->parts[p]->weight;
    if (first < m->rows) {
      uint32_t here = m->rows - first < n ? m->rows - first : n;
      sp_matrix_read(m, first, here, out);
      out += (size_t)here * m->cols;
      first += here;
      n -= here;
    }
    first -= m->rows;
  }
}

static sp_err fill_panel(void *job, size_t panel, unsigned worker) {
  loader *l = job;
  float *rows = l->rows + worker * l->rows_each;
  uint32_t p = (uint32_t)panel, n = l->out ? l->out->n : l->net->finder.n;
  read_rows(l, p * SP_PANEL, sp_panel_rows(n, p), rows);
  if (!l->out)
    sp_int8_matrix_fill(&l->net->finder, p, rows);
  else if (l->out->int16.weights)
    sp_int16_matrix_fill(&l->out->int16, p, rows);
  else
    sp_float32_matrix_fill(&l->out->f32, p, rows);
  return SP_OK;
}

/* Runs fill_panel() over a matrix of k columns. */
static sp_err fill(loader *l, uint32_t n_panels, uint32_t k) {
  size_t each = (size_t)k * SP_PANEL;
  if (each > l->rows_each) {
    free(l->rows);
    l->rows_each = 0;
    l->rows = malloc(sp_pool_n_threads(l->pool) * each * sizeof *l->rows);
    if (!l->rows) return sp_fail(SP_ENOMEM, "%s: out of memory", l->net->model->dir);
    l->rows_each = each;
  }
  return sp_pool_run(l->pool, n_panels, fill_panel, l);
}

/* Those without a bias have zeros where others have one. */
static sp_err join_biases(loader *l, cpu_linear *out) {
  bool biased = false;
  for (size_t p = 0; p < l->n_parts; p++) biased |= l->parts[p]->bias.data != NULL;
  if (!biased) return SP_OK;
  sp_err err = allocate(l->net, out->n, &out->bias);
  if (err) return err;
  float *at = out->bias;
  for (size_t p = 0; p < l->n_parts; at += l->parts[p++]->weight.rows) {
    const sp_linear *part = l->parts[p];
    if (part->bias.data)
      sp_matrix_read(&part->bias, 0, 1, at);
    else
      memset(at, 0, part->weight.rows * sizeof *at);
  }
  return SP_OK;
}

/* Several matrices of equal width one below the other. */
static sp_err load_joined(loader *l, const sp_linear *const *parts, size_t n_parts,
                          bool quantized, cpu_linear *out) {
  l->parts = parts;
  l->n_parts = n_parts;
  l->out = out;
  out->k = parts[0]->weight.cols;
  for (size_t p = 0; p < n_parts; p++) out->n += parts[p]->weight.rows;
  sp_err err = quantized ? sp_int16_matrix_new(out->n, out->k, &out->int16)
                         : sp_float32_matrix_new(out->n, out->k, &out->f32);
  if (!err) err = fill(l, (out->n + SP_PANEL - 1) / SP_PANEL, out->k);
  return err ? err : join_biases(l, out);
}

static sp_err load_linear(loader *l, const sp_linear *linear, bool quantized,
                          cpu_linear *out) {
  return linear->weight.data ? load_joined(l, &linear, 1, quantized, out) : SP_OK;
}

static double mean_square(const float *x, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
  return n ? sum / (double)n : 0;
}

/* Four standard deviations of what 8 bits take from a logit. The decoder sees the output of
 * a norm, so the mean square of its input is that of the norm's weights and shifts; a
 * token's values span about 16 times their root mean square. A rounding error is uniform
 * over a step: its variance is step^2 / 12. */
static float finder_margin(const cpu_network *net) {
  const cpu_norm *n =
      net->transform_norm.weight ? &net->transform_norm : &net->final_norm;
  double y = n->weight ? mean_square(n->weight, net->d) : 1;
  if (n->shift) y += mean_square(n->shift, net->d);
  double w = mean_square(net->weigher, (size_t)net->finder.n * net->d);
  double w_step = mean_square(net->finder.scales, net->finder.n),
         y_step = 256. / 65025 * y;
  return (float)(4 * sqrt(net->d / 12. * (y * w_step + y_step * w)));
}

static sp_err load_finder(loader *l, const sp_linear *decoder) {
  cpu_network *net = l->net;
  const uint32_t n = decoder->weight.rows;
  l->parts = &decoder;
  l->n_parts = 1;
  l->out = NULL;
  sp_err err = load(net, &decoder->weight, &net->weigher);
  if (!err) err = load(net, &decoder->bias, &net->weigher_bias);
  if (!err) err = sp_int8_matrix_new(n, net->d, &net->finder);
  if (!err) err = fill(l, net->finder.n_panels, net->d);
  if (!err) err = allocate(net, n, &net->finder_bias);
  if (err) return err;
  float margin = finder_margin(net);
  for (uint32_t i = 0; i < n; i++)
    net->finder_bias[i] = (net->weigher_bias ? net->weigher_bias[i] : 0) + margin;
  return SP_OK;
}

/* The number of the RoPE table for `theta`; a model has two kinds of layers at most. */
static int rope_table(cpu_network *net, float theta) {
  if (theta <= 0) return -1;
  int i = net->theta[0] == 0 || net->theta[0] == theta ? 0 : 1;
  net->theta[i] = theta;
  return i;
}

static sp_err load_layer(loader *l, const sp_layer *layer, cpu_layer *out) {
  cpu_network *net = l->net;
  const sp_linear *qkv[] = {&layer->q, &layer->k, &layer->v},
                  *gated[] = {&layer->gate, &layer->up};
  out->window = layer->window;
  out->rope = rope_table(net, layer->rope_theta);
  out->gated = layer->gate.weight.data != NULL;
  sp_err err = load_norm(net, &layer->attn_norm, &out->attn_norm);
  if (!err) err = load_norm(net, &layer->mlp_norm, &out->mlp_norm);
  if (!err) err = load_joined(l, qkv, 3, l->net->quantized, &out->qkv);
  if (!err) err = load_linear(l, &layer->o, l->net->quantized, &out->o);
  if (!err)
    err = out->gated ? load_joined(l, gated, 2, l->net->quantized, &out->in)
                     : load_linear(l, &layer->up, l->net->quantized, &out->in);
  return err ? err : load_linear(l, &layer->down, l->net->quantized, &out->down);
}

static sp_err load_positions(cpu_network *net) {
  const sp_model *m = net->model;
  if (!m->position.data) return SP_OK;
  float *table, *type = NULL;
  sp_err err = allocate(net, (size_t)m->position.rows * net->d, &table);
  if (!err && m->type.data) err = allocate(net, net->d, &type);
  if (err) return err;
  sp_matrix_read(&m->position, 0, m->position.rows, table);
  net->positions = table;
  if (!type) return SP_OK;
  sp_matrix_read(&m->type, 0, 1, type); /* one text is all of type 0 */
  for (size_t r = 0; r < m->position.rows; r++)
    for (size_t i = 0; i < net->d; i++) table[r * net->d + i] += type[i];
  return SP_OK;
}

static sp_dense_act act_of(sp_activation a) {
  switch (a) {
    case SP_GELU_TANH:
      return SP_ACT_GELU_TANH;
    case SP_RELU:
      return SP_ACT_RELU;
    case SP_SILU:
      return SP_ACT_SILU;
    case SP_GELU_ERF:
      break;
  }
  return SP_ACT_GELU_ERF;
}

static sp_err load_network(loader *l) {
  cpu_network *net = l->net;
  const sp_model *m = net->model;
  sp_err err = load_positions(net);
  if (!err) err = load_norm(net, &m->embedding_norm, &net->embedding_norm);
  for (uint32_t i = 0; i < m->config.n_layers && !err; i++)
    err = load_layer(l, &m->layers[i], &net->layers[i]);
  if (!err) err = load_norm(net, &m->final_norm, &net->final_norm);
  if (!err) err = load_linear(l, &m->transform, false, &net->transform);
  if (!err) err = load_norm(net, &m->transform_norm, &net->transform_norm);
  if (!err) err = load_linear(l, &m->tokens.linear, false, &net->projection);
  if (err || !m->decoder.weight.data) return err;
  return l->net->quantized ? load_finder(l, &m->decoder)
                           : load_linear(l, &m->decoder, false, &net->decoder);
}

sp_err cpu_network_load(const sp_model *m, bool quantized, sp_pool *pool,
                        cpu_network *net) {
  const sp_model_config *c = &m->config;
  *net = (cpu_network){.model = m,
                       .quantized = quantized,
                       .d = c->hidden_size,
                       .q_dim = c->n_heads * c->head_dim,
                       .kv_dim = c->n_kv_heads * c->head_dim,
                       .act = act_of(c->activation),
                       .head_act = act_of(c->head_activation)};
  net->layers = calloc(c->n_layers, sizeof *net->layers);
  if (!net->layers) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
  loader l = {.net = net, .pool = pool};
  sp_err err = load_network(&l);
  free(l.rows);
  return err;
}

static void free_linear(cpu_linear *l) {
  sp_float32_matrix_free(&l->f32);
  sp_int16_matrix_free(&l->int16);
}

void cpu_network_free(cpu_network *net) {
  for (uint32_t i = 0; net->layers && i < net->model->config.n_layers; i++) {
    cpu_layer *l = &net->layers[i];
    cpu_linear *all[] = {&l->qkv, &l->o, &l->in, &l->down};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++) free_linear(all[j]);
  }
  free_linear(&net->transform);
  free_linear(&net->projection);
  free_linear(&net->decoder);
  sp_int8_matrix_free(&net->finder);
  for (size_t i = 0; i < net->n_owned; i++) free(net->owned[i]);
  free(net->owned);
  free(net->layers);
  *net = (cpu_network){0};
}
