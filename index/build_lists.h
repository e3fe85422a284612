/* index/build_lists.h - what the passes over the forward index share. Private to
 * index/build_*.c. */
#ifndef SP_BUILD_LISTS_H
#define SP_BUILD_LISTS_H

#include <stdatomic.h>

#include "index/build.h"

enum {
  /* A document's strongest terms that pruning never takes: through them it is found. */
  SP_KEPT_TERMS = 3,
  SP_SMALL_LIST = 64,   /* up to here a list stays whole */
  SP_N_HALVES = 1 << 15 /* non-negative f16 patterns */
};

/* One term's postings while its range is in memory. */
typedef struct sp_postings {
  uint32_t n_all, n;                  /* before and after static pruning */
  size_t at;                          /* where they begin in the range's arrays */
  uint16_t max_weight, max_discarded; /* f16 */
} sp_postings;

typedef struct sp_list_job {
  sp_builder *b;
  unsigned n_threads;
  _Atomic uint32_t *df; /* [n_terms] */
  uint64_t *histograms; /* [n_threads][SP_N_HALVES] of the weights, as queries see them */
  uint16_t threshold;   /* postings below it are pruned */
  uint32_t list_max;    /* at most so many in one list */

  /* The range of terms in memory. */
  uint32_t first, end;
  sp_postings *postings; /* [n_terms], in use: first .. end - 1 */
  uint32_t *docs;
  uint16_t *weights;
  uint32_t *piece_end; /* [n_pieces] the gathering's pieces: terms below */
  uint32_t n_pieces;
} sp_list_job;

/* Counts documents per term and weights, and makes b->kept. Errors: ENOMEM, EIO. */
sp_err sp_postings_count(sp_list_job *j);

/* From the counts: what static pruning keeps. */
void sp_postings_plan(sp_list_job *j);

/* Reads the postings of terms first .. end - 1, pruned. Errors: ENOMEM. */
sp_err sp_postings_gather(sp_list_job *j);

/* Cuts one gathered list to list_max. Any thread. Errors: ENOMEM. */
sp_err sp_postings_cut(const sp_list_job *j, uint32_t term);

#endif
