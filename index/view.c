/* index/view.c - a segment as its snapshot sees it: pointers into the map, checked. */
#include "index/view.h"

#include <roaring/roaring.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

typedef struct chunk_walk {
  MDB_cursor *cursor;
  const sp_store *store;
  uint32_t segment;
  sp_db db;
  sp_chunk_kind kind;
  MDB_cursor_op op; /* of the next step */
} chunk_walk;

static sp_err walk_begin(chunk_walk *w, const sp_store *store, MDB_txn *txn,
                         uint32_t segment, sp_db db, sp_chunk_kind kind) {
  *w = (chunk_walk){
      .store = store, .segment = segment, .db = db, .kind = kind, .op = MDB_SET_RANGE};
  return sp_store_fail(store, mdb_cursor_open(txn, store->db[db], &w->cursor), "reading");
}

/* A chunk as LMDB's own pages tell of it: the chunk itself is not touched. */
typedef struct walked {
  const uint8_t *payload;
  uint64_t bytes; /* of the payload and the padding behind it */
  uint32_t number;
} walked;

static sp_err walk_next(chunk_walk *w, walked *out) {
  uint8_t buffer[8];
  MDB_val key = sp_store_key(w->segment, 0, buffer), data;
  int rc = mdb_cursor_get(w->cursor, &key, &data, w->op);
  w->op = MDB_NEXT;
  uint32_t part[2];
  if (rc == 0 && key.mv_size == 8) {
    memcpy(part, key.mv_data, 8);
    part[0] = __builtin_bswap32(part[0]);
    part[1] = __builtin_bswap32(part[1]);
  }
  if (rc == MDB_NOTFOUND || (rc == 0 && (key.mv_size != 8 || part[0] != w->segment)))
    return sp_fail(SP_EFORMAT, "%s: segment %u: a %s chunk is missing", w->store->path,
                   w->segment, sp_chunk_kind_name(w->kind));
  if (rc) return sp_store_fail(w->store, rc, "reading");
  if (data.mv_size < SP_CHUNK_HEADING ||
      ((uintptr_t)data.mv_data + SP_CHUNK_HEADING) % 64 != 0)
    return sp_fail(SP_EFORMAT, "%s: segment %u: %s chunk %u is too small or not aligned",
                   w->store->path, w->segment, sp_chunk_kind_name(w->kind), part[1]);
  *out = (walked){(const uint8_t *)data.mv_data + SP_CHUNK_HEADING,
                  data.mv_size - SP_CHUNK_HEADING, part[1]};
  return SP_OK;
}

static sp_err damaged(const sp_store *st, const sp_disk_segment *d, const char *what) {
  return sp_fail(SP_EFORMAT, "%s: segment %u: %s", st->path, d->id, what);
}

static sp_err out_of_memory(const sp_store *st) {
  return sp_fail(SP_ENOMEM, "%s: out of memory", st->path);
}

/* Chunks numbered 0 .. n - 1: their payloads and sizes, in arrays of the caller's. */
static sp_err open_numbered(const sp_store *st, chunk_walk *w, const sp_disk_segment *d,
                            uint32_t n, const uint8_t **payloads, uint64_t *bytes) {
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < n && !err; i++) {
    walked c;
    err = walk_next(w, &c);
    if (err) break;
    payloads[i] = c.payload;
    bytes[i] = c.bytes;
    if (c.number != i) err = damaged(st, d, "a chunk is out of order");
  }
  return err;
}

static sp_err open_forward(const sp_store *st, MDB_txn *txn, sp_segment_view *v) {
  uint32_t n = v->disk.n_forward;
  uint64_t *bytes = calloc((size_t)n + 1, sizeof *bytes);
  v->forward = calloc((size_t)n + 1, sizeof *v->forward);
  v->forward_bytes = bytes;
  v->pub.chunks = calloc((size_t)n + 1, sizeof *v->pub.chunks);
  if (!v->forward || !bytes || !v->pub.chunks) return out_of_memory(st);
  chunk_walk w;
  sp_err err = walk_begin(&w, st, txn, v->disk.id, SP_DB_FORWARD, SP_CHUNK_FORWARD);
  if (!err) err = open_numbered(st, &w, &v->disk, n, v->forward, bytes);
  if (w.cursor) mdb_cursor_close(w.cursor);
  return err;
}

static sp_err open_lists(const sp_store *st, MDB_txn *txn, sp_segment_view *v) {
  const sp_disk_segment *d = &v->disk;
  const uint8_t **values = calloc((size_t)d->n_lists + 1, sizeof *values);
  uint64_t *bytes = calloc((size_t)d->n_lists + 1, sizeof *bytes);
  v->pub.list_chunks = values;
  v->list_bytes = bytes;
  if (!values || !bytes) return out_of_memory(st);
  if (!d->sealed) return SP_OK;
  chunk_walk w;
  walked directory = {0};
  sp_err err = walk_begin(&w, st, txn, d->id, SP_DB_LISTS, SP_CHUNK_LISTS);
  if (!err) err = open_numbered(st, &w, d, d->n_lists, values, bytes);
  w.kind = SP_CHUNK_DIRECTORY;
  if (!err) err = walk_next(&w, &directory);
  if (!err &&
      (directory.number != UINT32_MAX || directory.bytes < 8 * (uint64_t)d->n_terms))
    err = damaged(st, d, "the directory of lists is damaged");
  v->pub.list_at = (const void *)directory.payload;
  if (w.cursor) mdb_cursor_close(w.cursor);
  return err;
}

/* What each piece holds follows from where the next begins. */
static sp_err count_pieces(const sp_store *st, const sp_disk_segment *d, uint64_t each,
                           const sp_piece_views *p) {
  for (uint32_t i = 0; i < p->n; i++) {
    sp_piece_view *at = &p->at[i];
    uint32_t next = i + 1 < p->n ? p->at[i + 1].first : d->n_docs;
    if ((i == 0 && at->first != 0) || next <= at->first || next > d->n_docs ||
        each * (next - at->first) > at->bytes)
      return damaged(st, d, "a chunk of ids or documents is out of order");
    at->count = next - at->first;
  }
  return SP_OK;
}

/* Chunks whose number is the first document (or hash) that they hold. */
static sp_err open_pieces(const sp_store *st, MDB_txn *txn, const sp_disk_segment *d,
                          sp_db db, sp_chunk_kind kind, uint32_t n, sp_piece_views *out) {
  out->at = calloc((size_t)n + 1, sizeof *out->at);
  if (!out->at) return out_of_memory(st);
  chunk_walk w;
  walked c;
  sp_err err = walk_begin(&w, st, txn, d->id, db, kind);
  while (!err && out->n < n && !(err = walk_next(&w, &c)))
    out->at[out->n++] =
        (sp_piece_view){.payload = c.payload, .bytes = c.bytes, .first = c.number};
  if (w.cursor) mdb_cursor_close(w.cursor);
  uint64_t each = kind == SP_CHUNK_NAMES ? 4 : kind == SP_CHUNK_DOCUMENTS ? 8 : 12;
  return err ? err : count_pieces(st, d, each, out);
}

typedef struct bit_sink {
  uint64_t *bits;
  uint32_t n_docs, n_set;
} bit_sink;

static bool set_bit(uint32_t doc, void *arg) {
  bit_sink *s = arg;
  if (doc >= s->n_docs) return false;
  s->bits[doc / 64] |= (uint64_t)1 << doc % 64;
  s->n_set++;
  return true;
}

static sp_err open_deleted(const sp_store *st, MDB_txn *txn, sp_segment_view *v) {
  uint8_t buffer[8];
  MDB_val key = sp_store_key(v->disk.id, 0, buffer);
  key.mv_size = 4;
  const void *data;
  size_t n;
  sp_err err = sp_store_get_blob(st, txn, SP_DB_DELETED, key, &data, &n);
  if (err || !data) return err;
  roaring_bitmap_t *r = roaring_bitmap_portable_deserialize_safe(data, n);
  if (!r) return damaged(st, &v->disk, "its bitmap of deleted documents is damaged");
  bit_sink sink = {.n_docs = v->disk.n_docs};
  sink.bits = calloc((size_t)v->disk.n_docs / 64 + 1, sizeof *sink.bits);
  v->pub.deleted = sink.bits;
  if (!sink.bits)
    err = out_of_memory(st);
  else if (!roaring_iterate(r, set_bit, &sink))
    err = damaged(st, &v->disk, "a deleted document that never was");
  v->pub.n_deleted = sink.n_set;
  roaring_bitmap_free(r);
  return err;
}

static sp_err check_record(const sp_store *st, const sp_disk_segment *d) {
  if ((d->term_bytes != 2 && d->term_bytes != 4) ||
      (d->term_bytes == 2 && d->n_terms > 65536) ||
      d->n_forward != (d->n_docs + (uint64_t)SP_CHUNK_DOCS - 1) / SP_CHUNK_DOCS)
    return damaged(st, d, "its record makes no sense");
  return SP_OK;
}

sp_err sp_segment_view_open(sp_snapshot *s, const sp_disk_segment *disk,
                            sp_segment_view *v) {
  const sp_store *st = &s->index->store;
  MDB_txn *txn = s->txn;
  v->disk = *disk;
  v->lock = &s->lock;
  v->path = st->path;
  v->pub = (sp_segment){.id = disk->id,
                        .first_doc = disk->first_doc,
                        .n_docs = disk->n_docs,
                        .n_terms = disk->n_terms,
                        .term_bytes = (uint8_t)disk->term_bytes,
                        .sealed = disk->sealed != 0,
                        .nnz = disk->nnz};
  sp_err err = check_record(st, disk);
  if (!err) err = sp_checked_get(s->index, disk->id, disk->n_terms, &v->checked);
  for (uint32_t i = 0; i < s->n_dictionaries; i++)
    if (s->dictionaries[i].number == disk->dictionary)
      v->dictionary = s->dictionaries[i].ddict;
  if (!err && disk->dictionary && !v->dictionary)
    err = damaged(st, disk, "the dictionary of its documents is missing");
  if (!err) err = open_forward(st, txn, v);
  if (!err) err = open_lists(st, txn, v);
  if (!err)
    err =
        open_pieces(st, txn, disk, SP_DB_NAMES, SP_CHUNK_NAMES, disk->n_names, &v->names);
  if (!err)
    err = open_pieces(st, txn, disk, SP_DB_DOCUMENTS, SP_CHUNK_DOCUMENTS,
                      disk->n_documents, &v->documents);
  if (!err)
    err = open_pieces(st, txn, disk, SP_DB_IDS, SP_CHUNK_IDS, disk->n_ids, &v->ids);
  if (!err) err = open_deleted(st, txn, v);
  return err;
}

void sp_segment_view_free(sp_segment_view *v) {
  free((void *)v->pub.chunks);
  free(v->forward);
  free((void *)v->forward_bytes);
  free((void *)v->pub.list_chunks);
  free((void *)v->list_bytes);
  free((void *)v->pub.deleted);
  free(v->names.at);
  free(v->documents.at);
  free(v->ids.at);
}
