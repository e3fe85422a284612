/* query/search.h - the k best documents for a query vector: estimated first, or exact. */
#ifndef SP_SEARCH_H
#define SP_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/vec.h"
#include "index/index.h"

enum { SP_MAX_K = 10000 };

/* The largest weight of a query: with it no score leaves float's range, whatever a document
 * of 65,535 entries of at most 65,504 holds. */
#define SP_MAX_QUERY_WEIGHT 1e28f

typedef struct sp_search_params {
  uint32_t k;         /* 1 .. SP_MAX_K */
  bool exact;         /* score every document: the ground truth */
  uint32_t query_cut; /* the query's strongest terms whose lists are read; 0: all */
  /* A candidate is skipped when its estimate is below heap_factor times the k-th best
   * estimate, or the k-th score: larger skips more, 0 skips nothing. Seismic's own code
   * says so of blocks; OpenSearch's parameter of this name is the inverse (theirs = 1 /
   * ours). */
  float heap_factor;
} sp_search_params;

/* k 10, and settings that gave a recall@10 over 0.99 wherever it was measured. */
sp_search_params sp_search_defaults(void);

/* Hits come best first: score descending, equal scores by internal id ascending. */
typedef struct sp_hit {
  uint32_t doc; /* internal id */
  float score;  /* <query, document>, exact over all terms in either mode */
} sp_hit;

typedef struct sp_search_stats {
  uint32_t n_docs_scored;
  uint32_t n_lists;
  uint64_t n_postings;   /* added up */
  uint32_t n_candidates; /* whose estimates were good enough when they were made */
} sp_search_stats;

/* The scratch of one search at a time: made once a thread, reused; no allocation in a
 * search once k has been seen. Borrows the snapshot. Errors: ENOMEM. */
typedef struct sp_searcher sp_searcher;
sp_err sp_searcher_new(const sp_snapshot *s, sp_searcher **out);
void sp_searcher_free(sp_searcher *s); /* NULL is fine */

/* Writes at most params->k hits to the caller's hits[k] and their number to *n_hits.
 * Documents with score 0 are never hits. Query terms the index does not have count for
 * nothing; a weight that is no number from 0 to SP_MAX_QUERY_WEIGHT is EINVAL. `stats` may
 * be NULL. Errors: EINVAL, ENOMEM, EFORMAT (the search met a damaged list or chunk). */
sp_err sp_search(sp_searcher *s, const sp_vec *query, const sp_search_params *params,
                 sp_hit *hits, uint32_t *n_hits, sp_search_stats *stats);

#endif
