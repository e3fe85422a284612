/* tools/index_input.h - what `spindle index` reads: a file of vectors, or a corpus and
 * the encoder that it goes through. */
#ifndef SP_INDEX_INPUT_H
#define SP_INDEX_INPUT_H

#include "base/buf.h"
#include "base/err.h"
#include "index/builder.h"
#include "tools/corpus.h"

/* Appends what identifies the input files: path, size, time of change, hash of the head
 * of each. A build that was cut off is gone on with only when all are the same. Errors:
 * ENOTFOUND, EINVAL (a pipe or device), EIO, ENOMEM. */
sp_err sp_input_identify(char *const *paths, size_t n, sp_buf *out);

/* Adds the vectors of a file (any format of index/vector_io.h); texts that it holds are
 * stored. `n_terms`: as in sp_build_options. Errors: those of reader and builder. */
sp_err sp_input_vectors(sp_builder *b, const char *path, FILE *progress);

#endif
