/* tools/encode_chunk.c - a growing array of texts in one block of bytes. */
#include "tools/encode_chunk.h"

#include <stdlib.h>
#include <string.h>

static sp_err grow(encode_chunk *c) {
  size_t cap = c->cap ? c->cap * 2 : 256;
  void *places = realloc(c->places, cap * sizeof *c->places);
  if (places) c->places = places;
  void *texts = realloc(c->texts, cap * sizeof *c->texts);
  if (texts) c->texts = texts;
  void *vectors = realloc(c->vectors, cap * sizeof *c->vectors);
  if (vectors) c->vectors = vectors;
  if (!places || !texts || !vectors) return sp_fail(SP_ENOMEM, "texts: out of memory");
  memset(c->vectors + c->cap, 0, (cap - c->cap) * sizeof *c->vectors);
  c->cap = cap;
  return SP_OK;
}

sp_err encode_chunk_add(encode_chunk *c, const encode_record *r) {
  sp_err err = c->n == c->cap ? grow(c) : SP_OK;
  if (err) return err;
  c->places[c->n] = (struct encode_place){c->bytes.n, r->n_id, r->n_text, r->n_extra};
  err = sp_buf_append(&c->bytes, r->id, r->n_id);
  if (!err) err = sp_buf_append(&c->bytes, r->text, r->n_text);
  if (!err) err = sp_buf_append(&c->bytes, r->extra, r->n_extra);
  if (!err) c->n++;
  return err;
}

encode_record encode_chunk_at(const encode_chunk *c, size_t i) {
  const struct encode_place *p = &c->places[i];
  const char *id = c->bytes.data + p->at, *text = id + p->n_id;
  return (encode_record){.id = id,
                         .n_id = p->n_id,
                         .text = text,
                         .n_text = p->n_text,
                         .extra = text + p->n_text,
                         .n_extra = p->n_extra};
}

void encode_chunk_seal(encode_chunk *c) {
  for (size_t i = 0; i < c->n; i++) {
    encode_record r = encode_chunk_at(c, i);
    c->texts[i] = (sp_text){r.text, r.n_text};
  }
}

void encode_chunk_clear(encode_chunk *c) {
  c->n = 0;
  sp_buf_clear(&c->bytes);
}

void encode_chunk_free(encode_chunk *c) {
  for (size_t i = 0; i < c->cap; i++) sp_vec_free(&c->vectors[i]);
  free(c->vectors);
  free(c->texts);
  free(c->places);
  sp_buf_free(&c->bytes);
  *c = (encode_chunk){0};
}
