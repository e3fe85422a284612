/* tools/eval_index.h - a collection's questions asked of an index: makes a run to be
 * evaluated. */
#ifndef SP_EVAL_INDEX_H
#define SP_EVAL_INDEX_H

#include "encoder/encoder.h"
#include "query/search.h"
#include "tools/trec.h"

typedef struct sp_eval_index_job {
  const char *index; /* directory */
  const char *beir;  /* a BEIR directory: queries.jsonl, qrels/SPLIT.tsv */
  const char *split; /* "test" */
  const char *model; /* as sp_engine_open(); NULL: the one that the index remembers */
  sp_encoder_options encoder; /* how its queries are encoded */
  sp_search_params params;
  unsigned n_threads; /* 0: one for each processor */
  bool recall; /* measure the two below, in searches for the first ten of their own */
} sp_eval_index_job;

typedef struct sp_eval_index_result {
  double
      recall_vs_exact_10; /* share of the exact first ten that is found, on average over
                                the queries that have any; equal scores are as good */
  double scored_fraction; /* documents scored, of all, on average over the queries */
} sp_eval_index_result;

/* Searches for each question that has a positive judgement, with several threads, and adds
 * what is found to *run and the judgements of these questions to *qrels; others are left
 * out, as collections average over the former alone. Errors: those of sp_engine_open();
 * EFORMAT (a bad line; a judged question without text; no positive judgement at all). */
sp_err sp_eval_index(const sp_eval_index_job *job, sp_eval_ids *ids, sp_run *run,
                     sp_qrels *qrels, sp_eval_index_result *result);

#endif
