/* tools/cmd_search.c - `spindle search INDEX QUERY...`: the best documents for each. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/lines.h"
#include "index/vector_io.h"
#include "server/engine.h"
#include "server/hit.h"
#include "tools/cmd.h"
#include "tools/shown.h"

enum { MAX_QUERY_BYTES = 1 << 20, SHOWN_BYTES = 100 /* of a title or text */ };

typedef struct search {
  sp_engine *engine;
  sp_session *session;
  sp_search_params params;
  bool json;
  bool many;     /* queries come one after the other: say which the hits belong to */
  sp_buf fields; /* of one document */
  sp_buf line;   /* of output */
} search;

/* A query as given: a text, or a vector with its id. */
typedef struct question {
  const char *text;
  size_t n;
  const sp_vec *vec; /* NULL: the text counts */
} question;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* --- as JSON --- */

static sp_err put_json(search *s, const question *q, const sp_result *r, double took_ms) {
  sp_buf *out = &s->line;
  sp_err err = sp_buf_append_str(out, q->vec ? "{\"query_id\": " : "{\"query\": ");
  if (!err) err = sp_json_put_string(out, q->text, q->n);
  if (!err)
    err = sp_buf_printf(out, ", \"took_ms\": %.3f, \"documents_scored\": %u, ", took_ms,
                        r->stats.n_docs_scored);
  if (!err) err = sp_buf_append_str(out, "\"results\": [");
  for (uint32_t i = 0; !err && i < r->n; i++) {
    if (i) err = sp_buf_append_str(out, ", ");
    if (!err)
      err = sp_put_hit(sp_engine_snapshot(s->engine), &r->hits[i], NULL, &s->fields, out);
  }
  return err ? err : sp_buf_append_str(out, "]}\n");
}

/* --- for people --- */

/* Appends the title, or the text where there is none, or nothing. */
static sp_err put_title(const sp_buf *fields, sp_buf *out) {
  json_t *o;
  sp_err err = sp_json_parse(fields->data, fields->n, "stored fields", &o);
  if (err) return err;
  const json_t *shown = json_object_get(o, "title");
  if (!json_is_string(shown) || json_string_length(shown) == 0)
    shown = json_object_get(o, "text");
  if (json_is_string(shown))
    err = shown_append(out, json_string_value(shown), json_string_length(shown),
                       SHOWN_BYTES);
  json_decref(o);
  return err;
}

static sp_err put_text_hit(search *s, uint32_t rank, const sp_hit *hit) {
  const sp_snapshot *snapshot = sp_engine_snapshot(s->engine);
  size_t n;
  const char *id = sp_snapshot_id(snapshot, hit->doc, &n);
  if (!id) return sp_fail(SP_EFORMAT, "document %u has no id", hit->doc);
  sp_err err = sp_buf_printf(&s->line, "%4u  %10.4f  ", rank, (double)hit->score);
  if (!err) err = sp_buf_append(&s->line, id, n);
  if (!err) err = sp_buf_append_str(&s->line, "  ");
  sp_buf_clear(&s->fields);
  if (!err) err = sp_snapshot_fields(snapshot, hit->doc, &s->fields);
  if (!err) err = put_title(&s->fields, &s->line);
  return err ? err : sp_buf_append_char(&s->line, '\n');
}

static sp_err put_text(search *s, const question *q, const sp_result *r, double took_ms) {
  sp_err err = SP_OK;
  if (s->many) {
    err = sp_buf_append_str(&s->line, "# ");
    if (!err) err = shown_append(&s->line, q->text, q->n, SHOWN_BYTES);
    if (!err) err = sp_buf_append_char(&s->line, '\n');
  }
  for (uint32_t i = 0; !err && i < r->n; i++) err = put_text_hit(s, i + 1, &r->hits[i]);
  if (!err)
    err = sp_buf_printf(&s->line, "%s%u of %u documents scored, %.2f ms\n",
                        r->n ? "" : "nothing found; ", r->stats.n_docs_scored,
                        sp_engine_info(s->engine)->n_docs, took_ms);
  if (!err && s->many) err = sp_buf_append_char(&s->line, '\n');
  return err;
}

/* --- queries --- */

static sp_err answer(search *s, const question *q) {
  sp_result result;
  double began = now_ms();
  sp_err err =
      q->vec ? sp_session_search_vector(s->session, q->vec, &s->params, &result)
             : sp_session_search_text(s->session, q->text, q->n, &s->params, &result);
  if (err) return err;
  double took_ms = now_ms() - began;
  sp_buf_clear(&s->line);
  err = s->json ? put_json(s, q, &result, took_ms) : put_text(s, q, &result, took_ms);
  if (!err) fwrite(s->line.data, 1, s->line.n, stdout);
  return err;
}

static sp_err answer_lines(search *s) {
  sp_lines in;
  sp_err err = sp_lines_open("-", MAX_QUERY_BYTES, &in);
  if (err) return err;
  s->many = true;
  for (;;) {
    bool more;
    err = sp_lines_next(&in, &more);
    if (err || !more) break;
    if (in.n == 0) continue;
    err = answer(s, &(question){in.line, in.n, NULL});
    if (err) break;
    fflush(stdout); /* whoever asks line by line waits for this */
  }
  sp_lines_close(&in);
  return err;
}

static sp_err answer_vectors(search *s, const char *path) {
  const sp_vector_read_options options = {.numeric_tokens = true};
  sp_vector_reader *in;
  sp_err err = sp_vector_reader_open(path, &options, &in);
  if (err) return err;
  s->many = true;
  for (;;) {
    sp_vector_record r;
    bool more;
    err = sp_vector_reader_next(in, &r, &more);
    if (err || !more) break;
    err = answer(s, &(question){r.id, r.id_n, r.vec});
    if (err) break;
  }
  sp_vector_reader_close(in);
  return err;
}

static sp_err answer_all(search *s, char **words, int n, const char *vectors) {
  if (vectors) return answer_vectors(s, vectors);
  if (n == 0) return answer_lines(s);
  s->many = n > 1;
  sp_err err = SP_OK;
  for (int i = 0; !err && i < n; i++)
    err = answer(s, &(question){words[i], strlen(words[i]), NULL});
  return err;
}

int cmd_search(int argc, char **argv) {
  search s = {.params = sp_search_defaults()};
  const char *model = NULL, *vectors = NULL;
  sp_encoder_options encoder = sp_encoder_defaults();
  double heap_factor = (double)s.params.heap_factor;
  const cmd_option options[] = {
      {"k", 'k', CMD_U32, &s.params.k, "N", "results a query", 1, SP_MAX_K},
      {"exact", 0, CMD_FLAG, &s.params.exact, NULL, "score every document", 0, 0},
      {"json", 0, CMD_FLAG, &s.json, NULL, "one JSON object a query", 0, 0},
      {"query-cut", 0, CMD_U32, &s.params.query_cut, "N",
       "read the lists of the N strongest terms; 0: of all", 0, UINT32_MAX},
      {"heap-factor", 0, CMD_DOUBLE, &heap_factor, "X",
       "skip what is estimated below X times the k-th score: larger is faster and "
       "finds less (the inverse of OpenSearch's heap_factor)",
       0, 1e6},
      {"model", 0, CMD_STRING, &model, "DIR",
       "the encoder, if not where the index remembers it", 0, 0},
      {"neural-queries", 0, CMD_FLAG, &encoder.neural_queries, NULL,
       "send queries through the network even where a table has their weights", 0, 0},
      {"device", 0, CMD_STRING, &encoder.device, "D", "model: auto, cpu or cuda", 0, 0},
      {"vectors", 0, CMD_STRING, &vectors, "FILE",
       "the queries are the vectors of this file", 0, 0},
      {NULL, 0, CMD_FLAG, NULL, NULL, NULL, 0, 0}};
  const cmd_spec spec = {
      "search", "INDEX [QUERY...]",
      "Prints the best documents of an index for each query: rank, score, id, and the\n"
      "title or the beginning of the text. Without a QUERY, reads standard input, a\n"
      "query a line.",
      options,
      "  spindle search wiki.idx \"why is the sky blue\"\n"
      "  spindle search wiki.idx -k 100 --json < questions.txt > results.jsonl\n"};
  int n_words, status;
  if (!cmd_parse(&spec, argc, argv, &n_words, &status)) return status;
  if (n_words < 1) return cmd_misuse("search", "wants an index");
  if (vectors && n_words > 1)
    return cmd_misuse("search", "takes queries or --vectors, not both");
  s.params.heap_factor = (float)heap_factor;

  sp_err err = sp_engine_open(argv[1], model, &encoder, &s.engine);
  if (!err) err = sp_session_new(s.engine, &s.session);
  if (!err) err = answer_all(&s, argv + 2, n_words - 1, vectors);
  sp_session_free(s.session);
  sp_engine_close(s.engine);
  sp_buf_free(&s.fields);
  sp_buf_free(&s.line);
  return err ? cmd_fail("search") : cmd_finish("search");
}
