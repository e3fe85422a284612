/* server/http.c - the life of a request: head, body, reply; and stopping between them. */
#include "server/http.h"

#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server/listen.h"

enum {
  FRESH_PATIENCE_S = 1, /* for connections that have not asked anything when stopping */
  /* Bytes beyond the limit that are read and thrown away, so that the client is done
   * sending and sees the 413 instead of a broken connection. */
  DRAIN_BYTES = 16 << 20
};

struct sp_http {
  struct MHD_Daemon *daemon;
  sp_http_handler handler;
  sp_http_options options;
  char address[SP_ADDRESS_BYTES];
  pthread_mutex_t lock;
  pthread_cond_t changed;
  unsigned n_requests; /* begun and not yet answered in full */
  unsigned n_fresh;    /* connections that have not begun a request yet */
  bool stopping;
};

/* One connection, from accept to close. */
typedef struct connection {
  bool fresh;
} connection;

/* One request, from its first line until the last byte of its reply has left. */
typedef struct exchange {
  bool began; /* the head was looked at */
  bool too_large;
  uint64_t drained;
  sp_buf body;
} exchange;

static void on_connection(void *cls, struct MHD_Connection *c, void **socket_context,
                          enum MHD_ConnectionNotificationCode code) {
  (void)c;
  sp_http *h = cls;
  connection *own = *socket_context;
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    own = calloc(1, sizeof *own);
    *socket_context = own; /* NULL: its requests will be refused for want of memory */
    if (!own) return;
    own->fresh = true;
    pthread_mutex_lock(&h->lock);
    h->n_fresh++;
    pthread_mutex_unlock(&h->lock);
    return;
  }
  if (!own) return;
  pthread_mutex_lock(&h->lock);
  if (own->fresh) h->n_fresh--;
  pthread_cond_broadcast(&h->changed);
  pthread_mutex_unlock(&h->lock);
  free(own);
  *socket_context = NULL;
}

/* libmicrohttpd calls this with the first line of each request: what it returns is the
 * request's own pointer from then on. */
static void *on_first_line(void *cls, const char *uri, struct MHD_Connection *c) {
  (void)uri;
  sp_http *h = cls;
  const union MHD_ConnectionInfo *info =
      MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  connection *own = info ? info->socket_context : NULL;
  exchange *x = own ? calloc(1, sizeof *x) : NULL;
  if (!x) return NULL;
  x->body.max = h->options.max_body_bytes;
  pthread_mutex_lock(&h->lock);
  h->n_requests++;
  if (own->fresh) h->n_fresh--;
  own->fresh = false;
  pthread_mutex_unlock(&h->lock);
  return x;
}

static void on_completed(void *cls, struct MHD_Connection *c, void **request_context,
                         enum MHD_RequestTerminationCode code) {
  (void)c;
  (void)code;
  sp_http *h = cls;
  exchange *x = *request_context;
  if (!x) return;
  *request_context = NULL;
  sp_buf_free(&x->body);
  free(x);
  pthread_mutex_lock(&h->lock);
  h->n_requests--;
  pthread_cond_broadcast(&h->changed);
  pthread_mutex_unlock(&h->lock);
}

/* Hands the reply's body over to libmicrohttpd. */
static enum MHD_Result send_reply(sp_http *h, struct MHD_Connection *c, sp_reply *r) {
  static char no_memory[] = "{\"error\": \"out of memory\"}\n";
  struct MHD_Response *response;
  if (r->body.n) {
    response =
        MHD_create_response_from_buffer(r->body.n, r->body.data, MHD_RESPMEM_MUST_FREE);
    if (response) r->body = (sp_buf){0};
  } else {
    r->status = MHD_HTTP_SERVICE_UNAVAILABLE;
    response = MHD_create_response_from_buffer(sizeof no_memory - 1, no_memory,
                                               MHD_RESPMEM_PERSISTENT);
  }
  sp_buf_free(&r->body);
  if (!response) return MHD_NO;
  pthread_mutex_lock(&h->lock);
  bool stopping = h->stopping;
  pthread_mutex_unlock(&h->lock);
  enum MHD_Result ok =
      MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
  if (ok && r->allow)
    ok = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, r->allow);
  if (ok && stopping)
    ok = MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  if (ok) ok = MHD_queue_response(c, r->status, response);
  MHD_destroy_response(response);
  return ok;
}

static const char *header(struct MHD_Connection *c, const char *name) {
  return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static void too_large(const sp_http *h, sp_reply *r) {
  sp_reply_error(r, MHD_HTTP_CONTENT_TOO_LARGE, "the body is larger than %zu bytes",
                 h->options.max_body_bytes);
}

/* What can be said before the body comes. */
static void check_head(sp_http *h, struct MHD_Connection *c, const sp_request *request,
                       exchange *x, sp_reply *r) {
  h->handler.check(h->handler.context, request, r);
  if (r->status) return;
  const char *length = header(c, MHD_HTTP_HEADER_CONTENT_LENGTH);
  bool wants_body = strcmp(request->method, "GET") != 0;
  if (wants_body && !length && !header(c, MHD_HTTP_HEADER_TRANSFER_ENCODING)) {
    sp_reply_error(r, MHD_HTTP_LENGTH_REQUIRED,
                   "the request has no Content-Length and no chunks");
    return;
  }
  if (!length) return;
  uint64_t n =
      strtoull(length, NULL, 10); /* libmicrohttpd has refused what is no number */
  x->too_large = n > h->options.max_body_bytes;
  if (n > h->options.max_body_bytes + DRAIN_BYTES) too_large(h, r);
}

static enum MHD_Result take_body(sp_http *h, exchange *x, const char *data, size_t n) {
  if (!x->too_large && sp_buf_append(&x->body, data, n)) x->too_large = true;
  if (x->too_large) {
    x->drained += n;
    if (x->drained > h->options.max_body_bytes + DRAIN_BYTES) return MHD_NO;
    sp_buf_free(&x->body);
  }
  return MHD_YES;
}

/* Called once with the head, then with each part of the body, then once more. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *path,
                                  const char *method, const char *version,
                                  const char *data, size_t *data_n, void **context) {
  (void)version;
  sp_http *h = cls;
  exchange *x = *context;
  if (!x) return MHD_NO;
  if (x->began && *data_n) {
    size_t n = *data_n;
    *data_n = 0;
    return take_body(h, x, data, n);
  }
  sp_request request = {
      .method = strcmp(method, "HEAD") == 0 ? "GET" : method,
      .path = path,
      .has_arguments =
          MHD_get_connection_values(c, MHD_GET_ARGUMENT_KIND, NULL, NULL) > 0,
      .content_type = header(c, MHD_HTTP_HEADER_CONTENT_TYPE),
  };
  sp_reply reply = {0};
  if (!x->began) {
    x->began = true;
    check_head(h, c, &request, x, &reply);
    return reply.status ? send_reply(h, c, &reply) : MHD_YES;
  }
  request.body = x->body.n ? x->body.data : "";
  request.body_n = x->body.n;
  if (x->too_large)
    too_large(h, &reply);
  else
    h->handler.answer(h->handler.context, &request, &reply);
  return send_reply(h, c, &reply);
}

static sp_err start_daemon(sp_http *h, int fd) {
  unsigned n = h->options.n_threads;
  struct MHD_OptionItem pool[] = {
      {n > 1 ? MHD_OPTION_THREAD_POOL_SIZE : MHD_OPTION_END, n, NULL},
      {MHD_OPTION_END, 0, NULL}};
  h->daemon = MHD_start_daemon(
      MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC, 0, NULL, NULL, on_request, h,
      MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_CONNECTION, on_connection, h,
      MHD_OPTION_URI_LOG_CALLBACK, on_first_line, h, MHD_OPTION_NOTIFY_COMPLETED,
      on_completed, h, MHD_OPTION_CONNECTION_LIMIT, h->options.max_connections,
      MHD_OPTION_CONNECTION_TIMEOUT, h->options.idle_s, MHD_OPTION_ARRAY, pool,
      MHD_OPTION_END);
  if (!h->daemon) return sp_fail_errno(errno, "%s: the HTTP server", h->address);
  return SP_OK;
}

sp_err sp_http_start(const sp_http_options *options, const sp_http_handler *handler,
                     sp_http **out) {
  *out = NULL;
  sp_http *h = calloc(1, sizeof *h);
  if (!h) return sp_fail(SP_ENOMEM, "HTTP server");
  h->options = *options;
  h->handler = *handler;
  pthread_mutex_init(&h->lock, NULL);
  pthread_condattr_t clock;
  pthread_condattr_init(&clock);
  pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
  pthread_cond_init(&h->changed, &clock);
  pthread_condattr_destroy(&clock);
  int fd = -1;
  sp_err err = sp_listen(options->listen, &fd, h->address);
  if (!err) err = start_daemon(h, fd);
  if (err) {
    if (fd >= 0) close(fd);
    sp_http_stop(h, 0);
    return err;
  }
  *out = h;
  return SP_OK;
}

const char *sp_http_address(const sp_http *h) {
  return h->address;
}

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Waits until nothing is under way: requests may take patience_s, connections that only
 * just came FRESH_PATIENCE_S to begin one. */
static void wait_until_quiet(sp_http *h, unsigned patience_s) {
  double fresh_end = now_s() + FRESH_PATIENCE_S, end = now_s() + patience_s;
  pthread_mutex_lock(&h->lock);
  h->stopping = true;
  for (;;) {
    double now = now_s();
    bool wait_fresh = h->n_fresh > 0 && now < fresh_end;
    bool wait_requests = h->n_requests > 0 && now < end;
    if (!wait_fresh && !wait_requests) break;
    double until = wait_requests ? end : fresh_end;
    if (wait_fresh && fresh_end < until) until = fresh_end;
    struct timespec t = {.tv_sec = (time_t)until,
                         .tv_nsec = (long)((until - (double)(time_t)until) * 1e9)};
    pthread_cond_timedwait(&h->changed, &h->lock, &t);
  }
  pthread_mutex_unlock(&h->lock);
}

void sp_http_stop(sp_http *h, unsigned patience_s) {
  if (!h) return;
  if (h->daemon) {
    int fd = MHD_quiesce_daemon(h->daemon);
    if (fd >= 0) close(fd); /* from here on new connections are refused */
    wait_until_quiet(h, patience_s);
    MHD_stop_daemon(h->daemon);
  }
  pthread_cond_destroy(&h->changed);
  pthread_mutex_destroy(&h->lock);
  free(h);
}
