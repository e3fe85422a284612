/* server/serve.c - engines, service and sockets put together and taken apart. */
#include "server/serve.h"

#include <stdlib.h>

#include "base/pool.h"
#include "server/engine.h"
#include "server/routes.h"
#include "server/service.h"

enum { STOP_PATIENCE_S = 30 };

struct sp_server {
  sp_engine **engines; /* [n_engines] */
  size_t n_engines;
  sp_service *service;
  sp_http *http;
};

sp_serve_options sp_serve_defaults(void) {
  return (sp_serve_options){
      .encoder = sp_encoder_defaults(),
      .http = {.listen = "127.0.0.1:7700",
               .n_threads = sp_cpu_count(),
               .max_body_bytes = 1 << 20,
               .max_connections = 1024,
               .idle_s = 30},
      .version = "",
  };
}

static sp_err open_engines(sp_server *s, const sp_serve_options *o) {
  s->engines = calloc(o->n_indexes, sizeof *s->engines);
  if (!s->engines) return sp_fail(SP_ENOMEM, "out of memory for the indexes");
  for (size_t i = 0; i < o->n_indexes; i++) {
    sp_err err = sp_engine_open(o->indexes[i], o->model, &o->encoder, &s->engines[i]);
    if (err) return err;
    s->n_engines++;
  }
  return SP_OK;
}

sp_err sp_server_start(const sp_serve_options *options, sp_server **out) {
  *out = NULL;
  sp_server *s = calloc(1, sizeof *s);
  if (!s) return sp_fail(SP_ENOMEM, "out of memory for the server");
  sp_err err = open_engines(s, options);
  if (!err)
    err = sp_service_new(s->engines, s->n_engines, options->http.n_threads,
                         options->version, &s->service);
  if (!err) {
    sp_http_handler handler = sp_routes(s->service);
    err = sp_http_start(&options->http, &handler, &s->http);
  }
  if (err) {
    sp_server_stop(s);
    return err;
  }
  *out = s;
  return SP_OK;
}

const char *sp_server_address(const sp_server *s) {
  return sp_http_address(s->http);
}

void sp_server_stop(sp_server *s) {
  if (!s) return;
  sp_http_stop(s->http, STOP_PATIENCE_S);
  sp_service_free(s->service);
  for (size_t i = 0; i < s->n_engines; i++) sp_engine_close(s->engines[i]);
  free(s->engines);
  free(s);
}
