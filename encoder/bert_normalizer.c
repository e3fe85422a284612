/* encoder/bert_normalizer.c - BERT's normalizer: clean, Chinese, accents, lower case.
 *
 * Published as four passes in this order. All but the accents treat each character by
 * itself, and accents only move between two characters that do not combine, so one pass
 * gives the same. */
#include "encoder/tokenizer_parts.h"

/* Puts what waits: reordered, accents dropped, lower-cased. */
static void flush(const sp_norm_step *step, sp_pending *pending, sp_edit *e) {
  sp_pending_order(pending);
  for (size_t i = 0; i < pending->n; i++) {
    uint32_t code = pending->chars[i].code;
    int change = pending->chars[i].change;
    unsigned flags = sp_unicode_flags(code);
    if (step->accents && flags & SP_CHAR_NONSPACING) {
      if (change <= 0) sp_edit_skip(e, 1 + (size_t)-change);
      continue;
    }
    if (!(step->lower && flags & SP_CHAR_LOWERS)) {
      sp_edit_put(e, code, change);
      continue;
    }
    uint32_t lower[2];
    size_t n = sp_unicode_lower(code, lower);
    sp_edit_put(e, lower[0], change);
    if (n > 1) sp_edit_put(e, lower[1], 1);
  }
  pending->n = 0;
}

/* A character takes its place among those that wait. */
static void add(const sp_norm_step *step, uint32_t code, int change, sp_pending *pending,
                sp_edit *e) {
  uint32_t parts[4] = {code};
  size_t n = 1;
  unsigned flags = sp_unicode_flags(code);
  if (step->accents && flags & SP_CHAR_DECOMPOSES) n = sp_unicode_decompose(code, parts);
  for (size_t i = 0; i < n && !e->err; i++) {
    uint8_t class_ = 0;
    if (step->accents && sp_unicode_flags(parts[i]) & SP_CHAR_COMBINES)
      class_ = sp_unicode_combining_class(parts[i]);
    if (class_ == 0) flush(step, pending, e);
    e->err = sp_pending_push(pending, parts[i], i ? 1 : change, class_);
  }
}

/* Copies ASCII from s[i] on, as the table has it. Returns where it ends. */
static size_t ascii(const sp_norm_step *step, const sp_draft *in, size_t i, sp_edit *e) {
  const char *s = in->bytes;
  size_t n = in->n;
  if (in->tracked) {
    for (; i < n && (unsigned char)s[i] < 0x80; i++) {
      if (step->drops[(unsigned char)s[i]])
        sp_edit_skip(e, 1);
      else
        sp_edit_put(e, step->ascii[(unsigned char)s[i]], 0);
    }
    return i;
  }
  e->err = sp_draft_reserve(e->to, e->to->n + (n - i));
  if (e->err) return n;
  char *to = e->to->bytes + e->to->n, *begin = to;
  for (; i < n && (unsigned char)s[i] < 0x80; i++) {
    *to = (char)step->ascii[(unsigned char)s[i]];
    to += !step->drops[(unsigned char)s[i]];
  }
  e->to->n += (size_t)(to - begin);
  return i;
}

sp_err sp_norm_bert(const sp_norm_step *step, const sp_draft *in, sp_draft *out,
                    sp_pending *pending) {
  sp_edit e = sp_edit_begin(in, 0, out);
  pending->n = 0;
  for (size_t i = 0; i < in->n && !e.err;) {
    if ((unsigned char)in->bytes[i] < 0x80) {
      flush(step, pending, &e);
      i = ascii(step, in, i, &e);
      continue;
    }
    uint32_t code;
    i += sp_char_at(in->bytes + i, &code);
    unsigned flags = sp_unicode_flags(code);
    if (step->clean && flags & SP_CHAR_CLEAN_REMOVED) {
      /* What waits may still be reordered, so the loss is put on its account. */
      if (pending->n)
        pending->chars[pending->n - 1].change--;
      else
        sp_edit_skip(&e, 1);
      continue;
    }
    if (step->clean && flags & SP_CHAR_CLEAN_SPACE) code = ' ';
    if (step->chinese && flags & SP_CHAR_CHINESE) {
      /* The first blank takes the character's place, the others join it. */
      add(step, ' ', 0, pending, &e);
      add(step, code, 1, pending, &e);
      add(step, ' ', 1, pending, &e);
    } else {
      add(step, code, 0, pending, &e);
    }
  }
  flush(step, pending, &e);
  return e.err;
}
