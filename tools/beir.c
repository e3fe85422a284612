/* tools/beir.c - reading BEIR's JSON and tables. */
#include "tools/beir.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json_scan.h"

enum { MAX_LINE_BYTES = 1 << 24 };
static const size_t MAX_RUN_BYTES = (size_t)1 << 32;

/* --- queries --- */

static sp_err add_query(sp_beir_queries *q, const sp_buf *id, const sp_buf *text) {
  if (q->n == q->cap) {
    size_t cap = q->cap ? q->cap * 2 : 256;
    sp_beir_query *list = realloc(q->list, cap * sizeof *list);
    if (!list) return sp_fail(SP_ENOMEM, "%zu queries: out of memory", cap);
    q->list = list;
    q->cap = cap;
  }
  sp_beir_query *one = &q->list[q->n];
  one->id = q->bytes.n;
  one->id_n = id->n;
  sp_err err = sp_buf_append(&q->bytes, id->data, id->n);
  if (!err) err = sp_buf_append_char(&q->bytes, '\0');
  one->text = q->bytes.n;
  one->text_n = text->n;
  if (!err) err = sp_buf_append(&q->bytes, text->data, text->n);
  if (!err) err = sp_buf_append_char(&q->bytes, '\0');
  if (!err) q->n++;
  return err;
}

/* A string, or a number as it is written. */
static bool read_string(sp_json_scan *s, sp_buf *scratch, sp_buf *out) {
  const char *at;
  size_t n;
  if (sp_json_scan_peek(s) == '0') {
    double x;
    at = s->at;
    if (!sp_json_scan_number(s, &x)) return false;
    n = (size_t)(s->at - at);
  } else if (!sp_json_scan_string(s, scratch, &at, &n)) {
    return false;
  }
  sp_buf_clear(out);
  if (sp_buf_append(out, at, n) == SP_OK) return true;
  s->fault = "out of memory";
  return false;
}

typedef struct query_parts {
  sp_buf key, scratch, id, text;
} query_parts;

static sp_err read_query(const sp_lines *in, query_parts *p, sp_beir_queries *q) {
  sp_json_scan s = sp_json_scan_begin(in->line, in->n);
  bool has_id = false, has_text = false;
  const char *key;
  size_t n;
  for (bool first = true; sp_json_scan_member(&s, &first, &p->key, &key, &n);) {
    if ((n == 3 && memcmp(key, "_id", 3) == 0) || (n == 2 && memcmp(key, "id", 2) == 0))
      has_id = read_string(&s, &p->scratch, &p->id);
    else if (n == 4 && memcmp(key, "text", 4) == 0)
      has_text = read_string(&s, &p->scratch, &p->text);
    else
      sp_json_scan_skip(&s);
  }
  if (!s.fault && !sp_json_scan_ended(&s)) s.fault = "something behind the object";
  if (!s.fault && !has_id) s.fault = "no \"_id\"";
  if (!s.fault && !has_text) s.fault = "no \"text\"";
  if (s.fault)
    return sp_fail(SP_EFORMAT, "%s: line %llu: not a query: %s", in->name,
                   (unsigned long long)in->number, s.fault);
  return add_query(q, &p->id, &p->text);
}

sp_err sp_beir_queries_read(const char *path, sp_beir_queries *out) {
  *out = (sp_beir_queries){0};
  sp_lines in;
  sp_err err = sp_lines_open(path, MAX_LINE_BYTES, &in);
  if (err) return err;
  query_parts parts = {0};
  for (bool more = true; !err;) {
    err = sp_lines_next(&in, &more);
    if (err || !more) break;
    if (strspn(in.line, " \t\r") == in.n) continue;
    err = read_query(&in, &parts, out);
  }
  sp_lines_close(&in);
  sp_buf_free(&parts.key);
  sp_buf_free(&parts.scratch);
  sp_buf_free(&parts.id);
  sp_buf_free(&parts.text);
  if (err) sp_beir_queries_free(out);
  return err;
}

void sp_beir_queries_free(sp_beir_queries *q) {
  free(q->list);
  sp_buf_free(&q->bytes);
  *q = (sp_beir_queries){0};
}

/* --- judgements --- */

bool sp_beir_is_heading(const char *line, size_t n) {
  static const char FIRST[] = "query-id";
  return n > sizeof FIRST && memcmp(line, FIRST, sizeof FIRST - 1) == 0 &&
         line[sizeof FIRST - 1] == '\t';
}

sp_err sp_beir_qrels_line(const sp_lines *in, sp_eval_ids *ids, sp_qrels *qrels) {
  const char *end = in->line + in->n;
  const char *doc = memchr(in->line, '\t', in->n);
  const char *grade = doc ? memchr(doc + 1, '\t', (size_t)(end - doc) - 1) : NULL;
  if (!grade || memchr(grade + 1, '\t', (size_t)(end - grade) - 1))
    return sp_fail(SP_EFORMAT,
                   "%s: line %llu: expected three columns 'query-id, corpus-id, score' "
                   "with tabs between them",
                   in->name, (unsigned long long)in->number);
  return sp_qrels_add(qrels, ids, in->line, (size_t)(doc - in->line), doc + 1,
                      (size_t)(grade - doc) - 1, strtoll(grade + 1, NULL, 10));
}

/* --- results --- */

static sp_err bad_run(const char *path, const sp_json_scan *s) {
  return sp_fail(SP_EFORMAT,
                 "%s: at byte %zu: %s; expected {\"query\": {\"document\": score}}", path,
                 (size_t)(s->at - s->begin) + 1, s->fault);
}

static sp_err read_results(sp_json_scan *s, sp_buf *scratch, const char *query,
                           size_t query_n, sp_eval_ids *ids, sp_run *run) {
  const char *doc;
  size_t n;
  for (bool first = true; sp_json_scan_member(s, &first, scratch, &doc, &n);) {
    double score;
    if (!sp_json_scan_number(s, &score)) break;
    if (isnan(score)) {
      s->fault = "the score is NaN";
      break;
    }
    sp_err err = sp_run_add(run, ids, query, query_n, doc, n, score);
    if (err) return err;
  }
  return SP_OK;
}

sp_err sp_beir_run_read(FILE *f, const char *path, sp_eval_ids *ids, sp_run *run) {
  char *text;
  size_t n, before = run->n;
  sp_err err = sp_stream_read(f, path, MAX_RUN_BYTES, &text, &n);
  if (err) return err;
  sp_json_scan s = sp_json_scan_begin(text, n);
  sp_buf query_scratch = {0}, doc_scratch = {0};
  const char *query;
  size_t query_n;
  for (bool first = true;
       !err && sp_json_scan_member(&s, &first, &query_scratch, &query, &query_n);)
    err = read_results(&s, &doc_scratch, query, query_n, ids, run);
  if (!err && !s.fault && !sp_json_scan_ended(&s))
    s.fault = "something behind the object";
  if (!err && s.fault) err = bad_run(path, &s);
  if (!err && run->n == before) err = sp_fail(SP_EFORMAT, "%s: no results", path);
  sp_buf_free(&query_scratch);
  sp_buf_free(&doc_scratch);
  free(text);
  return err;
}
