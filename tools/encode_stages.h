/* tools/encode_stages.h - a stream of texts through an encoder: one thread reads, one keeps
 * the vectors, the caller's and as many more as keep the encoder busy encode, all at once. */
#ifndef SP_ENCODE_STAGES_H
#define SP_ENCODE_STAGES_H

#include "tools/encode_chunk.h"

enum { ENCODE_PLACE_BYTES = 64 };

typedef struct encode_stages {
  sp_encoder *encoder;
  sp_side side;
  size_t most_texts; /* in one chunk; chunks begin smaller and grow */
  size_t good_bytes; /* of texts in one chunk, about; four times this at the most */
  bool in_turn; /* read, encode and keep a small chunk, then the next, all in the caller's
                   thread: for encoders that learn from what is kept */
  void *context;

  /* The next text; *more is false after the last. Called by the reading thread. */
  sp_err (*next)(void *context, encode_record *out, bool *more);
  /* NULL, or where the source stands behind the text that it gave last: at most
   * ENCODE_PLACE_BYTES bytes. By the reading thread, at the end of a chunk. */
  size_t (*place)(void *context, void *out);
  /* Keeps one vector, in the texts' order. By the keeping thread. */
  sp_err (*put)(void *context, const encode_record *record, const sp_vec *vector);
  /* All before `place` was put. By the keeping thread, at the end of a chunk. */
  sp_err (*put_place)(void *context, const void *place, size_t n);
} encode_stages;

/* Chunks are whole windows of the encoder's (sp_encoder_window()) counted from the first
 * text, so how they grew shows in no vector, nor does where a run ended that is gone on
 * with from the end of a chunk. (Only a window of more than 4 * good_bytes is divided.)
 *
 * Returns when all texts are kept, or with the first failure of a call above, of the
 * encoder, or ENOMEM; no thread is left in either case. */
sp_err encode_stages_run(const encode_stages *stages);

#endif
