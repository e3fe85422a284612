/* encoder/draft.c - editing a text without forgetting where it came from. */
#include "encoder/draft.h"

#include <stdlib.h>

#include "base/utf8.h"

void sp_draft_free(sp_draft *d) {
  free(d->bytes);
  free(d->begin);
  free(d->end);
  *d = (sp_draft){0};
}

static sp_err grow_spans(sp_draft *d, size_t cap) {
  uint32_t *begin = realloc(d->begin, cap * sizeof *begin);
  if (begin) d->begin = begin;
  uint32_t *end = begin ? realloc(d->end, cap * sizeof *end) : NULL;
  if (!end) return sp_fail(SP_ENOMEM, "text of %zu bytes: out of memory", cap);
  d->end = end;
  d->cap_spans = cap;
  return SP_OK;
}

sp_err sp_draft_reserve(sp_draft *d, size_t n) {
  size_t max = d->max ? d->max : UINT32_MAX - 1;
  if (n > max)
    return sp_fail(SP_EINVAL, "a text grows to more than %zu bytes when normalized", max);
  if (n > d->cap) {
    size_t cap = d->cap + d->cap / 2 + 256;
    if (cap < n) cap = n;
    char *bytes = realloc(d->bytes, cap + SP_DRAFT_PADDING);
    if (!bytes) return sp_fail(SP_ENOMEM, "text of %zu bytes: out of memory", cap);
    d->bytes = bytes;
    d->cap = cap;
    memset(bytes + cap, 0, SP_DRAFT_PADDING);
  }
  if (d->tracked && d->cap_spans < n) return grow_spans(d, d->cap);
  return SP_OK;
}

/* Appends a character that stands for original bytes [begin, end). */
static void append(sp_draft *d, uint32_t code, size_t begin, size_t end) {
  size_t length = sp_utf8_put(code, d->bytes + d->n);
  if (d->tracked)
    for (size_t i = d->n; i < d->n + length; i++) {
      d->begin[i] = (uint32_t)begin;
      d->end[i] = (uint32_t)end;
    }
  d->n += length;
}

static size_t ascii_run(const char *s, size_t n) {
  size_t i = 0;
  for (uint64_t eight; i + 8 <= n; i += 8) {
    memcpy(&eight, s + i, 8);
    if (eight & 0x8080808080808080u) break;
  }
  while (i < n && (unsigned char)s[i] < 0x80) i++;
  return i;
}

sp_err sp_draft_set(sp_draft *d, const char *text, size_t n, size_t base, bool tracked) {
  d->n = 0;
  d->tracked = tracked;
  d->max = n * SP_DRAFT_GROWTH + SP_DRAFT_SLACK;
  if (d->max >= UINT32_MAX) d->max = UINT32_MAX - 1;
  sp_err err = sp_draft_reserve(d, n + 4);
  for (size_t i = 0; i < n && !err;) {
    size_t run = ascii_run(text + i, n - i);
    /* An invalid byte becomes three. */
    err = sp_draft_reserve(d, d->n + run + 3 + (n - i - run));
    if (err) break;
    memcpy(d->bytes + d->n, text + i, run);
    if (tracked)
      for (size_t k = 0; k < run; k++) {
        d->begin[d->n + k] = (uint32_t)(base + i + k);
        d->end[d->n + k] = (uint32_t)(base + i + k + 1);
      }
    d->n += run;
    i += run;
    if (i == n) break;
    uint32_t code;
    size_t took = sp_utf8_next(text + i, n - i, &code);
    append(d, code, base + i, base + i + took);
    i += took;
  }
  return err;
}

sp_edit sp_edit_begin(const sp_draft *from, size_t at, sp_draft *to) {
  to->n = 0;
  to->max = from->max;
  to->tracked = from->tracked;
  return (sp_edit){.from = from, .to = to, .at = at, .err = SP_OK};
}

/* Rare enough to be a call: the fast paths copy. */
static bool room(sp_edit *e, size_t n) {
  if (!e->err) e->err = sp_draft_reserve(e->to, e->to->n + n);
  return !e->err;
}

void sp_edit_skip(sp_edit *e, size_t n_chars) {
  const sp_draft *d = e->from;
  while (n_chars-- && e->at < d->n) e->at += sp_char_bytes(d->bytes[e->at]);
}

void sp_edit_put(sp_edit *e, uint32_t code, int change) {
  if (!room(e, 4)) return;
  const sp_draft *d = e->from;
  if (!d->tracked) {
    e->to->n += sp_utf8_put(code, e->to->bytes + e->to->n);
    return;
  }
  size_t begin = 0, end = 0;
  if (change > 0 ? e->at > 0 : e->at < d->n) {
    size_t of = change > 0 ? e->at - 1 : e->at;
    begin = d->begin[of];
    end = d->end[of];
  } else if (change <= 0 && d->n) { /* past the end: as the last */
    begin = end = d->end[d->n - 1];
  }
  append(e->to, code, begin, end);
  if (change <= 0) sp_edit_skip(e, 1 + (size_t)-change);
}

void sp_edit_copy(sp_edit *e, size_t begin, size_t n) {
  if (!room(e, n)) return;
  const sp_draft *d = e->from;
  sp_draft *to = e->to;
  if (d->tracked && e->at != begin) { /* out of step: each takes the next one's span */
    for (size_t i = begin; i < begin + n;) {
      uint32_t code;
      i += sp_char_at(d->bytes + i, &code);
      sp_edit_put(e, code, 0);
    }
    return;
  }
  memcpy(to->bytes + to->n, d->bytes + begin, n);
  if (d->tracked) {
    memcpy(to->begin + to->n, d->begin + begin, n * sizeof *to->begin);
    memcpy(to->end + to->n, d->end + begin, n * sizeof *to->end);
  }
  to->n += n;
  e->at = begin + n;
}

void sp_edit_prepend(sp_edit *e, const char *text, size_t n) {
  /* All of it shares the span of the character that follows. */
  if (!room(e, n)) return;
  const sp_draft *d = e->from;
  bool any = d->tracked && e->at < d->n;
  for (size_t i = 0; i < n;) {
    uint32_t code;
    i += sp_char_at(text + i, &code);
    append(e->to, code, any ? d->begin[e->at] : 0, any ? d->end[e->at] : 0);
  }
}
