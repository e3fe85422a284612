/* server/reply.h - what goes back to a client: a status and one JSON object. */
#ifndef SP_REPLY_H
#define SP_REPLY_H

#include "base/buf.h"
#include "base/err.h"

/* {0} is a reply not given yet. */
typedef struct sp_reply {
  unsigned status;   /* HTTP's; 0: none yet */
  sp_buf body;       /* JSON; the reply's owner frees it */
  const char *allow; /* with 405: the methods that the route has; a literal */
} sp_reply;

/* The reply becomes {"error": "the sentence"}; whatever its body held is dropped. */
void sp_reply_error(sp_reply *r, unsigned status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with this thread's last failure: SP_EINVAL and SP_EFORMAT are the request's
 * fault (400), the rest the server's (500, or 503 where trying again may help). */
void sp_reply_failure(sp_reply *r, sp_err err);

#endif
