/* base/json_scan.h - JSON read value by value, without building it in memory.
 *
 * For files of millions of records, where a tree per record would cost more than all
 * else. The caller asks for what it expects; after the first fault every call returns
 * false and `fault` says why. `text[n]` must be readable and NUL. Besides JSON, the words
 * NaN, Infinity and -Infinity are numbers, as Python writes them. */
#ifndef SP_JSON_SCAN_H
#define SP_JSON_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

typedef struct sp_json_scan {
  const char *begin, *at, *end;
  const char *fault; /* NULL: none; a static phrase, for example "expected a string" */
} sp_json_scan;

sp_json_scan sp_json_scan_begin(const char *text, size_t n);

/* The kind of the next value by its first byte: '{', '[', '"', '0' (a number), 't' (true
 * or false), 'n' (null), or 0 at the end or where no value begins. Moves over blanks. */
char sp_json_scan_peek(sp_json_scan *s);

/* for (bool first = true; sp_json_scan_member(&s, &first, ...);) { read one value }
 * The first call takes the '{', the last the '}' and returns false. The key is borrowed
 * from the text, or from `scratch` (emptied first) when it holds escapes. */
bool sp_json_scan_member(sp_json_scan *s, bool *first, sp_buf *scratch, const char **key,
                         size_t *n);

/* The same for the elements of an array. */
bool sp_json_scan_element(sp_json_scan *s, bool *first);

/* A string's bytes, as above; not NUL-terminated, may hold NULs. Invalid UTF-8 is passed
 * through; a lone surrogate escape becomes U+FFFD. */
bool sp_json_scan_string(sp_json_scan *s, sp_buf *scratch, const char **text, size_t *n);

/* A number, rounded correctly; beyond double's range infinite. */
bool sp_json_scan_number(sp_json_scan *s, double *x);

/* A number without fraction and exponent that fits 64 bits. */
bool sp_json_scan_integer(sp_json_scan *s, int64_t *x);

/* Passes over any value, at most 512 levels deep. */
bool sp_json_scan_skip(sp_json_scan *s);

/* True when nothing but blanks is left. */
bool sp_json_scan_ended(sp_json_scan *s);

#endif
