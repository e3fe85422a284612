/* tools/index_corpus.h - a corpus through an encoder into a builder. */
#ifndef SP_INDEX_CORPUS_H
#define SP_INDEX_CORPUS_H

#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "encoder/encoder.h"
#include "index/builder.h"
#include "tools/corpus.h"

typedef struct sp_corpus_encoder {
  const char *model;          /* a model directory; NULL: lexical */
  sp_encoder_options options; /* of a model */
  sp_lexical_options lexical;
} sp_corpus_encoder;

/* Opens the encoder and appends what identifies it to `source` (sp_build_options.source).
 * Errors: those of sp_encoder_open(). */
sp_err sp_corpus_encoder_open(const sp_corpus_encoder *how, sp_buf *source,
                              sp_encoder **out);

/* Puts *e, which may be replaced, where the builder stands: an encoder that learns takes
 * up the statistics of the build that was cut off, or of the index that is added to; any
 * other must be the index's. Then attaches it; *e must outlive the builder. `path` names
 * the index. Errors: EINVAL (not the index's encoder), those of sp_encoder_restore(). */
sp_err sp_corpus_encoder_attach(sp_builder *b, const sp_corpus_encoder *how,
                                const char *path, sp_encoder **e);

/* Encodes and adds the documents of `c` that are not in the builder yet.
 * Errors: those of corpus, encoder and builder. */
sp_err sp_corpus_add(sp_builder *b, sp_corpus *c, sp_encoder *e, FILE *progress);

#endif
