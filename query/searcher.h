/* query/searcher.h - the scratch of a search, shared by its parts; private to query/. */
#ifndef SP_SEARCHER_H
#define SP_SEARCHER_H

#include "kernels/sparse.h"
#include "query/search.h"
#include "query/topk.h"

/* One inverted list of the current search and where the estimates of its blocks begin. */
typedef struct sp_open_list {
  sp_list list;
  float *estimates; /* [list.n_blocks] within sp_searcher.estimates */
} sp_open_list;

struct sp_searcher {
  const sp_snapshot *snapshot;
  const sp_sparse_kernels *kernels;

  /* The query: its terms below n_table with weights > 0, ascending; the same as a table
   * by term, all 0 between searches; and as a short query where it is one. */
  uint32_t *terms;
  float *weights;
  uint32_t n, cap;
  float *table;
  uint32_t n_table;
  bool is_short;
  sp_short_query short_query;

  sp_topk best; /* of all segments, by internal id */
  sp_search_stats stats;

  /* For pruned search (query/pruned.c). */
  sp_topk strongest; /* selects the query's strongest terms */
  uint64_t *visited; /* bitset over a segment's documents, 0 between segments */
  uint32_t *touched; /* the words of it that are not 0 */
  uint32_t n_touched;
  sp_open_list *lists;
  uint32_t lists_cap;
  float *estimates;
  uint32_t *order; /* blocks as they are visited: list << 16 | block */
  uint32_t blocks_cap;
};

static inline float sp_searcher_score(const sp_searcher *s, const sp_segment *seg,
                                      sp_doc doc) {
  if (s->is_short && seg->term_bytes == 2)
    return s->kernels->dot_short(doc.terms, doc.n, &s->short_query, s->table);
  if (seg->term_bytes == 2) return s->kernels->dot_u16(doc.terms, doc.n, s->table);
  return s->kernels->dot_u32(doc.terms, doc.n, s->table, s->n_table);
}

/* Scores every document of a segment. */
void sp_search_exhaustively(sp_searcher *s, const sp_segment *seg);

/* Scores the documents of the blocks that look good enough. Errors: ENOMEM. */
sp_err sp_search_pruned(sp_searcher *s, const sp_segment *seg,
                        const sp_search_params *params);

#endif
