/* index/lmdb_check.h - are the pages of this data.mdb sound enough to hand to LMDB?
 *
 * LMDB trusts its file: a page number past the end is a bus error, a wild node offset a
 * wild read. An index packs its data into few large values, so its trees are small (a
 * thousand pages for a hundred million documents) and can be walked whenever it is
 * opened. Layout: lmdb's mdb.c, 0.9.x data version 1. Private to index/. */
#ifndef SP_LMDB_CHECK_H
#define SP_LMDB_CHECK_H

#include <stdint.h>

#include "base/err.h"

/* Reads the two meta pages of an existing file, before LMDB maps it. Errors: EFORMAT
 * (truncated, not LMDB's, not of this page order), EIO. */
sp_err sp_lmdb_check_meta(int fd, const char *where);

/* Walks every tree of the snapshot `txn_id`; the caller holds a transaction on it, so its
 * pages stay. Errors: EFORMAT (the sentence names page and fault), ENOMEM, EIO. */
sp_err sp_lmdb_check_trees(int fd, uint64_t txn_id, const char *where);

#endif
