/* encoder/unicode_tables.h - the raw tables behind encoder/unicode.h.
 *
 * The published tokenizers follow several Unicode versions at once (8 for BERT's classes,
 * 9 for NFD and NFC, 16 for letters and numbers, 17 for lower case), and whatever version
 * of a library a system has would answer otherwise: so these are our own. Each table
 * ascends by its first field. */
#ifndef SP_UNICODE_TABLES_H
#define SP_UNICODE_TABLES_H

#include <stddef.h>
#include <stdint.h>

typedef struct sp_unicode_range {
  uint32_t first, last; /* inclusive */
} sp_unicode_range;

/* clang-format off */
extern const sp_unicode_range
    SP_UNICODE_CLEAN_REMOVED[], SP_UNICODE_CLEAN_SPACE[], SP_UNICODE_CHINESE[],
    SP_UNICODE_NONSPACING[], SP_UNICODE_PUNCTUATION[], SP_UNICODE_SPACE[],
    SP_UNICODE_LETTER[], SP_UNICODE_NUMBER[], SP_UNICODE_CONTROL[], SP_UNICODE_EXTENDS[],
    SP_UNICODE_PREPENDS[];
extern const size_t
    SP_UNICODE_CLEAN_REMOVED_N, SP_UNICODE_CLEAN_SPACE_N, SP_UNICODE_CHINESE_N,
    SP_UNICODE_NONSPACING_N, SP_UNICODE_PUNCTUATION_N, SP_UNICODE_SPACE_N,
    SP_UNICODE_LETTER_N, SP_UNICODE_NUMBER_N, SP_UNICODE_CONTROL_N, SP_UNICODE_EXTENDS_N,
    SP_UNICODE_PREPENDS_N;
/* clang-format on */

typedef struct sp_unicode_combining {
  uint32_t first, last;
  uint8_t class_; /* Canonical_Combining_Class; never 0 */
} sp_unicode_combining;
extern const sp_unicode_combining SP_UNICODE_COMBINING[];
extern const size_t SP_UNICODE_COMBINING_N;

typedef struct sp_unicode_decomposition {
  uint32_t code;
  uint32_t parts[4]; /* the whole canonical decomposition; 0 ends it */
} sp_unicode_decomposition;
extern const sp_unicode_decomposition SP_UNICODE_DECOMPOSITIONS[];
extern const size_t SP_UNICODE_DECOMPOSITIONS_N;

/* Ascends by (first, second). */
typedef struct sp_unicode_composition {
  uint32_t first, second, composed;
} sp_unicode_composition;
extern const sp_unicode_composition SP_UNICODE_COMPOSITIONS[];
extern const size_t SP_UNICODE_COMPOSITIONS_N;

/* Every `step`th code point from first to last has its lower case `delta` further on. */
typedef struct sp_unicode_lower_run {
  uint32_t first, last;
  int32_t step, delta;
} sp_unicode_lower_run;
extern const sp_unicode_lower_run SP_UNICODE_LOWER[];
extern const size_t SP_UNICODE_LOWER_N;

#endif
