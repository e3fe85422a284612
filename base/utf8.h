/* base/utf8.h - reading UTF-8 from strangers: whatever is not UTF-8 becomes U+FFFD. */
#ifndef SP_UTF8_H
#define SP_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* Reads one code point from s[0..n), n > 0. Returns how many bytes it took (1..4). An
 * invalid sequence gives U+FFFD and takes its longest valid prefix, at least one byte
 * (Unicode 16, section 3.9, "substitution of maximal subparts"). */
size_t sp_utf8_next(const char *s, size_t n, uint32_t *code);

/* Writes `code` (a scalar value; others become U+FFFD) to out[0..4). Returns its length.
 */
size_t sp_utf8_put(uint32_t code, char out[4]);

bool sp_utf8_valid(const char *s, size_t n);

/* Appends s with every invalid sequence replaced. Errors: as sp_buf_append(). */
sp_err sp_utf8_repair(const char *s, size_t n, sp_buf *out);

#endif
