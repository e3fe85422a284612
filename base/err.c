/* base/err.c - the last failure's sentence, one a thread. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MESSAGE_BYTES = 1024 };

static _Thread_local char message[MESSAGE_BYTES];

static void keep(const char *text) {
  snprintf(message, sizeof message, "%s", text);
}

sp_err sp_fail(sp_err err, const char *fmt, ...) {
  char text[MESSAGE_BYTES]; /* the arguments may point into `message` */
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  keep(text);
  return err;
}

sp_err sp_fail_errno(int errnum, const char *fmt, ...) {
  char text[MESSAGE_BYTES];
  va_list args;
  va_start(args, fmt);
  vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  char reason[128];
  /* GNU strerror_r returns the text, which need not be in the buffer. */
  snprintf(message, sizeof message, "%s: %s", text,
           strerror_r(errnum, reason, sizeof reason));
  if (errnum == ENOMEM) return SP_ENOMEM;
  return errnum == ENOENT ? SP_ENOTFOUND : SP_EIO;
}

sp_err sp_err_at(sp_err err, const char *fmt, ...) {
  char where[MESSAGE_BYTES / 2], text[MESSAGE_BYTES + MESSAGE_BYTES / 2 + 4];
  va_list args;
  va_start(args, fmt);
  vsnprintf(where, sizeof where, fmt, args);
  va_end(args);
  snprintf(text, sizeof text, "%s: %s", where, message);
  keep(text);
  return err;
}

const char *sp_err_message(void) {
  return message;
}
