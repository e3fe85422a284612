/* kernels/cpu/attention_body.h - what the kernels of kernels/cpu/attention.h share. Each
 * includes the numbers' format, attention_float32.h or attention_int16.h, defines
 * ATTENTION_NAME, ATTENTION_TEXT, ATTENTION_TOKENS and two products of m <= ATTENTION_TOKENS
 * tokens with a panel of `groups` words a row, sums of token t from sums + t * ld on:
 * multiply_rows(panel, tokens, m, groups, words from token to token, sums, ld), and
 * multiply_columns(panel, tokens, m, groups, sums, ld), where the words of SP_PANEL tokens lie
 * side by side. Then it includes this.
 *
 * Scores lie with a row for each key and a column for each of SP_PANEL queries, so that the
 * softmax goes along vectors of queries, without sums across a vector; and four keys at a
 * time, so that its running values need not wait for one another. */
#include <math.h>

#include "kernels/cpu/transpose.h"

/* The keys that each query of a block sees, [begin, end); those that any sees, [from, to). */
typedef struct sight {
  uint32_t begin[SP_PANEL], end[SP_PANEL];
  uint32_t from, to;
  uint32_t all_from, all_to; /* that all see; all_from >= all_to: none */
} sight;

/* The head at work. */
typedef struct head_work {
  const sp_attention *a;
  const float *q, *k, *v; /* of the text's first token */
  float *out;
  size_t out_stride;
  uint32_t visible;
  attention_room room;
} head_work;

static void visible_keys(const sp_attention *a, uint32_t i, uint32_t visible,
                         uint32_t *begin, uint32_t *end) {
  uint32_t w = a->window;
  *begin = 0;
  *end = visible;
  if (a->causal) {
    if (w && i >= w) *begin = i - w + 1;
    if (i + 1 < *end) *end = i + 1;
  } else if (w) {
    if (i > w) *begin = i - w;
    if (i + w + 1 < *end) *end = i + w + 1;
  }
  if (*begin > *end) *begin = *end;
}

/* Queries first .. first+n-1, 1 <= n <= SP_PANEL; columns behind them see what the last one
 * does. Both ends only move forward with the query. */
static sight sight_of(const head_work *w, uint32_t first, uint32_t n) {
  sight s;
  for (uint32_t r = 0; r < SP_PANEL; r++)
    visible_keys(w->a, first + (r < n ? r : n - 1), w->visible, &s.begin[r], &s.end[r]);
  s.from = s.begin[0];
  s.to = s.end[n - 1];
  s.all_from = s.begin[n - 1];
  s.all_to = s.end[0];
  return s;
}

/* 2^x for x up to about 0, off by 2.2e-7 of itself at most: a whole power of two times a minimax
 * polynomial (Remez) for the rest, |r| <= 1/2. */
static inline float exp2_of(float x) {
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
  float t = x + magic, r = x - (t - magic);
  float p = 1.3276472e-3f;
  p = p * r + 9.67554133e-3f;
  p = p * r + 5.55071327e-2f;
  p = p * r + 2.40221197e-1f;
  p = p * r + 6.93146967e-1f;
  p = p * r + 1.00000007f;
  uint32_t power, bits;
  memcpy(&power, &t, sizeof power);
  memcpy(&bits, &p, sizeof bits);
  bits += power << 23;
  memcpy(&p, &bits, sizeof p);
  return x < -126 ? 0 : p;
}

static inline float larger(float a, float b) {
  return a > b ? a : b;
}

/* most[r] = the largest score of query r; n, a multiple of four, keys. */
static void find_tops(const float *s, size_t n, float most[SP_PANEL]) {
  for (int r = 0; r < SP_PANEL; r++) most[r] = -INFINITY;
  for (size_t j = 0; j < n; j += 4, s += 4 * SP_PANEL) {
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++) {
      float ab = larger(s[r], s[SP_PANEL + r]);
      float cd = larger(s[2 * SP_PANEL + r], s[3 * SP_PANEL + r]);
      most[r] = larger(most[r], larger(ab, cd));
    }
  }
}

/* Scores become weights, 2^(score * factor - top), with their sums and the largest of them:
 * not quite 1 where the product was rounded for `top`. */
static void weigh(float *s, size_t n, const float *factors, const float *tops,
                  float sums[SP_PANEL], float most[SP_PANEL]) {
  for (int r = 0; r < SP_PANEL; r++) sums[r] = most[r] = 0;
  for (size_t j = 0; j < n; j += 4, s += 4 * SP_PANEL) {
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++) {
      float a = exp2_of(s[r] * factors[r] - tops[r]);
      float b = exp2_of(s[SP_PANEL + r] * factors[r] - tops[r]);
      float c = exp2_of(s[2 * SP_PANEL + r] * factors[r] - tops[r]);
      float d = exp2_of(s[3 * SP_PANEL + r] * factors[r] - tops[r]);
      s[r] = a, s[SP_PANEL + r] = b, s[2 * SP_PANEL + r] = c, s[3 * SP_PANEL + r] = d;
      sums[r] += (a + b) + (c + d);
      most[r] = larger(most[r], larger(larger(a, b), larger(c, d)));
    }
  }
}

/* Scores of keys [lo, hi) of the text where not every query sees them. */
static void mask(const sight *s, uint32_t lo, uint32_t hi, float *scores) {
  if (lo >= s->all_from && hi <= s->all_to) return;
  for (uint32_t j = lo; j < hi; j++, scores += SP_PANEL) {
    if (j >= s->all_from && j < s->all_to) continue;
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++)
      scores[r] = (j >= s->begin[r]) & (j < s->end[r]) ? scores[r] : -INFINITY;
  }
}

/* Scores of n laid out keys from `key` on, rows of minus infinity behind them up to a multiple
 * of four. */
static void score(const head_work *w, size_t key, size_t n, uint32_t groups) {
  const attention_room *room = &w->room;
  float *scores = room->scores;
  for (size_t i = 0, here; i < n; i += here) {
    here = sp_panel_share(n - i, ATTENTION_TOKENS);
    multiply_rows(room->queries, room->keys + (key + i) * room->words, here, groups,
                  room->words, scores + i * SP_PANEL, SP_PANEL);
  }
  for (size_t i = n * SP_PANEL; i < (n + 3) / 4 * 4 * SP_PANEL; i++)
    scores[i] = -INFINITY;
}

/* out = out * keep + weights * values * add, for queries first .. first+n-1; a query whose
 * `keep` is 0 has nothing in out yet. n_keys is a multiple of four. */
static void add_values(const head_work *w, uint32_t first, uint32_t n, size_t key,
                       size_t n_keys, const float *keep, const float *add) {
  const attention_room *room = &w->room;
  const uint32_t d = w->a->head_dim;
  const size_t panel_floats = (size_t)SP_ATTENTION_KEYS * SP_PANEL;
  float sums[ATTENTION_TOKENS][SP_PANEL];
  for (size_t c = 0; c < d; c += SP_PANEL) {
    const float *panel =
        room->values + c / SP_PANEL * panel_floats + key / WORD_NUMBERS * SP_PANEL;
    const size_t width = d - c < SP_PANEL ? d - c : SP_PANEL;
    for (size_t i = 0, here; i < n; i += here) {
      here = sp_panel_share(n - i, ATTENTION_TOKENS);
      multiply_columns(panel, room->scores + i, here, (uint32_t)(n_keys / WORD_NUMBERS),
                       sums[0], SP_PANEL);
      for (size_t t = 0; t < here; t++) {
        float *out = w->out + (first + i + t) * w->out_stride + c;
        const float was = keep[i + t], factor = add[i + t];
        if (was > 0)
          for (size_t x = 0; x < width; x++)
            out[x] = out[x] * was + sums[t][x] * (factor * value_scale(room, c + x));
        else
          for (size_t x = 0; x < width; x++)
            out[x] = sums[t][x] * (factor * value_scale(room, c + x));
      }
    }
  }
}

/* The block's queries, turned; what a score is to be multiplied by to be a power of two. */
static void load_queries(const head_work *w, uint32_t first, uint32_t n,
                         float factors[SP_PANEL]) {
  const sp_attention *a = w->a;
  const attention_room *room = &w->room;
  const size_t d = a->head_dim;
  for (uint32_t r = 0; r < SP_PANEL; r++) {
    float *row = room->rows + r * room->words;
    const size_t have = r < n ? d : 0;
    if (r < n) memcpy(row, w->q + (first + r) * a->q_stride, d * sizeof *row);
    memset(row + have, 0, (room->words - have) * sizeof *row);
    factors[r] = 1.44269504f / sqrtf((float)d);
  }
  transpose_to_panel(room->rows, room->words, d, room->queries);
  finish_queries(room, a->head_dim, factors);
}

/* A block of queries, `at` the piece's first ones, against the laid out keys
 * [chunk, chunk_end). */
static void attend_block(const head_work *w, uint32_t first, uint32_t n, uint32_t at,
                         uint32_t chunk, uint32_t chunk_end) {
  const attention_room *room = &w->room;
  const sight s = sight_of(w, first, n);
  uint32_t from = s.from > chunk ? s.from : chunk,
           to = s.to < chunk_end ? s.to : chunk_end;
  if (from >= to) return;
  const size_t key = (from - chunk) / 4 * 4, n_keys = (to - chunk - key + 3) / 4 * 4;
  const uint32_t groups = (w->a->head_dim + WORD_NUMBERS - 1) / WORD_NUMBERS;
  float factors[SP_PANEL], tops[SP_PANEL], sums[SP_PANEL], most[SP_PANEL];
  float scales[SP_PANEL], keep[SP_PANEL], add[SP_PANEL];

  load_queries(w, first, n, factors);
  score(w, key, to - chunk - key, groups);
  mask(&s, chunk + (uint32_t)key, to, room->scores);
  find_tops(room->scores, n_keys, most);
  for (uint32_t r = 0; r < SP_PANEL; r++) {
    const float before = r < n ? room->tops[at + r] : -INFINITY;
    const float top = larger(before, most[r] * factors[r]);
    tops[r] = top > -INFINITY ? top : INFINITY; /* then all weights are 0 */
    keep[r] = exp2_of(before - tops[r]);
    if (r < n) room->tops[at + r] = top;
  }
  weigh(room->scores, n_keys, factors, tops, sums, most);
  finish_weights(room->scores, n_keys, sums, most, scales);
  for (uint32_t r = 0; r < n; r++) {
    const float before = room->totals[at + r] * keep[r], total = before + sums[r];
    room->totals[at + r] = total;
    keep[r] = total > 0 ? before / total : 0;
    add[r] = total > 0 ? scales[r] / total : 0;
  }
  add_values(w, first, n, key, n_keys, keep, add);
}

static void attend(const sp_attention *a, size_t start, uint32_t visible, uint32_t head,
                   uint32_t first, uint32_t n, float *scratch) {
  const size_t d = a->head_dim, group = head / (a->n_heads / a->n_kv_heads);
  const head_work w = {.a = a,
                       .q = a->q + start * a->q_stride + head * d,
                       .k = a->k + start * a->kv_stride + group * d,
                       .v = a->v + start * a->kv_stride + group * d,
                       .out = a->out + (start * a->n_heads + head) * d,
                       .out_stride = a->n_heads * d,
                       .visible = visible,
                       .room = attention_room_at(scratch, a->head_dim)};
  uint32_t from, to, ignored;
  visible_keys(a, first, visible, &from, &ignored);
  visible_keys(a, first + n - 1, visible, &ignored, &to);
  for (uint32_t i = 0; i < n; i++) {
    w.room.tops[i] = -INFINITY;
    w.room.totals[i] = 0;
  }
  for (uint32_t chunk = from, end; chunk < to; chunk = end) {
    end = to - chunk < SP_ATTENTION_KEYS ? to : chunk + SP_ATTENTION_KEYS;
    const size_t at = chunk * a->kv_stride, n_keys = end - chunk;
    load_keys(w.k + at, a->kv_stride, n_keys, a->head_dim, &w.room);
    load_values(w.v + at, a->kv_stride, n_keys, a->head_dim, &w.room);
    for (uint32_t i = 0; i < n; i += SP_PANEL)
      attend_block(&w, first + i, n - i < SP_PANEL ? n - i : SP_PANEL, i, chunk, end);
  }
  for (uint32_t i = 0; i < n; i++)
    if (w.room.totals[i] == 0)
      memset(w.out + (first + i) * w.out_stride, 0, d * sizeof(float));
}

extern const sp_attention_ops ATTENTION_NAME;
const sp_attention_ops ATTENTION_NAME = {ATTENTION_TEXT, attend};
