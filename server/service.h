/* server/service.h - what is served: the indexes, and the scratch that threads borrow. */
#ifndef SP_SERVICE_H
#define SP_SERVICE_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "server/engine.h"

typedef struct sp_service sp_service;

/* Serves n engines, which the caller keeps open, for n_threads threads at a time.
 * `version` is the program's, borrowed. On SP_OK the caller owns *out.
 * Errors: EINVAL (two indexes of one name), ENOMEM. */
sp_err sp_service_new(sp_engine *const *engines, size_t n, unsigned n_threads,
                      const char *version, sp_service **out);
void sp_service_free(sp_service *s); /* NULL is fine */

const char *sp_service_version(const sp_service *s);
size_t sp_service_n_indexes(const sp_service *s);
const sp_engine *sp_service_engine(const sp_service *s, size_t i);

/* The contract of index i's encoder, an object; NULL when it has none. Borrowed, and only to
 * be read: json_incref() is not for several threads. */
const json_t *sp_service_contract(const sp_service *s, size_t i);

/* The index of that name, n_indexes when there is none. `name` need not end with a NUL. */
size_t sp_service_find(const sp_service *s, const char *name, size_t name_n);

/* One thread's scratch. */
typedef struct sp_workspace {
  sp_session **sessions; /* [n_indexes] */
  sp_buf fields;         /* of the hit being written */
  struct sp_workspace *next;
} sp_workspace;

/* Takes one that is free; there are as many as threads, so it waits only when more threads
 * than promised come. Never fails. */
sp_workspace *sp_service_take(sp_service *s);
void sp_service_give(sp_service *s, sp_workspace *w);

#endif
