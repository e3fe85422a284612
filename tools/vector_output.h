/* tools/vector_output.h - where `spindle encode` puts its vectors: JSON lines with the ids as
 * they came, or any format of index/vector_io.h; continued after a crash. */
#ifndef SP_VECTOR_OUTPUT_H
#define SP_VECTOR_OUTPUT_H

#include "base/file.h"
#include "index/vector_io.h"
#include "tools/text_lines.h"

typedef struct vector_output {
  sp_vector_writer *writer; /* every format but jsonl */
  sp_out out;               /* jsonl: a new file */
  FILE *f;                  /* jsonl: where lines go */
  const char *path;
  bool in_place; /* jsonl: f continues `path` itself */
  sp_buf line;
} vector_output;

/* Opens `path` ("-": standard output). With `resume` an unfinished or finished output is
 * gone on with and *n_there is how many whole vectors it holds; jsonl and compact only. A file
 * of anything else is left as it is. Errors: EINVAL, EIO, ENOMEM, EFORMAT, EBUSY (another
 * writer goes on with it). */
sp_err vector_output_open(const char *path, sp_vector_write_options options, bool resume,
                          vector_output *out, uint64_t *n_there);

/* Appends a vector with the id and, where the format keeps it, the text of `line`.
 * Errors: EIO, ENOMEM, EINVAL. */
sp_err vector_output_put(vector_output *o, const text_line *line, const sp_vec *v);

/* What was put is on its way to the disk when this returns. Errors: EIO. */
sp_err vector_output_sync(vector_output *o);

/* Completes (err SP_OK) or gives up; returns `err` or the failure to complete. With resume
 * what was synced stays in either case. */
sp_err vector_output_close(vector_output *o, sp_err err);

#endif
