/* tools/shown.c - makes a text fit for a terminal. */
#include "tools/shown.h"

#include <stdint.h>

#include "base/utf8.h"

sp_err shown_append(sp_buf *out, const char *text, size_t n, size_t max) {
  size_t at = 0, end = n < max ? n : max;
  sp_err err = SP_OK;
  while (!err && at < end) {
    uint32_t code;
    size_t step = sp_utf8_next(text + at, n - at, &code);
    char bytes[4];
    size_t n_bytes = sp_utf8_put(code, bytes);
    err = code < 0x20 || code == 0x7f ? sp_buf_append_char(out, ' ')
                                      : sp_buf_append(out, bytes, n_bytes);
    at += step;
  }
  if (!err && at < n) err = sp_buf_append_str(out, " ...");
  return err;
}
