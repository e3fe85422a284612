/* index/segment.h - what a search sees of one segment: pointers into the map, nothing
 * copied.
 *
 * A segment is an immutable batch of documents with their vectors (the forward index)
 * and, once sealed, inverted lists. Everything here is borrowed from the snapshot
 * (index/index.h) and lives as long as it. All arrays are little-endian and lie in the map
 * as they are used; how they get there is index/format.h. */
#ifndef SP_SEGMENT_H
#define SP_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { SP_CHUNK_DOCS = 4096 }; /* documents in one chunk of the forward index */

/* One document's vector: terms ascending, weights as IEEE half bits (base/half.h), > 0.
 */
typedef struct sp_doc {
  const void *terms;       /* [n] uint16_t or uint32_t: sp_segment.term_bytes */
  const uint16_t *weights; /* [n] f16 */
  uint32_t n;
} sp_doc;

/* One chunk of the forward index. Document i of the chunk has its terms at
 * base + 4 * start[i] and its weights right after the terms (rounded up to 2 bytes). */
typedef struct sp_forward_chunk {
  const uint8_t *base;   /* 64-byte aligned */
  const uint32_t *start; /* [documents of the chunk + 1], in units of 4 bytes */
  const uint16_t *n;     /* [documents of the chunk] entries; NULL: not touched yet */
} sp_forward_chunk;

enum { SP_WINDOW_DOCS = 65536 }; /* documents that 16 bits tell apart within a list */

/* One term's inverted list: the documents that static pruning kept, ascending, each with
 * its weight as a code of 8 bits. A run is the stretch of a list within one window of
 * 65,536 documents: posting i of run r is document run_window[r] * 65,536 + docs[i]. */
typedef struct sp_list {
  uint32_t n_docs;     /* postings kept by static pruning; may be 0 */
  uint32_t n_all_docs; /* postings before static pruning: the document frequency */
  uint32_t n_runs;
  const uint32_t *run_start;  /* [n_runs + 1] into docs */
  const uint16_t *run_window; /* [n_runs] ascending */
  const uint16_t *docs;       /* [n_docs] within their windows, ascending in a run */
  const uint8_t *codes;       /* [n_docs] at least 1 */
  float step;          /* codes[i] * step is the weight, less than a step above it */
  float max_weight;    /* the largest weight before static pruning */
  float max_discarded; /* the largest weight that static pruning threw out; 0: none */
} sp_list;

typedef struct sp_segment {
  uint32_t id;
  uint32_t first_doc; /* internal id of its document 0; ids are first_doc .. + n_docs-1 */
  uint32_t n_docs;    /* deleted ones included */
  uint32_t n_deleted;
  uint32_t n_terms;        /* every term in it is below this */
  uint8_t term_bytes;      /* 2 when n_terms <= 65,536, else 4 */
  bool sealed;             /* has lists; otherwise it is searched document by document */
  uint64_t nnz;            /* entries of all its vectors */
  const uint64_t *deleted; /* bitset [(n_docs + 63) / 64], or NULL: none */
  const sp_forward_chunk *chunks;    /* [(n_docs + 4095) / 4096] */
  const uint8_t *const *list_chunks; /* the values that hold the lists */
  const uint64_t *list_at; /* [n_terms] where each term's list lies; 0: no list */
} sp_segment;

/* Points a chunk at its tables, once it is needed: opening an index must not read a page of
 * each. They are checked; the documents of a damaged chunk have empty vectors, and
 * sp_segment_health() tells. Any thread. */
void sp_segment_touch(const sp_segment *s, uint32_t chunk);

static inline sp_doc sp_segment_doc(const sp_segment *s, uint32_t doc) {
  const sp_forward_chunk *c = &s->chunks[doc / SP_CHUNK_DOCS];
  const uint16_t *sizes = __atomic_load_n(&c->n, __ATOMIC_ACQUIRE);
  if (__builtin_expect(!sizes, 0)) {
    sp_segment_touch(s, doc / SP_CHUNK_DOCS);
    sizes = c->n;
  }
  uint32_t i = doc % SP_CHUNK_DOCS, n = sizes[i];
  const uint8_t *at = c->base + (size_t)c->start[i] * 4;
  return (sp_doc){at, (const uint16_t *)(const void *)(at + (size_t)n * s->term_bytes),
                  n};
}

static inline bool sp_segment_is_deleted(const sp_segment *s, uint32_t doc) {
  return s->deleted && (s->deleted[doc / 64] >> doc % 64 & 1);
}

/* The list of `term`; false when no document has the term (or it is not below n_terms). No
 * failure: a list is checked on first touch. */
bool sp_segment_list(const sp_segment *s, uint32_t term, sp_list *out);

/* SP_OK, or EFORMAT once a damaged list was met (and said not to be there) or a damaged
 * chunk: a search asks after its work, so that damage is never taken for a poor answer. */
sp_err sp_segment_health(const sp_segment *s);

#endif
