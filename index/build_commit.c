/* index/build_commit.c - the commit by which a segment comes to be.
 *
 * Everything it consists of is on disk already; one transaction names it, deletes the
 * documents that it replaces, and forgets that a build was going on. */
#include <roaring/roaring.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "index/build.h"
#include "index/view.h"

static sp_disk_segment segment_record(const sp_builder *b) {
  sp_disk_segment d = {.id = b->at.segment,
                       .first_doc = b->at.first_doc,
                       .n_docs = b->live.n,
                       .n_terms = b->n_terms,
                       .term_bytes = b->term_bytes,
                       .sealed = 1,
                       .n_forward = b->at.n_forward,
                       .n_lists = b->at.n_lists,
                       .n_names = b->at.n_forward,
                       .n_documents = b->at.n_documents,
                       .n_ids = b->at.n_ids,
                       .dictionary = b->at.dictionary,
                       .nnz = b->at.nnz,
                       .n_postings = b->at.n_postings,
                       .params = sp_disk_params_of(&b->o.params)};
  d.checksum = XXH3_64bits(&d, offsetof(sp_disk_segment, checksum));
  return d;
}

static sp_err put_index_record(sp_builder *b, MDB_txn *txn) {
  sp_disk_index h = {.next_dictionary = 1};
  MDB_val v;
  sp_err err = sp_store_get(&b->store, txn, SP_DB_META, (MDB_val){5, "index"}, &v);
  if (err) return err;
  if (v.mv_data && v.mv_size == sizeof h) memcpy(&h, v.mv_data, sizeof h);
  memcpy(h.magic, SP_INDEX_MAGIC, sizeof h.magic);
  h.version = SP_FORMAT_VERSION;
  h.next_segment = b->at.segment + 1;
  h.next_doc = b->at.first_doc + b->live.n;
  if (b->at.dictionary >= h.next_dictionary) h.next_dictionary = b->at.dictionary + 1;
  if (b->n_terms > h.n_terms) h.n_terms = b->n_terms;
  h.params = sp_disk_params_of(&b->o.params);
  h.checksum = XXH3_64bits(&h, offsetof(sp_disk_index, checksum));
  return sp_store_put(&b->store, txn, SP_DB_META, (MDB_val){5, "index"},
                      (MDB_val){sizeof h, &h});
}

/* What the encoder has to say, before the commit begins. */
typedef struct encoder_texts {
  sp_buf contract, state; /* empty: none */
} encoder_texts;

static sp_err ask_encoder(sp_builder *b, encoder_texts *t) {
  sp_err err = SP_OK;
  if (b->hooks.contract) {
    err = b->hooks.contract(b->hooks.arg, &t->contract);
    if (!err) err = sp_buf_append(&t->contract, "", 1);
  }
  return !err && b->hooks.save ? b->hooks.save(b->hooks.arg, &t->state) : err;
}

static sp_err put_encoder(sp_builder *b, MDB_txn *txn, const encoder_texts *t) {
  sp_err err = SP_OK;
  if (t->contract.n)
    err = sp_store_put_blob(&b->store, txn, SP_DB_META, (MDB_val){8, "contract"},
                            t->contract.data, t->contract.n);
  if (!err && t->state.n)
    err = sp_store_put_blob(&b->store, txn, SP_DB_META, (MDB_val){7, "encoder"},
                            t->state.data, t->state.n);
  return err;
}

static sp_err put_deleted(sp_builder *b, MDB_txn *txn, uint32_t segment,
                          roaring_bitmap_t *bits) {
  roaring_bitmap_run_optimize(bits);
  size_t n = roaring_bitmap_portable_size_in_bytes(bits);
  char *data = malloc(n);
  if (!data) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  roaring_bitmap_portable_serialize(bits, data);
  uint8_t buffer[8];
  MDB_val key = sp_store_key(segment, 0, buffer);
  key.mv_size = 4;
  sp_err err = sp_store_put_blob(&b->store, txn, SP_DB_DELETED, key, data, n);
  free(data);
  return err;
}

/* Documents of an older segment whose ids came again. */
static sp_err replace_in(sp_builder *b, MDB_txn *txn, const sp_segment_view *v) {
  roaring_bitmap_t *bits = roaring_bitmap_create();
  if (!bits) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  for (uint32_t i = 0; i < v->pub.n_docs; i++)
    if (sp_segment_is_deleted(&v->pub, i)) roaring_bitmap_add(bits, i);
  uint64_t before = b->sum.n_replaced;
  for (uint64_t o = 0; o < b->spool.n_docs; o++) {
    if (!sp_build_is_live(b, o)) continue;
    const char *id = sp_spool_read(&b->spool, o).id;
    uint32_t local = sp_segment_view_find(v, id, b->spool.docs[o].n_id);
    if (local == UINT32_MAX || sp_segment_is_deleted(&v->pub, local)) continue;
    roaring_bitmap_add(bits, local);
    b->sum.n_replaced++;
    if (o % 65536 == 65535) sp_spool_forget(&b->spool, o - 65535, o);
  }
  sp_err err = SP_OK;
  if (b->sum.n_replaced > before) err = put_deleted(b, txn, v->pub.id, bits);
  roaring_bitmap_free(bits);
  return err;
}

/* Looks at the older segments through a snapshot of the builder's own environment. */
static sp_err replace_older(sp_builder *b, MDB_txn *txn) {
  sp_index ix = {.store = b->store};
  sp_snapshot *s;
  pthread_mutex_init(&ix.lock, NULL);
  sp_err err = sp_snapshot_open(&ix, &s);
  for (uint32_t i = 0; !err && i < sp_snapshot_n_segments(s); i++)
    err = replace_in(b, txn, &s->segments[i]);
  sp_snapshot_close(s);
  pthread_mutex_destroy(&ix.lock);
  return err;
}

static sp_err put_all(sp_builder *b, MDB_txn *txn, const encoder_texts *t) {
  sp_disk_segment d = segment_record(b);
  uint8_t buffer[8];
  MDB_val key = sp_store_key(b->at.segment, 0, buffer);
  key.mv_size = 4;
  sp_err err = b->is_new ? SP_OK : replace_older(b, txn);
  if (!err) err = put_index_record(b, txn);
  if (!err) err = put_encoder(b, txn, t);
  if (!err)
    err = sp_store_put(&b->store, txn, SP_DB_SEGMENTS, key, (MDB_val){sizeof d, &d});
  if (!err) err = sp_store_delete(&b->store, txn, SP_DB_META, (MDB_val){8, "building"});
  if (!err)
    err = sp_store_put_blob(&b->store, txn, SP_DB_META, (MDB_val){9, "committed"}, &b->at,
                            sizeof b->at);
  return err;
}

/* The largest that the bitmaps of deleted documents can be: 8 KiB for 65,536 documents, and
 * some pages for each older segment. */
static uint64_t most_deleted_bytes(const sp_builder *b) {
  return b->is_new ? 0 : b->at.first_doc / 8 + (uint64_t)b->at.segment * (16 << 10);
}

static sp_err commit(sp_builder *b, const encoder_texts *t) {
  uint64_t bytes = t->contract.n + t->state.n + most_deleted_bytes(b);
  sp_err err = sp_store_make_room(&b->store, bytes + ((uint64_t)1 << 20));
  if (err) return err;
  MDB_txn *txn;
  err = sp_store_write(&b->store, &txn);
  if (err) return err;
  err = put_all(b, txn, t);
  if (!err) return sp_store_commit(&b->store, &txn);
  mdb_txn_abort(txn);
  return err;
}

sp_err sp_build_commit(sp_builder *b) {
  encoder_texts t = {{0}, {0}};
  sp_err err = ask_encoder(b, &t);
  if (!err) err = commit(b, &t);
  sp_buf_free(&t.contract);
  sp_buf_free(&t.state);
  if (err) return err;
  MDB_envinfo info;
  mdb_env_info(b->store.env, &info);
  b->sum.bytes = ((uint64_t)info.me_last_pgno + 1) * b->store.page_bytes;
  return SP_OK;
}
