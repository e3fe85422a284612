/* tools/run.h - what was found (a run) and what is relevant (qrels), in memory.
 *
 * Ids are bytes, numbered by two string maps that a run and its qrels share, so that a
 * result finds its judgement by number. */
#ifndef SP_RUN_H
#define SP_RUN_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/strmap.h"

/* {0} is empty; add and read functions make the maps when they are missing. */
typedef struct sp_eval_ids {
  sp_strmap *queries, *docs;
} sp_eval_ids;
void sp_eval_ids_free(sp_eval_ids *ids);

/* One document found for one query. */
typedef struct sp_run_line {
  uint32_t query, doc;
  double score;
} sp_run_line;

/* {0} is empty. In any order: ranks follow from the scores. */
typedef struct sp_run {
  sp_run_line *lines; /* [n] */
  size_t n, cap;
} sp_run;
void sp_run_free(sp_run *run);

/* Errors: ENOMEM. */
sp_err sp_run_add(sp_run *run, sp_eval_ids *ids, const char *query, size_t query_n,
                  const char *doc, size_t doc_n, double score);

/* One judgement. Relevant is a grade of 1 and more. */
typedef struct sp_qrel {
  uint32_t query, doc;
  int64_t grade;
} sp_qrel;

/* {0} is empty. */
typedef struct sp_qrels {
  sp_qrel *lines; /* [n] */
  size_t n, cap;
} sp_qrels;
void sp_qrels_free(sp_qrels *qrels);
sp_err sp_qrels_add(sp_qrels *qrels, sp_eval_ids *ids, const char *query, size_t query_n,
                    const char *doc, size_t doc_n, int64_t grade);

/* Sorts as trec_eval orders results: queries by the bytes of their ids; scores descending;
 * equal scores by the bytes of the document's id, descending. Errors: ENOMEM. */
sp_err sp_run_sort(const sp_eval_ids *ids, sp_run *run);

/* order[0 .. n_queries-1]: query numbers in the byte order of their ids. The caller frees
 * *order. Errors: ENOMEM. */
sp_err sp_eval_ids_order(const sp_eval_ids *ids, uint32_t **order);

#endif
