/* index/build_store.c - writing a segment that nobody sees yet, batch by batch. */
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include "index/build.h"
#include "index/view.h"

static const MDB_val BUILDING = {8, "building"};

static uint64_t batch_limit(const sp_builder *b) {
  uint64_t n = b->o.memory_bytes / 16;
  return n > (uint64_t)64 << 20 ? (uint64_t)64 << 20 : n;
}

static sp_err put_building(sp_builder *b) {
  return sp_store_put_blob(&b->store, b->batch.txn, SP_DB_META, BUILDING, &b->at,
                           sizeof b->at);
}

static sp_err get_building(sp_builder *b, MDB_txn *txn, sp_building *out, bool *found) {
  const void *data;
  size_t n;
  sp_err err = sp_store_get_blob(&b->store, txn, SP_DB_META, BUILDING, &data, &n);
  if (err) return err;
  *found = data != NULL;
  if (data && n != sizeof *out)
    return sp_fail(
        SP_EFORMAT,
        "%s: its record of an unfinished build is damaged, or of another version",
        b->path);
  if (data) memcpy(out, data, sizeof *out);
  return SP_OK;
}

/* Starts the next batch, after making sure that the map has room for it. */
static sp_err begin(sp_builder *b, uint64_t bytes) {
  bool reading = b->forward.txn != NULL;
  b->batch.room = bytes + batch_limit(b);
  uint64_t need = b->batch.room + (1 << 20);
  if (b->store.map_bytes < b->store.max_bytes || !reading) {
    MDB_envinfo info;
    mdb_env_info(b->store.env, &info);
    uint64_t used = ((uint64_t)info.me_last_pgno + 1) * b->store.page_bytes;
    uint64_t left = b->store.max_bytes > used ? b->store.max_bytes - used : 0;
    if (need > left) need = left; /* it may take less: LMDB will tell */
    if (used + need > b->store.map_bytes) {
      sp_build_forward_close(b); /* the map moves: nobody may hold a piece of it */
      sp_err err = sp_store_make_room(&b->store, need);
      if (err && b->store.map_bytes >= b->store.max_bytes) err = SP_OK;
      if (!err && reading) err = sp_build_forward_open(b);
      if (err) return err;
    }
  }
  b->batch.bytes = 0;
  return sp_store_write(&b->store, &b->batch.txn);
}

sp_err sp_build_expect(sp_builder *b, uint64_t bytes) {
  if (!b->batch.txn) return begin(b, bytes);
  if (b->batch.bytes + bytes <= b->batch.room) return SP_OK;
  sp_err err = sp_build_step(b, true);
  return err ? err : begin(b, bytes);
}

sp_err sp_build_reserve(sp_builder *b, sp_db db, uint32_t number, size_t n,
                        void **value) {
  sp_err err = b->batch.txn ? SP_OK : begin(b, n);
  if (err) return err;
  b->batch.bytes += n;
  return sp_store_reserve_chunk(&b->store, b->batch.txn, db, b->at.segment, number, n,
                                value);
}

sp_err sp_build_step(sp_builder *b, bool flush) {
  if (!b->batch.txn || (!flush && b->batch.bytes < batch_limit(b))) return SP_OK;
  sp_err err = put_building(b);
  if (!err) return sp_store_commit(&b->store, &b->batch.txn);
  mdb_txn_abort(b->batch.txn);
  b->batch.txn = NULL;
  return err;
}

/* Removes the chunks of one segment from one database. */
static sp_err sweep(sp_builder *b, MDB_txn *txn, sp_db db, uint32_t segment) {
  MDB_cursor *c;
  int rc = mdb_cursor_open(txn, b->store.db[db], &c);
  if (rc) return sp_store_fail(&b->store, rc, "sweeping");
  for (;;) {
    uint8_t buffer[8], prefix[8];
    MDB_val key = sp_store_key(segment, 0, buffer), data;
    sp_store_key(segment, 0, prefix);
    rc = mdb_cursor_get(c, &key, &data, MDB_SET_RANGE);
    if (rc || key.mv_size != 8 || memcmp(key.mv_data, prefix, 4) != 0) break;
    rc = mdb_cursor_del(c, 0);
    if (rc) break;
  }
  mdb_cursor_close(c);
  return rc == MDB_NOTFOUND ? SP_OK : sp_store_fail(&b->store, rc, "sweeping");
}

/* Sweeps what `at` wrote, and the record itself, in one commit. */
static sp_err sweep_build(sp_builder *b, const sp_building *at) {
  MDB_txn *txn;
  sp_err err = sp_store_write(&b->store, &txn);
  if (err) return err;
  for (int db = SP_DB_FORWARD; db < SP_N_DBS && !err; db++)
    err = sweep(b, txn, (sp_db)db, at->segment);
  if (!err) err = sp_store_delete(&b->store, txn, SP_DB_META, BUILDING);
  if (!err) return sp_store_commit(&b->store, &txn);
  mdb_txn_abort(txn);
  return err;
}

sp_err sp_build_discard(sp_builder *b) {
  if (b->batch.txn) mdb_txn_abort(b->batch.txn);
  b->batch.txn = NULL;
  sp_build_forward_close(b);
  sp_building at;
  bool found = false;
  MDB_txn *txn;
  sp_err err = sp_store_read(&b->store, 0, &txn);
  if (err) return err;
  err = get_building(b, txn, &at, &found);
  mdb_txn_abort(txn);
  return err || !found ? err : sweep_build(b, &at);
}

uint64_t sp_build_source_hash(const sp_builder *b) {
  uint64_t parts[5] = {XXH3_64bits(b->source, strlen(b->source)), b->state.n_docs,
                       b->state.bytes, b->asked.n_postings};
  memcpy(&parts[4], &b->asked.max_fraction, sizeof parts[4]);
  return XXH3_64bits(parts, sizeof parts);
}

sp_err sp_build_read_committed(sp_builder *b, const sp_snapshot *s) {
  const void *data;
  size_t n;
  sp_err err = sp_store_get_blob(&s->index->store, s->txn, SP_DB_META,
                                 (MDB_val){9, "committed"}, &data, &n);
  if (!err && data && n == sizeof b->committed) memcpy(&b->committed, data, n);
  return err;
}

/* Numbers for a new segment, from the index's record. */
static sp_err number_segment(sp_builder *b, MDB_txn *txn) {
  sp_disk_index h = {.next_segment = 1};
  MDB_val v;
  sp_err err = sp_store_get(&b->store, txn, SP_DB_META, (MDB_val){5, "index"}, &v);
  if (err) return err;
  if (v.mv_data && v.mv_size != sizeof h)
    return sp_fail(SP_EFORMAT, "%s: the index's record is damaged", b->path);
  if (v.mv_data) memcpy(&h, v.mv_data, sizeof h);
  if (h.next_doc > UINT32_MAX - 1 - b->live.n)
    return sp_fail(SP_EINVAL, "%s: an index holds at most 4,294,967,294 documents",
                   b->path);
  b->at = (sp_building){.source = sp_build_source_hash(b),
                        .segment = h.next_segment,
                        .first_doc = h.next_doc,
                        .n_docs = b->live.n};
  return SP_OK;
}

sp_err sp_build_open_store(sp_builder *b) {
  uint64_t guess = 2 * b->spool.bytes + ((uint64_t)64 << 20);
  sp_err err = sp_store_open_write(b->path, guess, b->o.max_bytes, &b->store);
  if (err) return err;
  MDB_txn *txn;
  sp_building at;
  bool found = false;
  err = sp_store_read(&b->store, 0, &txn);
  if (err) return err;
  err = get_building(b, txn, &at, &found);
  bool mine = !err && found && at.source == sp_build_source_hash(b);
  if (mine) b->at = at;
  if (!err && !mine) err = number_segment(b, txn);
  mdb_txn_abort(txn);
  if (!err && found && !mine) err = sweep_build(b, &at);
  if (!err) err = begin(b, 0);
  if (!err) err = sp_build_step(b, true); /* from here on the remains can be found */
  return err;
}

sp_err sp_build_forward_open(sp_builder *b) {
  sp_forward *f = &b->forward;
  f->n = b->n_chunks;
  free(f->chunks);
  free(f->bytes);
  f->chunks = calloc(f->n + (size_t)1, sizeof *f->chunks);
  f->bytes = calloc(f->n + (size_t)1, sizeof *f->bytes);
  if (!f->chunks || !f->bytes) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  sp_err err = sp_store_read(&b->store, 0, &f->txn);
  for (uint32_t i = 0; i < f->n && !err; i++) {
    uint8_t buffer[8];
    MDB_val v;
    sp_disk_chunk h;
    err = sp_store_get(&b->store, f->txn, SP_DB_FORWARD,
                       sp_store_key(b->at.segment, i, buffer), &v);
    if (!err)
      err = sp_chunk_open(v.mv_data, v.mv_size, SP_CHUNK_FORWARD, b->at.segment, i,
                          b->path, &h);
    if (err) break;
    const uint8_t *payload = (const uint8_t *)v.mv_data + SP_CHUNK_HEADING;
    f->bytes[i] = h.payload_bytes;
    err = sp_chunk_verify(v.mv_data, b->path);
    if (!err && !sp_forward_read(payload, h.payload_bytes, h.count, b->n_terms,
                                 b->term_bytes, &f->chunks[i]))
      err = sp_fail(SP_EFORMAT, "%s: forward chunk %u is damaged", b->path, i);
    sp_build_breathe(b);
  }
  return err;
}

void sp_build_forward_close(sp_builder *b) {
  if (b->forward.txn) mdb_txn_abort(b->forward.txn);
  free(b->forward.chunks);
  free(b->forward.bytes);
  b->forward = (sp_forward){0};
}

void sp_build_unmap(const void *at, size_t n) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  uintptr_t a = (uintptr_t)at / page * page, z = (uintptr_t)at + n;
  madvise((void *)a, z - a, MADV_DONTNEED);
}

void sp_build_give_back(void) {
#ifdef __GLIBC__
  malloc_trim(0);
#endif
}

/* Bytes of this process in memory, and those of mapped files among them; false where the
 * system does not tell. */
static bool resident_bytes(int statm_fd, uint64_t *all, uint64_t *mapped) {
  char text[128];
  ssize_t n = statm_fd < 0 ? -1 : pread(statm_fd, text, sizeof text - 1, 0);
  if (n <= 0) return false;
  text[n] = '\0';
  unsigned long resident = 0, shared = 0;
  if (sscanf(text, "%*s %lu %lu", &resident, &shared) != 2) return false;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  *all = resident * page;
  *mapped = shared * page;
  return true;
}

/* Mapped pages may fill what the build's own memory leaves free. An eighth they may hold
 * in any case: below it, letting go would cost more than it gives. */
void sp_build_breathe(const sp_builder *b) {
  uint64_t all, mapped;
  if (!resident_bytes(b->statm_fd, &all, &mapped)) return;
  if (all < b->o.memory_bytes / 16 * 15 || mapped < b->o.memory_bytes / 8) return;
  for (uint32_t i = 0; i < b->forward.n && b->forward.chunks[i].start; i++)
    sp_build_unmap(b->forward.chunks[i].start, b->forward.bytes[i]);
  if (b->kept.keys) sp_build_unmap(b->kept.keys, b->kept.bytes);
}
