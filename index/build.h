/* index/build.h - the parts of a builder: who holds what between add() and the commit.
 * Private to index/build*.c.
 *
 *   builder.c         open, add, checkpoint; the order of the phases; the ways out
 *   build_live.c      which documents stay, numbered anew; the ids' hashes
 *   build_store.c     batches of writes, the record of progress, sweeping remains away
 *   build_chunks.c    forward index, names, documents; the dictionary
 *   build_lists.c     term range by term range: gather, prune, write
 *   build_postings.c  what static pruning keeps
 *   list.c            a list as bytes
 *   build_commit.c    the one commit that names the segment */
#ifndef SP_BUILD_H
#define SP_BUILD_H

#include "base/pool.h"
#include "base/progress.h"
#include "index/builder.h"
#include "index/format.h"
#include "index/spool.h"
#include "index/store.h"

/* Where the batches written so far stand: "building" in the database `meta`, changed in
 * the commit that adds what it counts. */
typedef struct sp_building {
  uint64_t source; /* sp_build_source_hash() */
  uint32_t segment, first_doc, n_docs, dictionary;
  uint32_t n_forward, n_documents, n_ids, n_lists; /* chunks written */
  uint32_t next_term;                              /* lists below are written */
  uint32_t n_hashes;                               /* ids in the n_ids chunks */
  uint64_t nnz, n_postings, n_kept_lists;
} sp_building;

/* Documents that stay: those whose id does not come again. */
typedef struct sp_live {
  uint64_t *bits;   /* [(n_spooled + 63) / 64] */
  uint32_t *before; /* [n_spooled / 4096 + 1] live ones before each 4,096 */
  uint32_t n;
} sp_live;

/* One batch of writes: committed when it has grown. */
typedef struct sp_batch {
  MDB_txn *txn;
  uint64_t bytes; /* reserved so far */
  uint64_t room;  /* that many fit into the map */
} sp_batch;

/* The new segment's forward index, read back through the map. */
typedef struct sp_forward {
  MDB_txn *txn;
  sp_forward_chunk *chunks; /* [n] */
  uint64_t *bytes;          /* [n] of each payload, from its start table on */
  uint32_t n;
} sp_forward;

/* For every document the key (build_postings.c) of the weakest of its few terms that
 * pruning never takes; in a file without a name. */
typedef struct sp_kept {
  uint16_t *keys; /* [live documents] mapped */
  uint64_t bytes;
} sp_kept;

struct sp_builder {
  char *path;
  int dir_fd;            /* locked: one builder at a time */
  bool made_directory;   /* it was not there */
  bool is_new;           /* there was no index */
  bool is_committed;     /* this very build has been committed before */
  sp_building committed; /* the record of the last build that was; source 0: none */
  sp_build_options o;
  sp_build_params asked; /* as the options had them; those in `o` are then chosen */
  sp_build_hooks hooks;
  char *source;
  sp_build_start start;
  sp_spool spool;
  sp_spool_state state;
  sp_buf base_contract, base_encoder; /* of the index to append to */
  double checkpointed_s;
  uint64_t checkpointed_bytes;

  sp_pool *pool; /* from here on: while finishing */
  sp_store store;
  sp_building at;
  sp_live live;
  sp_batch batch;
  sp_forward forward;
  sp_kept kept;
  uint32_t n_terms, term_bytes, n_chunks;
  float *query_weight; /* [n_terms], at most 1; or NULL: all alike */
  float *half;         /* [32,768] the values of the non-negative f16 patterns */
  int statm_fd;
  sp_build_summary sum;
};

/* build_live.c */
sp_err sp_build_find_live(sp_builder *b);
bool sp_build_is_live(const sp_builder *b, uint64_t ordinal);
uint32_t sp_build_local(const sp_builder *b, uint64_t ordinal); /* of a live one */
uint64_t sp_build_ordinal(const sp_builder *b, uint32_t local);
sp_err sp_build_write_ids(sp_builder *b);

/* build_store.c */
uint64_t sp_build_source_hash(
    const sp_builder *b); /* of the source, the parameters and the spool's size */
sp_err sp_build_read_committed(sp_builder *b, const sp_snapshot *s);
sp_err sp_build_open_store(sp_builder *b); /* and find or begin the record of progress */
/* Before up to `bytes` are reserved without a step between them: sees that the map has room
 * for them. As it may commit the batch, b->at must tell what has been written. */
sp_err sp_build_expect(sp_builder *b, uint64_t bytes);
sp_err sp_build_reserve(sp_builder *b, sp_db db, uint32_t number, size_t n, void **value);
sp_err sp_build_step(sp_builder *b, bool flush); /* commit the batch if it has grown */
sp_err sp_build_discard(sp_builder *b);          /* remove the unnamed segment */
sp_err sp_build_forward_open(sp_builder *b);
void sp_build_forward_close(sp_builder *b);
static inline sp_doc sp_build_doc(const sp_builder *b, uint32_t doc);

/* Lets go of mapped pages when the process holds more than the memory limit grants. Any
 * thread. */
void sp_build_breathe(const sp_builder *b);
void sp_build_unmap(const void *at, size_t n); /* lets go of these pages of a map */
void sp_build_give_back(void); /* what was freed, from the allocator to the system */

/* build_dictionary.c: sets b->at.dictionary; writes one when the index has none. */
sp_err sp_build_dictionary(sp_builder *b);

/* build_chunks.c */
sp_err sp_build_write_chunks(sp_builder *b);

/* build_lists.c */
sp_err sp_build_write_lists(sp_builder *b);

/* build_commit.c */
sp_err sp_build_commit(sp_builder *b);

static inline sp_doc sp_build_doc(const sp_builder *b, uint32_t doc) {
  const sp_forward_chunk *c = &b->forward.chunks[doc / SP_CHUNK_DOCS];
  uint32_t i = doc % SP_CHUNK_DOCS, n = c->n[i];
  const uint8_t *at = c->base + (size_t)c->start[i] * 4;
  return (sp_doc){at, (const uint16_t *)(const void *)(at + (size_t)n * b->term_bytes),
                  n};
}

static inline uint32_t sp_doc_term(const sp_doc *d, uint32_t term_bytes, uint32_t i) {
  return term_bytes == 2 ? ((const uint16_t *)d->terms)[i]
                         : ((const uint32_t *)d->terms)[i];
}

#endif
