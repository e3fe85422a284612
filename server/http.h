/* server/http.h - sockets and bytes: requests in and replies out, through libmicrohttpd.
 *
 * Knows methods, bodies, limits and how to stop; what a path means is the handler's
 * (server/routes.h). */
#ifndef SP_HTTP_H
#define SP_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "server/reply.h"

typedef struct sp_request {
  const char *method;       /* "GET"; HEAD arrives as GET */
  const char *path;         /* percent-decoded, without the arguments */
  bool has_arguments;       /* something stood behind a '?' */
  const char *content_type; /* NULL: none given */
  const char *body;         /* [body_n]; not NUL-terminated */
  size_t body_n;
} sp_request;

/* Both are called on one of the n_threads threads, and each thread is in one call at a
 * time. Everything in the request is borrowed for the call. */
typedef struct sp_http_handler {
  void *context;
  /* Looks at a request before its body was read (body is NULL): may reply, and the body is
   * not read then. */
  void (*check)(void *context, const sp_request *request, sp_reply *reply);
  /* Replies to the whole request. */
  void (*answer)(void *context, const sp_request *request, sp_reply *reply);
} sp_http_handler;

typedef struct sp_http_options {
  const char *listen; /* "HOST:PORT", "[IPV6]:PORT"; port 0: any free one */
  unsigned n_threads; /* >= 1 */
  size_t max_body_bytes;
  unsigned max_connections;
  unsigned idle_s; /* a connection on which nothing moves for so long is closed */
} sp_http_options;

typedef struct sp_http sp_http;

/* Listens and answers from now on. On SP_OK the caller owns *out and ends it with
 * sp_http_stop(). Errors: EINVAL (the address), EIO (in use, not permitted), ENOMEM. */
sp_err sp_http_start(const sp_http_options *options, const sp_http_handler *handler,
                     sp_http **out);

/* Where it listens, "127.0.0.1:7700"; borrowed. */
const char *sp_http_address(const sp_http *h);

/* Refuses new connections, waits until every request that had begun is answered (at most
 * `patience_s`), closes what is left and frees *h. NULL is fine. */
void sp_http_stop(sp_http *h, unsigned patience_s);

#endif
