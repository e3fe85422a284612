/* encoder/neural_texts.c - the ids that the network is given for a text: prompt, special
 * tokens, the cut; the echo; the filled-up query of token vectors. */
#include <stdlib.h>
#include <string.h>

#include "encoder/neural.h"

static sp_err no_memory(void) {
  return sp_fail(SP_ENOMEM, "the ids of a text: out of memory");
}

static sp_err append_ids(text_ids *t, const uint32_t *ids, uint32_t n) {
  if (n > UINT32_MAX - t->n_ids) return sp_fail(SP_EINVAL, "texts of 2^32 tokens in all");
  if (t->n_ids + n > t->cap_ids) {
    uint64_t cap = (uint64_t)t->cap_ids * 2;
    if (cap < t->n_ids + n) cap = t->n_ids + n;
    if (cap < 1024) cap = 1024;
    if (cap > UINT32_MAX) cap = UINT32_MAX;
    void *grown = realloc(t->ids, cap * sizeof *t->ids);
    if (!grown) return no_memory();
    t->ids = grown;
    t->cap_ids = (uint32_t)cap;
  }
  if (n) memcpy(t->ids + t->n_ids, ids, n * sizeof *ids);
  t->n_ids += n;
  return SP_OK;
}

static sp_err append_text(text_ids *t, struct text_range r) {
  if (t->n_texts == t->cap_texts) {
    uint32_t cap = t->cap_texts ? t->cap_texts * 2 : 64;
    void *grown = realloc(t->texts, cap * sizeof *t->texts);
    if (!grown) return no_memory();
    t->texts = grown;
    t->cap_texts = cap;
  }
  t->texts[t->n_texts++] = r;
  return SP_OK;
}

void text_ids_clear(text_ids *t) {
  t->n_ids = t->n_texts = 0;
}

void text_ids_free(text_ids *t) {
  free(t->ids);
  free(t->texts);
  *t = (text_ids){0};
}

/* The text behind its side's prompt, in `joined` where there is one. */
static sp_err with_prompt(const neural *e, sp_side side, const sp_text *text,
                          sp_buf *joined, sp_text *out) {
  const char *prompt =
      side == SP_QUERY ? e->model->query_prompt : e->model->document_prompt;
  *out = *text;
  if (!*prompt) return SP_OK;
  sp_buf_clear(joined);
  sp_err err = sp_buf_append_str(joined, prompt);
  if (!err) err = sp_buf_append(joined, text->data, text->n);
  *out = (sp_text){joined->data, joined->n};
  return err;
}

static uint32_t length_limit(const neural *e, const wish *w) {
  const sp_model *m = e->model;
  uint32_t own = w->side == SP_DOCUMENT ? m->document_length : m->query_length;
  if (w->side == SP_QUERY && w->tokens && m->tokens.query_length)
    own = m->tokens.query_length;
  return own && own < e->max_length ? own : e->max_length;
}

static sp_err plain_ids(const neural *e, const wish *w, const sp_text *text,
                        sp_tokens *scratch, sp_buf *joined, text_ids *out) {
  sp_text whole;
  sp_err err = with_prompt(e, w->side, text, joined, &whole);
  sp_tokenize_options o = {.special_tokens = true, .max_length = length_limit(e, w)};
  if (!err) err = sp_tokenizer_encode(e->tokenizer, whole.data, whole.n, &o, scratch);
  uint32_t first = out->n_ids;
  if (!err) err = append_ids(out, scratch->ids, scratch->n);
  if (err) return err;
  const sp_token_projection *t = &e->model->tokens;
  struct text_range r = {.first = first, .n = scratch->n, .attend_end = scratch->n};
  if (w->tokens && w->side == SP_QUERY && t->query_length) {
    for (; r.n < t->query_length && !err; r.n++) err = append_ids(out, &e->mask_id, 1);
    if (t->attend_to_fill) r.attend_end = r.n;
  }
  r.pool_end = r.n;
  return err ? err : append_text(out, r);
}

static uint32_t echo_text_limit(const neural *e) {
  uint32_t own = e->model->echo.max_text_tokens;
  return own < e->max_length ? own : e->max_length;
}

static sp_err echo_ids(const neural *e, const sp_text *text, sp_tokens *scratch,
                       text_ids *out) {
  sp_tokenize_options o = {.max_length = echo_text_limit(e)};
  sp_err err = sp_tokenizer_encode(e->tokenizer, text->data, text->n, &o, scratch);
  struct text_range r = {.first = out->n_ids};
  for (int i = 0; i < 4 && !err; i++) {
    err = append_ids(out, e->echo[i], e->n_echo[i]);
    if (i == 2) r.pool_first = out->n_ids - r.first; /* the second copy begins here */
    if (!err && (i == 1 || i == 2)) err = append_ids(out, scratch->ids, scratch->n);
    if (i == 2) r.pool_end = out->n_ids - r.first;
  }
  r.n = r.attend_end = out->n_ids - r.first;
  return err ? err : append_text(out, r);
}

sp_err neural_text_ids(const neural *e, const wish *w, const sp_text *text,
                       sp_tokens *scratch, sp_buf *joined, text_ids *out) {
  if (e->model->echo.template_text) return echo_ids(e, text, scratch, out);
  return plain_ids(e, w, text, scratch, joined, out);
}

/* A caller's wish for shorter texts counts for the table too. */
static uint32_t table_limit(const neural *e) {
  uint32_t own = e->model->query_table_length;
  bool wished = e->max_length < e->model->max_length;
  return !own || (wished && e->max_length < own) ? e->max_length : own;
}

sp_err neural_table_query(const neural *e, const sp_text *text, sp_vec *out) {
  sp_tokens tokens = {0};
  sp_buf joined = {0};
  sp_text whole;
  sp_tokenize_options o = {.max_length = table_limit(e)};
  sp_err err = with_prompt(e, SP_QUERY, text, &joined, &whole);
  if (!err)
    err = sp_tokenizer_encode(e->query_tokenizer, whole.data, whole.n, &o, &tokens);
  if (!err) err = sp_query_table_apply(&e->table, tokens.ids, tokens.n, out);
  sp_tokens_free(&tokens);
  sp_buf_free(&joined);
  if (!err) sp_vec_keep_above(out, e->threshold);
  if (!err && e->top_k) err = sp_vec_keep_top(out, e->top_k);
  return err;
}

/* One of the echo's pieces, tokenized alone. */
static sp_err prepare_piece(neural *e, int i, const char *text, size_t n, bool special) {
  sp_tokens tokens = {0};
  sp_tokenize_options o = {.special_tokens = special};
  sp_err err = SP_OK;
  if (n || special) err = sp_tokenizer_encode(e->tokenizer, text, n, &o, &tokens);
  e->echo[i] = malloc((tokens.n + 1) * sizeof *e->echo[i]);
  if (!err && !e->echo[i]) err = no_memory();
  if (!err && tokens.n) memcpy(e->echo[i], tokens.ids, tokens.n * sizeof *tokens.ids);
  e->n_echo[i] = err ? 0 : tokens.n;
  sp_tokens_free(&tokens);
  return err;
}

/* Rows of a table of positions are looked up: there must be one for each token. */
static sp_err check_echo_fits(const neural *e) {
  const sp_model_config *c = &e->model->config;
  uint64_t n = 2 * (uint64_t)echo_text_limit(e);
  for (int i = 0; i < 4; i++) n += e->n_echo[i];
  if (!c->n_position_rows || n <= c->max_positions) return SP_OK;
  return sp_fail(
      SP_EFORMAT,
      "%s/spindle.json: the template with two texts of %u tokens comes to %llu, "
      "the model has %u positions",
      e->model->dir, echo_text_limit(e), (unsigned long long)n, c->max_positions);
}

static sp_err prepare_echo(neural *e) {
  const char *t = e->model->echo.template_text;
  if (!t) return SP_OK;
  const char *first = strstr(t, "{text}"), *second = strstr(first + 6, "{text}");
  sp_err err = prepare_piece(e, 0, "", 0, true);
  if (!err) err = prepare_piece(e, 1, t, (size_t)(first - t), false);
  if (!err) err = prepare_piece(e, 2, first + 6, (size_t)(second - first - 6), false);
  if (!err) err = prepare_piece(e, 3, second + 6, strlen(second + 6), false);
  return err ? err : check_echo_fits(e);
}

static sp_err prepare_tokens(neural *e) {
  const sp_token_projection *t = &e->model->tokens;
  if (t->query_length) {
    e->mask_id = sp_tokenizer_find(e->tokenizer, "[MASK]", 6);
    if (e->mask_id >= e->model->config.vocab_size)
      return sp_fail(SP_EFORMAT, "%s: there is no [MASK] to fill queries up with",
                     e->model->tokenizer_path);
  }
  if (!t->n_skip_words) return SP_OK;
  e->skipped = calloc(e->model->config.vocab_size, sizeof *e->skipped);
  if (!e->skipped) return no_memory();
  for (size_t i = 0; i < t->n_skip_words; i++) {
    uint32_t id =
        sp_tokenizer_find(e->tokenizer, t->skip_words[i], strlen(t->skip_words[i]));
    if (id < e->model->config.vocab_size) e->skipped[id] = true;
  }
  return SP_OK;
}

sp_err neural_prepare_texts(neural *e) {
  sp_err err = prepare_echo(e);
  return err ? err : prepare_tokens(e);
}
