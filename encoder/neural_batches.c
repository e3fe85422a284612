/* encoder/neural_batches.c - many texts through a backend, in the caller's order.
 *
 * Texts are taken in windows. A window is tokenized by the pool, sorted by length and cut into
 * batches by tokens, two of which are under way at once; the next window is tokenized
 * meanwhile. A batch that does not fit the device is halved until it does, and later ones are
 * cut smaller. */
#include <stdlib.h>
#include <string.h>

#include "encoder/neural.h"

enum { PIECE = 64, N_PIECES = NEURAL_WINDOW / PIECE };

/* A window's ids, one text_ids for each piece of texts that a thread tokenized. */
typedef struct window {
  neural *e;
  const wish *w;
  const sp_text *texts;
  size_t n;
  text_ids pieces[N_PIECES];
  struct length_of {
    uint32_t text, n;
  } order[NEURAL_WINDOW]; /* longest first */
  pthread_t thread;
  bool started;
  sp_err err;
  char message[1024];
} window;

static const text_ids *ids_of(const window *w, uint32_t text, struct text_range *r) {
  const text_ids *t = &w->pieces[text / PIECE];
  *r = t->texts[text % PIECE];
  return t;
}

static sp_err tokenize_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  window *w = job;
  sp_tokens scratch = {0};
  sp_buf joined = {0};
  text_ids *out = &w->pieces[piece];
  text_ids_clear(out);
  size_t end = (piece + 1) * PIECE < w->n ? (piece + 1) * PIECE : w->n;
  sp_err err = SP_OK;
  for (size_t i = piece * PIECE; i < end && !err; i++)
    err = neural_text_ids(w->e, w->w, &w->texts[i], &scratch, &joined, out);
  sp_tokens_free(&scratch);
  sp_buf_free(&joined);
  return err;
}

static int longest_first(const void *a, const void *b) {
  const struct length_of *x = a, *y = b;
  if (x->n != y->n) return x->n < y->n ? 1 : -1;
  return (x->text > y->text) - (x->text < y->text);
}

static void tokenize_window(window *w) {
  size_t pieces = (w->n + PIECE - 1) / PIECE;
  w->err = SP_OK;
  if (w->w->side == SP_DOCUMENT) {
    pthread_mutex_lock(&w->e->pool_lock);
    w->err = sp_pool_run(w->e->pool, pieces, tokenize_piece, w);
    pthread_mutex_unlock(&w->e->pool_lock);
  } else { /* any number of threads may come with queries: each does its own */
    for (size_t i = 0; i < pieces && !w->err; i++) w->err = tokenize_piece(w, i, 0);
  }
  if (w->err) {
    strncpy(w->message, sp_err_message(), sizeof w->message - 1);
    return;
  }
  for (uint32_t i = 0; i < w->n; i++) {
    struct text_range r;
    ids_of(w, i, &r);
    w->order[i] = (struct length_of){i, r.n};
  }
  qsort(w->order, w->n, sizeof *w->order, longest_first);
}

static void *window_thread(void *arg) {
  tokenize_window(arg);
  return NULL;
}

/* Points the window at texts and tokenizes them, on another thread if `ahead`. */
static void begin_window(window *w, const sp_text *texts, size_t n, bool ahead) {
  w->texts = texts;
  w->n = n < w->e->window ? n : w->e->window;
  w->message[0] = '\0';
  w->started = ahead && n && !pthread_create(&w->thread, NULL, window_thread, w);
  if (!w->started) tokenize_window(w);
}

static sp_err end_window(window *w) {
  if (w->started) pthread_join(w->thread, NULL);
  w->started = false;
  return w->err ? sp_fail(w->err, "%s", w->message) : SP_OK;
}

static window *new_window(neural *e, const wish *w) {
  window *new = calloc(1, sizeof *new);
  if (new) {
    new->e = e;
    new->w = w;
  } else {
    sp_fail(SP_ENOMEM, "a window of texts: out of memory");
  }
  return new;
}

static void free_window(window *w) {
  if (!w) return;
  for (size_t i = 0; i < N_PIECES; i++) text_ids_free(&w->pieces[i]);
  free(w);
}

static bool grow(void **array, size_t n, size_t size) {
  void *grown = realloc(*array, n * size);
  if (grown) *array = grown;
  return grown != NULL;
}

static sp_err reserve(slot_state *s, uint32_t n_texts, uint32_t n_tokens, size_t n_rows) {
  bool ok = true;
  if (n_tokens > s->cap_tokens) {
    ok = grow((void **)&s->ids, n_tokens, sizeof *s->ids) &&
         grow((void **)&s->positions, n_tokens, sizeof *s->positions);
    if (ok) s->cap_tokens = n_tokens;
  }
  if (ok && n_texts > s->cap_texts) {
    ok = grow((void **)&s->starts, n_texts + 1, sizeof *s->starts) &&
         grow((void **)&s->pool_first, n_texts, sizeof *s->pool_first) &&
         grow((void **)&s->pool_end, n_texts, sizeof *s->pool_end) &&
         grow((void **)&s->attend_end, n_texts, sizeof *s->attend_end) &&
         grow((void **)&s->vectors, n_texts, sizeof *s->vectors);
    if (ok) {
      memset(s->vectors + s->cap_texts, 0, (n_texts - s->cap_texts) * sizeof *s->vectors);
      s->cap_texts = n_texts;
    }
  }
  if (ok && n_rows > s->cap_rows) {
    ok = grow((void **)&s->tokens, n_rows, sizeof *s->tokens);
    if (ok) s->cap_rows = n_rows;
  }
  return ok ? SP_OK : sp_fail(SP_ENOMEM, "a batch's ids: out of memory");
}

void slot_state_free(slot_state *s) {
  for (uint32_t i = 0; i < s->cap_texts; i++) sp_vec_free(&s->vectors[i]);
  free(s->ids);
  free(s->positions);
  free(s->starts);
  free(s->pool_first);
  free(s->pool_end);
  free(s->attend_end);
  free(s->vectors);
  free(s->tokens);
  *s = (slot_state){0};
}

/* RoBERTa counts from pad_id + 1 and passes over padding tokens, which a text can hold
 * literally (transformers' create_position_ids_from_input_ids). */
static void fill_positions(const sp_model_config *c, const uint32_t *ids, uint32_t n,
                           uint32_t *positions) {
  uint32_t at = 0;
  for (uint32_t i = 0; i < n; i++) {
    if (c->architecture != SP_ROBERTA)
      positions[i] = i;
    else
      positions[i] = ids[i] == c->pad_id ? c->pad_id : c->pad_id + ++at;
  }
}

/* A run over one window's sorted texts, in slots base .. base+n_slots-1. */
typedef struct run {
  neural *e;
  const window *w;
  uint32_t base, n_slots;
  sp_vec *vectors;     /* of the window's texts, or NULL */
  sp_token_rows *rows; /* or NULL */
  struct under_way {
    uint32_t first, n;
  } pending[RUN_SLOTS]; /* ranges of `order` in each slot; n 0: free */
} run;

/* Puts the texts order[first .. first+n-1] into the slot's arrays. */
static sp_err assemble(run *r, uint32_t slot, uint32_t first, uint32_t n) {
  const neural *e = r->e;
  slot_state *s = &r->e->slots[slot];
  uint64_t total = 0;
  for (uint32_t i = 0; i < n; i++) total += r->w->order[first + i].n;
  if (total > UINT32_MAX) return sp_fail(SP_EINVAL, "a batch of 2^32 tokens");
  size_t row = r->rows ? e->model->tokens.linear.weight.rows : 0;
  sp_err err = reserve(s, n, (uint32_t)total, (size_t)total * row);
  if (err) return err;
  uint32_t at = 0;
  bool fill = false;
  for (uint32_t i = 0; i < n; i++) {
    struct text_range t;
    const text_ids *ids = ids_of(r->w, r->w->order[first + i].text, &t);
    if (t.n) { /* where no text has tokens, the slot may have no arrays */
      memcpy(s->ids + at, ids->ids + t.first, t.n * sizeof *s->ids);
      fill_positions(&e->model->config, s->ids + at, t.n, s->positions + at);
    }
    s->starts[i] = at;
    s->pool_first[i] = t.pool_first;
    s->pool_end[i] = t.pool_end;
    s->attend_end[i] = t.attend_end;
    fill |= t.attend_end != t.n;
    at += t.n;
  }
  s->starts[n] = at;
  s->batch = (sp_batch){.n_texts = n,
                        .n_tokens = at,
                        .ids = s->ids,
                        .positions = s->positions,
                        .starts = s->starts,
                        .pool_first = s->pool_first,
                        .pool_end = s->pool_end,
                        .attend_end = fill ? s->attend_end : NULL,
                        .want_vectors = r->vectors != NULL,
                        .top_k = e->top_k,
                        .threshold = e->threshold,
                        .want_tokens = r->rows != NULL};
  return SP_OK;
}

/* The rows of one text's tokens that count. */
static sp_err keep_rows(const neural *e, sp_side side, const slot_state *s, uint32_t i,
                        sp_token_rows *out) {
  size_t dim = e->model->tokens.linear.weight.rows;
  uint32_t n = s->starts[i + 1] - s->starts[i];
  if (n > out->cap) {
    if (!grow((void **)&out->rows, n * dim, sizeof *out->rows) ||
        !grow((void **)&out->ids, n, sizeof *out->ids))
      return sp_fail(SP_ENOMEM, "token vectors: out of memory");
    out->cap = n;
  }
  out->n = 0;
  for (uint32_t t = s->starts[i]; t < s->starts[i + 1]; t++) {
    if (side == SP_DOCUMENT && e->skipped && e->skipped[s->ids[t]]) continue;
    memcpy(out->rows + out->n * dim, s->tokens + t * dim, dim * sizeof *out->rows);
    out->ids[out->n++] = s->ids[t];
  }
  return SP_OK;
}

static sp_err run_range(run *r, uint32_t slot, uint32_t first, uint32_t n);

/* Halves what did not fit; later batches begin smaller. */
static sp_err run_halves(run *r, uint32_t slot, uint32_t first, uint32_t n) {
  if (n < 2) return SP_ENOMEM; /* one text alone does not fit: the sentence stands */
  neural *e = r->e;
  uint32_t tokens = 0;
  for (uint32_t i = 0; i < n; i++) tokens += r->w->order[first + i].n;
  pthread_mutex_lock(&e->lock);
  if (tokens / 2 < e->batch_tokens) e->batch_tokens = tokens / 2 ? tokens / 2 : 1;
  pthread_mutex_unlock(&e->lock);
  sp_err err = run_range(r, slot, first, n / 2);
  return err ? err : run_range(r, slot, first + n / 2, n - n / 2);
}

/* Waits for the slot's batch and hands the results to their texts. */
static sp_err collect(run *r, uint32_t slot) {
  neural *e = r->e;
  slot_state *s = &e->slots[slot];
  struct under_way *p = &r->pending[slot - r->base];
  struct under_way range = *p;
  if (!range.n) return SP_OK;
  p->n = 0;
  sp_err err = e->backend->ops->end(e->backend, slot, s->vectors, s->tokens);
  if (err == SP_ENOMEM) return run_halves(r, slot, range.first, range.n);
  for (uint32_t i = 0; i < range.n && !err; i++) {
    uint32_t text = r->w->order[range.first + i].text;
    if (r->vectors) { /* the old memory goes back to the slot */
      sp_vec swapped = r->vectors[text];
      r->vectors[text] = s->vectors[i];
      s->vectors[i] = swapped;
    }
    if (r->rows) err = keep_rows(e, r->w->w->side, s, i, &r->rows[text]);
  }
  return err;
}

static sp_err begin(run *r, uint32_t slot, uint32_t first, uint32_t n) {
  sp_err err = assemble(r, slot, first, n);
  if (err) return err;
  err = r->e->backend->ops->begin(r->e->backend, slot, &r->e->slots[slot].batch);
  if (err == SP_ENOMEM) return run_halves(r, slot, first, n);
  if (!err) r->pending[slot - r->base] = (struct under_way){first, n};
  return err;
}

static sp_err run_range(run *r, uint32_t slot, uint32_t first, uint32_t n) {
  sp_err err = begin(r, slot, first, n);
  return err ? err : collect(r, slot);
}

static sp_err run_window(run *r) {
  uint32_t first = 0, slot = 0, n_texts = (uint32_t)r->w->n;
  sp_err err = SP_OK;
  while (first < n_texts && !err) {
    pthread_mutex_lock(&r->e->lock);
    uint32_t limit = r->e->batch_tokens;
    pthread_mutex_unlock(&r->e->lock);
    uint32_t n = 1;
    uint64_t tokens = r->w->order[first].n;
    while (first + n < n_texts && (tokens += r->w->order[first + n].n) <= limit) n++;
    err = collect(r, r->base + slot);
    if (!err) err = begin(r, r->base + slot, first, n);
    first += n;
    slot = (slot + 1) % r->n_slots;
  }
  /* Every begun batch is ended, also after a failure. */
  for (uint32_t i = 0; i < r->n_slots; i++) {
    uint32_t s = r->base + (slot + i) % r->n_slots;
    if (!err) {
      err = collect(r, s);
    } else if (r->pending[s - r->base].n) {
      char message[1024];
      strncpy(message, sp_err_message(), sizeof message - 1);
      message[sizeof message - 1] = '\0';
      slot_state *state = &r->e->slots[s];
      r->e->backend->ops->end(r->e->backend, s, state->vectors, state->tokens);
      r->pending[s - r->base].n = 0;
      err = sp_fail(err, "%s", message);
    }
  }
  return err;
}

/* Waits for one of n runs to be free, takes it and returns its number. */
static uint32_t take_run(neural *e, bool *under_way, uint32_t n) {
  uint32_t i;
  pthread_mutex_lock(&e->lock);
  for (;;) {
    for (i = 0; i < n && under_way[i];) i++;
    if (i < n) break;
    pthread_cond_wait(&e->run_ended, &e->lock);
  }
  under_way[i] = true;
  pthread_mutex_unlock(&e->lock);
  return i;
}

static void end_run(neural *e, bool *under_way) {
  pthread_mutex_lock(&e->lock);
  *under_way = false;
  pthread_cond_broadcast(&e->run_ended);
  pthread_mutex_unlock(&e->lock);
}

sp_err neural_run(neural *e, const wish *w, const sp_text *texts, size_t n,
                  sp_vec *vectors, sp_token_rows *rows) {
  if (n == 0) return SP_OK;
  const size_t size = e->window;
  window *now = new_window(e, w), *next = n > size ? new_window(e, w) : NULL;
  sp_err err = now && (next || n <= size) ? SP_OK : SP_ENOMEM;
  const bool query = w->side == SP_QUERY;
  bool *under_way = query ? e->query_run : e->document_run;
  const uint32_t i = take_run(e, under_way, query ? QUERY_RUNS : DOCUMENT_RUNS);
  run r = {.e = e,
           .base = query ? DOCUMENT_SLOTS + i : i * RUN_SLOTS,
           .n_slots = query ? 1 : RUN_SLOTS};
  if (!err) begin_window(now, texts, n, false);
  for (size_t at = 0; at < n && !err; at += size) {
    err = end_window(now);
    if (err) break;
    bool more = n - at > size;
    if (more) begin_window(next, texts + at + size, n - at - size, true);
    r.w = now;
    r.vectors = vectors ? vectors + at : NULL;
    r.rows = rows ? rows + at : NULL;
    err = run_window(&r);
    if (more && err && next->started) pthread_join(next->thread, NULL);
    window *done = now;
    now = more ? next : now;
    next = more ? done : next;
  }
  end_run(e, &under_way[i]);
  free_window(now);
  free_window(next);
  return err;
}
