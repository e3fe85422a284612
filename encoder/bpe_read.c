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

static bool read_pair(const json_t *o, pair *out) {
  if (json_is_array(o) && json_array_size(o) == 2) {
    const json_t *left = json_array_get(o, 0), *right = json_array_get(o, 1);
    *out = (pair){json_string_value(left), json_string_value(right),
                  json_string_length(left), json_string_length(right)};
    return out->left && out->right;
  }
  const char *s = json_string_value(o);
  if (!s) return false;
  size_t n = json_string_length(o);
  const char *blank = memchr(s, ' ', n);
  if (!blank) return false;
  *out = (pair){s, blank + 1, (size_t)(blank - s), n - (size_t)(blank - s) - 1};
  return !memchr(out->right, ' ', out->n_right);
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
                   "%s: merge %u, \"%.40s\" and \"%.40s\": a half or the whole is not in "
                   "the vocabulary",
                   where, m->merges.n, p->left, p->right);
  struct sp_merge *slot = slot_of(&m->merges, left, right);
  *slot = (struct sp_merge){left, right, m->merges.n}; /* the last of equals counts */
  m->merges.result[m->merges.n++] = result;
  return SP_OK;
}

static sp_err read_merges(sp_bpe *m, const sp_vocab *v, const json_t *list,
                          const char *where) {
  if (!json_is_array(list))
    return sp_fail(SP_EFORMAT, "%s: the model has no list \"merges\"", where);
  size_t n = json_array_size(list);
  sp_err err = make_slots(&m->merges, n, where);
  sp_buf joined = {0};
  for (size_t i = 0; i < n && !err; i++) {
    pair p;
    err = read_pair(json_array_get(list, i), &p)
              ? add_merge(m, v, &p, &joined, where)
              : sp_fail(SP_EFORMAT, "%s: merge %zu is no pair of tokens", where, i);
  }
  sp_buf_free(&joined);
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

sp_err sp_bpe_read(sp_bpe *m, sp_vocab *v, const json_t *model, bool byte_level,
                   const char *where) {
  m->vocab = v;
  m->byte_level = byte_level;
  sp_err err = sp_vocab_read(v, json_object_get(model, "vocab"), where);
  if (!err) err = read_flags(m, model, where);
  if (!err) err = read_unk(m, v, model, where);
  if (!err) err = read_merges(m, v, json_object_get(model, "merges"), where);
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
