/* encoder/unicode_forms.c - NFC, NFD, NFKC, NFKD (Unicode, section 3.11).
 *
 * Canonical ones are Unicode 9, as the published tokenizers have it; compatibility
 * decompositions come from utf8proc. */
#include <stdlib.h>
#include <utf8proc.h>

#include "encoder/tokenizer_parts.h"

sp_err sp_pending_push(sp_pending *p, uint32_t code, int change, uint8_t class_) {
  if (p->n == p->cap) {
    size_t cap = p->cap * 2 + 32;
    struct sp_pending_char *chars = realloc(p->chars, cap * sizeof *chars);
    if (!chars) return sp_fail(SP_ENOMEM, "%zu combining marks: out of memory", cap);
    p->chars = chars;
    p->cap = cap;
  }
  p->chars[p->n++] = (struct sp_pending_char){code, change, class_};
  return SP_OK;
}

static void order_few(struct sp_pending_char *c, size_t n) {
  for (size_t i = 1; i < n; i++) {
    struct sp_pending_char moving = c[i];
    size_t k = i;
    for (; k > 0 && c[k - 1].class_ > moving.class_; k--) c[k] = c[k - 1];
    c[k] = moving;
  }
}

/* Counting keeps a text of nothing but marks linear. */
static void order_many(struct sp_pending_char *c, size_t n) {
  struct sp_pending_char *copy = malloc(n * sizeof *copy);
  if (!copy) { /* then slowly */
    order_few(c, n);
    return;
  }
  size_t starts[257] = {0};
  for (size_t i = 0; i < n; i++) starts[c[i].class_ + 1]++;
  for (size_t i = 0; i < 256; i++) starts[i + 1] += starts[i];
  for (size_t i = 0; i < n; i++) copy[starts[c[i].class_]++] = c[i];
  memcpy(c, copy, n * sizeof *c);
  free(copy);
}

void sp_pending_order(sp_pending *p) {
  struct sp_pending_char *c = p->chars;
  for (size_t from = 0; from < p->n;) {
    size_t to = from + 1;
    if (c[from].class_ == 0) { /* nothing passes a starter */
      from = to;
      continue;
    }
    while (to < p->n && c[to].class_ != 0) to++;
    if (to - from > 64)
      order_many(c + from, to - from);
    else
      order_few(c + from, to - from);
    from = to;
  }
}

/* Canonical composition of an ordered run: a starter takes up each later character that
 * composes with it and is not blocked. Changes add up as two characters become one. */
static void compose(sp_pending *p) {
  if (p->n < 2) return;
  struct sp_pending_char *c = p->chars;
  size_t kept = 0, starter = SIZE_MAX;
  uint8_t last_class = 0;
  for (size_t i = 0; i < p->n; i++) {
    struct sp_pending_char next = c[i];
    bool adjacent = starter != SIZE_MAX && kept == starter + 1;
    bool blocked = !adjacent && last_class >= next.class_;
    uint32_t composed = starter == SIZE_MAX || blocked
                            ? 0
                            : sp_unicode_compose(c[starter].code, next.code);
    if (composed) {
      c[starter].code = composed;
      c[starter].change += next.change - 1;
      continue;
    }
    if (next.class_ == 0) starter = kept;
    last_class = next.class_;
    c[kept++] = next;
  }
  p->n = kept;
}

static void flush(bool composes, sp_pending *pending, sp_edit *e) {
  sp_pending_order(pending);
  if (composes) compose(pending);
  for (size_t i = 0; i < pending->n; i++)
    sp_edit_put(e, pending->chars[i].code, pending->chars[i].change);
  pending->n = 0;
}

static void add(bool composes, uint32_t code, int change, sp_pending *pending,
                sp_edit *e) {
  uint32_t parts[4] = {code};
  unsigned flags = sp_unicode_flags(code);
  size_t n = flags & SP_CHAR_DECOMPOSES ? sp_unicode_decompose(code, parts) : 1;
  for (size_t i = 0; i < n && !e->err; i++) {
    unsigned part = sp_unicode_flags(parts[i]);
    uint8_t class_ = part & SP_CHAR_COMBINES ? sp_unicode_combining_class(parts[i]) : 0;
    /* A run ends before a starter that nothing before it can take up. */
    if (class_ == 0 && !(composes && part & SP_CHAR_COMPOSES))
      flush(composes, pending, e);
    e->err = sp_pending_push(pending, parts[i], i ? 1 : change, class_);
  }
}

/* The first character of a compatibility decomposition takes the source's place. */
static void add_compatible(bool composes, uint32_t code, sp_pending *pending,
                           sp_edit *e) {
  utf8proc_int32_t parts[32]; /* the longest of all is 18 */
  int class_ = 0;
  utf8proc_ssize_t n = utf8proc_decompose_char(
      (utf8proc_int32_t)code, parts, 32, UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE, &class_);
  if (n <= 0 || n > 32) {
    parts[0] = (utf8proc_int32_t)code;
    n = 1;
  }
  for (utf8proc_ssize_t i = 0; i < n; i++)
    add(composes, (uint32_t)parts[i], i ? 1 : 0, pending, e);
}

/* Copies what no form changes: ASCII up to its last character, which may yet combine. */
static size_t plain(const sp_draft *in, size_t i, sp_edit *e) {
  size_t to = i;
  while (to < in->n && (unsigned char)in->bytes[to] < 0x80) to++;
  if (to < in->n && to > i) to--;
  if (to > i) sp_edit_copy(e, i, to - i);
  return to;
}

sp_err sp_norm_forms(sp_norm_kind kind, const sp_draft *in, sp_draft *out,
                     sp_pending *pending) {
  bool composes = kind == SP_NORM_NFC || kind == SP_NORM_NFKC;
  bool compatible = kind == SP_NORM_NFKC || kind == SP_NORM_NFKD;
  sp_edit e = sp_edit_begin(in, 0, out);
  pending->n = 0;
  for (size_t i = 0; i < in->n && !e.err;) {
    if ((unsigned char)in->bytes[i] < 0x80) {
      flush(composes, pending, &e);
      i = plain(in, i, &e);
      if (i == in->n) break;
    }
    uint32_t code;
    i += sp_char_at(in->bytes + i, &code);
    if (compatible)
      add_compatible(composes, code, pending, &e);
    else
      add(composes, code, 0, pending, &e);
  }
  flush(composes, pending, &e);
  return e.err;
}
