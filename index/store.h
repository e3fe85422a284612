/* index/store.h - the LMDB environment of an index: opened with care, named databases,
 * failures as sentences. Private to index/: the only files that know LMDB's words. */
#ifndef SP_STORE_H
#define SP_STORE_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef enum sp_db {
  SP_DB_META,
  SP_DB_SEGMENTS,
  SP_DB_DELETED,
  SP_DB_FORWARD,
  SP_DB_LISTS,
  SP_DB_NAMES,
  SP_DB_DOCUMENTS,
  SP_DB_IDS,
  SP_N_DBS
} sp_db;

typedef struct sp_store {
  MDB_env *env;
  MDB_dbi db[SP_N_DBS];
  char *path;         /* the directory */
  uint64_t max_bytes; /* the map never grows past it */
  uint64_t map_bytes; /* as it is now */
  size_t page_bytes;
} sp_store;

/* Opens an existing index for reading. The structure of LMDB's own pages is checked
 * first (lmdb_check.h). The map reserves addresses well past the file's end, so that
 * snapshots survive its growth. Errors: ENOTFOUND, EFORMAT, EIO, ENOMEM. */
sp_err sp_store_open(const char *path, sp_store *out);

/* Opens or creates the environment for writing, with a map of at least `map_bytes`
 * (rounded up to pages) and at most `max_bytes`. Errors: as above. */
sp_err sp_store_open_write(const char *path, uint64_t map_bytes, uint64_t max_bytes,
                           sp_store *out);
void sp_store_close(sp_store *s); /* {0} is fine */

/* A read transaction that may pass from thread to thread. When the file outgrew the map,
 * the map is made anew, which is allowed only while `n_open`, the transactions open in
 * this process, is 0. The caller ends it with mdb_txn_abort(). */
sp_err sp_store_read(sp_store *s, unsigned n_open, MDB_txn **out);
sp_err sp_store_write(sp_store *s, MDB_txn **out);

/* Ends *txn whatever happens, and makes it NULL. Errors: EIO (disk full, map full). */
sp_err sp_store_commit(sp_store *s, MDB_txn **txn);

/* Makes sure that `bytes` more fit into the map, enlarging it. No transaction may be open
 * in this process. Errors: EIO (the limit is reached). */
sp_err sp_store_make_room(sp_store *s, uint64_t bytes);

/* (segment, number) as a key; it points into *buffer. */
MDB_val sp_store_key(uint32_t segment, uint32_t number, uint8_t buffer[8]);

/* A value under a name or a number, wrapped with its checksum as a blob (format.h).
 * get: *data is NULL when there is none; borrowed from the transaction. */
sp_err sp_store_put_blob(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                         const void *data, size_t n);
sp_err sp_store_get_blob(const sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                         const void **data, size_t *n);

/* Plain values. get: data->mv_data is NULL when there is none. */
sp_err sp_store_put(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key, MDB_val data);
sp_err sp_store_get(const sp_store *s, MDB_txn *txn, sp_db db, MDB_val key,
                    MDB_val *data);
sp_err sp_store_delete(sp_store *s, MDB_txn *txn, sp_db db, MDB_val key);

/* Room for a chunk's value of `n` bytes (format.h), to be written in place. */
sp_err sp_store_reserve_chunk(sp_store *s, MDB_txn *txn, sp_db db, uint32_t segment,
                              uint32_t number, size_t n, void **value);

/* The sentence for LMDB's return code; SP_OK for 0. */
sp_err sp_store_fail(const sp_store *s, int rc, const char *doing);

#endif
