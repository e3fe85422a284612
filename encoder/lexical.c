/* encoder/lexical.c - encoding without a model: term frequencies, then BM25. */
#include "encoder/lexical.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static sp_lexical *of(const sp_encoder *e) {
  return (sp_lexical *)(uintptr_t)e; /* the ops are called for this family alone */
}

uint32_t sp_lexical_n_terms(const sp_lexical *x) {
  return x->tokenizer ? sp_tokenizer_n_ids(x->tokenizer) : sp_strmap_count(x->words);
}

static uint32_t lexical_n_terms(const sp_encoder *e) {
  return sp_lexical_n_terms(of(e));
}

/* --- scratch --- */

static void free_scratch(sp_lexical_scratch *s) {
  sp_tokens_free(&s->tokens);
  sp_words_free(&s->words);
  free(s);
}

/* Queries come from any number of threads: each takes what another has put back. */
static sp_err take_scratch(sp_lexical *x, sp_lexical_scratch **out) {
  pthread_mutex_lock(&x->lock);
  *out = x->idle;
  if (*out) x->idle = (*out)->next;
  pthread_mutex_unlock(&x->lock);
  if (!*out) *out = calloc(1, sizeof **out);
  return *out ? SP_OK : sp_fail(SP_ENOMEM, "scratch of a query: out of memory");
}

static void put_back(sp_lexical *x, sp_lexical_scratch *s) {
  pthread_mutex_lock(&x->lock);
  s->next = x->idle;
  x->idle = s;
  pthread_mutex_unlock(&x->lock);
}

/* --- statistics --- */

sp_err sp_lexical_reserve(sp_lexical *x, uint32_t n) {
  if (n <= x->df_cap) return SP_OK;
  uint32_t cap = x->df_cap > UINT32_MAX / 2 ? n : x->df_cap * 2;
  if (cap < n) cap = n;
  uint32_t *df = realloc(x->df, (size_t)cap * sizeof *df);
  if (!df) return sp_fail(SP_ENOMEM, "counts of %u terms: out of memory", n);
  memset(df + x->df_cap, 0, (size_t)(cap - x->df_cap) * sizeof *df);
  x->df = df;
  x->df_cap = cap;
  return SP_OK;
}

static double length_of(const sp_vec *frequencies) {
  double length = 0;
  for (uint32_t i = 0; i < frequencies->n; i++) length += frequencies->weights[i];
  return length;
}

static bool lexical_learns(const sp_encoder *e) {
  (void)e;
  return true;
}

static sp_err not_counted(const sp_lexical *x) {
  return sp_fail(SP_EINVAL,
                 "a document is taken out of statistics over %" PRIu64
                 " documents that do not hold it",
                 x->n_docs);
}

static sp_err lexical_observe(sp_encoder *e, const sp_vec *frequencies, int sign) {
  sp_lexical *x = of(e);
  uint64_t length = (uint64_t)length_of(frequencies);
  uint32_t n_terms = frequencies->n ? frequencies->terms[frequencies->n - 1] + 1 : 0;
  assert(sign == 1 || sign == -1);
  if (n_terms > sp_lexical_n_terms(x))
    return sp_fail(SP_EINVAL, "term %u of a document, expected terms below %u",
                   n_terms - 1, sp_lexical_n_terms(x));
  sp_err err = sp_lexical_reserve(x, n_terms);
  if (err) return err;
  if (sign < 0) { /* all or nothing */
    if (x->n_docs == 0 || x->total_length < length) return not_counted(x);
    for (uint32_t i = 0; i < frequencies->n; i++)
      if (x->df[frequencies->terms[i]] == 0) return not_counted(x);
  }
  for (uint32_t i = 0; i < frequencies->n; i++)
    x->df[frequencies->terms[i]] += (uint32_t)sign;
  x->n_docs += (uint64_t)(int64_t)sign;
  x->total_length += sign > 0 ? length : -length;
  return SP_OK;
}

static void lexical_finish_document(const sp_encoder *e, sp_vec *v) {
  const sp_lexical *x = of(e);
  double length = length_of(v);
  double mean = x->n_docs ? (double)x->total_length / (double)x->n_docs : 0;
  double norm = x->k1 * (1 - x->b + x->b * (mean > 0 ? length / mean : 1));
  for (uint32_t i = 0; i < v->n; i++) {
    double tf = v->weights[i];
    v->weights[i] = (float)(tf * (x->k1 + 1) / (tf + norm));
  }
}

/* 0 for a term that no document holds: it cannot score. */
static float idf(const sp_lexical *x, uint32_t term) {
  double df = term < x->df_cap ? x->df[term] : 0;
  if (df == 0) return 0;
  return (float)log1p(((double)x->n_docs - df + 0.5) / (df + 0.5));
}

static bool lexical_query_weights(const sp_encoder *e, float *weight) {
  const sp_lexical *x = of(e);
  uint32_t n = sp_lexical_n_terms(x);
  for (uint32_t t = 0; t < n; t++) weight[t] = idf(x, t);
  return true;
}

/* --- encoding --- */

/* Appends a 1 for each token; terms come in any order and more than once. */
static sp_err tokenize(const sp_lexical *x, const sp_text *text, sp_tokens *tokens,
                       sp_vec *out) {
  const sp_tokenize_options plain = {.special_tokens = false};
  sp_err err = sp_tokenizer_encode(x->tokenizer, text->data, text->n, &plain, tokens);
  if (!err) err = sp_vec_reserve(out, tokens->n);
  for (uint32_t i = 0; i < tokens->n && !err; i++)
    err = sp_vec_push(out, tokens->ids[i], 1);
  return err;
}

/* The same for the words that the vocabulary has. */
static sp_err look_up(const sp_lexical *x, const sp_words *words, sp_vec *out) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < words->n && !err; i++) {
    size_t n;
    const char *word = sp_words_get(words, i, &n);
    uint32_t term = sp_strmap_find(x->words, word, n);
    if (term != SP_STRMAP_NONE) err = sp_vec_push(out, term, 1);
  }
  return err;
}

static sp_err encode_query(sp_lexical *x, const sp_text *text, sp_lexical_scratch *s,
                           sp_vec *out) {
  sp_vec_clear(out);
  sp_err err;
  if (x->tokenizer) {
    err = tokenize(x, text, &s->tokens, out);
  } else {
    err = sp_words_split(text->data, text->n, &s->words);
    if (!err) err = look_up(x, &s->words, out);
  }
  if (err) return err;
  sp_vec_normalize(out);
  uint32_t kept = 0;
  for (uint32_t i = 0; i < out->n; i++) { /* however often the query says it */
    float w = idf(x, out->terms[i]);
    if (!(w > 0)) continue;
    out->terms[kept] = out->terms[i];
    out->weights[kept++] = w;
  }
  out->n = kept;
  return SP_OK;
}

static sp_err encode_queries(sp_lexical *x, const sp_text *texts, size_t n, sp_vec *out) {
  sp_lexical_scratch *s;
  sp_err err = take_scratch(x, &s);
  if (err) return err;
  for (size_t i = 0; i < n && !err; i++) err = encode_query(x, &texts[i], s, &out[i]);
  put_back(x, s);
  return err;
}

typedef struct batch_job {
  sp_lexical *x;
  const sp_text *texts;
  sp_vec *out;
} batch_job;

static sp_err tokenize_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  batch_job *j = job;
  sp_lexical_scratch *s;
  sp_err err = take_scratch(j->x, &s);
  if (err) return err;
  sp_vec_clear(&j->out[piece]);
  err = tokenize(j->x, &j->texts[piece], &s->tokens, &j->out[piece]);
  put_back(j->x, s);
  if (!err) sp_vec_normalize(&j->out[piece]);
  return err;
}

static sp_err split_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  batch_job *j = job;
  const sp_text *text = &j->texts[piece];
  return sp_words_split(text->data, text->n, &j->x->batch[piece]);
}

/* New words get their numbers in the order of the texts, whatever the number of threads. */
static sp_err number_words(sp_lexical *x, size_t n, sp_vec *out) {
  for (size_t t = 0; t < n; t++) {
    const sp_words *words = &x->batch[t];
    sp_vec_clear(&out[t]);
    for (uint32_t i = 0; i < words->n; i++) {
      size_t length;
      uint32_t term;
      const char *word = sp_words_get(words, i, &length);
      sp_err err = sp_strmap_add(x->words, word, length, &term);
      if (!err) err = sp_vec_push(&out[t], term, 1);
      if (err) return err;
    }
  }
  return SP_OK;
}

static sp_err count_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  sp_vec_normalize(&((batch_job *)job)->out[piece]);
  return SP_OK;
}

static sp_err reserve_batch(sp_lexical *x, size_t n) {
  if (n <= x->batch_cap) return SP_OK;
  sp_words *batch = realloc(x->batch, n * sizeof *batch);
  if (!batch) return sp_fail(SP_ENOMEM, "a batch of %zu texts: out of memory", n);
  memset(batch + x->batch_cap, 0, (n - x->batch_cap) * sizeof *batch);
  x->batch = batch;
  x->batch_cap = n;
  return SP_OK;
}

static sp_err encode_documents(sp_lexical *x, const sp_text *texts, size_t n,
                               sp_vec *out) {
  sp_err err = x->pool ? SP_OK : sp_pool_new(x->n_threads, &x->pool);
  if (err) return err;
  batch_job job = {x, texts, out};
  if (x->tokenizer) return sp_pool_run(x->pool, n, tokenize_piece, &job);
  err = reserve_batch(x, n);
  if (!err) err = sp_pool_run(x->pool, n, split_piece, &job);
  if (!err) err = number_words(x, n, out);
  if (!err) err = sp_pool_run(x->pool, n, count_piece, &job);
  return err;
}

static sp_err lexical_encode(sp_encoder *e, sp_side side, const sp_text *texts, size_t n,
                             sp_vec *out) {
  return side == SP_QUERY ? encode_queries(of(e), texts, n, out)
                          : encode_documents(of(e), texts, n, out);
}

/* --- the rest of the interface --- */

static const char *lexical_term(const sp_encoder *e, uint32_t term, size_t *n) {
  const sp_lexical *x = of(e);
  if (x->tokenizer) return sp_tokenizer_token(x->tokenizer, term, n);
  return term < sp_strmap_count(x->words) ? sp_strmap_key(x->words, term, n) : NULL;
}

/* The statistics are no part of it: they change with every document. Nor is the number of
 * words. */
static sp_err lexical_contract(const sp_encoder *e, json_t **out) {
  const sp_lexical *x = of(e);
  *out = json_pack("{s:s, s:s, s:f, s:f}", "family", "lexical", "terms",
                   x->tokenizer ? "tokens" : "words", "k1", x->k1, "b", x->b);
  int failed = !*out;
  if (!failed && x->tokenizer) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, sp_tokenizer_hash(x->tokenizer));
    failed = json_object_set_new(*out, "tokenizer", json_string(hash)) ||
             json_object_set_new(*out, "n_terms",
                                 json_integer(sp_tokenizer_n_ids(x->tokenizer)));
  }
  if (!failed) return SP_OK;
  json_decref(*out);
  *out = NULL;
  return sp_fail(SP_ENOMEM, "the encoder's contract: out of memory");
}

static void lexical_free(sp_encoder *e) {
  sp_lexical *x = of(e);
  sp_tokenizer_free(x->tokenizer);
  sp_strmap_free(x->words);
  sp_pool_free(x->pool);
  for (size_t i = 0; i < x->batch_cap; i++) sp_words_free(&x->batch[i]);
  while (x->idle) {
    sp_lexical_scratch *s = x->idle;
    x->idle = s->next;
    free_scratch(s);
  }
  pthread_mutex_destroy(&x->lock);
  free(x->batch);
  free(x->df);
  free(x);
}

static const sp_encoder_ops LEXICAL = {
    .tag = 'l',
    .free = lexical_free,
    .n_terms = lexical_n_terms,
    .encode = lexical_encode,
    .term = lexical_term,
    .contract = lexical_contract,
    .save = sp_lexical_save,
    .learns = lexical_learns,
    .observe = lexical_observe,
    .finish_document = lexical_finish_document,
    .query_weights = lexical_query_weights,
};

sp_lexical *sp_lexical_new(double k1, double b, unsigned n_threads) {
  sp_lexical *x = calloc(1, sizeof *x);
  if (x && pthread_mutex_init(&x->lock, NULL)) {
    free(x);
    x = NULL;
  }
  if (!x) {
    sp_fail(SP_ENOMEM, "lexical encoder: out of memory");
    return NULL;
  }
  x->base.ops = &LEXICAL;
  x->k1 = k1;
  x->b = b;
  x->n_threads = n_threads;
  return x;
}

sp_err sp_encoder_open_lexical(const sp_lexical_options *options, sp_encoder **out) {
  *out = NULL;
  const sp_lexical_options o =
      options ? *options : (sp_lexical_options){.k1 = 0.9, .b = 0.4};
  if (!(o.k1 >= 0 && o.k1 <= 1000) || !(o.b >= 0 && o.b <= 1))
    return sp_fail(SP_EINVAL,
                   "BM25 with k1 %g and b %g: expected k1 from 0 to 1000, b "
                   "from 0 to 1",
                   o.k1, o.b);
  sp_lexical *x = sp_lexical_new(o.k1, o.b, o.n_threads);
  if (!x) return SP_ENOMEM;
  sp_err err = o.tokenizer ? sp_tokenizer_open(o.tokenizer, &x->tokenizer)
                           : sp_strmap_new(&x->words);
  if (err) {
    sp_encoder_free(&x->base);
    return err;
  }
  *out = &x->base;
  return SP_OK;
}
