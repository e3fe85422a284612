/* index/index.h - an index on disk, read side: open it, take a snapshot, look around.
 *
 * One LMDB environment a directory (data.mdb, lock.mdb). Readers never block and are
 * never blocked; a snapshot stays what it was while others append, delete and merge. */
#ifndef SP_INDEX_H
#define SP_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "index/segment.h"

typedef struct sp_index sp_index;       /* threads may share one */
typedef struct sp_snapshot sp_snapshot; /* threads may share one: all reads are const */

/* Opens directory `path` for reading, in time independent of its size. On SP_OK the
 * caller owns *out. Errors: ENOTFOUND (no index there), EFORMAT (damaged, truncated, a
 * newer format version: the sentence says which), EBUSY (its build was not finished: says
 * how to go on), ENOMEM, EIO. One process opens one index once: LMDB's locks forbid more.
 */
sp_err sp_index_open(const char *path, sp_index **out);
void sp_index_close(sp_index *ix); /* after all its snapshots; NULL is fine */

/* Everything committed up to now. The caller ends *out with sp_snapshot_close().
 * Errors: EFORMAT, ENOMEM, EIO. */
sp_err sp_snapshot_open(sp_index *ix, sp_snapshot **out);
void sp_snapshot_close(sp_snapshot *s); /* NULL is fine */

/* What static pruning keeps (Seismic's names). */
typedef struct sp_build_params {
  uint32_t n_postings; /* postings kept a term on average, of terms that occur; lists of
                          up to 64 stay whole; 0: the builder chooses by the collection,
                          at most 4,000, and the index keeps what it chose */
  double max_fraction; /* at most n_postings * this in one list */
} sp_build_params;
sp_build_params sp_build_defaults(void);

typedef struct sp_index_info {
  uint32_t format_version;
  uint32_t n_docs;    /* that can be found: deleted ones are not counted */
  uint32_t n_deleted; /* still on disk */
  uint32_t n_segments;
  uint32_t n_terms;
  uint64_t nnz;   /* entries of all vectors, deleted ones included */
  uint64_t bytes; /* of data.mdb in use */
  sp_build_params params;
  const char
      *contract; /* the encoder's contract as JSON text; "{}": vectors from a file */
  const void *encoder_state; /* what sp_encoder_save() wrote; NULL: none */
  size_t encoder_state_n;
} sp_index_info;

/* Borrowed from the snapshot; never fails. */
const sp_index_info *sp_snapshot_info(const sp_snapshot *s);
uint32_t sp_snapshot_n_segments(const sp_snapshot *s);
const sp_segment *sp_snapshot_segment(const sp_snapshot *s,
                                      uint32_t i); /* i < n_segments */

/* Where the bytes of all segments are: chunks with what pads them to pages. The rest of
 * sp_index_info.bytes are records, the encoder's state, and pages of LMDB's own or free. */
typedef struct sp_index_bytes {
  uint64_t vectors;   /* the forward index */
  uint64_t lists;     /* and their directory */
  uint64_t ids;       /* external ids and their hashes */
  uint64_t documents; /* stored fields */
} sp_index_bytes;
sp_index_bytes sp_snapshot_bytes(const sp_snapshot *s);

/* The segment that holds internal id `doc`; NULL when there is none. */
const sp_segment *sp_snapshot_find_segment(const sp_snapshot *s, uint32_t doc);

/* The external id of internal id `doc`, borrowed from the snapshot; *n its bytes. NULL
 * when there is no such document. Ids are 1 to 511 bytes of any value but NUL. */
const char *sp_snapshot_id(const sp_snapshot *s, uint32_t doc, size_t *n);

/* The internal id of an external id. Errors: ENOTFOUND (unknown or deleted), EIO. */
sp_err sp_snapshot_lookup(const sp_snapshot *s, const char *id, size_t n, uint32_t *doc);

/* Appends the document's stored fields, a flat JSON object ({"title": .., "text": ..};
 * "{}" when nothing was stored). Errors: ENOTFOUND, EFORMAT (damaged), ENOMEM. */
sp_err sp_snapshot_fields(const sp_snapshot *s, uint32_t doc, sp_buf *out);

/* Reads everything and compares every checksum. Errors: EFORMAT (names what is damaged),
 * EIO. */
sp_err sp_snapshot_verify(const sp_snapshot *s);

#endif
