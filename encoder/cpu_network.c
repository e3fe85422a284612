/* encoder/cpu_network.c - widens the weights and joins what is multiplied together. */
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

/* Several matrices of equal width one below the other; a bias is there for all or none. */
static sp_err load_joined(cpu_network *net, const sp_linear *const *parts, size_t n_parts,
                          cpu_linear *out) {
  out->k = parts[0]->weight.cols;
  for (size_t p = 0; p < n_parts; p++) out->n += parts[p]->weight.rows;
  float *w, *bias = NULL;
  sp_err err = allocate(net, (size_t)out->n * out->k, &w);
  if (!err && parts[0]->bias.data) err = allocate(net, out->n, &bias);
  if (err) return err;
  out->w = w;
  out->bias = bias;
  for (size_t p = 0; p < n_parts; p++) {
    const sp_matrix *m = &parts[p]->weight;
    sp_matrix_read(m, 0, m->rows, w);
    w += (size_t)m->rows * m->cols;
    if (bias) {
      sp_matrix_read(&parts[p]->bias, 0, 1, bias);
      bias += m->rows;
    }
  }
  return SP_OK;
}

static sp_err load_linear(cpu_network *net, const sp_linear *l, cpu_linear *out) {
  if (!l->weight.data) return SP_OK;
  out->n = l->weight.rows;
  out->k = l->weight.cols;
  sp_err err = load(net, &l->weight, &out->w);
  return err ? err : load(net, &l->bias, &out->bias);
}

/* Puts 13-bit weights in the place of the float32 ones. */
static sp_err quantize(cpu_network *net, cpu_linear *l) {
  sp_err err = sp_int16_matrix_new(l->w, l->n, l->k, &l->q);
  if (err) return err;
  for (size_t i = net->n_owned; i-- > 0;)
    if (net->owned[i] == l->w) {
      free(net->owned[i]);
      net->owned[i] = net->owned[--net->n_owned];
      break;
    }
  l->w = NULL;
  return SP_OK;
}

static sp_err quantize_layer(cpu_network *net, cpu_layer *l) {
  sp_err err = quantize(net, &l->qkv);
  if (!err) err = quantize(net, &l->o);
  if (!err) err = quantize(net, &l->in);
  return err ? err : quantize(net, &l->down);
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
  double w = mean_square(net->decoder.w, (size_t)net->decoder.n * net->d);
  double w_step = mean_square(net->finder.scales, net->finder.n),
         y_step = 256. / 65025 * y;
  return (float)(4 * sqrt(net->d / 12. * (y * w_step + y_step * w)));
}

static sp_err load_finder(cpu_network *net) {
  const cpu_linear *d = &net->decoder;
  sp_err err = sp_int8_matrix_new(d->w, d->n, d->k, &net->finder);
  if (!err) err = allocate(net, d->n, &net->finder_bias);
  if (err) return err;
  float margin = finder_margin(net);
  for (uint32_t i = 0; i < d->n; i++)
    net->finder_bias[i] = (d->bias ? d->bias[i] : 0) + margin;
  return SP_OK;
}

/* The number of the RoPE table for `theta`; a model has two kinds of layers at most. */
static int rope_table(cpu_network *net, float theta) {
  if (theta <= 0) return -1;
  int i = net->theta[0] == 0 || net->theta[0] == theta ? 0 : 1;
  net->theta[i] = theta;
  return i;
}

static sp_err load_layer(cpu_network *net, const sp_layer *l, cpu_layer *out) {
  const sp_linear *qkv[] = {&l->q, &l->k, &l->v}, *gated[] = {&l->gate, &l->up};
  out->window = l->window;
  out->rope = rope_table(net, l->rope_theta);
  out->gated = l->gate.weight.data != NULL;
  sp_err err = load_norm(net, &l->attn_norm, &out->attn_norm);
  if (!err) err = load_norm(net, &l->mlp_norm, &out->mlp_norm);
  if (!err) err = load_joined(net, qkv, 3, &out->qkv);
  if (!err) err = load_linear(net, &l->o, &out->o);
  if (!err)
    err = out->gated ? load_joined(net, gated, 2, &out->in)
                     : load_linear(net, &l->up, &out->in);
  return err ? err : load_linear(net, &l->down, &out->down);
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

sp_err cpu_network_load(const sp_model *m, bool quantized, cpu_network *net) {
  const sp_model_config *c = &m->config;
  *net = (cpu_network){.model = m,
                       .d = c->hidden_size,
                       .q_dim = c->n_heads * c->head_dim,
                       .kv_dim = c->n_kv_heads * c->head_dim,
                       .act = act_of(c->activation),
                       .head_act = act_of(c->head_activation)};
  net->layers = calloc(c->n_layers, sizeof *net->layers);
  if (!net->layers) return sp_fail(SP_ENOMEM, "%s: out of memory", m->dir);
  sp_err err = load_positions(net);
  if (!err) err = load_norm(net, &m->embedding_norm, &net->embedding_norm);
  for (uint32_t i = 0; i < c->n_layers && !err; i++) {
    err = load_layer(net, &m->layers[i], &net->layers[i]);
    if (!err && quantized) err = quantize_layer(net, &net->layers[i]);
  }
  if (!err) err = load_norm(net, &m->final_norm, &net->final_norm);
  if (!err) err = load_linear(net, &m->transform, &net->transform);
  if (!err) err = load_norm(net, &m->transform_norm, &net->transform_norm);
  if (!err) err = load_linear(net, &m->decoder, &net->decoder);
  if (!err && quantized && net->decoder.n) err = load_finder(net);
  return err ? err : load_linear(net, &m->tokens.linear, &net->projection);
}

static void free_layer(cpu_layer *l) {
  sp_int16_matrix_free(&l->qkv.q);
  sp_int16_matrix_free(&l->o.q);
  sp_int16_matrix_free(&l->in.q);
  sp_int16_matrix_free(&l->down.q);
}

void cpu_network_free(cpu_network *net) {
  for (uint32_t i = 0; net->layers && i < net->model->config.n_layers; i++)
    free_layer(&net->layers[i]);
  sp_int8_matrix_free(&net->finder);
  for (size_t i = 0; i < net->n_owned; i++) free(net->owned[i]);
  free(net->owned);
  free(net->layers);
  *net = (cpu_network){0};
}
