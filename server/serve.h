/* server/serve.h - the endpoint as a whole: start it, ask where it listens, stop it. */
#ifndef SP_SERVE_H
#define SP_SERVE_H

#include <stddef.h>

#include "base/err.h"
#include "encoder/encoder.h"
#include "server/http.h"

typedef struct sp_serve_options {
  const char *const *indexes; /* [n_indexes] paths; served under their last parts */
  size_t n_indexes;
  const char *model; /* directory of the encoder; NULL: what each index remembers */
  sp_encoder_options encoder;
  sp_http_options http;
  const char *version; /* of the program, told by /info; borrowed until the stop */
} sp_serve_options;

/* One thread a processor, bodies up to 1 MiB, 1,024 connections, 30 s of silence. */
sp_serve_options sp_serve_defaults(void);

typedef struct sp_server sp_server;

/* Opens the indexes and answers from now on. On SP_OK the caller owns *out and ends it with
 * sp_server_stop(). Errors: those of sp_engine_open(), sp_service_new(), sp_http_start(). */
sp_err sp_server_start(const sp_serve_options *options, sp_server **out);

const char *sp_server_address(const sp_server *s); /* "127.0.0.1:7700"; borrowed */

/* Refuses new connections, finishes what had begun (at most 30 s) and frees everything.
 * NULL is fine. */
void sp_server_stop(sp_server *s);

#endif
