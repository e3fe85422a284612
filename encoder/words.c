/* encoder/words.c - cutting text into case-folded words. */
#include "encoder/words.h"

#include <stdbool.h>
#include <stdlib.h>
#include <utf8proc.h>

#include "base/utf8.h"

void sp_words_free(sp_words *w) {
  sp_buf_free(&w->bytes);
  sp_buf_free(&w->repaired);
  free(w->ends);
  *w = (sp_words){0};
}

const char *sp_words_get(const sp_words *w, uint32_t i, size_t *length) {
  uint32_t start = i ? w->ends[i - 1] : 0;
  *length = w->ends[i] - start;
  return w->bytes.data + start;
}

/* Ends the word whose bytes stand behind the last one's, if there are any. */
static sp_err end_word(sp_words *w) {
  if (w->bytes.n == (w->n ? w->ends[w->n - 1] : 0)) return SP_OK;
  if (w->n == w->cap) {
    uint32_t cap = w->cap ? w->cap * 2 : 64;
    uint32_t *ends = realloc(w->ends, (size_t)cap * sizeof *ends);
    if (!ends) return sp_fail(SP_ENOMEM, "%u words: out of memory", cap);
    w->ends = ends;
    w->cap = cap;
  }
  w->ends[w->n++] = (uint32_t)w->bytes.n;
  return SP_OK;
}

static bool in_word(uint32_t code) {
  switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

/* Hiragana and katakana, and the blocks of ideographs (Unicode 16, Blocks.txt). */
static bool stands_alone(uint32_t code) {
  return (code >= 0x3041 && code <= 0x30ff) || (code >= 0x31f0 && code <= 0x31ff) ||
         (code >= 0x3400 && code <= 0x4dbf) || (code >= 0x4e00 && code <= 0x9fff) ||
         (code >= 0xf900 && code <= 0xfaff) || (code >= 0x20000 && code <= 0x3ffff);
}

/* ASCII needs no normalisation: a letter's case is a bit. */
static sp_err split_ascii(const char *text, size_t n, sp_words *w) {
  size_t length = 0;
  for (size_t i = 0; i < n; i++) {
    char c = text[i];
    sp_err err = SP_OK;
    if (c >= 'A' && c <= 'Z') c = (char)(c | 0x20);
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) {
      err = length ? end_word(w) : SP_OK;
      length = 0;
    } else if (length++ < SP_WORD_MAX_CODES) {
      err = sp_buf_append_char(&w->bytes, c);
    }
    if (err) return err;
  }
  return end_word(w);
}

/* `text` is normalised already. */
static sp_err split_unicode(const char *text, size_t n, sp_words *w) {
  size_t length = 0;
  for (size_t i = 0; i < n;) {
    uint32_t code;
    size_t took = sp_utf8_next(text + i, n - i, &code);
    bool inside = in_word(code), alone = inside && stands_alone(code);
    sp_err err = SP_OK;
    if (!inside || alone) {
      err = end_word(w);
      length = 0;
    }
    if (!err && inside && length++ < SP_WORD_MAX_CODES)
      err = sp_buf_append(&w->bytes, text + i, took);
    if (!err && alone) {
      err = end_word(w);
      length = 0;
    }
    if (err) return err;
    i += took;
  }
  return end_word(w);
}

static bool is_ascii(const char *text, size_t n) {
  for (size_t i = 0; i < n; i++)
    if ((unsigned char)text[i] >= 0x80) return false;
  return true;
}

sp_err sp_words_split(const char *text, size_t n, sp_words *w) {
  w->n = 0;
  sp_buf_clear(&w->bytes);
  if (n >= (size_t)1 << 30)
    return sp_fail(SP_EINVAL, "a text of %zu bytes: less than 1 GiB can be encoded", n);
  if (is_ascii(text, n)) return split_ascii(text, n, w);

  sp_buf_clear(&w->repaired);
  sp_err err = sp_utf8_repair(text, n, &w->repaired);
  if (err) return err;
  utf8proc_uint8_t *folded = NULL;
  utf8proc_ssize_t length =
      utf8proc_map((const utf8proc_uint8_t *)w->repaired.data,
                   (utf8proc_ssize_t)w->repaired.n, &folded,
                   UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT |
                       UTF8PROC_CASEFOLD | UTF8PROC_IGNORE);
  if (length < 0)
    return sp_fail(SP_ENOMEM, "a text of %zu bytes: %s", n, utf8proc_errmsg(length));
  err = (uint64_t)length < UINT32_MAX
            ? split_unicode((const char *)folded, (size_t)length, w)
            : sp_fail(SP_EINVAL, "a text of %zu bytes is too long once folded", n);
  free(folded);
  return err;
}
