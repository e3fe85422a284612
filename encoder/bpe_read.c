/* encoder/bpe_read.c - reading a BPE model. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

/* Printable Latin-1 stands for itself; the other 68 bytes for U+0100 and on, in order. */
uint32_t sp_byte_char(uint8_t byte) {
  if ((byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte != 0xad)) return byte;
  if (byte <= ' ') return 0x100u + byte;
  if (byte <= 0xa0) return 0x100u + 33 + (byte - 0x7fu);
  return 0x100u + 67; /* 0xad */
}

/* ---- merges ---- */

static struct sp_merge *slot_of(const sp_merges *m, uint32_t left, uint32_t right) {
  uint64_t h = ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u;
  for (size_t i = (size_t)(h >> 32) & m->mask;; i = (i + 1) & m->mask) {
    struct sp_merge *s = &m->slots[i];
    if (s->rank == SP_NO_RANK || (s->left == left && s->right == right)) return s;
  }
}

static sp_err make_slots(sp_merges *m, size_t n, const char *where) {
  if (n >= UINT32_MAX / 4) return sp_fail(SP_EFORMAT, "%s: %zu merges", where, n);
  size_t slots = 16;
  while (slots < 2 * n) slots *= 2;
  m->mask = slots - 1;
  m->slots = malloc(slots * sizeof *m->slots);
  m->result = malloc((n ? n : 1) * sizeof *m->result);
  if (!m->slots || !m->result)
    return sp_fail(SP_ENOMEM, "%s: %zu merges: out of memory", where, n);
  memset(m->slots, 0xff, slots * sizeof *m->slots);
  return SP_OK;
}

/* A merge's two halves, in either layout: "a b" or ["a", "b"]. */
typedef struct pair {
  const char *left, *right;
  size_t n_left, n_right;
} pair;

static bool read_half(sp_json_scan *s, bool *first, sp_buf *scratch, const char **half,
                      size_t *n) {
  return sp_json_scan_element(s, first) && sp_json_scan_peek(s) == '"' &&
         sp_json_scan_string(s, scratch, half, n);
}

/* Borrowed from the text or from scratch[2]. */
static bool read_pair(sp_json_scan *s, sp_buf *scratch, pair *out) {
  char kind = sp_json_scan_peek(s);
  if (kind == '[') {
    bool first = true;
    return read_half(s, &first, &scratch[0], &out->left, &out->n_left) &&
           read_half(s, &first, &scratch[1], &out->right, &out->n_right) &&
           !sp_json_scan_element(s, &first) && !s->fault;
  }
  const char *both;
  size_t n;
  if (kind != '"' || !sp_json_scan_string(s, &scratch[0], &both, &n)) return false;
  const char *blank = memchr(both, ' ', n);
  if (!blank) return false;
  *out = (pair){both, blank + 1, (size_t)(blank - both), n - (size_t)(blank - both) - 1};
  return !memchr(out->right, ' ', out->n_right);
}

static int shown(size_t n) {
  return n > 40 ? 40 : (int)n;
}

static sp_err add_merge(sp_bpe *m, const sp_vocab *v, const pair *p, sp_buf *joined,
                        const char *where) {
  size_t skip = strlen(m->prefix); /* the second half loses its prefix */
  sp_buf_clear(joined);
  sp_err err = sp_buf_append(joined, p->left, p->n_left);
  if (!err && p->n_right > skip)
    err = sp_buf_append(joined, p->right + skip, p->n_right - skip);
  if (err) return err;
  uint32_t left = sp_vocab_find(v, p->left, p->n_left);
  uint32_t right = sp_vocab_find(v, p->right, p->n_right);
  uint32_t result = sp_vocab_find(v, joined->n ? joined->data : "", joined->n);
  if (left == UINT32_MAX || right == UINT32_MAX || result == UINT32_MAX)
    return sp_fail(SP_EFORMAT,
                   "%s: merge %u, \"%.*s\" and \"%.*s\": a half or the whole is not in "
                   "the vocabulary",
                   where, m->merges.n, shown(p->n_left), p->left, shown(p->n_right),
                   p->right);
  struct sp_merge *slot = slot_of(&m->merges, left, right);
  *slot = (struct sp_merge){left, right, m->merges.n}; /* the last of equals counts */
  m->merges.result[m->merges.n++] = result;
  return SP_OK;
}

static size_t count_elements(sp_json_scan s) {
  size_t n = 0;
  for (bool first = true; sp_json_scan_element(&s, &first); n++) sp_json_scan_skip(&s);
  return n;
}

static sp_err read_merges(sp_bpe *m, const sp_vocab *v, const sp_member *list,
                          const char *where) {
  if (sp_member_kind(list) != '[')
    return sp_fail(SP_EFORMAT, "%s: the model has no list \"merges\"", where);
  sp_json_scan s = list->scan;
  sp_err err = make_slots(&m->merges, count_elements(s), where);
  sp_buf joined = {0}, scratch[2] = {{0}, {0}};
  for (bool first = true; !err && sp_json_scan_element(&s, &first);) {
    pair p;
    err = read_pair(&s, scratch, &p)
              ? add_merge(m, v, &p, &joined, where)
              : sp_fail(SP_EFORMAT, "%s: merge %u is no pair of tokens", where,
                        m->merges.n);
  }
  sp_buf_free(&joined);
  sp_buf_free(&scratch[0]);
  sp_buf_free(&scratch[1]);
  return err;
}

/* ---- the rest ---- */

static sp_err read_affix(const json_t *model, const char *key, char out[SP_BPE_AFFIX],
                         const char *where) {
  const char *s = "";
  sp_err err = sp_json_get_string(model, key, where, &s);
  if (err) return err;
  size_t n = strlen(s);
  if (n >= SP_BPE_AFFIX)
    return sp_fail(SP_EFORMAT, "%s: \"%s\" has %zu bytes, expected less than %d", where,
                   key, n, SP_BPE_AFFIX);
  memcpy(out, s, n + 1);
  return SP_OK;
}

static sp_err read_flags(sp_bpe *m, const json_t *model, const char *where) {
  double dropout = 0;
  sp_err err = sp_json_get_double(model, "dropout", where, 0, 1, &dropout);
  if (!err) err = sp_json_get_bool(model, "fuse_unk", where, &m->fuse_unk);
  if (!err) err = sp_json_get_bool(model, "byte_fallback", where, &m->byte_fallback);
  if (!err) err = sp_json_get_bool(model, "ignore_merges", where, &m->ignore_merges);
  if (!err) err = read_affix(model, "continuing_subword_prefix", m->prefix, where);
  if (!err) err = read_affix(model, "end_of_word_suffix", m->suffix, where);
  if (!err && dropout > 0)
    err = sp_fail(SP_EFORMAT, "%s: \"dropout\" is %g: ids drawn by lot are not supported",
                  where, dropout);
  return err;
}

static sp_err read_unk(sp_bpe *m, const sp_vocab *v, const json_t *model,
                       const char *where) {
  const char *unk = NULL;
  m->unk = UINT32_MAX;
  sp_err err = sp_json_get_string(model, "unk_token", where, &unk);
  if (err || !unk) return err;
  m->unk = sp_vocab_find(v, unk, strlen(unk));
  return m->unk != UINT32_MAX
             ? SP_OK
             : sp_fail(SP_EFORMAT, "%s: the unk_token %.60s is not in the vocabulary",
                       where, unk);
}

static void find_units(sp_bpe *m, const sp_vocab *v) {
  for (unsigned c = 0; c < 128; c++) {
    char s = (char)c;
    m->ascii[c] = sp_vocab_find(v, &s, 1);
  }
  for (unsigned b = 0; b < 256; b++) {
    char s[4];
    m->bytes[b] = sp_vocab_find(v, s, sp_utf8_put(sp_byte_char((uint8_t)b), s));
  }
  /* All or none: a character whose bytes are not all there would stay unknown. */
  if (!sp_vocab_find_bytes(v, m->fallback) || m->byte_level) m->byte_fallback = false;
}

sp_err sp_bpe_read(sp_bpe *m, sp_vocab *v, const sp_model_file *f, bool byte_level,
                   const char *where) {
  m->vocab = v;
  m->byte_level = byte_level;
  sp_err err = sp_vocab_read(v, &f->vocab, where);
  if (!err) err = read_flags(m, f->facts, where);
  if (!err) err = read_unk(m, v, f->facts, where);
  if (!err) err = read_merges(m, v, &f->merges, where);
  if (!err) find_units(m, v);
  return err;
}

static bool begins_with(const char *s, size_t n, const char *mark, size_t n_mark) {
  return n >= n_mark && memcmp(s, mark, n_mark) == 0;
}

static bool ends_with(const char *s, size_t n, const char *mark, size_t n_mark) {
  return n >= n_mark && memcmp(s + n - n_mark, mark, n_mark) == 0;
}

bool sp_bpe_may_cut(const sp_bpe *m, const sp_vocab *v, const char *mark) {
  size_t n_mark = strlen(mark);
  if (m->byte_level || m->ignore_merges || *m->prefix || *m->suffix) return false;
  if (sp_vocab_find(v, mark, n_mark) == UINT32_MAX) return false;
  for (size_t i = 0; i <= m->merges.mask; i++) {
    const struct sp_merge *s = &m->merges.slots[i];
    if (s->rank == SP_NO_RANK) continue;
    size_t n_left, n_right;
    const char *left = sp_vocab_token(v, s->left, &n_left);
    const char *right = sp_vocab_token(v, s->right, &n_right);
    if (begins_with(right, n_right, mark, n_mark) &&
        !ends_with(left, n_left, mark, n_mark))
      return false;
  }
  return true;
}

void sp_bpe_free(sp_bpe *m) {
  free(m->merges.slots);
  free(m->merges.result);
  *m = (sp_bpe){0};
}
