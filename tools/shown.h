/* tools/shown.h - a stranger's text on a terminal: one line, no control characters. */
#ifndef SP_SHOWN_H
#define SP_SHOWN_H

#include <stddef.h>

#include "base/buf.h"

/* Appends the beginning of a text, at most about `max` bytes of it and then " ...". Control
 * characters become blanks, invalid UTF-8 U+FFFD. Errors: as sp_buf_append(). */
sp_err shown_append(sp_buf *out, const char *text, size_t n, size_t max);

#endif
