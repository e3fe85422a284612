/* tools/eval_report.h - an evaluation on standard output: for people, for trec_eval's
 * readers, for machines. */
#ifndef SP_EVAL_REPORT_H
#define SP_EVAL_REPORT_H

#include "base/buf.h"
#include "tools/eval_measures.h"

/* A number beside the measures, such as recall against exact search. */
typedef struct sp_eval_extra {
  const char *name;
  double value;
} sp_eval_extra;

/* The averages of the measures most asked for, one a line, then the extras; with
 * `per_query` a table of the queries before. Errors: ENOMEM. */
sp_err sp_eval_put_text(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query, const sp_eval_extra *extras, size_t n_extras);

/* trec_eval's lines ("name <tab> query <tab> value", `-m all_trec` cut to the measures
 * known here); with `per_query` those of -q before. Errors: ENOMEM. */
sp_err sp_eval_put_trec(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query);

/* One JSON object on one line: measures, extras, and with `per_query` the member "queries",
 * an object of objects. Errors: ENOMEM. */
sp_err sp_eval_put_json(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query, const sp_eval_extra *extras, size_t n_extras);

#endif
