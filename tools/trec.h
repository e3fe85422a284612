/* tools/trec.h - runs (what was found) and qrels (what is relevant), in and out of files.
 *
 * Ids are bytes, numbered by two string maps that a run and its qrels share, so that a
 * result finds its judgement by number. */
#ifndef SP_TREC_H
#define SP_TREC_H

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

/* Reads a run: lines "query Q0 document rank score tag", separated by the C locale's white
 * space, where rank and second column mean nothing, further columns are ignored, blank
 * lines and those that begin with # are skipped; or BEIR's JSON object
 * {"query": {"document": score}}, recognised by its first byte. "-" is standard input
 * (lines only). Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT (no result at all; a line of less
 * than six columns; a score that is NaN). */
sp_err sp_run_read(const char *path, sp_eval_ids *ids, sp_run *run);

/* Reads qrels: lines "query iteration document grade" of exactly four columns, where those
 * that begin with # in the very first column are skipped; or BEIR's table, recognised by
 * its heading. Errors: as above. */
sp_err sp_qrels_read(const char *path, sp_eval_ids *ids, sp_qrels *qrels);

/* Writes the run with ranks from 1, queries in the byte order of their ids, results best
 * first; reading it back gives the same scores. `path` "-" is standard output. Sorts `run`.
 * Errors: EIO, ENOMEM, EINVAL (an id that is empty, holds white space, or begins a query
 * with #: such a line would not read back). */
sp_err sp_run_write(const char *path, const sp_eval_ids *ids, sp_run *run,
                    const char *tag);

/* Sorts as trec_eval orders results: queries by the bytes of their ids; scores descending;
 * equal scores by the bytes of the document's id, descending. Errors: ENOMEM. */
sp_err sp_run_sort(const sp_eval_ids *ids, sp_run *run);

/* order[0 .. n_queries-1]: query numbers in the byte order of their ids. The caller frees
 * *order. Errors: ENOMEM. */
sp_err sp_eval_ids_order(const sp_eval_ids *ids, uint32_t **order);

#endif
