/* index/vector_ops.h - what a vector format must offer; only index/vector_*.c include it.
 *
 * A format reads one raw vector after the other into the reader's fields;
 * index/vector_io.c checks and repairs it, counts the faults and passes it on. */
#ifndef SP_VECTOR_OPS_H
#define SP_VECTOR_OPS_H

#include <stdio.h>

#include "base/buf.h"
#include "base/file.h"
#include "index/vector_io.h"

typedef struct sp_vector_reader_ops {
  /* Fills id, vec, text of the reader, sets bits of `faults` for what only the format can
   * see, `ordered` when the order of terms means something, and `place`. */
  sp_err (*next)(sp_vector_reader *r, bool *more);
  void (*close)(sp_vector_reader *r); /* frees `state`, which may be NULL */
} sp_vector_reader_ops;

struct sp_vector_reader {
  const sp_vector_reader_ops *ops;
  void *state; /* the format's own */
  char *path;
  sp_vector_read_options options;
  sp_vector_format format;
  sp_vector_report report;
  sp_strmap *vocabulary; /* NULL: terms are not numbered here */
  uint32_t n_terms;      /* as the file says; 0: not known */
  uint64_t n_vectors;    /* as the file says; 0: not known */
  bool checked;          /* the format's vectors are sound: no repair is needed */
  const char *unit;      /* "line" or "record", for messages */

  /* the current record */
  uint64_t place; /* its number in `unit`s, from 1 */
  sp_vec vec;
  sp_buf id, text;
  bool has_text, ordered;
  unsigned faults; /* 1 << sp_vector_fault */
};

/* Each opens `path` of a reader whose path, options and format are set. On failure the
 * caller closes the reader. */
sp_err sp_vector_compact_open(sp_vector_reader *r);
sp_err sp_vector_text_open(sp_vector_reader *r);
sp_err sp_vector_csr_open(sp_vector_reader *r);

/* SP_OK when n_bytes of a file that begin with `head` can be a csr matrix. */
enum { SP_CSR_HEAD_BYTES = 24 };
bool sp_vector_csr_fits(const uint8_t head[SP_CSR_HEAD_BYTES], uint64_t file_bytes);

typedef struct sp_vector_writer_ops {
  sp_err (*put)(sp_vector_writer *w, const char *id, size_t id_n, const sp_vec *vec,
                const char *text, size_t text_n);
  sp_err (*sync)(sp_vector_writer *w);   /* NULL: nothing to do */
  sp_err (*finish)(sp_vector_writer *w); /* writes what is missing and commits */
  void (*close)(sp_vector_writer *w);    /* frees `state` (may be NULL); undoes
                                            everything that finish has not committed */
} sp_vector_writer_ops;

struct sp_vector_writer {
  const sp_vector_writer_ops *ops;
  void *state;
  char *path;
  sp_vector_write_options options;
  uint64_t n_vectors, n_entries;
  uint32_t n_terms; /* the largest term put, + 1 */
};

sp_err sp_vector_compact_create(sp_vector_writer *w);
sp_err sp_vector_text_create(sp_vector_writer *w);
sp_err sp_vector_csr_create(sp_vector_writer *w);

#endif
