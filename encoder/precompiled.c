/* encoder/precompiled.c - SentencePiece's compiled normalization map.
 *
 * The map is base64 of: the trie's size in bytes (u32, little-endian), the trie (a
 * double array of u32 units as Darts-clone lays them out), and the replacements, each
 * ended by a NUL. A unit holds: bits 0..7 the label, bit 8 "a value hangs here", bits
 * 10..30 the offset to the children (shifted left by 8 more if bit 9 is set), bit 31 "this
 * is a value", whose lower bits are then the place of the replacement. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "encoder/tokenizer_parts.h"

/* ---- looking up ---- */

static uint32_t offset_of(uint32_t unit) {
  return (unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The replacement of the SHORTEST prefix of s[0..n) that has one, or NULL. A NUL ends the
 * search. */
static const char *find(const sp_charsmap *m, const char *s, size_t n) {
  size_t at = offset_of(m->units[0]);
  for (size_t i = 0; i < n && s[i]; i++) {
    at ^= (uint8_t)s[i];
    if (at >= m->n_units) return NULL;
    uint32_t unit = m->units[at];
    if ((unit & (1u << 31 | 0xff)) != (uint8_t)s[i]) return NULL;
    at ^= offset_of(unit);
    if (!(unit & 1u << 8)) continue;
    if (at >= m->n_units) return NULL;
    size_t value = m->units[at] & 0x7fffffff;
    bool inside = value < m->n_values && ((uint8_t)m->values[value] & 0xc0) != 0x80;
    return inside ? m->values + value : NULL;
  }
  return NULL;
}

/* ---- reading ---- */

static int sextet(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes into out[3 * n / 4]; false when it is not base64 with its padding. */
static bool decode_base64(const char *s, size_t n, uint8_t *out, size_t *n_out) {
  if (n % 4) return false;
  size_t padding = 0;
  while (padding < 2 && padding < n && s[n - 1 - padding] == '=') padding++;
  uint32_t bits = 0;
  *n_out = 0;
  for (size_t i = 0; i < n - padding; i++) {
    int six = sextet(s[i]);
    if (six < 0) return false;
    bits = bits << 6 | (uint32_t)six;
    size_t have = (i % 4) * 6; /* bits left over from before */
    if (i % 4) out[(*n_out)++] = (uint8_t)(bits >> (have == 6 ? 4 : have == 12 ? 2 : 0));
  }
  return true;
}

static sp_err split_map(sp_charsmap *m, const uint8_t *raw, size_t n, const char *where) {
  uint32_t bytes = 0;
  if (n >= 4)
    bytes =
        raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
  if (n < 4 || bytes > n - 4 || bytes % 4 || bytes == 0)
    return sp_fail(SP_EFORMAT,
                   "%s: the precompiled_charsmap of %zu bytes cannot hold a trie of %u",
                   where, n, bytes);
  const char *values = (const char *)raw + 4 + bytes;
  m->n_units = bytes / 4;
  m->n_values = n - 4 - bytes;
  if (!sp_utf8_valid(values, m->n_values))
    return sp_fail(SP_EFORMAT, "%s: the precompiled_charsmap's texts are not UTF-8",
                   where);
  m->units = malloc(bytes);
  m->values = malloc(m->n_values + 1);
  if (!m->units || !m->values) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  for (size_t i = 0; i < m->n_units; i++) {
    const uint8_t *b = raw + 4 + 4 * i;
    m->units[i] =
        b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
  }
  memcpy(m->values, values, m->n_values);
  m->values[m->n_values] = '\0';
  for (int c = 0; c < 128; c++) {
    char s = (char)c;
    m->plain[c] = c != '\r' && !find(m, &s, 1);
  }
  return SP_OK;
}

sp_err sp_charsmap_read(sp_charsmap *m, const char *base64, size_t n, const char *where) {
  uint8_t *raw = malloc(n / 4 * 3 + 4);
  if (!raw) return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  size_t n_raw;
  sp_err err =
      decode_base64(base64, n, raw, &n_raw)
          ? split_map(m, raw, n_raw, where)
          : sp_fail(SP_EFORMAT, "%s: the precompiled_charsmap is not base64", where);
  free(raw);
  return err;
}

/* ---- normalizing ---- */

/* Puts a replacement for n_old characters: a longer one's last characters are additions;
 * of a shorter one, the last also stands for what vanished. */
static void put(sp_edit *e, const char *with, size_t n_old) {
  size_t n = strlen(with), n_new = sp_char_count(with, n), k = 0;
  for (size_t i = 0; i < n; k++) {
    uint32_t code;
    i += sp_char_at(with + i, &code);
    sp_edit_put(e, code, k < n_old ? 0 : 1);
  }
  /* With nothing before it to stand for it, a vanished character is not counted: the
   * published tokenizers' spans are then one character late, and so are ours. */
  if (n_old > n_new && e->to->n) sp_edit_skip(e, n_old - n_new);
}

/* Where the grapheme cluster that begins at s[i] ends (UAX #29, without the joining of
 * Hangul, flags, emoji and conjuncts: those clusters are too long to matter below). */
static size_t cluster_end(const char *s, size_t i, size_t n) {
  uint32_t code;
  i += sp_char_at(s + i, &code);
  if (code == '\r' && i < n && s[i] == '\n') return i + 1;
  unsigned flags = sp_unicode_flags(code);
  if (flags & SP_CHAR_CONTROL) return i;
  while (i < n) {
    size_t took = sp_char_at(s + i, &code);
    unsigned next = sp_unicode_flags(code);
    bool joins =
        next & SP_CHAR_EXTENDS || (flags & SP_CHAR_PREPENDS && !(next & SP_CHAR_CONTROL));
    if (!joins) break;
    i += took;
    flags = next;
  }
  return i;
}

/* The bytes from s[i] on that stay: ASCII that is not followed by what may extend it. */
static size_t plain_run(const sp_charsmap *m, const char *s, size_t i, size_t n) {
  size_t begin = i;
  while (i < n && (uint8_t)s[i] < 0x80 && m->plain[(uint8_t)s[i]]) i++;
  if (i < n && (uint8_t)s[i] >= 0x80 && i > begin) i--;
  return i - begin;
}

sp_err sp_norm_precompiled(const sp_charsmap *m, const sp_draft *in, sp_draft *out) {
  enum { LONGEST_CLUSTER = 5 }; /* bytes: longer ones go character by character */
  const char *s = in->bytes;
  sp_edit e = sp_edit_begin(in, 0, out);
  for (size_t i = 0; i < in->n && !e.err;) {
    size_t run = plain_run(m, s, i, in->n);
    if (run) {
      sp_edit_copy(&e, i, run);
      i += run;
      continue;
    }
    size_t end = cluster_end(s, i, in->n);
    const char *with = end - i <= LONGEST_CLUSTER ? find(m, s + i, end - i) : NULL;
    if (with) {
      put(&e, with, sp_char_count(s + i, end - i));
      i = end;
      continue;
    }
    while (i < end) {
      size_t took = sp_char_bytes(s[i]);
      with = find(m, s + i, took);
      if (with)
        put(&e, with, 1);
      else
        sp_edit_copy(&e, i, took);
      i += took;
    }
  }
  return e.err;
}
