/* encoder/unigram_read.c - reading a Unigram model. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "encoder/tokenizer_parts.h"

/* ---- scores ---- */

static double power_of_10(int exponent) { /* 0 .. 308, correctly rounded as strtod is */
  static const double EXACT[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  if ((size_t)exponent < sizeof EXACT / sizeof *EXACT) return EXACT[exponent];
  char text[8];
  snprintf(text, sizeof text, "1e%d", exponent);
  return strtod(text, NULL);
}

/* significand * 10^exponent with one rounding for each of the steps that the published
 * tokenizers' reader takes; not the nearest double, but theirs. */
static double scale(uint64_t significand, int exponent) {
  double x = (double)significand;
  for (; exponent < -308 && x != 0; exponent += 308) x /= 1e308;
  if (x == 0) return 0;
  if (exponent > 308) return INFINITY;
  return exponent < 0 ? x / power_of_10(-exponent) : x * power_of_10(exponent);
}

/* A sound JSON number. Digits that no longer fit into 64 bits are dropped. */
static double read_score(const char *s, const char *end) {
  bool negative = *s == '-', full = false, fraction = false;
  uint64_t significand = 0;
  int exponent = 0;
  for (s += negative; s < end && *s != 'e' && *s != 'E'; s++) {
    if (*s == '.') {
      fraction = true;
      continue;
    }
    unsigned digit = (unsigned)(*s - '0');
    if (significand > (UINT64_MAX - digit) / 10) full = true;
    if (full) {
      if (!fraction && exponent < 100000) exponent++;
      continue;
    }
    significand = significand * 10 + digit;
    if (fraction && exponent > -100000) exponent--;
  }
  if (s < end) {
    long power = strtol(s + 1, NULL, 10);
    exponent += power > 100000 ? 100000 : power < -100000 ? -100000 : (int)power;
  }
  double x = scale(significand, exponent);
  return negative ? -x : x;
}

/* ---- pieces ---- */

static sp_err grow(sp_unigram *m, uint32_t *cap, const char *where) {
  size_t want = (size_t)*cap + *cap / 2 + 256;
  double *scores = want < UINT32_MAX ? realloc(m->scores, want * sizeof *scores) : NULL;
  if (!scores) return sp_fail(SP_ENOMEM, "%s: %zu pieces: out of memory", where, want);
  m->scores = scores;
  *cap = (uint32_t)want;
  return SP_OK;
}

/* One element of "vocab", ["piece", score], whose id is its place. */
static sp_err read_piece(sp_unigram *m, sp_vocab *v, sp_json_scan *s, sp_buf *scratch,
                         const char *where) {
  const char *piece = NULL;
  size_t n = 0;
  double score = NAN;
  bool first = true;
  if (sp_json_scan_element(s, &first) && sp_json_scan_peek(s) == '"')
    sp_json_scan_string(s, scratch, &piece, &n);
  if (piece && sp_json_scan_element(s, &first) && sp_json_scan_peek(s) == '0') {
    const char *digits = s->at;
    bool number = sp_json_scan_skip(s) && s->at[-1] >= '0' && s->at[-1] <= '9';
    if (number) score = read_score(digits, s->at); /* and no NaN or Infinity */
  }
  if (s->fault || !isfinite(score) || sp_json_scan_element(s, &first))
    return sp_fail(SP_EFORMAT, "%s: element %u of \"vocab\" is not [\"piece\", score]",
                   where, m->n);
  sp_err err = sp_vocab_add(v, piece, n, m->n, where);
  if (!err) m->scores[m->n++] = score;
  return err;
}

static sp_err read_pieces(sp_unigram *m, sp_vocab *v, const sp_member *list,
                          const char *where) {
  sp_json_scan s = list->scan;
  sp_buf scratch = {0};
  sp_err err = SP_OK;
  uint32_t cap = 0;
  for (bool first = true; !err && sp_json_scan_element(&s, &first);) {
    if (m->n == cap) err = grow(m, &cap, where);
    if (!err) err = read_piece(m, v, &s, &scratch, where);
  }
  sp_buf_free(&scratch);
  if (!err && m->n == 0)
    err = sp_fail(SP_EFORMAT, "%s: the model's \"vocab\" is empty", where);
  return err;
}

static sp_err build_trie(sp_unigram *m, const sp_vocab *v) {
  sp_trie_key *keys = malloc(m->n * sizeof *keys);
  if (!keys) return sp_fail(SP_ENOMEM, "vocabulary of %u pieces: out of memory", m->n);
  for (uint32_t id = 0; id < m->n; id++) {
    size_t length;
    keys[id].s = sp_vocab_token(v, id, &length);
    keys[id].n = (uint32_t)length;
    keys[id].value = id;
  }
  sp_err err = sp_trie_build(keys, m->n, &m->trie);
  free(keys);
  return err;
}

sp_err sp_unigram_read(sp_unigram *m, sp_vocab *v, const sp_model_file *f,
                       const char *where) {
  enum { UNK_PENALTY = 10 }; /* an unknown character costs this more than any piece */
  if (sp_member_kind(&f->vocab) != '[')
    return sp_fail(SP_EFORMAT, "%s: the model has no list \"vocab\"", where);
  m->vocab = v;
  sp_err err = read_pieces(m, v, &f->vocab, where);
  if (!err) err = sp_json_need_u32(f->facts, "unk_id", where, 0, m->n - 1, &m->unk);
  if (!err) err = sp_json_get_bool(f->facts, "byte_fallback", where, &m->byte_fallback);
  if (err) return err;
  double least = INFINITY;
  for (uint32_t id = 0; id < m->n; id++)
    if (m->scores[id] < least) least = m->scores[id];
  m->unk_score = least - UNK_PENALTY;
  if (!sp_vocab_find_bytes(v, m->fallback)) m->byte_fallback = false;
  return build_trie(m, v);
}
