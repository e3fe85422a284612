/* base/buf.h - bytes that grow, up to a stated maximum. */
#ifndef SP_BUF_H
#define SP_BUF_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* {0} is an empty buffer without a maximum. `data` is NUL-terminated once anything was
 * appended (the NUL is not counted in `n`). */
typedef struct sp_buf {
  char *data;
  size_t n, cap;
  size_t max; /* appending past it is SP_EINVAL; 0: no maximum */
} sp_buf;

/* Each: Errors: ENOMEM, EINVAL (past the maximum); the buffer is then as it was. */
sp_err sp_buf_reserve(sp_buf *b, size_t n); /* room for n bytes in all */
sp_err sp_buf_append(sp_buf *b, const void *data, size_t n);
sp_err sp_buf_append_str(sp_buf *b, const char *s);
sp_err sp_buf_append_char(sp_buf *b, char c);
sp_err sp_buf_printf(sp_buf *b, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

void sp_buf_clear(sp_buf *b); /* keeps the memory */
void sp_buf_free(sp_buf *b);

#endif
