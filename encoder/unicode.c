/* encoder/unicode.c - looking code points up in the tables. */
#include "encoder/unicode.h"

#include <stdbool.h>

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
