/* base/buf.c - growing bytes. */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

sp_err sp_buf_reserve(sp_buf *b, size_t n) {
  if (b->max && n > b->max)
    return sp_fail(SP_EINVAL, "%zu bytes: at most %zu are allowed", n, b->max);
  if (n < b->cap) return SP_OK; /* strictly: one byte stays for the NUL */
  size_t cap = b->cap < 64 ? 64 : b->cap;
  while (cap <= n) {
    if (cap > SIZE_MAX / 2) return sp_fail(SP_ENOMEM, "buffer of %zu bytes", n);
    cap *= 2;
  }
  char *data = realloc(b->data, cap);
  if (!data) return sp_fail(SP_ENOMEM, "buffer of %zu bytes: out of memory", n);
  b->data = data;
  b->cap = cap;
  return SP_OK;
}

sp_err sp_buf_append(sp_buf *b, const void *data, size_t n) {
  if (n > SIZE_MAX / 2 - b->n) return sp_fail(SP_ENOMEM, "buffer of %zu bytes", n);
  sp_err err = sp_buf_reserve(b, b->n + n);
  if (err) return err;
  if (n) memcpy(b->data + b->n, data, n);
  b->n += n;
  b->data[b->n] = '\0';
  return SP_OK;
}

sp_err sp_buf_append_str(sp_buf *b, const char *s) {
  return sp_buf_append(b, s, strlen(s));
}

sp_err sp_buf_append_char(sp_buf *b, char c) {
  return sp_buf_append(b, &c, 1);
}

sp_err sp_buf_printf(sp_buf *b, const char *fmt, ...) {
  va_list args, again;
  va_start(args, fmt);
  va_copy(again, args);
  int n = vsnprintf(NULL, 0, fmt, args);
  va_end(args);
  sp_err err = n < 0 ? sp_fail(SP_EINVAL, "cannot format '%s'", fmt)
                     : sp_buf_reserve(b, b->n + (size_t)n);
  if (!err) {
    vsnprintf(b->data + b->n, (size_t)n + 1, fmt, again);
    b->n += (size_t)n;
  }
  va_end(again);
  return err;
}

void sp_buf_clear(sp_buf *b) {
  b->n = 0;
  if (b->data) b->data[0] = '\0';
}

void sp_buf_free(sp_buf *b) {
  free(b->data);
  size_t max = b->max;
  *b = (sp_buf){.max = max};
}
