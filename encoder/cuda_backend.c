/* encoder/cuda_backend.c - batches on their way through the device.
 *
 * One stream computes, another copies inputs, so that a batch's ids arrive while the batch
 * before it is computed. A slot holds what belongs to one batch: pinned memory for its inputs
 * and results, its arrays on the device, the states its decoder sees. Everything else is
 * shared, as batches follow each other on the one stream. Results are packed by a kernel
 * straight into the slot's pinned memory: one way back, of exactly the entries there are.
 *
 * Memory grows to the largest batch seen and stays; between begin and end the host waits for
 * nothing. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/backend.h"
#include "encoder/cuda_forward.h"
#include "kernels/cuda_copy.h"
#include "kernels/lm_head.h"

enum {
  GOOD_BATCH = 32768,    /* tokens that fill a large device, about */
  TOKEN_TILE = 256,      /* of the products' own kernel */
  GOOD_WINDOW = 4096,    /* texts */
  FIRST_ROOM = 512,      /* entries of a text that there is room for at first */
  LEAST_CAPABILITY = 80, /* bf16 on tensor cores */
};

typedef struct slot {
  const sp_batch *batch; /* NULL: free */
  cudaEvent_t arrived;   /* the inputs are on the device */
  cudaEvent_t done;      /* the results are in host memory */

  void *device, *host;          /* the allocations that all below lies in */
  uint32_t tokens, texts, room; /* what fits: tokens, texts, entries a text */
  int32_t *ids, *positions, *starts, *key_end; /* device */
  void *y;                                     /* device [tokens, stride(D)] */
  uint32_t *terms, *n_kept, *n_found;          /* device */
  float *weights;                              /* device */
  float *token_rows;                           /* device [tokens, projection rows] */

  int32_t *h_ids, *h_positions, *h_starts, *h_key_end;
  uint32_t *h_first, *h_end; /* pooled rows of y */
  uint32_t *h_terms, *h_n, *h_found;
  float *h_weights, *h_token_rows;
  uint32_t *h_overflow; /* the device writes it where it lies */
} slot;

typedef struct cuda_backend {
  sp_backend base;
  cuda_network net;
  uint32_t max_tokens; /* the largest batch to expect; 0: not said */
  size_t token_dim;    /* floats of a token vector; 0: none */
  cudaStream_t compute, copy;
  uint32_t n_slots;
  slot *slots;

  pthread_mutex_t lock; /* of everything below, and of queueing */
  sp_cuda_matmul *mm;
  sp_lm_head *head; /* NULL: the model has no decoder */
  cuda_work work;
} cuda_backend;

/* Gives out pieces of an allocation, or with base 0 only counts. */
static void *take(uintptr_t *at, size_t bytes) {
  void *p = (void *)*at;
  *at += (bytes + 255) / 256 * 256;
  return p;
}

static size_t lay_device(const cuda_backend *b, slot *s, void *base) {
  uintptr_t at = (uintptr_t)base;
  const size_t tokens = s->tokens, texts = s->texts;
  const size_t entries = b->head ? texts * s->room : 0;
  s->ids = take(&at, tokens * 4);
  s->positions = take(&at, tokens * 4);
  s->starts = take(&at, (texts + 1) * 4);
  s->key_end = take(&at, texts * 4);
  s->y = take(&at, tokens * (size_t)b->net.d_stride * 2);
  s->terms = take(&at, entries * 4);
  s->weights = take(&at, entries * 4);
  s->n_kept = take(&at, texts * 4);
  s->n_found = take(&at, texts * 4);
  s->token_rows = take(&at, tokens * b->token_dim * 4);
  return at - (uintptr_t)base;
}

static size_t lay_host(const cuda_backend *b, slot *s, void *base) {
  uintptr_t at = (uintptr_t)base;
  const size_t tokens = s->tokens, texts = s->texts;
  const size_t entries = b->head ? texts * s->room : 0;
  s->h_ids = take(&at, tokens * 4);
  s->h_positions = take(&at, tokens * 4);
  s->h_starts = take(&at, (texts + 1) * 4);
  s->h_key_end = take(&at, texts * 4);
  s->h_first = take(&at, texts * 4);
  s->h_end = take(&at, texts * 4);
  s->h_terms = take(&at, entries * 4);
  s->h_weights = take(&at, entries * 4);
  s->h_n = take(&at, texts * 4);
  s->h_found = take(&at, texts * 4);
  s->h_token_rows = take(&at, tokens * b->token_dim * 4);
  s->h_overflow = take(&at, 4);
  return at - (uintptr_t)base;
}

static void slot_release(slot *s) {
  cudaFree(s->device);
  cudaFreeHost(s->host);
  s->device = s->host = NULL;
  s->tokens = s->texts = s->room = 0;
}

/* Makes the slot exactly so large; what it held is gone. */
static sp_err slot_resize(cuda_backend *b, slot *s, uint32_t tokens, uint32_t texts,
                          uint32_t room) {
  slot_release(s);
  s->tokens = tokens, s->texts = texts, s->room = room;
  sp_err err = sp_cuda_check(cudaMalloc(&s->device, lay_device(b, s, NULL)), "a batch");
  if (!err)
    err = sp_cuda_check(cudaMallocHost(&s->host, lay_host(b, s, NULL)),
                        "pinned memory for a batch");
  if (err) {
    slot_release(s);
    return err;
  }
  lay_device(b, s, s->device);
  lay_host(b, s, s->host);
  return SP_OK;
}

/* Some more than is needed, as batches are cut to about one size; not more than a full batch
 * unless that is needed. */
static uint32_t with_headroom(const cuda_backend *b, uint32_t tokens) {
  const uint32_t good = b->base.batch_tokens;
  const uint32_t full = b->max_tokens > good ? b->max_tokens : good;
  if (tokens >= full) return tokens;
  const uint32_t more = tokens + tokens / 4 + 1024;
  return more < full ? more : full;
}

/* Room for the batch in the slot and in the shared buffers; if need be without headroom. */
static sp_err make_room(cuda_backend *b, slot *s, const sp_batch *batch) {
  const uint32_t tokens = batch->n_tokens, texts = batch->n_texts;
  const uint32_t more = with_headroom(b, tokens);
  if (tokens > b->work.tokens) {
    sp_err err = cuda_work_resize(&b->work, &b->net, more);
    if (err == SP_ENOMEM) err = cuda_work_resize(&b->work, &b->net, tokens);
    if (err) return err;
  }
  if (tokens <= s->tokens && texts <= s->texts) return SP_OK;
  const uint32_t room = s->room ? s->room : FIRST_ROOM,
                 more_texts = texts + texts / 4 + 64;
  sp_err err = slot_resize(b, s, more > s->tokens ? more : s->tokens,
                           more_texts > s->texts ? more_texts : s->texts, room);
  if (err == SP_ENOMEM) err = slot_resize(b, s, tokens, texts, room);
  return err;
}

/* Copies the batch's arrays to pinned memory; returns the longest text. */
static uint32_t fill_host(slot *s, const sp_batch *batch, uint32_t *n_positions) {
  uint32_t longest = 0;
  memcpy(s->h_ids, batch->ids, batch->n_tokens * sizeof *batch->ids);
  memcpy(s->h_positions, batch->positions, batch->n_tokens * sizeof *batch->positions);
  memcpy(s->h_starts, batch->starts,
         (batch->n_texts + (size_t)1) * sizeof *batch->starts);
  if (batch->attend_end)
    memcpy(s->h_key_end, batch->attend_end, batch->n_texts * sizeof *batch->attend_end);
  *n_positions = 0;
  for (uint32_t i = 0; i < batch->n_tokens; i++)
    if (batch->positions[i] >= *n_positions) *n_positions = batch->positions[i] + 1;
  for (uint32_t t = 0; t < batch->n_texts; t++) {
    const uint32_t start = batch->starts[t], n = batch->starts[t + 1] - start;
    if (n > longest) longest = n;
    s->h_first[t] = start + batch->pool_first[t];
    s->h_end[t] = start + batch->pool_end[t];
  }
  *s->h_overflow = 0;
  return longest;
}

static sp_err send(cuda_backend *b, void *to, const void *from, size_t n) {
  return sp_cuda_check(cudaMemcpyAsync(to, from, n * 4, cudaMemcpyHostToDevice, b->copy),
                       "a batch's tokens");
}

static sp_err send_inputs(cuda_backend *b, slot *s, const sp_batch *batch) {
  sp_err err = send(b, s->ids, s->h_ids, batch->n_tokens);
  if (!err) err = send(b, s->positions, s->h_positions, batch->n_tokens);
  if (!err) err = send(b, s->starts, s->h_starts, batch->n_texts + (size_t)1);
  if (!err && batch->attend_end) err = send(b, s->key_end, s->h_key_end, batch->n_texts);
  if (!err) err = sp_cuda_check(cudaEventRecord(s->arrived, b->copy), "a batch");
  return err ? err
             : sp_cuda_check(cudaStreamWaitEvent(b->compute, s->arrived, 0), "a batch");
}

/* The decoder over the slot's y, and its results on their way to the host. */
static sp_err queue_head(cuda_backend *b, slot *s, const sp_batch *batch) {
  const sp_lm_texts texts = {s->h_first, s->h_end, batch->n_texts};
  const sp_lm_sparse out = {.threshold = batch->threshold,
                            .top_k = batch->top_k,
                            .cap = s->room,
                            .terms = s->terms,
                            .weights = s->weights,
                            .n_kept = s->n_kept,
                            .n_found = s->n_found};
  sp_err err =
      sp_lm_head_sparse(b->head, s->y, batch->n_tokens, &texts, &out, b->compute);
  if (!err)
    err = sp_cuda_pack_sparse(s->terms, s->weights, s->n_kept, (int)batch->n_texts,
                              s->room, s->h_terms, s->h_weights, s->h_n, b->compute);
  return err ? err
             : sp_cuda_check(cudaMemcpyAsync(s->h_found, s->n_found, batch->n_texts * 4,
                                             cudaMemcpyDeviceToHost, b->compute),
                             "a batch's results");
}

static sp_err queue_batch(cuda_backend *b, slot *s, const sp_batch *batch) {
  sp_err err = make_room(b, s, batch);
  if (err) return err;
  uint32_t n_positions;
  const uint32_t longest = fill_host(s, batch, &n_positions);
  err = cuda_work_positions(&b->work, &b->net, n_positions, b->compute);
  if (!err) err = send_inputs(b, s, batch);
  const cuda_input in = {
      s->ids,          s->positions,   s->starts, batch->attend_end ? s->key_end : NULL,
      batch->n_tokens, batch->n_texts, longest};
  float *rows = batch->want_tokens ? s->token_rows : NULL;
  if (!err)
    err = cuda_forward(&b->net, b->mm, &b->work, &in, s->y, rows, s->h_overflow,
                       b->compute);
  if (!err && batch->want_vectors) err = queue_head(b, s, batch);
  if (!err && rows)
    err = sp_cuda_check(
        cudaMemcpyAsync(s->h_token_rows, rows, batch->n_tokens * b->token_dim * 4,
                        cudaMemcpyDeviceToHost, b->compute),
        "a batch's results");
  return err ? err : sp_cuda_check(cudaEventRecord(s->done, b->compute), "a batch");
}

/* Waits for whatever is queued, so that its memory may be used again. Keeps `err`. */
static sp_err give_up(cuda_backend *b, sp_err err) {
  cudaStreamSynchronize(b->copy);
  cudaStreamSynchronize(b->compute);
  return err;
}

static sp_err cuda_begin(sp_backend *base, uint32_t i, const sp_batch *batch) {
  cuda_backend *b = (cuda_backend *)base;
  slot *s = &b->slots[i];
  if (batch->want_vectors && !b->head)
    return sp_fail(SP_EINVAL, "%s: the model has no decoder", b->net.model->dir);
  if (batch->want_tokens && !b->token_dim)
    return sp_fail(SP_EINVAL, "%s: the model has no token vectors", b->net.model->dir);
  sp_err err = SP_OK;
  if (batch->n_tokens > 0) {
    pthread_mutex_lock(&b->lock);
    err = queue_batch(b, s, batch);
    if (err) err = give_up(b, err);
    pthread_mutex_unlock(&b->lock);
  }
  if (!err) s->batch = batch;
  return err;
}

/* A text had more entries than there was room for: the decoder runs once more with room for
 * the most that any text has, and the slot keeps that room. y is still there. */
static sp_err run_head_again(cuda_backend *b, slot *s, const sp_batch *batch,
                             uint32_t most) {
  uint32_t room = s->room;
  while (room < most) room *= 2;
  if (room > b->net.model->config.vocab_size) room = b->net.model->config.vocab_size;
  const size_t y_bytes = batch->n_tokens * (size_t)b->net.d_stride * 2;
  void *old = s->device, *old_host = s->host;
  slot grown = *s;
  grown.device = grown.host = NULL;
  sp_err err = slot_resize(b, &grown, s->tokens, s->texts, room);
  if (err == SP_ENOMEM)
    err = slot_resize(b, &grown, batch->n_tokens, batch->n_texts, room);
  if (err) return err;
  memcpy(grown.h_first, s->h_first, batch->n_texts * sizeof *s->h_first);
  memcpy(grown.h_end, s->h_end, batch->n_texts * sizeof *s->h_end);
  if (batch->want_tokens)
    memcpy(grown.h_token_rows, s->h_token_rows, batch->n_tokens * b->token_dim * 4);
  err = sp_cuda_check(
      cudaMemcpyAsync(grown.y, s->y, y_bytes, cudaMemcpyDeviceToDevice, b->compute),
      "a batch");
  if (!err) err = queue_head(b, &grown, batch);
  if (!err) err = sp_cuda_check(cudaStreamSynchronize(b->compute), "a batch");
  if (err) {
    give_up(b, err);
    slot_release(&grown);
    return err;
  }
  cudaFree(old);
  cudaFreeHost(old_host);
  *s = grown;
  return SP_OK;
}

static sp_err take_vectors(const slot *s, const sp_batch *batch, sp_vec *vectors) {
  size_t at = 0;
  for (uint32_t t = 0; t < batch->n_texts; t++) {
    const uint32_t n = s->h_n[t];
    sp_vec_clear(&vectors[t]);
    sp_err err = sp_vec_reserve(&vectors[t], n);
    if (err) return err;
    memcpy(vectors[t].terms, s->h_terms + at, n * sizeof *s->h_terms);
    memcpy(vectors[t].weights, s->h_weights + at, n * sizeof *s->h_weights);
    vectors[t].n = n;
    at += n;
  }
  return SP_OK;
}

static sp_err take_results(cuda_backend *b, slot *s, const sp_batch *batch,
                           sp_vec *vectors, float *tokens) {
  sp_err err = sp_cuda_check(cudaEventSynchronize(s->done), "a batch");
  if (err) return err;
  if (*s->h_overflow)
    return sp_fail(SP_EINVAL, "%s: a hidden state is not finite in %s%s",
                   b->net.model->dir, b->base.precision,
                   b->net.type == SP_CUDA_F16 ? ": bf16 has the range" : "");
  if (batch->want_tokens)
    memcpy(tokens, s->h_token_rows, batch->n_tokens * b->token_dim * sizeof *tokens);
  if (!batch->want_vectors) return SP_OK;
  uint32_t most = 0;
  for (uint32_t t = 0; t < batch->n_texts; t++)
    if (s->h_found[t] > most) most = s->h_found[t];
  if (most > s->room) {
    pthread_mutex_lock(&b->lock);
    err = run_head_again(b, s, batch, most);
    pthread_mutex_unlock(&b->lock);
    if (err) return err;
  }
  return take_vectors(s, batch, vectors);
}

static sp_err cuda_end(sp_backend *base, uint32_t i, sp_vec *vectors, float *tokens) {
  cuda_backend *b = (cuda_backend *)base;
  slot *s = &b->slots[i];
  const sp_batch *batch = s->batch;
  s->batch = NULL;
  if (batch->n_tokens > 0) return take_results(b, s, batch, vectors, tokens);
  for (uint32_t t = 0; t < batch->n_texts && batch->want_vectors; t++)
    sp_vec_clear(&vectors[t]);
  return SP_OK;
}

static void cuda_free(sp_backend *base) {
  cuda_backend *b = (cuda_backend *)base;
  cudaDeviceSynchronize();
  for (uint32_t i = 0; i < b->n_slots && b->slots; i++) {
    slot_release(&b->slots[i]);
    if (b->slots[i].arrived) cudaEventDestroy(b->slots[i].arrived);
    if (b->slots[i].done) cudaEventDestroy(b->slots[i].done);
  }
  free(b->slots);
  sp_lm_head_free(b->head);
  sp_cuda_matmul_free(b->mm);
  cuda_work_free(&b->work);
  cuda_network_free(&b->net);
  if (b->compute) cudaStreamDestroy(b->compute);
  if (b->copy) cudaStreamDestroy(b->copy);
  pthread_mutex_destroy(&b->lock);
  free(b);
}

static const sp_backend_ops CUDA_OPS = {"cuda", cuda_begin, cuda_end, cuda_free};

/* float16 is eight times as exact as bf16 and as fast, so it comes first; a model with
 * weights beyond its range is loaded as bf16 instead. */
static sp_err load(cuda_backend *b, const sp_model *m, const sp_backend_options *o) {
  const char *wish = o->precision ? o->precision : "auto";
  const bool any = !strcmp(wish, "auto");
  if (!any && strcmp(wish, "f16") && strcmp(wish, "bf16"))
    return sp_fail(SP_EINVAL, "CUDA computes in f16 or bf16, not in %s", wish);
  const bool fold = sp_cuda_matmul_does_norms(b->mm);
  sp_err err = SP_EINVAL;
  if (strcmp(wish, "bf16")) {
    b->base.precision = "f16";
    err = cuda_network_load(m, SP_CUDA_F16, o->n_threads, fold, &b->net);
    if (err != SP_EINVAL || !any) return err;
    cuda_network_free(&b->net);
  }
  b->base.precision = "bf16";
  return cuda_network_load(m, SP_CUDA_BF16, o->n_threads, fold, &b->net);
}

static sp_err open_head(cuda_backend *b) {
  const cuda_network *net = &b->net;
  if (net->projection.w) b->token_dim = net->model->tokens.linear.weight.rows;
  if (!net->decoder) return SP_OK;
  const sp_lm_head_config c = {.w = net->decoder,
                               .bias = net->decoder_bias,
                               .vocab = net->model->decoder.weight.rows,
                               .dim = (uint32_t)net->d_stride,
                               .dtype = net->type == SP_CUDA_F16 ? SP_LM_F16 : SP_LM_BF16,
                               .log1p_times = net->model->log1p_times,
                               .path = SP_LM_AUTO,
                               .screen = SP_LM_SCREEN_AUTO};
  return sp_lm_head_new(&c, &b->head);
}

static sp_err open_slots(cuda_backend *b, uint32_t n) {
  b->slots = calloc(n, sizeof *b->slots);
  if (!b->slots) return sp_fail(SP_ENOMEM, "CUDA backend: out of memory");
  b->n_slots = n;
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < n && !err; i++) {
    slot *s = &b->slots[i];
    err = sp_cuda_check(cudaEventCreateWithFlags(&s->arrived, cudaEventDisableTiming),
                        "CUDA backend");
    if (!err) /* whoever waits for results sleeps: the processors have texts to tokenize */
      err = sp_cuda_check(cudaEventCreateWithFlags(
                              &s->done, cudaEventDisableTiming | cudaEventBlockingSync),
                          "CUDA backend");
  }
  return err;
}

/* A tile of tokens for each multiprocessor, or as many more as come near GOOD_BATCH: then the
 * last round of tiles of every product is as full as the others. */
static sp_err good_batch(uint32_t *tokens) {
  int device, n = 0;
  sp_err err = sp_cuda_check(cudaGetDevice(&device), "CUDA backend");
  if (!err)
    err =
        sp_cuda_check(cudaDeviceGetAttribute(&n, cudaDevAttrMultiProcessorCount, device),
                      "CUDA backend");
  if (err) return err;
  const uint32_t row = (uint32_t)n * TOKEN_TILE, rows = (GOOD_BATCH + row / 2) / row;
  *tokens = rows ? rows * row : row;
  return SP_OK;
}

sp_err sp_cuda_backend_new(const sp_model *m, const sp_backend_options *o,
                           sp_backend **out) {
  *out = NULL;
  if (sp_cuda_capability() < LEAST_CAPABILITY)
    return sp_fail(SP_ECUDA, "no CUDA device of compute capability 8.0 or newer");
  cuda_backend *b = calloc(1, sizeof *b);
  if (!b) return sp_fail(SP_ENOMEM, "CUDA backend: out of memory");
  b->base = (sp_backend){.ops = &CUDA_OPS,
                         .window = GOOD_WINDOW,
                         .at_once = 2 /* one waits, one computes */};
  b->max_tokens = o->max_tokens;
  pthread_mutex_init(&b->lock, NULL);
  sp_err err = good_batch(&b->base.batch_tokens);
  if (!err)
    err = sp_cuda_check(cudaStreamCreateWithFlags(&b->compute, cudaStreamNonBlocking),
                        "CUDA backend");
  if (!err)
    err = sp_cuda_check(cudaStreamCreateWithFlags(&b->copy, cudaStreamNonBlocking),
                        "CUDA backend");
  if (!err) err = open_slots(b, o->n_slots);
  if (!err) err = sp_cuda_matmul_create(&b->mm);
  if (!err) err = load(b, m, o);
  if (!err) err = open_head(b);
  if (err) {
    cuda_free(&b->base);
    return err;
  }
  *out = &b->base;
  return SP_OK;
}
