/* index/build_dictionary.c - a zstd dictionary for stored documents. */
#include <stdlib.h>
#include <string.h>
#include <zdict.h>

#include "index/build.h"

enum {
  DICTIONARY_BYTES = 64 << 10,
  SAMPLE_BYTES = 4 << 20, /* trained on about this much */
  SAMPLE_MAX = 4 << 10,   /* of one document */
  SAMPLES_MIN = 256       /* with fewer documents a dictionary doesn't pay */
};

typedef struct samples {
  char *data;
  size_t *sizes;
  size_t n, n_bytes;
} samples;

/* The heads of documents spread evenly over the whole build. */
static sp_err take_samples(const sp_builder *b, samples *s) {
  uint64_t all = 0;
  for (uint32_t i = 0; i < b->spool.n_docs; i++) {
    uint32_t n = b->spool.docs[i].n_fields;
    all += n < SAMPLE_MAX ? n : SAMPLE_MAX;
  }
  uint64_t every = all / SAMPLE_BYTES + 1;
  s->data = malloc(SAMPLE_BYTES + SAMPLE_MAX);
  s->sizes = malloc((b->spool.n_docs / every + 1) * sizeof *s->sizes);
  if (!s->data || !s->sizes) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (uint64_t i = 0; i < b->spool.n_docs && s->n_bytes < SAMPLE_BYTES; i += every) {
    size_t n = b->spool.docs[i].n_fields;
    if (n > SAMPLE_MAX) n = SAMPLE_MAX;
    if (n < 8 || !sp_build_is_live(b, i)) continue;
    memcpy(s->data + s->n_bytes, sp_spool_read(&b->spool, i).fields, n);
    s->n_bytes += n;
    s->sizes[s->n++] = n;
    if (i % 4096 == 0) sp_spool_forget(&b->spool, 0, i);
  }
  return SP_OK;
}

static sp_err put_dictionary(sp_builder *b, uint32_t number, const void *data, size_t n) {
  uint8_t key[14] = "dictionary";
  memcpy(key + 10, &number, 4);
  MDB_txn *txn;
  sp_err err = sp_store_write(&b->store, &txn);
  if (err) return err;
  err = sp_store_put_blob(&b->store, txn, SP_DB_META, (MDB_val){14, key}, data, n);
  if (!err) return sp_store_commit(&b->store, &txn);
  mdb_txn_abort(txn);
  return err;
}

/* The number after the newest dictionary of the index. */
static sp_err next_number(sp_builder *b, uint32_t *next) {
  sp_disk_index h;
  MDB_txn *txn;
  MDB_val v;
  sp_err err = sp_store_read(&b->store, 0, &txn);
  if (err) return err;
  err = sp_store_get(&b->store, txn, SP_DB_META, (MDB_val){5, "index"}, &v);
  *next = 1;
  if (!err && v.mv_data && v.mv_size == sizeof h) {
    memcpy(&h, v.mv_data, sizeof h);
    *next = h.next_dictionary;
  }
  mdb_txn_abort(txn);
  return err;
}

sp_err sp_build_dictionary(sp_builder *b) {
  uint32_t next;
  sp_err err = next_number(b, &next);
  if (err || b->at.dictionary) return err;
  if (next > 1) {
    b->at.dictionary = next - 1;
    return SP_OK;
  }
  samples s = {0};
  err = take_samples(b, &s);
  if (!err && s.n >= SAMPLES_MIN) {
    void *data = malloc(DICTIONARY_BYTES);
    size_t n = data ? ZDICT_trainFromBuffer(data, DICTIONARY_BYTES, s.data, s.sizes,
                                            (unsigned)s.n)
                    : 0;
    /* Documents that have nothing in common give none: then there is none. */
    if (data && !ZDICT_isError(n)) {
      err = put_dictionary(b, next, data, n);
      if (!err) b->at.dictionary = next;
    }
    free(data);
  }
  free(s.data);
  free(s.sizes);
  return err;
}
