/* tools/eval_measures.c - one pass over the ranked results of each judged query. */
#include "tools/eval_measures.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const sp_measure_name NAMES[SP_N_MEASURES] = {
    [SP_NUM_Q] = {"num_q", "num_q", true},
    [SP_NUM_RET] = {"num_ret", "num_ret", true},
    [SP_NUM_REL] = {"num_rel", "num_rel", true},
    [SP_NUM_REL_RET] = {"num_rel_ret", "num_rel_ret", true},
    [SP_MAP] = {"map", "map", false},
    [SP_RECIP_RANK] = {"recip_rank", "mrr", false},
    [SP_P_10] = {"P_10", "p@10", false},
    [SP_RECALL_10] = {"recall_10", "recall@10", false},
    [SP_RECALL_100] = {"recall_100", "recall@100", false},
    [SP_RECALL_1000] = {"recall_1000", "recall@1000", false},
    [SP_NDCG] = {"ndcg", "ndcg", false},
    [SP_NDCG_10] = {"ndcg_cut_10", "ndcg@10", false},
    [SP_NDCG_100] = {"ndcg_cut_100", "ndcg@100", false},
    [SP_NDCG_1000] = {"ndcg_cut_1000", "ndcg@1000", false},
    [SP_SUCCESS_1] = {"success_1", "success@1", false},
    [SP_SUCCESS_10] = {"success_10", "success@10", false},
    [SP_MRR_10] = {NULL, "mrr@10", false},
};

const sp_measure_name *sp_measure_get_name(sp_measure m) {
  assert((unsigned)m < SP_N_MEASURES);
  return &NAMES[m];
}

/* A query's results and judgements, and scratch that grows to the largest. */
typedef struct query_case {
  const sp_eval_ids *ids;
  uint32_t query;
  const sp_run_line *results; /* [n_results] best first */
  size_t n_results;
  const sp_qrel *judged; /* [n_judged] by document number */
  size_t n_judged;
  uint32_t dropped; /* a document that is no result; SP_STRMAP_NONE: none */
  void *scratch;
  size_t scratch_bytes;
} query_case;

static sp_err reserve(query_case *c, size_t n, size_t size) {
  if (n * size <= c->scratch_bytes) return SP_OK;
  void *p = realloc(c->scratch, n * size);
  if (!p) return sp_fail(SP_ENOMEM, "%zu results: out of memory", n);
  c->scratch = p;
  c->scratch_bytes = n * size;
  return SP_OK;
}

static int compare_qrels(const void *a, const void *b) {
  const sp_qrel *x = a, *y = b;
  if (x->query != y->query) return x->query < y->query ? -1 : 1;
  return (x->doc > y->doc) - (x->doc < y->doc);
}

static int compare_u32(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static int descending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x < y) - (x > y);
}

static sp_err twice(const query_case *c, const char *what, uint32_t doc) {
  size_t n;
  return sp_fail(SP_EINVAL, "query '%.200s' %s document '%.200s' twice",
                 sp_strmap_key(c->ids->queries, c->query, &n), what,
                 sp_strmap_key(c->ids->docs, doc, &n));
}

static sp_err check_duplicates(query_case *c) {
  for (size_t i = 1; i < c->n_judged; i++)
    if (c->judged[i].doc == c->judged[i - 1].doc)
      return twice(c, "judges", c->judged[i].doc);
  sp_err err = reserve(c, c->n_results, sizeof(uint32_t));
  if (err) return err;
  uint32_t *docs = c->scratch;
  for (size_t i = 0; i < c->n_results; i++) docs[i] = c->results[i].doc;
  if (c->n_results) qsort(docs, c->n_results, sizeof *docs, compare_u32);
  for (size_t i = 1; i < c->n_results; i++)
    if (docs[i] == docs[i - 1]) return twice(c, "has", docs[i]);
  return SP_OK;
}

/* 0 for a document without judgement. */
static int64_t grade_of(const query_case *c, uint32_t doc) {
  sp_qrel key = {.query = c->query, .doc = doc};
  const sp_qrel *found = bsearch(&key, c->judged, c->n_judged, sizeof key, compare_qrels);
  return found ? found->grade : 0;
}

static double gain(int64_t grade, size_t rank) {
  return (double)grade / log2((double)rank + 1);
}

/* The largest DCG there is, whole and cut. */
static sp_err ideal_gains(query_case *c, double ideal[SP_N_MEASURES]) {
  sp_err err = reserve(c, c->n_judged, sizeof(int64_t));
  if (err) return err;
  int64_t *grades = c->scratch;
  size_t n = 0;
  for (size_t i = 0; i < c->n_judged; i++)
    if (c->judged[i].grade > 0) grades[n++] = c->judged[i].grade;
  if (n) qsort(grades, n, sizeof *grades, descending);
  for (size_t rank = 1; rank <= n; rank++) {
    double g = gain(grades[rank - 1], rank);
    ideal[SP_NDCG] += g;
    if (rank <= 10) ideal[SP_NDCG_10] += g;
    if (rank <= 100) ideal[SP_NDCG_100] += g;
    if (rank <= 1000) ideal[SP_NDCG_1000] += g;
  }
  return SP_OK;
}

/* Sums what each relevant result adds. */
static void add_results(const query_case *c, double v[SP_N_MEASURES]) {
  size_t rank = 0;
  for (size_t i = 0; i < c->n_results; i++) {
    if (c->results[i].doc == c->dropped) continue;
    rank++;
    int64_t grade = grade_of(c, c->results[i].doc);
    if (grade < 1) continue;
    double g = gain(grade, rank);
    v[SP_NUM_REL_RET]++;
    v[SP_MAP] += v[SP_NUM_REL_RET] / (double)rank;
    v[SP_NDCG] += g;
    if (v[SP_RECIP_RANK] == 0) v[SP_RECIP_RANK] = 1 / (double)rank;
    if (rank == 1) v[SP_SUCCESS_1] = 1;
    if (rank <= 10) {
      v[SP_NDCG_10] += g;
      v[SP_RECALL_10]++;
      v[SP_SUCCESS_10] = 1;
    }
    if (rank <= 100) {
      v[SP_NDCG_100] += g;
      v[SP_RECALL_100]++;
    }
    if (rank <= 1000) {
      v[SP_NDCG_1000] += g;
      v[SP_RECALL_1000]++;
    }
  }
  v[SP_NUM_RET] = (double)rank;
}

static sp_err measure(query_case *c, double v[SP_N_MEASURES]) {
  double ideal[SP_N_MEASURES] = {0};
  sp_err err = check_duplicates(c);
  if (!err) err = ideal_gains(c, ideal);
  if (err) return err;
  for (size_t i = 0; i < c->n_judged; i++) v[SP_NUM_REL] += c->judged[i].grade >= 1;
  add_results(c, v);
  v[SP_P_10] = v[SP_RECALL_10] / 10;
  v[SP_MRR_10] = v[SP_SUCCESS_10] > 0 ? v[SP_RECIP_RANK] : 0;
  if (v[SP_NUM_REL] == 0) return SP_OK; /* every sum is 0 then */
  static const sp_measure OVER_RELEVANT[] = {SP_MAP, SP_RECALL_10, SP_RECALL_100,
                                             SP_RECALL_1000};
  for (size_t i = 0; i < sizeof OVER_RELEVANT / sizeof *OVER_RELEVANT; i++)
    v[OVER_RELEVANT[i]] /= v[SP_NUM_REL];
  for (int m = SP_NDCG; m <= SP_NDCG_1000; m++) v[m] /= ideal[m];
  return SP_OK;
}

/* --- all queries --- */

/* Where each query's lines lie in the sorted run and qrels. */
typedef struct span {
  size_t run, n_run, qrels, n_qrels;
} span;

static sp_err find_spans(const sp_run *run, const sp_qrels *qrels, uint32_t n_queries,
                         span **out) {
  span *spans = calloc(n_queries ? n_queries : 1, sizeof *spans);
  *out = spans;
  if (!spans) return sp_fail(SP_ENOMEM, "%u queries: out of memory", n_queries);
  for (size_t i = 0; i < run->n; i++) {
    span *s = &spans[run->lines[i].query];
    if (s->n_run++ == 0) s->run = i;
  }
  for (size_t i = 0; i < qrels->n; i++) {
    span *s = &spans[qrels->lines[i].query];
    if (s->n_qrels++ == 0) s->qrels = i;
  }
  return SP_OK;
}

/* The document whose id is the query's. */
static uint32_t own_document(const sp_eval_ids *ids, uint32_t query) {
  size_t n;
  const char *id = sp_strmap_key(ids->queries, query, &n);
  return sp_strmap_find(ids->docs, id, n);
}

/* Sums and divides; the sums run in the queries' order. */
static void average(const sp_qrels *qrels, const span *spans, uint32_t n_spans,
                    bool complete, sp_evaluation *e) {
  double n_judged = 0;
  for (uint32_t q = 0; q < n_spans; q++) n_judged += spans[q].n_qrels > 0;
  double n = complete ? n_judged : (double)e->n_queries;
  for (size_t i = 0; i < e->n_queries; i++)
    for (int m = 0; m < SP_N_MEASURES; m++) e->all[m] += e->queries[i].value[m];
  if (complete) { /* queries without results have relevant documents too */
    e->all[SP_NUM_REL] = 0;
    for (size_t i = 0; i < qrels->n; i++)
      e->all[SP_NUM_REL] += qrels->lines[i].grade >= 1;
  }
  for (int m = 0; m < SP_N_MEASURES; m++)
    if (!NAMES[m].count) e->all[m] /= m == SP_MRR_10 ? n_judged : n;
  e->all[SP_NUM_Q] = n;
}

static sp_err measure_all(const sp_eval_ids *ids, sp_run *run, const sp_qrels *qrels,
                          span *spans, const uint32_t *order, uint32_t n_queries,
                          const sp_eval_options *options, sp_evaluation *e) {
  query_case c = {.ids = ids};
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < n_queries && !err; i++) {
    span *s = &spans[order[i]];
    if (s->n_run == 0 || s->n_qrels == 0) continue;
    c.query = order[i];
    c.dropped = options->drop_same_id ? own_document(ids, order[i]) : SP_STRMAP_NONE;
    c.results = run->lines + s->run;
    c.n_results = s->n_run;
    c.judged = qrels->lines + s->qrels;
    c.n_judged = s->n_qrels;
    sp_query_measures *q = &e->queries[e->n_queries++];
    *q = (sp_query_measures){.query = order[i]};
    err = measure(&c, q->value);
  }
  free(c.scratch);
  return err;
}

sp_err sp_evaluate(const sp_eval_ids *ids, sp_run *run, sp_qrels *qrels,
                   const sp_eval_options *options, sp_evaluation *out) {
  *out = (sp_evaluation){0};
  uint32_t n_queries = ids->queries ? sp_strmap_count(ids->queries) : 0;
  uint32_t *order = NULL;
  span *spans = NULL;
  sp_err err = sp_run_sort(ids, run);
  if (qrels->n) qsort(qrels->lines, qrels->n, sizeof *qrels->lines, compare_qrels);
  if (!err) err = sp_eval_ids_order(ids, &order);
  if (!err) err = find_spans(run, qrels, n_queries, &spans);
  if (!err) {
    out->queries = calloc(n_queries ? n_queries : 1, sizeof *out->queries);
    if (!out->queries) err = sp_fail(SP_ENOMEM, "%u queries: out of memory", n_queries);
  }
  if (!err) err = measure_all(ids, run, qrels, spans, order, n_queries, options, out);
  if (!err && out->n_queries == 0)
    err = sp_fail(SP_EINVAL, "no query is in both the run and the qrels");
  if (!err) average(qrels, spans, n_queries, options->complete, out);
  free(spans);
  free(order);
  if (err) sp_evaluation_free(out);
  return err;
}

void sp_evaluation_free(sp_evaluation *e) {
  free(e->queries);
  *e = (sp_evaluation){0};
}
