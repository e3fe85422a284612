/* encoder/unicode.c - looking code points up in the tables. */
#include "encoder/unicode.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "encoder/unicode_tables.h"

/* Hangul syllables by rule (Unicode, section 3.12). */
enum {
  S_BASE = 0xac00,
  L_BASE = 0x1100,
  V_BASE = 0x1161,
  T_BASE = 0x11a7,
  L_COUNT = 19,
  V_COUNT = 21,
  T_COUNT = 28,
  S_COUNT = L_COUNT * V_COUNT * T_COUNT
};

/* The one capital that becomes two characters, so no run of the table has it. */
enum { CAPITAL_I_DOT = 0x130 };

static bool within(uint32_t code, uint32_t base, uint32_t count) {
  return code - base < count; /* below base wraps around */
}

enum { N_CODES = 0x110000, N_PAGES = N_CODES >> 8 };

static void mark(const sp_unicode_range *ranges, size_t n, unsigned flag,
                 uint16_t *flags) {
  for (size_t i = 0; i < n; i++)
    for (uint32_t c = ranges[i].first; c <= ranges[i].last; c++)
      flags[c] |= (uint16_t)flag;
}

#define MARK(table, flag) mark(table, table##_N, flag, flags)

static void mark_classes(uint16_t *flags) {
  MARK(SP_UNICODE_CLEAN_REMOVED, SP_CHAR_CLEAN_REMOVED);
  MARK(SP_UNICODE_CLEAN_SPACE, SP_CHAR_CLEAN_SPACE);
  MARK(SP_UNICODE_CHINESE, SP_CHAR_CHINESE);
  MARK(SP_UNICODE_NONSPACING, SP_CHAR_NONSPACING);
  MARK(SP_UNICODE_PUNCTUATION, SP_CHAR_PUNCTUATION);
  MARK(SP_UNICODE_SPACE, SP_CHAR_SPACE);
  MARK(SP_UNICODE_LETTER, SP_CHAR_LETTER);
  MARK(SP_UNICODE_NUMBER, SP_CHAR_NUMBER);
  MARK(SP_UNICODE_CONTROL, SP_CHAR_CONTROL);
  MARK(SP_UNICODE_EXTENDS, SP_CHAR_EXTENDS);
  MARK(SP_UNICODE_PREPENDS, SP_CHAR_PREPENDS);
  static const sp_unicode_range SYLLABLES = {S_BASE, S_BASE + S_COUNT - 1};
  mark(&SYLLABLES, 1, SP_CHAR_DECOMPOSES, flags);
  /* Of a composition's second halves, Hangul's vowels and finals. */
  static const sp_unicode_range JAMO[] = {{V_BASE, V_BASE + V_COUNT - 1},
                                          {T_BASE + 1, T_BASE + T_COUNT - 1}};
  mark(JAMO, 2, SP_CHAR_COMPOSES, flags);
}

static void mark_mappings(uint16_t *flags) {
  for (size_t i = 0; i < SP_UNICODE_COMBINING_N; i++) {
    const sp_unicode_combining *r = &SP_UNICODE_COMBINING[i];
    for (uint32_t c = r->first; c <= r->last; c++) flags[c] |= SP_CHAR_COMBINES;
  }
  for (size_t i = 0; i < SP_UNICODE_DECOMPOSITIONS_N; i++)
    flags[SP_UNICODE_DECOMPOSITIONS[i].code] |= SP_CHAR_DECOMPOSES;
  for (size_t i = 0; i < SP_UNICODE_COMPOSITIONS_N; i++)
    flags[SP_UNICODE_COMPOSITIONS[i].second] |= SP_CHAR_COMPOSES;
  for (size_t i = 0; i < SP_UNICODE_LOWER_N; i++) {
    const sp_unicode_lower_run *r = &SP_UNICODE_LOWER[i];
    for (uint32_t c = r->first; c <= r->last; c += (uint32_t)r->step)
      flags[c] |= SP_CHAR_LOWERS;
  }
  flags[CAPITAL_I_DOT] |= SP_CHAR_LOWERS;
}

/* Keeps a page that repeats the one before only once: whole planes do. */
static sp_err keep_pages(sp_unicode *u, const uint16_t *flags) {
  size_t bytes = sizeof *u->pages, n = 0;
  for (size_t page = 0; page < N_PAGES; page++) {
    const uint16_t *at = flags + (page << 8);
    if (page && memcmp(at, at - 256, bytes) == 0) {
      u->page_of[page] = u->page_of[page - 1];
    } else {
      u->page_of[page] = (uint16_t)n++;
    }
  }
  u->n_pages = n;
  u->pages = malloc(n * bytes);
  if (!u->pages) return sp_fail(SP_ENOMEM, "Unicode tables: out of memory");
  for (size_t page = 0; page < N_PAGES; page++)
    memcpy(u->pages[u->page_of[page]], flags + (page << 8), bytes);
  return SP_OK;
}

sp_err sp_unicode_new(sp_unicode **out) {
  *out = NULL;
  sp_unicode *u = calloc(1, sizeof *u);
  uint16_t *flags = u ? calloc(N_CODES, sizeof *flags) : NULL;
  sp_err err = flags ? SP_OK : sp_fail(SP_ENOMEM, "Unicode tables: out of memory");
  if (!err) {
    mark_classes(flags);
    mark_mappings(flags);
    err = keep_pages(u, flags);
  }
  free(flags);
  if (err) {
    sp_unicode_free(u);
    return err;
  }
  *out = u;
  return SP_OK;
}

void sp_unicode_free(sp_unicode *u) {
  if (!u) return;
  free(u->pages);
  free(u);
}

size_t sp_unicode_decompose(uint32_t code, uint32_t out[4]) {
  if (within(code, S_BASE, S_COUNT)) {
    uint32_t s = code - S_BASE, t = s % T_COUNT;
    out[0] = L_BASE + s / (V_COUNT * T_COUNT);
    out[1] = V_BASE + s / T_COUNT % V_COUNT;
    out[2] = T_BASE + t;
    return t ? 3 : 2;
  }
  size_t low = 0, high = SP_UNICODE_DECOMPOSITIONS_N;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const sp_unicode_decomposition *d = &SP_UNICODE_DECOMPOSITIONS[middle];
    if (d->code == code) {
      size_t n = 0;
      while (n < 4 && d->parts[n]) {
        out[n] = d->parts[n];
        n++;
      }
      return n;
    }
    if (d->code < code)
      low = middle + 1;
    else
      high = middle;
  }
  out[0] = code;
  return 1;
}

uint32_t sp_unicode_compose(uint32_t first, uint32_t second) {
  if (within(first, L_BASE, L_COUNT) && within(second, V_BASE, V_COUNT))
    return S_BASE + ((first - L_BASE) * V_COUNT + (second - V_BASE)) * T_COUNT;
  if (within(first, S_BASE, S_COUNT) && (first - S_BASE) % T_COUNT == 0 &&
      within(second, T_BASE + 1, T_COUNT - 1))
    return first + (second - T_BASE);
  size_t low = 0, high = SP_UNICODE_COMPOSITIONS_N;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const sp_unicode_composition *c = &SP_UNICODE_COMPOSITIONS[middle];
    if (c->first == first && c->second == second) return c->composed;
    if (c->first < first || (c->first == first && c->second < second))
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

uint8_t sp_unicode_combining_class(uint32_t code) {
  size_t low = 0, high = SP_UNICODE_COMBINING_N;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const sp_unicode_combining *c = &SP_UNICODE_COMBINING[middle];
    if (code >= c->first && code <= c->last) return c->class_;
    if (c->last < code)
      low = middle + 1;
    else
      high = middle;
  }
  return 0;
}

size_t sp_unicode_lower(uint32_t code, uint32_t out[2]) {
  out[0] = code;
  if (code == CAPITAL_I_DOT) {
    out[0] = 'i';
    out[1] = 0x307;
    return 2;
  }
  size_t low = 0, high = SP_UNICODE_LOWER_N;
  while (low < high) {
    size_t middle = (low + high) / 2;
    const sp_unicode_lower_run *r = &SP_UNICODE_LOWER[middle];
    if (code >= r->first && code <= r->last) {
      if ((code - r->first) % (uint32_t)r->step == 0)
        out[0] = (uint32_t)((int32_t)code + r->delta);
      break;
    }
    if (r->last < code)
      low = middle + 1;
    else
      high = middle;
  }
  return 1;
}
