/* index/index.c - opening an index and its snapshots. */
#include "index/index.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "index/format.h"
#include "index/spool.h"
#include "index/view.h"

sp_err sp_index_open(const char *path, sp_index **out) {
  *out = NULL;
  if (!sp_path_exists(path)) return sp_fail(SP_ENOTFOUND, "%s: no such directory", path);
  sp_index *ix = calloc(1, sizeof *ix);
  if (!ix) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  pthread_mutex_init(&ix->lock, NULL);
  sp_err err = sp_store_open(path, &ix->store);
  if (err == SP_ENOTFOUND && sp_spool_exists(path))
    err =
        sp_fail(SP_EBUSY,
                "%s: its build was not finished: run the same `spindle index` again, it "
                "goes on from there",
                path);
  if (err) {
    sp_index_close(ix);
    return err;
  }
  *out = ix;
  return SP_OK;
}

void sp_index_close(sp_index *ix) {
  if (!ix) return;
  sp_store_close(&ix->store);
  pthread_mutex_destroy(&ix->lock);
  free(ix);
}

static sp_err read_index_record(sp_snapshot *s, sp_disk_index *out) {
  const char *path = s->index->store.path;
  MDB_val v;
  sp_err err =
      sp_store_get(&s->index->store, s->txn, SP_DB_META, (MDB_val){5, "index"}, &v);
  if (err) return err;
  if (!v.mv_data) {
    if (sp_spool_exists(path))
      return sp_fail(
          SP_EBUSY,
          "%s: its build was not finished: run the same `spindle index` again, "
          "it goes on from there",
          path);
    return sp_fail(SP_EFORMAT, "%s: an environment without an index", path);
  }
  if (v.mv_size != sizeof *out)
    return sp_fail(SP_EFORMAT, "%s: the index's record has %zu bytes, not %zu", path,
                   v.mv_size, sizeof *out);
  memcpy(out, v.mv_data, sizeof *out);
  if (out->version != SP_FORMAT_VERSION ||
      out->checksum != XXH3_64bits(out, offsetof(sp_disk_index, checksum)))
    return sp_fail(SP_EFORMAT, "%s: the index's record is damaged", path);
  return SP_OK;
}

/* The contract (a C string) and the encoder's state. */
static sp_err read_encoder(sp_snapshot *s) {
  const sp_store *st = &s->index->store;
  const void *data;
  size_t n;
  s->info.contract = "{}";
  sp_err err =
      sp_store_get_blob(st, s->txn, SP_DB_META, (MDB_val){8, "contract"}, &data, &n);
  if (!err && data) {
    if (n == 0 || ((const char *)data)[n - 1] != '\0')
      return sp_fail(SP_EFORMAT, "%s: the encoder's contract is damaged", st->path);
    s->info.contract = data;
  }
  if (!err)
    err = sp_store_get_blob(st, s->txn, SP_DB_META, (MDB_val){7, "encoder"},
                            &s->info.encoder_state, &s->info.encoder_state_n);
  return err;
}

static sp_err read_dictionaries(sp_snapshot *s, const sp_disk_index *h) {
  const sp_store *st = &s->index->store;
  uint32_t n = h->next_dictionary;
  if (n > 65536)
    return sp_fail(SP_EFORMAT, "%s: the index's record is damaged", st->path);
  s->dictionaries = calloc((size_t)n + 1, sizeof *s->dictionaries);
  if (!s->dictionaries) return sp_fail(SP_ENOMEM, "%s: out of memory", st->path);
  for (uint32_t i = 1; i < n; i++) {
    uint8_t key[14] = "dictionary";
    memcpy(key + 10, &i, 4);
    const void *data;
    size_t bytes;
    sp_err err =
        sp_store_get_blob(st, s->txn, SP_DB_META, (MDB_val){14, key}, &data, &bytes);
    if (err) return err;
    if (!data) continue;
    ZSTD_DDict *d = ZSTD_createDDict(data, bytes);
    if (!d) return sp_fail(SP_EFORMAT, "%s: dictionary %u is damaged", st->path, i);
    s->dictionaries[s->n_dictionaries++] = (sp_dictionary_view){i, d};
  }
  return SP_OK;
}

static sp_err read_segment_record(const char *path, MDB_val key, MDB_val data,
                                  sp_disk_segment *out) {
  if (key.mv_size != 4 || data.mv_size != sizeof *out)
    return sp_fail(SP_EFORMAT, "%s: a segment's record has %zu bytes, not %zu", path,
                   data.mv_size, sizeof *out);
  memcpy(out, data.mv_data, sizeof *out);
  if (out->checksum != XXH3_64bits(out, offsetof(sp_disk_segment, checksum)))
    return sp_fail(SP_EFORMAT, "%s: a segment's record is damaged (checksum differs)",
                   path);
  return SP_OK;
}

static sp_err add_segment(sp_snapshot *s, const sp_disk_segment *disk, uint32_t *cap) {
  if (s->info.n_segments == *cap) {
    *cap = *cap ? 2 * *cap : 8;
    void *more = realloc(s->segments, *cap * sizeof *s->segments);
    if (!more) return sp_fail(SP_ENOMEM, "%s: out of memory", s->index->store.path);
    s->segments = more;
  }
  sp_segment_view *v = &s->segments[s->info.n_segments++];
  memset(v, 0, sizeof *v);
  return sp_segment_view_open(s, disk, v);
}

/* Segments in the order of their keys; their documents' ids must ascend too. */
static sp_err read_segments(sp_snapshot *s) {
  const sp_store *st = &s->index->store;
  MDB_cursor *c;
  int rc = mdb_cursor_open(s->txn, st->db[SP_DB_SEGMENTS], &c);
  if (rc) return sp_store_fail(st, rc, "reading");
  MDB_val key, data;
  sp_err err = SP_OK;
  uint32_t cap = 0;
  uint64_t next_doc = 0;
  while (!err && (rc = mdb_cursor_get(c, &key, &data, MDB_NEXT)) == 0) {
    sp_disk_segment disk;
    err = read_segment_record(st->path, key, data, &disk);
    if (err) break;
    if (disk.first_doc < next_doc || disk.n_docs > UINT32_MAX - disk.first_doc)
      err = sp_fail(SP_EFORMAT, "%s: segment %u: document numbers overlap", st->path,
                    disk.id);
    next_doc = (uint64_t)disk.first_doc + disk.n_docs;
    if (!err) err = add_segment(s, &disk, &cap);
  }
  mdb_cursor_close(c);
  if (!err && rc != MDB_NOTFOUND) err = sp_store_fail(st, rc, "reading");
  return err;
}

static sp_err fill_info(sp_snapshot *s, const sp_disk_index *h) {
  MDB_envinfo e;
  MDB_stat stat;
  int rc = mdb_env_info(s->index->store.env, &e);
  if (!rc) rc = mdb_env_stat(s->index->store.env, &stat);
  if (rc) return sp_store_fail(&s->index->store, rc, "reading");
  s->info.format_version = h->version;
  s->info.n_terms = h->n_terms;
  s->info.bytes = ((uint64_t)e.me_last_pgno + 1) * stat.ms_psize;
  s->info.params = sp_disk_params_read(&h->params);
  for (uint32_t i = 0; i < s->info.n_segments; i++) {
    const sp_segment *g = &s->segments[i].pub;
    s->info.n_docs += g->n_docs - g->n_deleted;
    s->info.n_deleted += g->n_deleted;
    s->info.nnz += g->nnz;
  }
  return SP_OK;
}

sp_err sp_snapshot_open(sp_index *ix, sp_snapshot **out) {
  *out = NULL;
  sp_snapshot *s = calloc(1, sizeof *s);
  if (!s) return sp_fail(SP_ENOMEM, "%s: out of memory", ix->store.path);
  s->index = ix;
  pthread_mutex_init(&s->lock, NULL);
  pthread_mutex_lock(&ix->lock);
  sp_err err = sp_store_read(&ix->store, ix->n_open, &s->txn);
  if (!err) ix->n_open++;
  pthread_mutex_unlock(&ix->lock);
  sp_disk_index h;
  if (!err) err = read_index_record(s, &h);
  if (!err) err = read_encoder(s);
  if (!err) err = read_dictionaries(s, &h);
  if (!err) err = read_segments(s);
  if (!err) err = fill_info(s, &h);
  if (err) {
    sp_snapshot_close(s);
    return err;
  }
  *out = s;
  return SP_OK;
}

void sp_snapshot_close(sp_snapshot *s) {
  if (!s) return;
  for (uint32_t i = 0; i < s->info.n_segments; i++) {
    sp_checked_release(s->index, s->segments[i].checked);
    sp_segment_view_free(&s->segments[i]);
  }
  free(s->segments);
  for (uint32_t i = 0; i < s->n_dictionaries; i++)
    ZSTD_freeDDict(s->dictionaries[i].ddict);
  free(s->dictionaries);
  for (uint32_t i = 0; i < s->n_contexts; i++) ZSTD_freeDCtx(s->contexts[i]);
  free(s->contexts);
  pthread_mutex_destroy(&s->lock);
  if (s->txn) {
    mdb_txn_abort(s->txn);
    pthread_mutex_lock(&s->index->lock);
    s->index->n_open--;
    pthread_mutex_unlock(&s->index->lock);
  }
  free(s);
}

const sp_index_info *sp_snapshot_info(const sp_snapshot *s) {
  return &s->info;
}

uint32_t sp_snapshot_n_segments(const sp_snapshot *s) {
  return s->info.n_segments;
}

const sp_segment *sp_snapshot_segment(const sp_snapshot *s, uint32_t i) {
  return &s->segments[i].pub;
}

static uint64_t sum_chunks(const uint64_t *payload_bytes, uint32_t n) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += SP_CHUNK_HEADING + payload_bytes[i];
  return sum;
}

static uint64_t sum_pieces(const sp_piece_views *p) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < p->n; i++) sum += SP_CHUNK_HEADING + p->at[i].bytes;
  return sum;
}

sp_index_bytes sp_snapshot_bytes(const sp_snapshot *s) {
  sp_index_bytes b = {0};
  for (uint32_t i = 0; i < s->info.n_segments; i++) {
    const sp_segment_view *v = &s->segments[i];
    b.vectors += sum_chunks(v->forward_bytes, v->disk.n_forward);
    if (v->pub.sealed)
      b.lists += sum_chunks(v->list_bytes, v->disk.n_lists) + SP_CHUNK_HEADING +
                 8 * (uint64_t)v->disk.n_terms;
    b.ids += sum_pieces(&v->names) + sum_pieces(&v->ids);
    b.documents += sum_pieces(&v->documents);
  }
  return b;
}

const sp_segment *sp_snapshot_find_segment(const sp_snapshot *s, uint32_t doc) {
  uint32_t lo = 0,
           hi = s->info.n_segments; /* the last segment that begins at or before */
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (s->segments[mid].pub.first_doc <= doc)
      lo = mid + 1;
    else
      hi = mid;
  }
  if (lo == 0) return NULL;
  const sp_segment *g = &s->segments[lo - 1].pub;
  return doc - g->first_doc < g->n_docs ? g : NULL;
}
