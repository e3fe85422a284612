/* index/builder.h - making an index, or adding a segment to one.
 *
 *   open -> (resumed? go on from there) -> attach -> add ... checkpoint ... -> finish
 *
 * add() only appends to a spool beside data.mdb; finish() writes the forward index,
 * documents and lists in batches that nobody sees, and one last commit names the segment.
 * Killed at any instant, the next open() of the same build goes on from the last
 * checkpoint or batch; a different build sweeps the remains away first. One builder works
 * on an index at a time, readers are not disturbed. */
#ifndef SP_BUILDER_H
#define SP_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/vec.h"
#include "index/index.h"

typedef struct sp_builder sp_builder;

typedef struct sp_build_options {
  sp_build_params params;
  bool append;           /* add to an index that is there; else make a new one */
  uint64_t memory_bytes; /* what the build may hold, mapped pages included; >= 64 MiB */
  unsigned n_threads;    /* 0: one for each processor */
  uint64_t max_bytes;    /* data.mdb never grows past it */
  uint32_t n_terms;      /* the vocabulary's size; 0: the largest term met, plus 1 */
  const char *source; /* text that names the input and the options: a build that was cut
                         off is gone on with only when it is the same */
  FILE *progress;     /* NULL: silent */
} sp_build_options;
sp_build_options sp_build_options_defaults(void);

/* What an encoder adds. All may be NULL. Called from one thread at a time unless said
 * otherwise. */
typedef struct sp_build_hooks {
  void *arg;
  /* Counts a document into the collection's statistics, once for each that stays. */
  sp_err (*observe)(void *arg, const sp_vec *v);
  /* Makes a document's vector final once all were observed. Any number of threads. */
  void (*finish)(void *arg, sp_vec *v);
  /* Fills weight[n_terms] with the weight a query gives each term, and returns true;
   * false when queries are not made from a table. Called once all were observed. */
  bool (*query_weights)(void *arg, float *weight, uint32_t n_terms);
  /* The vocabulary's size by now. */
  uint32_t (*n_terms)(void *arg);
  /* Appends the encoder's state: to a checkpoint, and to the index at the end. */
  sp_err (*save)(void *arg, sp_buf *out);
  /* Appends the encoder's contract, JSON text, at the end. */
  sp_err (*contract)(void *arg, sp_buf *out);
} sp_build_hooks;

/* Where an earlier, cut off build of the same source stands; n_docs 0: at the beginning.
 */
typedef struct sp_build_start {
  uint64_t n_docs;      /* documents that need not be added again */
  bool complete;        /* the input was read to its end: finish() is all that is left */
  const void *position; /* what the last checkpoint was given */
  size_t position_n;
  const void *encoder_state; /* what save() wrote: then, or into the index to append to */
  size_t encoder_state_n;    /* 0: there is none */
  const char *contract;      /* of the index to append to; NULL: a new index */
} sp_build_start;

typedef struct sp_build_summary {
  uint64_t n_docs;       /* in the new segment */
  uint64_t n_duplicates; /* ids that came again: the last one counts */
  uint64_t n_replaced;   /* documents of older segments that were deleted for new ones */
  uint64_t n_cut;        /* vectors of over 65,535 entries, cut to the strongest */
  uint64_t nnz, n_postings, n_lists;
  uint64_t bytes; /* of data.mdb in use */
} sp_build_summary;

/* On SP_OK the caller owns *out, and ends it with finish or abort. Errors: EINVAL
 * (an index is there, or none to append to), EBUSY (another process builds it), EFORMAT,
 * EIO, ENOMEM. */
sp_err sp_builder_open(const char *path, const sp_build_options *options,
                       sp_builder **out);
const sp_build_start *sp_builder_start(const sp_builder *b); /* borrowed */
void sp_builder_attach(sp_builder *b, const sp_build_hooks *hooks);

/* One document. id: 1..511 bytes without NUL. fields: a flat JSON object, kept as it is;
 * n_fields 0: nothing is stored. Weights are kept as f16: what is below 6e-8 is dropped.
 * Errors: EINVAL (the id, the vector, over 2^32 - 2 documents), EIO (disk full). */
sp_err sp_builder_add(sp_builder *b, const char *id, size_t n_id, const sp_vec *v,
                      const char *fields, size_t n_fields);

/* Tells that everything up to `position` (bytes that the caller understands) was added.
 * Writes it down every few seconds; cheap in between. Errors: EIO, ENOMEM. */
sp_err sp_builder_checkpoint(sp_builder *b, const void *position, size_t n);

/* Builds and commits; `summary` may be NULL. Ends the builder in any case: on failure a
 * new index is removed, an old one is as it was (only where the disk refuses to keep the
 * names of a new one, EIO, is it there). No document at all is EINVAL. */
sp_err sp_builder_finish(sp_builder *b, sp_build_summary *summary);

/* Gives up: a new index is removed, an old one is as it was. */
void sp_builder_abort(sp_builder *b);

#endif
