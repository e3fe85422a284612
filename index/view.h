/* index/view.h - how a snapshot holds its segments. Private to index/. */
#ifndef SP_VIEW_H
#define SP_VIEW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zstd.h>

#include "index/format.h"
#include "index/index.h"
#include "index/store.h"

/* What is known of a segment's soundness: segments never change, so all snapshots of one
 * opened index share it. */
typedef struct sp_checked {
  uint32_t segment, n_refs;
  _Atomic uint32_t damaged;       /* a term whose list is damaged, plus 1 */
  _Atomic uint32_t damaged_chunk; /* a forward chunk that is damaged, plus 1 */
  _Atomic uint64_t *lists;        /* [(n_terms + 63) / 64] lists found sound */
  struct sp_checked *next;
} sp_checked;

/* A chunk of names, documents or ids: where its payload lies, which documents it has.
 * Opening an index touches no chunk: all this comes from LMDB's keys and sizes. */
typedef struct sp_piece_view {
  const uint8_t *payload;
  uint64_t bytes;
  uint32_t first, count;
} sp_piece_view;

typedef struct sp_piece_views {
  sp_piece_view *at; /* [n], ascending by first */
  uint32_t n;
} sp_piece_views;

typedef struct sp_segment_view {
  sp_segment pub; /* first: sp_segment_list() gets from it to the view */
  sp_disk_segment disk;
  sp_checked *checked;
  const char *path;              /* of the index, for sentences */
  pthread_mutex_t *lock;         /* the snapshot's, for touching a chunk */
  const uint8_t **forward;       /* [n_forward] payloads */
  const uint64_t *forward_bytes; /* [n_forward] of them: at most what LMDB has */
  const uint64_t *list_bytes;    /* [n_lists] of each list chunk's payload, likewise */
  sp_piece_views names, documents, ids;
  const ZSTD_DDict *dictionary; /* borrowed from the snapshot; NULL: none */
} sp_segment_view;

typedef struct sp_dictionary_view {
  uint32_t number;
  ZSTD_DDict *ddict;
} sp_dictionary_view;

struct sp_index {
  sp_store store;
  pthread_mutex_t lock; /* guards what follows */
  unsigned n_open;      /* snapshots */
  sp_checked *checked;
};

struct sp_snapshot {
  sp_index *index;
  MDB_txn *txn;
  sp_index_info info;
  sp_segment_view *segments; /* [info.n_segments], ascending by first_doc */
  sp_dictionary_view *dictionaries;
  uint32_t n_dictionaries;
  pthread_mutex_t lock; /* guards the contexts, and chunks that are touched first */
  ZSTD_DCtx **contexts; /* not in use now */
  uint32_t n_contexts, cap_contexts;
};

/* Fills in one segment from its record. `s` already has its dictionaries. On failure what
 * was allocated is still freed by sp_segment_view_free(). */
sp_err sp_segment_view_open(sp_snapshot *s, const sp_disk_segment *disk,
                            sp_segment_view *v);
void sp_segment_view_free(sp_segment_view *v);

/* The segment's shared record of checks, made when it is new; and its release. */
sp_err sp_checked_get(sp_index *ix, uint32_t segment, uint32_t n_terms, sp_checked **out);
void sp_checked_release(sp_index *ix, sp_checked *c);

/* Bounded reads of one document's id; NULL when damaged or out of range. */
const char *sp_segment_view_id(const sp_segment_view *v, uint32_t doc, size_t *n);

/* The local number of the live or dead document with this id, or UINT32_MAX. */
uint32_t sp_segment_view_find(const sp_segment_view *v, const char *id, size_t n);

#endif
