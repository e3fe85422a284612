/* tools/inspect_query.c - a query term by term: what the index has for each, and what each
 * adds to one document's score. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "tools/inspect.h"

/* One query term over all segments. */
typedef struct term_row {
  uint32_t term;
  float weight;
  uint64_t frequency, postings; /* documents that hold it; in lists */
  float max_weight, max_discarded;
  float document_weight;
  bool listed; /* a kept posting leads to the document */
} term_row;

typedef struct query_report {
  const char *text, *id; /* id NULL: no document */
  uint32_t doc;
  const sp_segment *segment; /* of the document */
  sp_doc document;
  sp_vec query;
  uint32_t *order;
  term_row *rows; /* [query.n] strongest first */
  double score;   /* the sum over the rows */
  uint32_t rank;  /* in exact search, from 1; 0: not among the SP_MAX_K best */
  float searched; /* the score there */
} query_report;

/* --- gathering --- */

static uint32_t term_at(const sp_segment *g, const sp_doc *d, uint32_t i) {
  return g->term_bytes == 2 ? ((const uint16_t *)d->terms)[i]
                            : ((const uint32_t *)d->terms)[i];
}

/* 0 where the document has not the term. */
static float weight_in(const sp_segment *g, const sp_doc *d, uint32_t term) {
  uint32_t lo = 0, hi = d->n;
  while (lo < hi) {
    uint32_t mid = lo + (hi - lo) / 2;
    if (term_at(g, d, mid) < term)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo < d->n && term_at(g, d, lo) == term ? sp_f16_to_f32(d->weights[lo]) : 0;
}

static void add_list(term_row *row, const sp_list *l) {
  row->frequency += l->n_all_docs;
  row->postings += l->n_docs;
  row->max_weight = fmaxf(row->max_weight, l->max_weight);
  row->max_discarded = fmaxf(row->max_discarded, l->max_discarded);
}

static bool list_holds(const sp_list *l, uint32_t local) {
  for (uint32_t r = 0; r < l->n_runs; r++) {
    if (l->run_window[r] != local / SP_WINDOW_DOCS) continue;
    for (uint32_t i = l->run_start[r]; i < l->run_start[r + 1]; i++)
      if (l->docs[i] == local % SP_WINDOW_DOCS) return true;
  }
  return false;
}

/* A segment that is not sealed has no lists with the counts: then the vectors are counted,
 * in one pass for all terms. */
static void count_in_vectors(const sp_segment *g, query_report *r) {
  for (uint32_t d = 0; d < g->n_docs; d++) {
    sp_doc doc = sp_segment_doc(g, d);
    for (uint32_t i = 0; i < r->query.n; i++) {
      term_row *row = &r->rows[i];
      float w = weight_in(g, &doc, row->term);
      if (!(w > 0)) continue;
      row->frequency++;
      row->max_weight = fmaxf(row->max_weight, w);
    }
  }
}

static sp_err add_segment(const sp_segment *g, query_report *r) {
  for (uint32_t i = 0; i < r->query.n; i++) {
    term_row *row = &r->rows[i];
    sp_list l;
    bool found = sp_segment_list(g, row->term, &l);
    if (found) add_list(row, &l);
    if (g != r->segment) continue;
    row->document_weight = weight_in(g, &r->document, row->term);
    row->listed = g->sealed ? found && list_holds(&l, r->doc - g->first_doc)
                            : row->document_weight > 0;
  }
  if (!g->sealed) count_in_vectors(g, r);
  return sp_segment_health(g);
}

static sp_err fill_rows(const inspection *s, query_report *r) {
  r->rows = calloc((size_t)r->query.n + 1, sizeof *r->rows);
  if (!r->rows) return sp_fail(SP_ENOMEM, "no memory for %u query terms", r->query.n);
  for (uint32_t i = 0; i < r->query.n; i++) {
    r->rows[i].term = r->query.terms[r->order[i]];
    r->rows[i].weight = r->query.weights[r->order[i]];
  }
  sp_err err = SP_OK;
  for (uint32_t i = 0; i < sp_snapshot_n_segments(s->snapshot) && !err; i++)
    err = add_segment(sp_snapshot_segment(s->snapshot, i), r);
  for (uint32_t i = 0; i < r->query.n; i++)
    r->score += (double)r->rows[i].weight * (double)r->rows[i].document_weight;
  return err;
}

/* --- against the search --- */

/* Floats added in any order differ from the true sum by at most a rounding for each. */
static bool same_score(const query_report *r, double other) {
  double tolerance = ((double)r->query.n + 2) * FLT_EPSILON * r->score;
  return fabs(r->score - other) <= tolerance;
}

/* Where the document is, or, when it is not among them, should be in the hits. */
static sp_err compare(query_report *r, const sp_result *hits) {
  for (uint32_t i = 0; i < hits->n; i++)
    if (hits->hits[i].doc == r->doc) {
      r->rank = i + 1;
      r->searched = hits->hits[i].score;
    }
  double last = hits->n == SP_MAX_K ? (double)hits->hits[hits->n - 1].score : 0;
  bool same = r->rank ? same_score(r, (double)r->searched)
                      : r->score <= last || same_score(r, last);
  if (same) return SP_OK;
  return sp_fail(SP_EFORMAT,
                 "the terms of '%s' add up to %.9g, but the search gives %.9g", r->id,
                 r->score, (double)r->searched);
}

/* Encodes the query as a search does, and, where a document is asked for, compares. */
static sp_err search(const inspection *s, query_report *r) {
  sp_session *session;
  sp_err err = sp_session_new(s->engine, &session);
  if (err) return err;
  sp_search_params params = sp_search_defaults();
  params.exact = r->id != NULL;
  params.k = r->id ? SP_MAX_K : 1;
  sp_result hits;
  err = sp_session_search_text(session, r->text, strlen(r->text), &params, &hits);
  if (!err) err = sp_vec_copy(hits.query, &r->query);
  if (!err) err = inspect_order(&r->query, &r->order);
  if (!err) err = fill_rows(s, r);
  if (!err && r->id) err = compare(r, &hits);
  sp_session_free(session);
  return err;
}

/* --- as JSON --- */

static json_t *row_json(inspection *s, const query_report *r, const term_row *row) {
  json_t *o =
      json_pack("{s:I, s:o, s:f, s:I, s:I, s:f, s:f}", "term", (json_int_t)row->term,
                "token", inspect_token_json(s, row->term), "weight", (double)row->weight,
                "document_frequency", (json_int_t)row->frequency, "postings",
                (json_int_t)row->postings, "max_weight", (double)row->max_weight,
                "max_discarded", (double)row->max_discarded);
  if (!o || !r->id) return o;
  json_t *more = json_pack(
      "{s:f, s:f, s:b}", "document_weight", (double)row->document_weight, "contribution",
      (double)row->weight * (double)row->document_weight, "listed", row->listed);
  if (!more || json_object_update(o, more)) {
    json_decref(o);
    o = NULL;
  }
  json_decref(more);
  return o;
}

static json_t *report_json(inspection *s, const query_report *r) {
  json_t *rows = json_array();
  for (uint32_t i = 0; rows && i < inspect_shown(s, r->query.n); i++)
    if (json_array_append_new(rows, row_json(s, r, &r->rows[i]))) {
      json_decref(rows);
      rows = NULL;
    }
  json_t *text = inspect_string(s, r->text, strlen(r->text));
  if (!r->id)
    return json_pack("{s:o, s:I, s:o}", "query", text, "nnz", (json_int_t)r->query.n,
                     "terms", rows);
  return json_pack("{s:o, s:I, s:o, s:f, s:o, s:o, s:o}", "query", text, "nnz",
                   (json_int_t)r->query.n, "id", inspect_string(s, r->id, strlen(r->id)),
                   "score", r->score, "search_score",
                   r->rank ? json_real((double)r->searched) : json_null(), "rank",
                   r->rank ? json_integer(r->rank) : json_null(), "terms", rows);
}

/* --- for people --- */

static void print_row(const query_report *r, const term_row *row, const char *token) {
  if (r->id)
    printf("%12.4f %9.4f %9.4f  %-6s", (double)row->weight * (double)row->document_weight,
           (double)row->weight, (double)row->document_weight,
           row->listed                ? "yes"
           : row->document_weight > 0 ? "pruned"
                                      : "no");
  else
    printf("%9.4f", (double)row->weight);
  printf(" %9llu %9llu %8.4f %9.4f %9u  %s\n", (unsigned long long)row->frequency,
         (unsigned long long)row->postings, (double)row->max_weight,
         (double)row->max_discarded, row->term, token);
}

static void print_place(const query_report *r) {
  printf("%12.4f is the score", r->score);
  if (r->rank)
    printf("; exact search gives %.4f, rank %u\n", (double)r->searched, r->rank);
  else if (r->score > 0)
    printf("; it is not among the %d best\n", SP_MAX_K);
  else
    printf(": the document shares no term with the query\n");
}

static sp_err print_report(inspection *s, const query_report *r) {
  uint32_t n = inspect_shown(s, r->query.n);
  if (r->query.n)
    printf("%s documents  postings      max discarded      term  token\n",
           r->id ? "contribution     query  document  listed" : "    query");
  for (uint32_t i = 0; i < n; i++) {
    const char *token;
    sp_err err = inspect_token(s, r->rows[i].term, &token);
    if (err) return err;
    print_row(r, &r->rows[i], token);
  }
  if (r->id) print_place(r);
  printf("%u query terms", r->query.n);
  if (n < r->query.n) printf(", the %u strongest shown", n);
  putchar('\n');
  return SP_OK;
}

sp_err inspect_query(inspection *s, const char *text, const char *id) {
  query_report r = {.text = text, .id = id};
  sp_err err = SP_OK;
  if (id) {
    err = inspect_find(s, id, &r.doc, &r.segment);
    if (!err) r.document = sp_segment_doc(r.segment, r.doc - r.segment->first_doc);
  }
  if (!err) err = search(s, &r);
  if (!err) err = s->json ? inspect_print(report_json(s, &r)) : print_report(s, &r);
  free(r.rows);
  free(r.order);
  sp_vec_free(&r.query);
  return err;
}
