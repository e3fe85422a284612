/* encoder/words.h - Unicode words, for lexical encoding without a tokenizer.
 *
 * The text is normalised to NFKC and case-folded (Unicode 16, section 5.18); a word is a
 * longest run of letters, marks and numbers; ideographs and kana, which are written without
 * spaces, are each a word of their own. No stemming, no list of stop words. */
#ifndef SP_WORDS_H
#define SP_WORDS_H

#include "base/buf.h"
#include "base/err.h"

/* The part of a longer word beyond this is left out. */
enum { SP_WORD_MAX_CODES = 64 };

/* One text's words; {0} is empty, reused from text to text. */
typedef struct sp_words {
  sp_buf bytes;   /* all words, one behind the other */
  uint32_t *ends; /* [n] where each ends in `bytes` */
  uint32_t n, cap;
  sp_buf repaired; /* scratch */
} sp_words;
void sp_words_free(sp_words *w);

/* Replaces *w by the words of text[0..n). Invalid UTF-8 counts as U+FFFD, which is in no
 * word. Errors: ENOMEM, EINVAL (1 GiB and more). */
sp_err sp_words_split(const char *text, size_t n, sp_words *w);

/* Word i < n; *length its bytes. Borrowed. */
const char *sp_words_get(const sp_words *w, uint32_t i, size_t *length);

#endif
