/* query/searcher.h - the scratch of a search, shared by its parts; private to query/. */
#ifndef SP_SEARCHER_H
#define SP_SEARCHER_H

#include "kernels/sparse.h"
#include "query/search.h"
#include "query/topk.h"

/* One inverted list of the current search. */
typedef struct sp_open_list {
  sp_list list;
  float scale;  /* of its codes: the query's weight is in it */
  float shift;  /* what a document without a posting is taken to have */
  uint32_t run; /* the runs before are done */
} sp_open_list;

typedef struct sp_candidate {
  uint32_t doc; /* local */
  float estimate;
} sp_candidate;

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
  sp_topk strongest;   /* selects the query's strongest terms */
  sp_topk likely;      /* the k best estimates, of all segments */
  sp_open_list *lists; /* [n_lists] of a segment, of the strongest term first */
  uint32_t n_lists, lists_cap;
  uint64_t n_postings; /* in them */
  float *sums;         /* [SP_WINDOW_DOCS] by document of a window, 0 between windows */
  float unseen; /* what each estimate begins with: the lists' shifts, and more for lists
                   that are not read */
  sp_candidate *candidates;
  uint32_t *order; /* of the candidates: the best estimates first */
  uint32_t n_candidates;
  size_t candidates_cap;
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

/* Scores the documents that look good enough by the inverted lists. Errors: ENOMEM. */
sp_err sp_search_pruned(sp_searcher *s, const sp_segment *seg,
                        const sp_search_params *params);

#endif
