/* index/spool.h - documents on their way into an index, as they came.
 *
 * Three files beside data.mdb while a build runs: build.data (ids, fields, terms, weights
 * of one document after the other), build.table (sp_spool_doc for each) and build.state
 * (the last checkpoint, replaced in one step). Private to index/. */
#ifndef SP_SPOOL_H
#define SP_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/file.h"
#include "base/vec.h"

typedef struct sp_spool_doc {
  uint64_t hash; /* XXH3 of the id */
  uint64_t at;   /* in build.data: id, fields, padding to 4, u32 terms, f32 weights */
  uint32_t n_id, n_fields, n_entries, reserved;
} sp_spool_doc;

typedef struct sp_spool {
  FILE *data, *table; /* while documents are added */
  uint64_t n_docs, bytes;
  sp_map data_map, table_map; /* when all are there */
  const sp_spool_doc *docs;   /* [n_docs], in table_map */
} sp_spool;

/* What a checkpoint remembers. */
typedef struct sp_spool_state {
  uint64_t n_docs, bytes; /* what counts of the spool's files */
  uint64_t n_terms;       /* the largest term met, plus 1 */
  uint64_t n_cut;
  bool complete; /* the input was read to its end */
  sp_buf source, position, encoder;
} sp_spool_state;
void sp_spool_state_free(sp_spool_state *s);

bool sp_spool_exists(const char *dir); /* was a build begun there? */

/* Errors: ENOTFOUND (none), EFORMAT (damaged), EIO, ENOMEM. */
sp_err sp_spool_read_state(const char *dir, sp_spool_state *out);
sp_err sp_spool_write_state(const char *dir, const sp_spool_state *s);

/* Begins with the first n_docs documents of the files that are there, forgetting what
 * follows; 0, 0: anew. Errors: EIO, ENOMEM, EFORMAT (less is there than was said). */
sp_err sp_spool_open(const char *dir, uint64_t n_docs, uint64_t bytes, sp_spool *out);
sp_err sp_spool_add(sp_spool *s, const char *id, size_t n_id, const sp_vec *v,
                    const char *fields, size_t n_fields);
sp_err sp_spool_flush(sp_spool *s); /* to the disk */

/* Ends adding; from here on documents can be read. */
sp_err sp_spool_map(sp_spool *s, const char *dir);
void sp_spool_close(sp_spool *s); /* {0} is fine */
void sp_spool_remove(const char *dir);

/* Bytes of a document before its terms. */
static inline uint64_t sp_spool_text_bytes(const sp_spool_doc *d) {
  return ((uint64_t)d->n_id + d->n_fields + 3) / 4 * 4;
}

/* Document i < n_docs, borrowed from the map. */
typedef struct sp_spool_view {
  const char *id, *fields;
  const uint32_t *terms;
  const float *weights;
} sp_spool_view;
sp_spool_view sp_spool_read(const sp_spool *s, uint64_t i);

/* The files lay on a disk, perhaps for long: is the document what was added? Its terms are
 * below n_terms. Errors: EFORMAT. */
sp_err sp_spool_check(const sp_spool *s, uint64_t i, uint32_t n_terms);

/* Lets go of the pages that hold documents first .. end - 1. */
void sp_spool_forget(const sp_spool *s, uint64_t first, uint64_t end);

#endif
