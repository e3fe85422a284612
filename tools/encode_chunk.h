/* tools/encode_chunk.h - texts side by side in memory, and the vectors they become. */
#ifndef SP_ENCODE_CHUNK_H
#define SP_ENCODE_CHUNK_H

#include "base/buf.h"
#include "encoder/encoder.h"

/* A text on its way through an encoder. Borrowed. */
typedef struct encode_record {
  const char *id;
  size_t n_id;
  const char *text; /* what is encoded */
  size_t n_text;
  const char *extra; /* what whoever keeps the vector wants besides */
  size_t n_extra;
} encode_record;

/* {0} is empty. */
typedef struct encode_chunk {
  size_t n;
  sp_text *texts;  /* [n], good once all are added */
  sp_vec *vectors; /* [n] */
  sp_buf bytes;
  struct encode_place {
    size_t at, n_id, n_text, n_extra;
  } * places;
  size_t cap;
} encode_chunk;

/* Copies a record to the end; the texts and the records given out before become invalid.
 * Errors: ENOMEM. */
sp_err encode_chunk_add(encode_chunk *c, const encode_record *record);

/* Points `texts` at what was added. */
void encode_chunk_seal(encode_chunk *c);
encode_record encode_chunk_at(const encode_chunk *c, size_t i);
void encode_chunk_clear(encode_chunk *c); /* keeps the memory, the vectors' too */
void encode_chunk_free(encode_chunk *c);

#endif
