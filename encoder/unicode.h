/* encoder/unicode.h - what a code point is, as the published tokenizers see it.
 *
 * Canonical composition and decomposition are Unicode 9, letters and numbers 16, lower
 * case 17, BERT's own classes 8 (unicode_tables.h says why). */
#ifndef SP_UNICODE_H
#define SP_UNICODE_H

#include <stddef.h>
#include <stdint.h>

enum {
  SP_CHAR_CLEAN_REMOVED = 1 << 0, /* BERT's clean_text drops it */
  SP_CHAR_CLEAN_SPACE = 1 << 1,   /* BERT's clean_text makes it U+0020 */
  SP_CHAR_CHINESE = 1 << 2,       /* BERT puts blanks around it */
  SP_CHAR_NONSPACING = 1 << 3,    /* category Mn: an accent, once decomposed */
  SP_CHAR_PUNCTUATION = 1 << 4,   /* BERT makes it a word of its own */
  SP_CHAR_SPACE = 1 << 5,         /* White_Space: the regex's \s */
  SP_CHAR_LETTER = 1 << 6,        /* \p{L} */
  SP_CHAR_NUMBER = 1 << 7,        /* \p{N} */
  SP_CHAR_CONTROL = 1 << 8,       /* a grapheme cluster of its own */
  SP_CHAR_EXTENDS = 1 << 9,       /* belongs to the cluster before it */
  SP_CHAR_PREPENDS = 1 << 10,     /* belongs to the cluster after it */
  SP_CHAR_LOWERS = 1 << 11,       /* has another lower case */
  SP_CHAR_DECOMPOSES = 1 << 12,   /* has a canonical decomposition */
  SP_CHAR_COMBINES = 1 << 13,     /* its combining class is not 0 */
  SP_CHAR_COMPOSES = 1 << 14      /* may be the second half of a composition */
};

/* The flags of every code point, spread out from the ranges when Spindle is built
 * (make_unicode_pages.c): one look-up a character. About 100 KB; page 0 is U+0000..U+00FF. */
extern const uint16_t SP_UNICODE_PAGE_OF[0x1100];
extern const uint16_t SP_UNICODE_PAGES[][256];

/* `code` at most U+10FFFF. */
static inline unsigned sp_unicode_flags(uint32_t code) {
  return SP_UNICODE_PAGES[SP_UNICODE_PAGE_OF[code >> 8]][code & 0xff];
}

/* The whole canonical decomposition (NFD of the one character); `code` itself where there
 * is none. Returns how many, 1..4. */
size_t sp_unicode_decompose(uint32_t code, uint32_t out[4]);

/* The composition of two, or 0 (Unicode, section 3.11, exclusions left out). */
uint32_t sp_unicode_compose(uint32_t first, uint32_t second);

uint8_t sp_unicode_combining_class(uint32_t code);

/* Lower case of the character by itself (no final sigma). Returns how many: 2 for U+0130
 * alone. */
size_t sp_unicode_lower(uint32_t code, uint32_t out[2]);

#endif
