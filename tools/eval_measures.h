/* tools/eval_measures.h - how good a run is: the measures of trec_eval, to the digit.
 *
 * Ranks follow from the scores alone (see sp_run_sort()); relevant is a grade >= 1;
 * nDCG has linear gain (a grade below 1 gains nothing) and the discount log2(rank + 1),
 * its ideal are all judged documents of the query, retrieved or not. */
#ifndef SP_EVAL_MEASURES_H
#define SP_EVAL_MEASURES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "tools/run.h"

typedef enum sp_measure {
  SP_NUM_Q, /* of the average alone: how many queries it is over */
  SP_NUM_RET,
  SP_NUM_REL,
  SP_NUM_REL_RET,
  SP_MAP,
  SP_RECIP_RANK,
  SP_P_10,
  SP_RECALL_10,
  SP_RECALL_100,
  SP_RECALL_1000,
  SP_NDCG,
  SP_NDCG_10,
  SP_NDCG_100,
  SP_NDCG_1000,
  SP_SUCCESS_1,
  SP_SUCCESS_10,
  SP_MRR_10, /* reciprocal rank within the first ten; its average is MS MARCO's: over all
                queries of the qrels, found or not */
  SP_N_MEASURES
} sp_measure;

typedef struct sp_measure_name {
  const char *trec; /* as trec_eval prints it; NULL: not one of its */
  const char *name; /* "ndcg@10" */
  bool count;       /* a whole number, summed and not averaged */
} sp_measure_name;
const sp_measure_name *sp_measure_get_name(sp_measure m);

typedef struct sp_eval_options {
  bool complete;     /* average over all queries of the qrels; those without results count
                        as zero. Otherwise over those that are in both */
  bool drop_same_id; /* first drop results whose document id is the query's (BEIR's rule);
                        a query that loses all its results still counts */
} sp_eval_options;

typedef struct sp_query_measures {
  uint32_t query; /* its number in the ids */
  double value[SP_N_MEASURES];
} sp_query_measures;

typedef struct sp_evaluation {
  sp_query_measures
      *queries; /* [n_queries] those in both files, in the byte order of their
                                 ids */
  size_t n_queries;
  double all[SP_N_MEASURES];
} sp_evaluation;

/* Sorts `run` and `qrels`. On SP_OK the caller ends *out with sp_evaluation_free().
 * Errors: EINVAL (a document twice for a judged query, a judgement twice for a query of the
 * run, no query in both), ENOMEM. */
sp_err sp_evaluate(const sp_eval_ids *ids, sp_run *run, sp_qrels *qrels,
                   const sp_eval_options *options, sp_evaluation *out);
void sp_evaluation_free(sp_evaluation *e);

#endif
