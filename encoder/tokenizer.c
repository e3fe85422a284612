/* encoder/tokenizer.c - one text's way through the parts of a tokenizer. */
#include "encoder/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "encoder/tokenizer_parts.h"

/* One call of sp_tokenizer_encode(). */
typedef struct run {
  const sp_tokenizer *t;
  struct sp_token_scratch *scratch;
  sp_tokens *out;
  bool offsets;
  uint32_t limit; /* out->n at which the text is cut */
} run;

/* ---- room ---- */

static sp_err reserve(sp_tokens *out, size_t n) {
  if (n <= out->cap) return SP_OK;
  size_t cap = (size_t)out->cap + out->cap / 2 + 64;
  if (cap < n) cap = n;
  if (cap > UINT32_MAX) return sp_fail(SP_EINVAL, "a text has 2^32 tokens or more");
  uint32_t *ids = realloc(out->ids, cap * sizeof *ids);
  if (ids) out->ids = ids;
  uint32_t *begin = ids ? realloc(out->begin, cap * sizeof *begin) : NULL;
  if (begin) out->begin = begin;
  uint32_t *end = begin ? realloc(out->end, cap * sizeof *end) : NULL;
  if (!end) return sp_fail(SP_ENOMEM, "%zu tokens: out of memory", cap);
  out->end = end;
  out->cap = (uint32_t)cap;
  return SP_OK;
}

static sp_err push(sp_tokens *out, uint32_t id, uint32_t begin, uint32_t end) {
  sp_err err = reserve(out, (size_t)out->n + 1);
  if (err) return err;
  out->ids[out->n] = id;
  out->begin[out->n] = begin;
  out->end[out->n++] = end;
  return SP_OK;
}

/* ---- words ---- */

static sp_err model_encode(run *r, const char *word, size_t n) {
  switch (r->t->kind) {
    case SP_MODEL_WORDPIECE:
      sp_wordpiece_encode(&r->t->wordpiece, word, n, r->out);
      return SP_OK;
    case SP_MODEL_BPE:
      return sp_bpe_encode(&r->t->bpe, &r->scratch->bpe, word, n, r->out);
    case SP_MODEL_UNIGRAM:
      return sp_unigram_encode(&r->t->unigram, &r->scratch->unigram, word, n, r->out);
  }
  return SP_OK;
}

/* Keeps the tokens from `first` on, if they lie side by side and are few. */
static void remember(sp_cached_word *slot, const uint64_t key[3], size_t n,
                     uint32_t epoch, const sp_tokens *out, uint32_t first) {
  uint32_t count = out->n - first;
  if (count > SP_CACHED_TOKENS) return;
  for (uint32_t i = 0; i < count; i++) {
    uint32_t expected = i ? out->end[first + i - 1] : 0;
    if (out->begin[first + i] != expected) return;
  }
  if (count && out->end[out->n - 1] != n) return;
  memcpy(slot->key, key, sizeof slot->key);
  slot->epoch = epoch;
  slot->length = (uint8_t)n;
  slot->n = (uint8_t)count;
  memcpy(slot->ids, out->ids + first, count * sizeof *slot->ids);
  for (uint32_t i = 0; i + 1 < count; i++) slot->ends[i] = (uint8_t)out->end[first + i];
}

static void recall(const sp_cached_word *slot, size_t n, bool offsets, sp_tokens *out) {
  memcpy(out->ids + out->n, slot->ids, slot->n * sizeof *slot->ids);
  uint32_t begin = 0;
  for (uint32_t i = 0; offsets && i < slot->n; i++) {
    out->begin[out->n + i] = begin;
    begin = i + 1 < slot->n ? slot->ends[i] : (uint32_t)n;
    out->end[out->n + i] = begin;
  }
  out->n += slot->n;
}

static sp_err encode_word(run *r, const char *word, size_t n) {
  /* A byte is at most one token; the cache copies whole slots' worth. */
  sp_err err = reserve(r->out, (size_t)r->out->n + n + SP_CACHED_TOKENS);
  if (err) return err;
  const sp_word_cache *cache = &r->scratch->cache;
  if (n > SP_CACHED_BYTES || !cache->slots) return model_encode(r, word, n);
  uint64_t key[3];
  bool hit;
  sp_cached_word *slot = sp_word_cache_slot(cache, word, n, key, &hit);
  if (hit) {
    recall(slot, n, r->offsets, r->out);
    return SP_OK;
  }
  uint32_t first = r->out->n;
  err = model_encode(r, word, n);
  if (!err) remember(slot, key, n, cache->epoch, r->out, first);
  return err;
}

/* Turns places in the word into spans of the original text. */
static void place(const sp_draft *draft, uint32_t word, sp_tokens *out, uint32_t first) {
  for (uint32_t i = first; i < out->n; i++) {
    size_t begin = (size_t)word + out->begin[i], end = (size_t)word + out->end[i];
    if (end > draft->n) end = draft->n;
    if (begin >= end) begin = end ? end - 1 : 0;
    out->begin[i] = draft->begin[begin];
    out->end[i] = draft->end[end - 1];
  }
}

/* Bytes [begin, end) of a normalized draft, which hold no added token. */
static sp_err encode_range(run *r, const sp_draft *in, size_t begin, size_t end,
                           bool first) {
  const sp_draft *draft;
  const sp_spans *words;
  sp_err err = sp_pretokenizer_run(&r->t->pretokenizer, in, begin, end, first,
                                   &r->scratch->pre, &draft, &words);
  for (size_t i = 0; i < words->n && !err && r->out->n < r->limit; i++) {
    struct sp_span w = words->at[i];
    uint32_t before = r->out->n;
    err = encode_word(r, draft->bytes + w.begin, w.end - w.begin);
    if (!err && r->offsets) place(draft, w.begin, r->out, before);
  }
  return err;
}

/* ---- pieces between added tokens ---- */

static sp_err push_added(run *r, const sp_draft *d, const sp_added_match *m) {
  uint32_t begin = 0, end = 0;
  if (r->offsets && m->end > m->begin) {
    begin = d->begin[m->begin];
    end = d->end[m->end - 1];
  }
  return push(r->out, m->token->id, begin, end);
}

/* A piece without raw added tokens: normalized, then cut at the added tokens that are
 * looked for in normalized text. */
static sp_err encode_piece(run *r, const sp_draft *piece, bool first) {
  const sp_draft *normal;
  const sp_added *a = &r->t->added;
  sp_err err = sp_normalizer_run(&r->t->normalizer, piece, &r->scratch->norm, &normal);
  size_t at = 0, done = 0;
  sp_added_match m;
  while (!err && r->out->n < r->limit &&
         sp_added_next(a, &a->normalized, normal->bytes, normal->n, done, &at, &m)) {
    if (m.begin > done) err = encode_range(r, normal, done, m.begin, first && done == 0);
    if (!err) err = push_added(r, normal, &m);
    done = m.end;
  }
  if (err || done >= normal->n || r->out->n >= r->limit) return err;
  return encode_range(r, normal, done, normal->n, first && done == 0);
}

static sp_err copy_piece(const sp_draft *from, size_t begin, size_t end, sp_draft *to) {
  sp_edit e = sp_edit_begin(from, begin, to);
  sp_edit_copy(&e, begin, end - begin);
  return e.err;
}

static sp_err encode_text(run *r) {
  const sp_draft *input = &r->scratch->input;
  const sp_added *a = &r->t->added;
  sp_draft *piece = &r->scratch->piece;
  size_t at = 0, done = 0;
  sp_added_match m;
  sp_err err = SP_OK;
  while (!err && r->out->n < r->limit &&
         sp_added_next(a, &a->raw, input->bytes, input->n, done, &at, &m)) {
    if (m.begin > done) {
      err = copy_piece(input, done, m.begin, piece);
      if (!err) err = encode_piece(r, piece, done == 0);
    }
    if (!err) err = push_added(r, input, &m);
    done = m.end;
  }
  if (err || done >= input->n || r->out->n >= r->limit) return err;
  if (done == 0) return encode_piece(r, input, true); /* most texts: nothing to copy */
  err = copy_piece(input, done, input->n, piece);
  return err ? err : encode_piece(r, piece, false);
}

/* ---- the call ---- */

static sp_err push_specials(sp_tokens *out, const uint32_t *ids, size_t n) {
  sp_err err = SP_OK;
  for (size_t i = 0; i < n && !err; i++) err = push(out, ids[i], 0, 0);
  return err;
}

/* Trims what lies behind the special tokens in front. */
static void trim(const sp_tokenizer *t, const char *text, sp_tokens *out, size_t skip) {
  sp_tokens body = *out;
  body.ids += skip;
  body.begin += skip;
  body.end += skip;
  body.n -= (uint32_t)skip;
  sp_postprocessor_trim(&t->post, &t->vocab, &t->added, text, &body);
}

sp_err sp_tokenizer_encode(const sp_tokenizer *t, const char *text, size_t n,
                           const sp_tokenize_options *options, sp_tokens *out) {
  out->n = 0;
  if (n >= UINT32_MAX) return sp_fail(SP_EINVAL, "a text has 4 GiB or more");
  if (!out->scratch) out->scratch = calloc(1, sizeof *out->scratch);
  if (!out->scratch) return sp_fail(SP_ENOMEM, "tokenizer: out of memory");
  const sp_postprocessor *post = &t->post;
  size_t before = options->special_tokens ? post->n_before : 0;
  size_t after = options->special_tokens ? post->n_after : 0;
  uint32_t max = options->max_length ? options->max_length : UINT32_MAX;
  run r = {t, out->scratch, out, options->offsets,
           max > after ? (uint32_t)(max - after) : 0};

  sp_err err = sp_word_cache_begin(&r.scratch->cache, t->hash, n);
  if (!err) err = sp_draft_set(&r.scratch->input, text, n, 0, options->offsets);
  if (!err) err = push_specials(out, post->before, before);
  if (!err) err = encode_text(&r);
  if (err) {
    out->n = 0;
    return err;
  }
  if (out->n > r.limit) out->n = r.limit > before ? r.limit : (uint32_t)before;
  if (options->offsets && post->trims) trim(t, text, out, before);
  err = push_specials(out, post->after, after);
  if (out->n > max) out->n = max;
  return err;
}

void sp_tokens_free(sp_tokens *t) {
  free(t->ids);
  free(t->begin);
  free(t->end);
  struct sp_token_scratch *s = t->scratch;
  if (s) {
    sp_draft_free(&s->input);
    sp_draft_free(&s->piece);
    for (int i = 0; i < 2; i++) {
      sp_draft_free(&s->norm.drafts[i]);
      sp_draft_free(&s->pre.drafts[i]);
      free(s->pre.words[i].at);
    }
    free(s->norm.pending.chars);
    sp_word_cache_free(&s->cache);
    free(s->bpe.symbols);
    free(s->bpe.heap);
    free(s->unigram.nodes);
    free(s->unigram.path);
    free(s);
  }
  *t = (sp_tokens){0};
}

void sp_tokenizer_free(sp_tokenizer *t) {
  if (!t) return;
  sp_vocab_free(&t->vocab);
  sp_added_free(&t->added);
  sp_normalizer_free(&t->normalizer);
  sp_pretokenizer_free(&t->pretokenizer);
  sp_wordpiece_free(&t->wordpiece);
  sp_bpe_free(&t->bpe);
  sp_unigram_free(&t->unigram);
  sp_postprocessor_free(&t->post);
  sp_buf_free(&t->text);
  for (int i = 0; i <= SP_PART_PRE_TOKENIZER; i++) sp_buf_free(&t->changed[i]);
  free(t);
}

/* ---- asking ---- */

uint32_t sp_tokenizer_n_ids(const sp_tokenizer *t) {
  return t->vocab.n_ids;
}

const char *sp_tokenizer_token(const sp_tokenizer *t, uint32_t id, size_t *n) {
  return sp_vocab_token(&t->vocab, id, n);
}

uint32_t sp_tokenizer_find(const sp_tokenizer *t, const char *token, size_t n) {
  return sp_vocab_find(&t->vocab, token, n);
}

bool sp_tokenizer_is_special(const sp_tokenizer *t, uint32_t id) {
  const sp_added_token *a = sp_added_find(&t->added, id);
  return a && a->special;
}

uint64_t sp_tokenizer_hash(const sp_tokenizer *t) {
  return t->hash;
}
