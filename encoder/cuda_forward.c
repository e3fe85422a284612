/* encoder/cuda_forward.c - the network of encoder/model.h as a row of kernel launches. */
#include "encoder/cuda_forward.h"

#include <math.h>

#include "kernels/cuda_attention.h"
#include "kernels/cuda_copy.h"
#include "kernels/cuda_embed.h"
#include "kernels/cuda_norm.h"
#include "kernels/cuda_norm_fold.h"

typedef uint16_t half_bits; /* an element of either 16-bit type */

/* Elements a token needs in `wide`: attention and feed-forward take turns there. */
static size_t wide_elements(const cuda_network *net) {
  const size_t attention = 2 * (size_t)net->q_stride + 2 * (size_t)net->kv_stride;
  const size_t forward = (size_t)net->widest + (size_t)net->widest / 2;
  size_t n = attention > forward ? attention : forward;
  if ((size_t)net->d_stride > n) n = (size_t)net->d_stride;
  return (size_t)net->projection.n > n ? (size_t)net->projection.n : n;
}

sp_err cuda_work_resize(cuda_work *w, const cuda_network *net, uint32_t n_tokens) {
  cudaFree(w->memory);
  w->memory = NULL;
  w->tokens = 0;
  const size_t n = (n_tokens + (size_t)63) / 64 * 64, row = (size_t)net->d_stride;
  const size_t states = n * row * 2, stream = net->model->pre_norm ? n * row * 4 : 0;
  const size_t wide = n * wide_elements(net) * 2;
  const size_t pairs = SP_CUDA_SCALES(n) * 2 * sizeof(float);
  const size_t parts = net->folded ? SP_CUDA_PARTS((size_t)net->d) * pairs : 0;
  const size_t scales = net->folded ? 2 * pairs : 0;
  sp_err err = sp_cuda_check(
      cudaMalloc(&w->memory, 2 * states + stream + parts + scales + wide), "a batch");
  if (err) return err;
  char *at = w->memory;
  w->x = at;
  w->t = at + states;
  w->stream = (float *)(at + 2 * states);
  at += 2 * states + stream;
  w->parts = parts ? (float *)at : NULL;
  w->scales[0] = parts ? (float *)(at + parts) : NULL;
  w->scales[1] = parts ? (float *)(at + parts + pairs) : NULL;
  w->wide = at + parts + scales;
  w->tokens = (uint32_t)n;
  return SP_OK;
}

sp_err cuda_work_positions(cuda_work *w, const cuda_network *net, uint32_t n_positions,
                           cudaStream_t stream) {
  if (n_positions <= w->rope_rows || (net->theta[0] == 0 && net->theta[1] == 0))
    return SP_OK;
  const uint32_t rows = n_positions + n_positions / 2; /* texts may grow slowly */
  const int dim = (int)net->model->config.head_dim;
  w->rope_rows = 0;
  for (int i = 0; i < 2; i++) {
    cudaFree(w->rope[i]); /* waits for what still reads it */
    w->rope[i] = NULL;
    if (net->theta[i] == 0) continue;
    sp_err err = sp_cuda_check(
        cudaMalloc((void **)&w->rope[i], (size_t)rows * (size_t)dim * sizeof(float)),
        "rotary positions");
    if (!err) err = sp_cuda_rope_table(w->rope[i], (int)rows, dim, net->theta[i], stream);
    if (err) return err;
  }
  w->rope_rows = rows;
  return SP_OK;
}

void cuda_work_free(cuda_work *w) {
  cudaFree(w->memory);
  cudaFree(w->rope[0]);
  cudaFree(w->rope[1]);
  *w = (cuda_work){0};
}

/* What all the steps of one batch need. */
typedef struct pass {
  const cuda_network *net;
  sp_cuda_matmul *mm;
  const cuda_work *w;
  const cuda_input *in;
  uint32_t *overflow;
  cudaStream_t stream;
  int n; /* tokens */
  bool last_first;
} pass;

/* Every kernel begins where the one before ended. */
static bool turn(pass *p) {
  p->last_first = !p->last_first;
  return p->last_first;
}

static sp_cuda_act act_of(sp_activation a) {
  switch (a) {
    case SP_GELU_TANH:
      return SP_CUDA_GELU_TANH;
    case SP_RELU:
      return SP_CUDA_RELU;
    case SP_SILU:
      return SP_CUDA_SILU;
    case SP_GELU_ERF:
      break;
  }
  return SP_CUDA_GELU;
}

/* With `scales` the rows of `in` are still to be normalised, by the product. A network with
 * folded layers has all its products from one kernel, whatever the batch: then a text's
 * vector is the same to the last bit in every company. */
static sp_cuda_matmul_args product(pass *p, const cuda_linear *l, const void *in,
                                   const float *scales, void *out) {
  return (sp_cuda_matmul_args){
      .type = p->net->type,
      .a = in,
      .w = scales ? l->folded_w : l->w,
      .bias = scales ? l->folded_bias : l->bias,
      .path = p->net->folded ? SP_CUDA_MATMUL_OWN : SP_CUDA_MATMUL_AUTO,
      .norm = {scales, scales ? l->sums : NULL},
      .d = out,
      .m = p->n,
      .n = l->n,
      .k = l->k,
      .lda = l->k,
      .ldw = l->k,
      .ldd = l->n,
      .last_first = turn(p)};
}

static sp_err apply(pass *p, const cuda_linear *l, const void *in, const float *scales,
                    void *out) {
  const sp_cuda_matmul_args a = product(p, l, in, scales, out);
  return sp_cuda_matmul_run(p->mm, &a, p->stream);
}

/* out = act(W in + b): GELU in either flavour is fused, the others follow. */
static sp_err apply_act(pass *p, const cuda_linear *l, sp_activation act, const void *in,
                        const float *scales, void *out) {
  sp_cuda_matmul_args a = product(p, l, in, scales, out);
  if (act == SP_GELU_ERF) a.epilogue = SP_CUDA_FUSED_GELU;
  if (act == SP_GELU_TANH) a.epilogue = SP_CUDA_FUSED_GELU_TANH;
  sp_err err = sp_cuda_matmul_run(p->mm, &a, p->stream);
  if (err || a.epilogue != SP_CUDA_NO_ACT) return err;
  return sp_cuda_bias_act(p->net->type, act_of(act), out, NULL, p->n, l->n, p->stream);
}

/* The float32 residual stream takes the product in. */
static sp_err add_to_stream(pass *p, const cuda_linear *l, const void *in) {
  sp_cuda_matmul_args a = product(p, l, in, NULL, p->w->stream);
  a.accumulate = true;
  return sp_cuda_matmul_run(p->mm, &a, p->stream);
}

/* out = norm(x + residual) */
static sp_err norm(pass *p, const cuda_norm *n, const void *x, const void *residual,
                   void *out) {
  const cuda_network *net = p->net;
  const sp_cuda_norm_args a = {.type = net->type,
                               .rms = n->rms,
                               .x = x,
                               .residual = residual,
                               .gamma = n->weight,
                               .beta = n->shift,
                               .eps = net->model->config.norm_eps,
                               .out = out,
                               .overflow = p->overflow,
                               .n_rows = p->n,
                               .dim = net->d,
                               .stride = net->d_stride,
                               .last_first = turn(p)};
  return sp_cuda_norm(&a, p->stream);
}

/* out = norm(the residual stream), or the stream as it is where there is no norm. */
static sp_err norm_stream(pass *p, const cuda_norm *n, void *out) {
  const cuda_network *net = p->net;
  if (!n->weight)
    return sp_cuda_narrow(net->type, p->w->stream, p->n, net->d_stride, NULL, out,
                          net->d_stride, p->overflow, p->stream);
  const sp_cuda_norm_args a = {.type = net->type,
                               .rms = n->rms,
                               .x_f32 = true,
                               .x = p->w->stream,
                               .gamma = n->weight,
                               .beta = n->shift,
                               .eps = net->model->config.norm_eps,
                               .out = out,
                               .overflow = p->overflow,
                               .n_rows = p->n,
                               .dim = net->d,
                               .stride = net->d_stride,
                               .last_first = turn(p)};
  return sp_cuda_norm(&a, p->stream);
}

static sp_err embed(const pass *p) {
  const cuda_network *net = p->net;
  const bool pre = net->model->pre_norm;
  const sp_cuda_embed_args a = {.type = net->type,
                                .ids = p->in->ids,
                                .positions = p->in->positions,
                                .word = net->word,
                                .position = net->position,
                                .token_type = net->token_type,
                                .gamma = net->embedding_norm.weight,
                                .beta = net->embedding_norm.shift,
                                .eps = net->model->config.norm_eps,
                                .out = pre ? NULL : p->w->x,
                                .stream_out = pre ? p->w->stream : NULL,
                                .n_tokens = p->n,
                                .dim = net->d,
                                .stride = net->d_stride};
  return sp_cuda_embed(&a, p->stream);
}

static sp_err rotate(const pass *p, const cuda_layer *l, half_bits *q, half_bits *k) {
  if (l->rope < 0) return SP_OK;
  const cuda_network *net = p->net;
  const sp_model_config *c = &net->model->config;
  const float *table = p->w->rope[l->rope];
  sp_err err = sp_cuda_rope(net->type, q, l->qkv.n, (int)c->n_heads, (int)c->head_dim,
                            p->in->positions, table, p->n, p->stream);
  return err ? err
             : sp_cuda_rope(net->type, k, l->qkv.n, (int)c->n_kv_heads, (int)c->head_dim,
                            p->in->positions, table, p->n, p->stream);
}

/* *context = attention(in): [n, q_stride] in the wide buffer. */
static sp_err attend(pass *p, const cuda_layer *l, const void *in, const float *scales,
                     void **context) {
  const cuda_network *net = p->net;
  const sp_model_config *c = &net->model->config;
  half_bits *q = p->w->wide, *k = q + net->q_stride, *v = k + net->kv_stride;
  half_bits *out = q + (size_t)p->n * (size_t)l->qkv.n;
  *context = out;
  sp_err err = apply(p, &l->qkv, in, scales, q);
  if (!err) err = rotate(p, l, q, k);
  const sp_cuda_attention_args a = {.type = net->type,
                                    .q = q,
                                    .k = k,
                                    .v = v,
                                    .out = out,
                                    .starts = p->in->starts,
                                    .key_end = p->in->key_end,
                                    .stride = l->qkv.n,
                                    .out_stride = net->q_stride,
                                    .n_seqs = (int)p->in->n_texts,
                                    .max_len = (int)p->in->max_len,
                                    .n_heads = (int)c->n_heads,
                                    .n_kv_heads = (int)c->n_kv_heads,
                                    .head_dim = (int)c->head_dim,
                                    .left = l->left,
                                    .right = l->right,
                                    .scale = 1.0f / sqrtf((float)c->head_dim),
                                    .last_first = turn(p)};
  return err ? err : sp_cuda_attention(&a, p->stream);
}

/* *inside = act(W in + b), gated where the layer is: [n, down.k] in the wide buffer. */
static sp_err open_up(pass *p, const cuda_layer *l, const void *in, const float *scales,
                      void **inside) {
  const sp_activation act = p->net->model->config.activation;
  half_bits *wide = p->w->wide;
  *inside = wide;
  if (!l->gated) return apply_act(p, &l->in, act, in, scales, wide);
  half_bits *gated = wide + (size_t)p->n * (size_t)l->in.n;
  *inside = gated;
  sp_err err = apply(p, &l->in, in, scales, wide);
  return err ? err
             : sp_cuda_gated_act(p->net->type, act_of(act), wide, gated, p->n, l->down.k,
                                 p->stream);
}

/* BERT, DistilBERT, RoBERTa: the state is x, normalised after every addition. */
static sp_err post_norm_layer(pass *p, const cuda_layer *l) {
  void *inner, *x = p->w->x, *t = p->w->t;
  sp_err err = attend(p, l, x, NULL, &inner);
  if (!err) err = apply(p, &l->o, inner, NULL, t);
  if (!err) err = norm(p, &l->attn_norm, t, x, x);
  if (!err) err = open_up(p, l, x, NULL, &inner);
  if (!err) err = apply(p, &l->down, inner, NULL, t);
  return err ? err : norm(p, &l->mlp_norm, t, x, x);
}

/* out = W in + b + norm(residual), where scales are those of the residual's rows and become
 * those of out's; `norm` NULL: it is normalised. */
static sp_err add(pass *p, const cuda_linear *l, const void *in, const void *residual,
                  const cuda_norm *norm, int scales, void *out) {
  const cuda_network *net = p->net;
  sp_cuda_matmul_args a = product(p, l, in, NULL, out);
  a.residual = (sp_cuda_matmul_residual){.x = residual,
                                         .scales = p->w->scales[scales],
                                         .gamma = norm ? norm->weight : NULL,
                                         .beta = norm ? norm->shift : NULL,
                                         .parts = p->w->parts};
  sp_err err = sp_cuda_matmul_run(p->mm, &a, p->stream);
  return err ? err
             : sp_cuda_norm_scales(p->w->parts, net->d, p->n, net->model->config.norm_eps,
                                   p->w->scales[!scales], p->overflow, p->stream);
}

/* The same with LayerNorm left to the products: the state is x, which `before` has yet to
 * normalise (NULL: it is normalised), and the scales of its rows. */
static sp_err folded_layer(pass *p, const cuda_layer *l, const cuda_norm *before) {
  void *inner, *x = p->w->x, *t = p->w->t;
  float *const *scales = p->w->scales;
  sp_err err = attend(p, l, x, before ? scales[0] : NULL, &inner);
  if (!err) err = add(p, &l->o, inner, x, before, 0, t);
  if (!err) err = open_up(p, l, t, scales[1], &inner);
  return err ? err : add(p, &l->down, inner, t, &l->attn_norm, 1, x);
}

static sp_err folded_layers(pass *p) {
  const uint32_t n = p->net->model->config.n_layers;
  const cuda_norm *before = NULL;
  sp_err err =
      sp_cuda_norm_scales(NULL, p->net->d, p->n, 0, p->w->scales[0], NULL, p->stream);
  for (uint32_t i = 0; i < n && !err; i++) {
    err = folded_layer(p, &p->net->layers[i], before);
    before = &p->net->layers[i].mlp_norm;
  }
  return err || !before ? err : norm(p, before, p->w->x, NULL, p->w->x);
}

/* Mistral, ModernBERT: the state is the float32 stream, normalised for each product. */
static sp_err pre_norm_layer(pass *p, const cuda_layer *l) {
  void *inner, *t = p->w->t;
  sp_err err = norm_stream(p, &l->attn_norm, t);
  if (!err) err = attend(p, l, t, NULL, &inner);
  if (!err) err = add_to_stream(p, &l->o, inner);
  if (!err) err = norm_stream(p, &l->mlp_norm, t);
  if (!err) err = open_up(p, l, t, NULL, &inner);
  return err ? err : add_to_stream(p, &l->down, inner);
}

static sp_err layers(pass *p) {
  const bool pre = p->net->model->pre_norm;
  if (p->net->folded) return folded_layers(p);
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < p->net->model->config.n_layers && !err; i++)
    err = pre ? pre_norm_layer(p, &p->net->layers[i])
              : post_norm_layer(p, &p->net->layers[i]);
  return err;
}

static sp_err copy_states(const pass *p, const void *from, void *to) {
  const size_t bytes = (size_t)p->n * (size_t)p->net->d_stride * sizeof(half_bits);
  return sp_cuda_check(
      cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, p->stream), "a batch");
}

/* The last hidden states, in x. */
static sp_err final_states(pass *p) {
  const cuda_norm *n = &p->net->final_norm;
  if (p->net->model->pre_norm) return norm_stream(p, n, p->w->x);
  return n->weight ? norm(p, n, p->w->x, NULL, p->w->x) : SP_OK;
}

static sp_err head(pass *p, void *y) {
  const cuda_network *net = p->net;
  if (!net->transform.w) return copy_states(p, p->w->x, y);
  void *out = net->transform_norm.weight ? p->w->t : y;
  sp_err err = apply_act(p, &net->transform, net->model->config.head_activation, p->w->x,
                         NULL, out);
  if (err || !net->transform_norm.weight) return err;
  return norm(p, &net->transform_norm, out, NULL, y);
}

static sp_err token_vectors(pass *p, const void *y, float *tokens) {
  const cuda_network *net = p->net;
  const sp_token_projection *t = &net->model->tokens;
  const void *in = t->input == SP_FROM_TRANSFORM ? y : p->w->x;
  sp_err err = apply(p, &net->projection, in, NULL, p->w->wide);
  return err ? err
             : sp_cuda_token_rows(net->type, p->w->wide, net->projection.n, p->n,
                                  (int)t->linear.weight.rows, t->l2, tokens, p->stream);
}

sp_err cuda_forward(const cuda_network *net, sp_cuda_matmul *mm, const cuda_work *w,
                    const cuda_input *in, void *y, float *tokens, uint32_t *overflow,
                    cudaStream_t stream) {
  pass p = {net, mm, w, in, overflow, stream, (int)in->n_tokens, false};
  sp_err err = embed(&p);
  if (!err) err = layers(&p);
  if (!err) err = final_states(&p);
  if (!err) err = head(&p, y);
  return err || !tokens ? err : token_vectors(&p, y, tokens);
}
