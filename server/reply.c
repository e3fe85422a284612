/* server/reply.c - error replies. */
#include "server/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

void sp_reply_error(sp_reply *r, unsigned status, const char *fmt, ...) {
  char sentence[1024];
  va_list args;
  va_start(args, fmt);
  vsnprintf(sentence, sizeof sentence, fmt, args);
  va_end(args);
  sp_buf_clear(&r->body);
  r->status = status;
  /* Without memory the body stays empty or torn; http.c then sends its own. */
  if (sp_buf_append_str(&r->body, "{\"error\": ") ||
      sp_json_put_string(&r->body, sentence, strlen(sentence)) ||
      sp_buf_append_str(&r->body, "}\n"))
    sp_buf_clear(&r->body);
}

void sp_reply_failure(sp_reply *r, sp_err err) {
  unsigned status = 500;
  if (err == SP_EINVAL || err == SP_EFORMAT) status = 400;
  if (err == SP_ENOMEM || err == SP_EBUSY) status = 503;
  sp_reply_error(r, status, "%s", sp_err_message());
}
