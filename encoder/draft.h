/* encoder/draft.h - a text on its way to tokens, that may know where its bytes came from.
 *
 * Every step of a tokenizer (lower-casing, replacing, putting a blank in front) turns one
 * draft into the next. A tracked draft keeps, for each of its bytes, the span of the
 * original text that the byte stands for; all bytes of a character share one span. */
#ifndef SP_DRAFT_H
#define SP_DRAFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

enum { SP_DRAFT_PADDING = 32 }; /* bytes after the last that may be read, not used */

typedef struct sp_draft {
  char *bytes;           /* [n]: valid UTF-8 */
  uint32_t *begin, *end; /* [n] bytes of the original text, end exclusive; if tracked */
  size_t n, cap;         /* n < 2^32 */
  size_t cap_spans;
  size_t max; /* more bytes than this are EINVAL; 0: 2^32 - 2 */
  bool tracked;
} sp_draft;

void sp_draft_free(sp_draft *d);

/* Room for n bytes in all. Errors: ENOMEM, EINVAL (past the maximum). */
sp_err sp_draft_reserve(sp_draft *d, size_t n);

/* A text may grow to this many times its bytes, and a little: a tokenizer that replaces
 * each blank by a page, again and again, must not take all memory. */
enum { SP_DRAFT_GROWTH = 64, SP_DRAFT_SLACK = 4096 };

/* Becomes text[0..n), which lies at `base` of the original. Invalid UTF-8 becomes U+FFFD.
 * Errors: ENOMEM, EINVAL. */
sp_err sp_draft_set(sp_draft *d, const char *text, size_t n, size_t base, bool tracked);

/* One draft being turned into another. A failure sticks in `err`; what is put after it is
 * dropped. */
typedef struct sp_edit {
  const sp_draft *from;
  sp_draft *to;
  size_t at; /* the byte of `from` that the next character put takes the place of */
  sp_err err;
} sp_edit;

/* Empties `to`, which must be another draft, gives it from's maximum, and begins at
 * from's byte `at`. */
sp_edit sp_edit_begin(const sp_draft *from, size_t at, sp_draft *to);

/* Appends a character and says what became of the source: change 0, it takes the next
 * source character's place; 1, it is an addition and shares the span of what precedes it
 * in the source; -k, it takes the next one's place and k more vanish. These are the rules
 * by which the published tokenizers count, so spans agree with theirs. */
void sp_edit_put(sp_edit *e, uint32_t code, int change);

/* Appends from's bytes [begin, begin + n), whole characters, unchanged. */
void sp_edit_copy(sp_edit *e, size_t begin, size_t n);

/* The next `n` source characters vanish. */
void sp_edit_skip(sp_edit *e, size_t n_chars);

/* Puts `text` (UTF-8, n bytes) in front of what the source holds next. */
void sp_edit_prepend(sp_edit *e, const char *text, size_t n);

/* Reads the character at s[0], which is valid UTF-8. Returns its bytes. */
static inline size_t sp_char_at(const char *s, uint32_t *code) {
  const unsigned char *p = (const unsigned char *)s;
  if (p[0] < 0x80) {
    *code = p[0];
    return 1;
  }
  if (p[0] < 0xe0) {
    *code = (uint32_t)(p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    return 2;
  }
  if (p[0] < 0xf0) {
    *code = (uint32_t)(p[0] & 0x0f) << 12 | (uint32_t)(p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    return 3;
  }
  *code = (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3f) << 12 |
          (uint32_t)(p[2] & 0x3f) << 6 | (p[3] & 0x3f);
  return 4;
}

/* The bytes of the character that begins with `lead`. */
static inline size_t sp_char_bytes(char lead) {
  unsigned char c = (unsigned char)lead;
  return c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Where the character that ends before s[n] begins; n > 0. */
static inline size_t sp_char_before(const char *s, size_t n) {
  do n--;
  while (n > 0 && ((unsigned char)s[n] & 0xc0) == 0x80);
  return n;
}

/* How many characters s[0..n) has. */
static inline size_t sp_char_count(const char *s, size_t n) {
  size_t count = 0;
  for (size_t i = 0; i < n; i++) count += ((unsigned char)s[i] & 0xc0) != 0x80;
  return count;
}

#endif
