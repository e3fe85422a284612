/* tools/eval_report.c - three ways to print an evaluation. */
#include "tools/eval_report.h"

#include "base/json.h"

static const char *query_id(const sp_eval_ids *ids, const sp_query_measures *q,
                            size_t *n) {
  return sp_strmap_key(ids->queries, q->query, n);
}

/* --- trec_eval's lines --- */

static sp_err put_trec_line(sp_buf *out, sp_measure m, const char *query, size_t n,
                            double value) {
  const sp_measure_name *name = sp_measure_get_name(m);
  sp_err err = sp_buf_printf(out, "%-22s\t", name->trec);
  if (!err) err = sp_buf_append(out, query, n);
  if (!err) err = sp_buf_printf(out, name->count ? "\t%.0f\n" : "\t%6.4f\n", value);
  return err;
}

static sp_err put_trec_lines(sp_buf *out, const char *query, size_t n,
                             const double value[SP_N_MEASURES], bool all) {
  sp_err err = SP_OK;
  for (int m = all ? SP_NUM_Q : SP_NUM_RET; m < SP_N_MEASURES && !err; m++)
    if (sp_measure_get_name(m)->trec) err = put_trec_line(out, m, query, n, value[m]);
  return err;
}

sp_err sp_eval_put_trec(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query) {
  sp_err err = SP_OK;
  for (size_t i = 0; per_query && i < e->n_queries && !err; i++) {
    size_t n;
    const char *id = query_id(ids, &e->queries[i], &n);
    err = put_trec_lines(out, id, n, e->queries[i].value, false);
  }
  return err ? err : put_trec_lines(out, "all", 3, e->all, true);
}

/* --- for people --- */

static const sp_measure SHOWN[] = {SP_NDCG_10,    SP_MRR_10,      SP_RECALL_10,
                                   SP_RECALL_100, SP_RECALL_1000, SP_MAP};
enum { N_SHOWN = sizeof SHOWN / sizeof *SHOWN };

static sp_err put_query_table(sp_buf *out, const sp_eval_ids *ids,
                              const sp_evaluation *e) {
  sp_err err = SP_OK;
  for (int i = 0; i < N_SHOWN && !err; i++)
    err = sp_buf_printf(out, "%-12s", sp_measure_get_name(SHOWN[i])->name);
  if (!err) err = sp_buf_append_str(out, "query\n");
  for (size_t q = 0; q < e->n_queries && !err; q++) {
    for (int i = 0; i < N_SHOWN && !err; i++)
      err = sp_buf_printf(out, "%-12.4f", e->queries[q].value[SHOWN[i]]);
    size_t n;
    const char *id = query_id(ids, &e->queries[q], &n);
    if (!err) err = sp_buf_append(out, id, n);
    if (!err) err = sp_buf_append_char(out, '\n');
  }
  return err ? err : sp_buf_append_char(out, '\n');
}

sp_err sp_eval_put_text(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query, const sp_eval_extra *extras, size_t n_extras) {
  sp_err err = per_query ? put_query_table(out, ids, e) : SP_OK;
  if (!err) err = sp_buf_printf(out, "%-22s%.0f\n", "queries", e->all[SP_NUM_Q]);
  for (int i = 0; i < N_SHOWN && !err; i++)
    err = sp_buf_printf(out, "%-22s%.4f\n", sp_measure_get_name(SHOWN[i])->name,
                        e->all[SHOWN[i]]);
  for (size_t i = 0; i < n_extras && !err; i++)
    err = sp_buf_printf(out, "%-22s%.4f\n", extras[i].name, extras[i].value);
  return err;
}

/* --- for machines --- */

static sp_err put_members(sp_buf *out, const double value[SP_N_MEASURES], bool all) {
  sp_err err = SP_OK;
  for (int m = all ? SP_NUM_Q : SP_NUM_RET; m < SP_N_MEASURES && !err; m++) {
    const sp_measure_name *name = sp_measure_get_name(m);
    bool first = m == (all ? SP_NUM_Q : SP_NUM_RET);
    err = sp_buf_printf(out, name->count ? "%s\"%s\": %.0f" : "%s\"%s\": %.10g",
                        first ? "" : ", ", name->name, value[m]);
  }
  return err;
}

static sp_err put_queries(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e) {
  sp_err err = sp_buf_append_str(out, ", \"queries\": {");
  for (size_t i = 0; i < e->n_queries && !err; i++) {
    size_t n;
    const char *id = query_id(ids, &e->queries[i], &n);
    if (i) err = sp_buf_append_str(out, ", ");
    if (!err) err = sp_json_put_string(out, id, n);
    if (!err) err = sp_buf_append_str(out, ": {");
    if (!err) err = put_members(out, e->queries[i].value, false);
    if (!err) err = sp_buf_append_char(out, '}');
  }
  return err ? err : sp_buf_append_char(out, '}');
}

sp_err sp_eval_put_json(sp_buf *out, const sp_eval_ids *ids, const sp_evaluation *e,
                        bool per_query, const sp_eval_extra *extras, size_t n_extras) {
  sp_err err = sp_buf_append_char(out, '{');
  if (!err) err = put_members(out, e->all, true);
  for (size_t i = 0; i < n_extras && !err; i++)
    err = sp_buf_printf(out, ", \"%s\": %.10g", extras[i].name, extras[i].value);
  if (!err && per_query) err = put_queries(out, ids, e);
  return err ? err : sp_buf_append_str(out, "}\n");
}
