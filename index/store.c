/* index/store.c - LMDB, wrapped once. */
#include "index/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "index/format.h"
#include "index/lmdb_check.h"

enum { MAX_READERS = 1024 }; /* transactions at a time, of all processes */

static const char *const DB_NAMES[SP_N_DBS] = {
    "meta", "segments", "deleted", "forward", "lists", "names", "documents", "ids"};

/* Addresses reserved past the file's end for a reader: they cost nothing. */
static const uint64_t READER_ROOM = (uint64_t)64 << 30;

sp_err sp_store_fail(const sp_store *s, int rc, const char *doing) {
  switch (rc) {
    case 0:
      return SP_OK;
    case MDB_MAP_FULL:
      return sp_fail(SP_EIO,
                     "%s: the map is full: the index would need more than %llu bytes",
                     s->path, (unsigned long long)s->map_bytes);
    case MDB_READERS_FULL:
      return sp_fail(SP_EIO, "%s: it is read at %d places, as many as may be", s->path,
                     MAX_READERS);
    case ENOSPC:
      return sp_fail(SP_EIO, "%s: the disk is full (while %s)", s->path, doing);
    case EFBIG:
    case EDQUOT:
      return sp_fail(SP_EIO, "%s: no more bytes may be written (while %s): %s", s->path,
                     doing, strerror(rc));
    case ENOMEM:
      return sp_fail(SP_ENOMEM, "%s: out of memory (while %s)", s->path, doing);
    case MDB_VERSION_MISMATCH:
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE:
    case MDB_NOTFOUND:
      return sp_fail(SP_EFORMAT, "%s: damaged, or not an index (while %s): %s", s->path,
                     doing, mdb_strerror(rc));
    default:
      return sp_fail(SP_EIO, "%s: %s: %s", s->path, doing, mdb_strerror(rc));
  }
}

/* A version to come may have other databases: its number is looked at first. */
static sp_err check_version(sp_store *s, MDB_txn *txn) {
  MDB_val v;
  sp_disk_index h;
  sp_err err = sp_store_get(s, txn, SP_DB_META, (MDB_val){5, "index"}, &v);
  if (err || !v.mv_data) return err;
  if (v.mv_size < offsetof(sp_disk_index, next_segment))
    return sp_fail(SP_EFORMAT, "%s: its record is damaged", s->path);
  memcpy(&h, v.mv_data, offsetof(sp_disk_index, next_segment));
  if (memcmp(h.magic, SP_INDEX_MAGIC, sizeof h.magic) != 0)
    return sp_fail(SP_EFORMAT, "%s: not an index", s->path);
  if (h.version > SP_FORMAT_VERSION)
    return sp_fail(SP_EFORMAT,
                   "%s: format version %u is newer than this program, which knows %d",
                   s->path, h.version, SP_FORMAT_VERSION);
  if (h.version < SP_FORMAT_VERSION)
    return sp_fail(SP_EFORMAT,
                   "%s: format version %u is older than this program's %d: build the "
                   "index again with `spindle index`",
                   s->path, h.version, SP_FORMAT_VERSION);
  return SP_OK;
}

static sp_err open_dbs(sp_store *s, MDB_txn *txn, unsigned flags) {
  for (int i = 0; i < SP_N_DBS; i++) {
    int rc = mdb_dbi_open(txn, DB_NAMES[i], flags, &s->db[i]);
    MDB_stat all;
    if (rc == MDB_NOTFOUND && mdb_env_stat(s->env, &all) == 0 && all.ms_entries == 0)
      return sp_fail(SP_ENOTFOUND, "%s: no index here (a build was cut off at its start)",
                     s->path);
    if (rc == MDB_NOTFOUND)
      return sp_fail(SP_EFORMAT, "%s: not an index: database '%s' is missing", s->path,
                     DB_NAMES[i]);
    if (rc) return sp_store_fail(s, rc, "opening its databases");
    sp_err err = i == SP_DB_META ? check_version(s, txn) : SP_OK;
    if (err) return err;
  }
  MDB_stat stat;
  int rc = mdb_env_stat(s->env, &stat);
  if (!rc) s->page_bytes = stat.ms_psize;
  return sp_store_fail(s, rc, "opening its databases");
}

/* Checks data.mdb before LMDB maps it. ENOTFOUND when it isn't there. */
static sp_err check_file(const char *path) {
  char *file = sp_path_join(path, "data.mdb");
  if (!file) return SP_ENOMEM;
  int fd = open(file, O_RDONLY | O_CLOEXEC);
  struct stat st = {0};
  sp_err err = SP_OK;
  if (fd < 0 && errno == ENOENT)
    err = sp_fail(SP_ENOTFOUND, "%s: no index here (data.mdb is missing)", path);
  else if (fd < 0 || fstat(fd, &st))
    err = sp_fail_errno(errno, "%s", file);
  else if (st.st_size == 0) /* killed between making the file and its first page */
    err = sp_fail(SP_ENOTFOUND, "%s: no index here (data.mdb is empty)", path);
  else
    err = sp_lmdb_check_meta(fd, path);
  if (fd >= 0) close(fd);
  free(file);
  return err;
}

static sp_err make_env(sp_store *s, const char *path, uint64_t map_bytes) {
  *s = (sp_store){.path = strdup(path), .map_bytes = map_bytes, .max_bytes = UINT64_MAX};
  if (!s->path) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  int rc = mdb_env_create(&s->env);
  if (!rc) rc = mdb_env_set_maxdbs(s->env, 16);
  if (!rc) rc = mdb_env_set_maxreaders(s->env, MAX_READERS);
  if (!rc && map_bytes) rc = mdb_env_set_mapsize(s->env, map_bytes);
  return sp_store_fail(s, rc, "opening");
}

static uint64_t file_bytes(const char *path) {
  char *file = sp_path_join(path, "data.mdb");
  struct stat st;
  uint64_t n = file && stat(file, &st) == 0 ? (uint64_t)st.st_size : 0;
  free(file);
  return n;
}

/* Walks the trees that transaction `txn` sees. */
static sp_err check_trees(sp_store *s, MDB_txn *txn) {
  int fd;
  int rc = mdb_env_get_fd(s->env, &fd);
  if (rc) return sp_store_fail(s, rc, "opening");
  return sp_lmdb_check_trees(fd, mdb_txn_id(txn), s->path);
}

static sp_err open_read_env(sp_store *s, const char *path, uint64_t map_bytes) {
  sp_err err = make_env(s, path, map_bytes);
  if (err) return err;
  int rc = mdb_env_open(s->env, path, MDB_RDONLY | MDB_NOTLS, 0);
  if (rc == 0) return SP_OK;
  return rc == ENOMEM ? sp_fail(SP_ENOMEM, "%s: cannot map %llu bytes", path,
                                (unsigned long long)map_bytes)
                      : sp_store_fail(s, rc, "opening");
}

sp_err sp_store_open(const char *path, sp_store *out) {
  *out = (sp_store){0};
  sp_err err = check_file(path);
  if (err) return err;
  err = open_read_env(out, path, file_bytes(path) + READER_ROOM);
  if (err == SP_ENOMEM) { /* addresses are limited: just the file, then */
    sp_store_close(out);
    err = open_read_env(out, path, file_bytes(path));
  }
  MDB_txn *txn = NULL;
  if (!err) err = sp_store_read(out, 0, &txn);
  if (!err) err = check_trees(out, txn);
  if (!err) err = open_dbs(out, txn, 0);
  /* Committing a read transaction keeps the handles it opened. */
  if (!err)
    err = sp_store_fail(out, mdb_txn_commit(txn), "opening its databases");
  else if (txn)
    mdb_txn_abort(txn);
  if (err) sp_store_close(out);
  return err;
}

sp_err sp_store_open_write(const char *path, uint64_t map_bytes, uint64_t max_bytes,
                           sp_store *out) {
  *out = (sp_store){0};
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), now = file_bytes(path);
  if (now) {
    sp_err err = check_file(path);
    if (err) return err;
  }
  if (map_bytes < now + (1 << 20)) map_bytes = now + (1 << 20);
  if (map_bytes > max_bytes) map_bytes = max_bytes > now ? max_bytes : now;
  map_bytes = sp_round_up(map_bytes, page);
  sp_err err = make_env(out, path, map_bytes);
  out->max_bytes = max_bytes;
  MDB_txn *txn = NULL;
  int rc = 0;
  if (!err) rc = mdb_env_open(out->env, path, MDB_NOTLS | MDB_NORDAHEAD, 0644);
  if (!err) err = sp_store_fail(out, rc, "opening");
  if (!err) mdb_reader_check(out->env, &rc); /* forget readers that died */
  if (!err && now) {
    err = sp_store_read(out, 0, &txn);
    if (!err) err = check_trees(out, txn);
    if (txn) mdb_txn_abort(txn);
    txn = NULL;
  }
  if (!err) err = sp_store_write(out, &txn);
  if (!err) err = open_dbs(out, txn, MDB_CREATE);
  if (!err) err = sp_store_commit(out, &txn);
  if (txn) mdb_txn_abort(txn);
  if (err) sp_store_close(out);
  return err;
}

void sp_store_close(sp_store *s) {
  if (s->env) mdb_env_close(s->env);
  free(s->path);
  *s = (sp_store){0};
}

sp_err sp_store_read(sp_store *s, unsigned n_open, MDB_txn **out) {
  *out = NULL;
  int rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, out), n_dead;
  /* Killed readers keep their places until somebody looks whether they live. */
  if (rc == MDB_READERS_FULL && mdb_reader_check(s->env, &n_dead) == 0 && n_dead > 0)
    rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, out);
  if (rc == MDB_MAP_RESIZED) {
    if (n_open)
      return sp_fail(SP_EBUSY,
                     "%s has outgrown this process's map: end older snapshots "
                     "first",
                     s->path);
    rc = mdb_env_set_mapsize(s->env, 0);
    if (!rc) rc = mdb_txn_begin(s->env, NULL, MDB_RDONLY, out);
  }
  return sp_store_fail(s, rc, "reading");
}

sp_err sp_store_write(sp_store *s, MDB_txn **out) {
  *out = NULL;
  return sp_store_fail(s, mdb_txn_begin(s->env, NULL, 0, out), "writing");
}

sp_err sp_store_commit(sp_store *s, MDB_txn **txn) {
  int rc = mdb_txn_commit(*txn);
  *txn = NULL;
  return sp_store_fail(s, rc, "committing");
}

sp_err sp_store_make_room(sp_store *s, uint64_t bytes) {
  MDB_envinfo info;
  MDB_stat stat;
  int rc = mdb_env_info(s->env, &info);
  if (!rc) rc = mdb_env_stat(s->env, &stat);
  if (rc) return sp_store_fail(s, rc, "reading its size");
  uint64_t used = ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
  uint64_t need = used + bytes;
  if (need <= s->map_bytes) return SP_OK;
  if (need > s->max_bytes)
    return sp_fail(SP_EIO,
                   "%s: the map is full: %llu bytes are used, %llu more are needed, the "
                   "limit is %llu",
                   s->path, (unsigned long long)used, (unsigned long long)bytes,
                   (unsigned long long)s->max_bytes);
  uint64_t size = need * 2 < s->max_bytes ? need * 2 : s->max_bytes;
  size = sp_round_up(size, (size_t)sysconf(_SC_PAGESIZE));
  rc = mdb_env_set_mapsize(s->env, size);
  if (rc) return sp_store_fail(s, rc, "enlarging the map");
  s->map_bytes = size;
  return SP_OK;
}

MDB_val sp_store_key(uint32_t segment, uint32_t number, uint8_t buffer[8]) {
  for (int i = 0; i < 4; i++) {
    buffer[i] = (uint8_t)(segment >> (24 - 8 * i));
    buffer[4 + i] = (uint8_t)(number >> (24 - 8 * i));
  }
  return (MDB_val){8, buffer};
}

sp_err sp_store_put(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key, MDB_val data) {
  return sp_store_fail(s, mdb_put(txn, s->db[db], &key, &data, 0), "writing");
}

sp_err sp_store_get(const sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                    MDB_val *data) {
  *data = (MDB_val){0, NULL};
  int rc = mdb_get(txn, s->db[db], &key, data);
  return rc == MDB_NOTFOUND ? SP_OK : sp_store_fail(s, rc, "reading");
}

sp_err sp_store_delete(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key) {
  int rc = mdb_del(txn, s->db[db], &key, NULL);
  return rc == MDB_NOTFOUND ? SP_OK : sp_store_fail(s, rc, "writing");
}

sp_err sp_store_put_blob(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                         const void *data, size_t n) {
  MDB_val v = {n + 8, NULL};
  int rc = mdb_put(txn, s->db[db], &key, &v, MDB_RESERVE);
  if (rc) return sp_store_fail(s, rc, "writing");
  uint64_t sum = XXH3_64bits(data, n);
  memcpy(v.mv_data, &sum, 8);
  if (n) memcpy((char *)v.mv_data + 8, data, n);
  return SP_OK;
}

sp_err sp_store_get_blob(const sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                         const void **data, size_t *n) {
  *data = NULL;
  *n = 0;
  MDB_val v;
  sp_err err = sp_store_get(s, txn, db, key, &v);
  if (err || !v.mv_data) return err;
  uint64_t sum;
  if (v.mv_size >= 8) memcpy(&sum, v.mv_data, 8);
  if (v.mv_size < 8 || XXH3_64bits((char *)v.mv_data + 8, v.mv_size - 8) != sum)
    return sp_fail(SP_EFORMAT, "%s: a record of '%s' is damaged (checksum differs)",
                   s->path, DB_NAMES[db]);
  *data = (char *)v.mv_data + 8;
  *n = v.mv_size - 8;
  return SP_OK;
}

sp_err sp_store_reserve_chunk(sp_store *s, MDB_txn *txn, sp_db db, uint32_t segment,
                              uint32_t number, size_t n, void **value) {
  uint8_t buffer[8];
  MDB_val key = sp_store_key(segment, number, buffer);
  MDB_val v = {n > s->page_bytes ? n : s->page_bytes, NULL};
  int rc = mdb_put(txn, s->db[db], &key, &v, MDB_RESERVE);
  *value = v.mv_data;
  if (rc) return sp_store_fail(s, rc, "writing");
  if (v.mv_size > n) memset((char *)v.mv_data + n, 0, v.mv_size - n);
  return SP_OK;
}
