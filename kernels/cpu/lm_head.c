/* kernels/cpu/lm_head.c - how are logits pooled without ever being kept? */
#include "kernels/cpu/lm_head.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A block of logits is 256 tokens by 512 terms: half a MiB, which stays in the
 * second-level cache, and large enough that sgemm's packing of the operands does not
 * show. */
enum { TILE_TERMS = 512, BLOCK_TOKENS = 256 };
/* Rows between texts that are cheaper multiplied along than a new block. */
enum { GAP_TOKENS = 16 };

/* One thread's room. */
typedef struct scratch {
  float logits[BLOCK_TOKENS * TILE_TERMS];
  float best[TILE_TERMS];
  int32_t at[TILE_TERMS];
} scratch;

/* What one tile gave, for sparse output: the entries of all texts, text after text. */
typedef struct tile_out {
  sp_vec entries;
  uint32_t *n; /* [n_texts] entries of each */
} tile_out;

typedef struct job {
  const sp_lm_cpu *head;
  const float *h;
  const sp_lm_texts *texts;
  scratch *scratch; /* [n_threads] */

  float *out; /* dense */
  int32_t *argmax;

  tile_out *tiles; /* sparse; NULL: dense */
  float threshold;
  uint32_t top_k;
  size_t n_tiles;
  sp_vec *vectors;
} job;

static float activate(float z, uint32_t log1p_times) {
  if (!(z > 0)) return 0; /* NaN too */
  float y = log1pf(z);
  return log1p_times == 2 ? log1pf(y) : y;
}

/* Raises best[n] by `rows` rows of logits. */
static void reduce(const float *restrict logits, size_t rows, size_t n,
                   float *restrict best) {
  for (size_t s = 0; s < rows; s++, logits += TILE_TERMS)
    for (size_t v = 0; v < n; v++) best[v] = logits[v] > best[v] ? logits[v] : best[v];
}

/* The same, remembering the row: `token` is the first row's. */
static void reduce_at(const float *restrict logits, size_t rows, size_t n, int32_t token,
                      float *restrict best, int32_t *restrict at) {
  for (size_t s = 0; s < rows; s++, token++, logits += TILE_TERMS)
    for (size_t v = 0; v < n; v++) {
      int more = logits[v] > best[v]; /* strictly: the lowest token wins a tie */
      best[v] = more ? logits[v] : best[v];
      at[v] = more ? token : at[v];
    }
}

static sp_err keep(job *j, size_t tile, uint32_t text, const scratch *s, size_t n) {
  const sp_lm_cpu *head = j->head;
  const size_t v0 = tile * TILE_TERMS;
  const float *bias = head->bias ? head->bias + v0 : NULL;
  if (!j->tiles) {
    float *out = j->out + (size_t)text * head->vocab + v0;
    int32_t *argmax = j->argmax ? j->argmax + (size_t)text * head->vocab + v0 : NULL;
    for (size_t v = 0; v < n; v++) {
      out[v] = activate(s->best[v] + (bias ? bias[v] : 0), head->log1p_times);
      if (argmax) argmax[v] = out[v] > 0 ? s->at[v] : -1;
    }
    return SP_OK;
  }
  tile_out *t = &j->tiles[tile];
  const uint32_t before = t->entries.n;
  for (size_t v = 0; v < n; v++) {
    float y = activate(s->best[v] + (bias ? bias[v] : 0), head->log1p_times);
    if (!(y > 0) || y < j->threshold) continue;
    sp_err err = sp_vec_push(&t->entries, (uint32_t)(v0 + v), y);
    if (err) return err;
  }
  t->n[text] = t->entries.n - before;
  return SP_OK;
}

static void restart(scratch *s) {
  for (size_t v = 0; v < TILE_TERMS; v++) {
    s->best[v] = -INFINITY;
    s->at[v] = -1;
  }
}

/* Where the block ends that begins with `row` of text b. */
static uint32_t find_block_end(const sp_lm_texts *texts, uint32_t b, uint32_t row) {
  uint32_t end = texts->end[b];
  while (++b < texts->n && end - row < BLOCK_TOKENS &&
         texts->first[b] - end <= GAP_TOKENS)
    end = texts->end[b];
  return end - row < BLOCK_TOKENS ? end : row + BLOCK_TOKENS;
}

/* The same tile where the products come from elsewhere: text by text. */
static sp_err raise_tile(job *j, size_t tile, scratch *s, size_t v0, size_t n) {
  const sp_lm_texts *texts = j->texts;
  for (uint32_t b = 0; b < texts->n; b++) {
    restart(s);
    if (texts->end[b] > texts->first[b])
      j->head->raise(j->head->raise_context, texts->first[b],
                     texts->end[b] - texts->first[b], v0, n, s->best);
    sp_err err = keep(j, tile, b, s, n);
    if (err) return err;
  }
  return SP_OK;
}

/* One tile of the vocabulary against all tokens, a block of rows at a time. A block
 * begins at a pooled row and may hold the ends of many texts. */
static sp_err run_tile(void *arg, size_t tile, unsigned worker) {
  job *j = arg;
  const sp_lm_cpu *head = j->head;
  const sp_lm_texts *texts = j->texts;
  scratch *s = &j->scratch[worker];
  const size_t v0 = tile * TILE_TERMS;
  const size_t n = head->vocab - v0 < TILE_TERMS ? head->vocab - v0 : TILE_TERMS;
  if (head->raise) return raise_tile(j, tile, s, v0, n);

  uint32_t block = 0, block_end = 0; /* rows whose logits lie in s->logits */
  for (uint32_t b = 0; b < texts->n; b++) {
    restart(s);
    for (uint32_t row = texts->first[b]; row < texts->end[b];) {
      if (row >= block_end) {
        block = row;
        block_end = find_block_end(texts, b, row);
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)(block_end - block),
                    (int)n, (int)head->dim, 1, j->h + (size_t)block * head->dim,
                    (int)head->dim, head->w + v0 * head->dim, (int)head->dim, 0,
                    s->logits, TILE_TERMS);
      }
      uint32_t stop = texts->end[b] < block_end ? texts->end[b] : block_end;
      const float *logits = s->logits + (size_t)(row - block) * TILE_TERMS;
      if (j->argmax)
        reduce_at(logits, stop - row, n, (int32_t)row, s->best, s->at);
      else
        reduce(logits, stop - row, n, s->best);
      row = stop;
    }
    sp_err err = keep(j, tile, b, s, n);
    if (err) return err;
  }
  return SP_OK;
}

/* Puts a text's entries of all tiles behind one another: tiles ascend, so terms do. */
static sp_err gather(void *arg, size_t text, unsigned worker) {
  (void)worker;
  job *j = arg;
  sp_vec *v = &j->vectors[text];
  sp_vec_clear(v);
  size_t total = 0;
  for (size_t t = 0; t < j->n_tiles; t++) total += j->tiles[t].n[text];
  sp_err err = sp_vec_reserve(v, (uint32_t)total);
  if (err) return err;
  for (size_t t = 0; t < j->n_tiles; t++) {
    const tile_out *tile = &j->tiles[t];
    size_t from = 0;
    for (size_t b = 0; b < text; b++) from += tile->n[b];
    const uint32_t n = tile->n[text];
    if (!n) continue;
    memcpy(v->terms + v->n, tile->entries.terms + from, n * sizeof *v->terms);
    memcpy(v->weights + v->n, tile->entries.weights + from, n * sizeof *v->weights);
    v->n += n;
  }
  return j->top_k ? sp_vec_keep_top(v, j->top_k) : SP_OK;
}

static sp_err check(const sp_lm_cpu *head, uint32_t n_tokens, const sp_lm_texts *texts) {
  (void)head;
  assert(head->vocab && head->dim && (head->log1p_times == 1 || head->log1p_times == 2));
  uint32_t at = 0;
  for (uint32_t b = 0; b < texts->n; b++) {
    if (texts->first[b] < at || texts->end[b] < texts->first[b] ||
        texts->end[b] > n_tokens)
      return sp_fail(SP_EINVAL,
                     "lm_head: text %u covers the tokens %u to %u of %u, after %u", b,
                     texts->first[b], texts->end[b], n_tokens, at);
    at = texts->end[b];
  }
  return SP_OK;
}

/* Runs the tiles with OpenBLAS confined to the calling threads. */
static sp_err run(job *j, sp_pool *pool) {
  j->scratch = malloc(sp_pool_n_threads(pool) * sizeof *j->scratch);
  if (!j->scratch) return sp_fail(SP_ENOMEM, "lm_head: scratch of the threads");
  const int blas_threads = openblas_get_num_threads();
  const int confine = sp_pool_n_threads(pool) > 1 && blas_threads > 1;
  if (confine) openblas_set_num_threads(1);
  sp_err err = sp_pool_run(pool, j->n_tiles, run_tile, j);
  if (confine) openblas_set_num_threads(blas_threads);
  free(j->scratch);
  return err;
}

sp_err sp_lm_cpu_dense(const sp_lm_cpu *head, const float *h, uint32_t n_tokens,
                       const sp_lm_texts *texts, sp_pool *pool, float *out,
                       int32_t *argmax) {
  sp_err err = check(head, n_tokens, texts);
  if (err || texts->n == 0) return err;
  job j = {.head = head, .h = h, .texts = texts, .out = out, .argmax = argmax};
  j.n_tiles = ((size_t)head->vocab + TILE_TERMS - 1) / TILE_TERMS;
  return run(&j, pool);
}

sp_err sp_lm_cpu_sparse(const sp_lm_cpu *head, const float *h, uint32_t n_tokens,
                        const sp_lm_texts *texts, sp_pool *pool, float threshold,
                        uint32_t top_k, sp_vec *vectors) {
  sp_err err = check(head, n_tokens, texts);
  if (err || texts->n == 0) return err;
  job j = {.head = head, .h = h, .texts = texts, .threshold = threshold, .top_k = top_k};
  j.vectors = vectors;
  j.n_tiles = ((size_t)head->vocab + TILE_TERMS - 1) / TILE_TERMS;
  j.tiles = calloc(j.n_tiles, sizeof *j.tiles);
  uint32_t *counts = calloc(j.n_tiles * texts->n, sizeof *counts);
  if (!j.tiles || !counts) {
    err = sp_fail(SP_ENOMEM, "lm_head: %zu tiles of %u texts", j.n_tiles, texts->n);
    goto end;
  }
  for (size_t t = 0; t < j.n_tiles; t++) j.tiles[t].n = counts + t * texts->n;
  err = run(&j, pool);
  if (!err) err = sp_pool_run(pool, texts->n, gather, &j);
end:
  for (size_t t = 0; j.tiles && t < j.n_tiles; t++) sp_vec_free(&j.tiles[t].entries);
  free(j.tiles);
  free(counts);
  return err;
}
