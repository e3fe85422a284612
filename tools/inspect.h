/* tools/inspect.h - what the parts of `spindle inspect` share.
 *
 * Each part gathers first and prints last: what fails leaves nothing on standard output. */
#ifndef SP_INSPECT_H
#define SP_INSPECT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"
#include "encoder/encoder.h"
#include "server/engine.h"

typedef struct inspection {
  const char *path; /* of the index; NULL: a model alone */
  sp_engine *engine;
  sp_index *index;             /* opened without its encoder; otherwise NULL */
  const sp_snapshot *snapshot; /* NULL: a model alone */
  sp_snapshot *own_snapshot;   /* of `index` */
  sp_encoder *encoder;         /* NULL: terms have no spelling */
  sp_encoder *own_encoder;     /* of a model alone */
  bool json, verify;
  uint32_t top;   /* entries shown; 0: all */
  sp_buf scratch; /* of one line or string */
} inspection;

/* Opens the index alone. Errors: those of sp_index_open(). */
sp_err inspection_open_index(inspection *s);

/* Opens the index with its encoder. Errors: those of sp_engine_open(). */
sp_err inspection_open_engine(inspection *s, const char *model,
                              const sp_encoder_options *options);

/* The same, but where the encoder cannot be opened and was not asked for (`model` NULL),
 * goes on without spellings and says why on standard error. */
sp_err inspection_open_document(inspection *s, const char *model,
                                const sp_encoder_options *options);
void inspection_close(inspection *s);

/* The parts. Errors: what they read is damaged, unknown or does not fit; ENOMEM. */
sp_err inspect_index(inspection *s);                    /* inspect_index.c */
sp_err inspect_document(inspection *s, const char *id); /* inspect_vector.c */
sp_err inspect_text(inspection *s, sp_side side, const char *text);
sp_err inspect_query(inspection *s, const char *text,
                     const char *id); /* inspect_query.c; id NULL: no document */

/* --- for the parts --- */

/* An internal id with its segment. Errors: ENOTFOUND (no such document). */
sp_err inspect_find(const inspection *s, const char *id, uint32_t *doc,
                    const sp_segment **segment);

/* order[v->n], the caller's to free: the entries by weight, strongest first, equal ones by
 * term. Errors: ENOMEM. */
sp_err inspect_order(const sp_vec *v, uint32_t **order);

/* How many of n entries are shown. */
uint32_t inspect_shown(const inspection *s, uint32_t n);

/* The term's spelling on one line, or "" where it has none: borrowed until the next call. */
sp_err inspect_token(inspection *s, uint32_t term, const char **shown);

/* JSON strings, invalid UTF-8 replaced; NULL: no memory. A token without spelling is null. */
json_t *inspect_string(inspection *s, const char *text, size_t n);
json_t *inspect_token_json(inspection *s, uint32_t term);

/* Prints the object on a line of its own and drops it. NULL is ENOMEM. */
sp_err inspect_print(json_t *object);

#endif
