/* base/utf8.c - decoding UTF-8 by hand: utf8proc stops at the first fault, we go on. */
#include "base/utf8.h"

#include <string.h>

size_t sp_utf8_next(const char *s, size_t n, uint32_t *code) {
  const unsigned char *p = (const unsigned char *)s;
  *code = 0xfffd;
  unsigned lead = p[0];
  if (lead < 0x80) {
    *code = lead;
    return 1;
  }
  if (lead < 0xc2 || lead > 0xf4) return 1;
  size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  /* The second byte's range excludes overlong forms, surrogates and what is above
   * U+10FFFF. */
  unsigned low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  unsigned high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  uint32_t value = lead & (0x7f >> length);
  for (size_t i = 1; i < length; i++) {
    if (i >= n || p[i] < low || p[i] > high) return i;
    value = value << 6 | (p[i] & 0x3f);
    low = 0x80;
    high = 0xbf;
  }
  *code = value;
  return length;
}

size_t sp_utf8_put(uint32_t code, char out[4]) {
  if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) code = 0xfffd;
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = length - 1; i > 0; i--) {
    out[i] = (char)(0x80 | (code & 0x3f));
    code >>= 6;
  }
  static const unsigned char LEAD[5] = {0, 0, 0xc0, 0xe0, 0xf0};
  out[0] = (char)(LEAD[length] | code);
  return length;
}

bool sp_utf8_valid(const char *s, size_t n) {
  for (size_t i = 0; i < n;) {
    uint32_t code;
    uint64_t eight;
    if (n - i >= sizeof eight) { /* most of most texts is ASCII */
      memcpy(&eight, s + i, sizeof eight);
      if (!(eight & 0x8080808080808080u)) {
        i += sizeof eight;
        continue;
      }
    }
    size_t took = sp_utf8_next(s + i, n - i, &code);
    bool written =
        took == 3 && (unsigned char)s[i] == 0xef; /* U+FFFD itself, in the text */
    if (code == 0xfffd && !written) return false;
    i += took;
  }
  return true;
}

sp_err sp_utf8_repair(const char *s, size_t n, sp_buf *out) {
  if (sp_utf8_valid(s, n)) return sp_buf_append(out, s, n);
  for (size_t i = 0; i < n;) {
    uint32_t code;
    char bytes[4];
    i += sp_utf8_next(s + i, n - i, &code);
    sp_err err = sp_buf_append(out, bytes, sp_utf8_put(code, bytes));
    if (err) return err;
  }
  return SP_OK;
}
