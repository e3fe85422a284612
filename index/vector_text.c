/* index/vector_text.c - the JSON-lines vector formats: Spindle's, Seismic's, Anserini's.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/json_scan.h"
#include "base/lines.h"
#include "index/vector_ops.h"

/* A vector of a whole large vocabulary and a long text fit; a file that is one endless
 * line does not fill the memory. */
enum { MAX_LINE_BYTES = 1 << 28 };

/* --- reading --- */

typedef struct text_reader {
  sp_lines lines;
  sp_buf key, string; /* scratch of the scanner */
  bool numbered;      /* a record with term numbers was seen */
  /* the current record */
  bool has_id, has_vector, has_terms, has_weights, anserini;
  uint32_t n_weights;
} text_reader;

static sp_err bad_line(const sp_vector_reader *r, const char *what) {
  return sp_fail(SP_EFORMAT, "%s: line %llu: %s", r->path, (unsigned long long)r->place,
                 what);
}

/* Room for entry i of the vector. */
static sp_err make_room(sp_vector_reader *r, uint32_t i) {
  if (i == UINT32_MAX) return bad_line(r, "a vector of too many entries");
  return i < r->vec.cap ? SP_OK : sp_vec_reserve(&r->vec, i + 1);
}

/* A term number, or UINT32_MAX, which counts as out of range. */
static uint32_t term_of(double x) {
  return x >= 0 && x < UINT32_MAX && x == floor(x) ? (uint32_t)x : UINT32_MAX;
}

static uint32_t number_of_token(const char *token, size_t n) {
  uint64_t x = 0;
  if (n == 0 || n > 10) return UINT32_MAX;
  for (size_t i = 0; i < n; i++) {
    if (token[i] < '0' || token[i] > '9') return UINT32_MAX;
    x = x * 10 + (uint64_t)(token[i] - '0');
  }
  return x < UINT32_MAX ? (uint32_t)x : UINT32_MAX;
}

/* *known is false when the entry is to be left out. */
static sp_err find_token(sp_vector_reader *r, const char *token, size_t n, uint32_t *term,
                         bool *known) {
  *known = true;
  if (r->options.numeric_tokens) {
    *term = number_of_token(token, n);
    return SP_OK;
  }
  if (r->options.find) {
    *term = r->options.find(r->options.find_context, token, n);
    *known = *term != SP_STRMAP_NONE;
    if (!*known) r->faults |= 1u << SP_VECTOR_UNKNOWN;
    return SP_OK;
  }
  if (!r->vocabulary) {
    sp_err err = sp_strmap_new(&r->vocabulary);
    if (err) return err;
  }
  return sp_strmap_add(r->vocabulary, token, n, term);
}

static sp_err read_tokens(sp_vector_reader *r, sp_json_scan *s) {
  text_reader *t = r->state;
  const char *token;
  size_t n;
  double x;
  for (bool first = true; sp_json_scan_member(s, &first, &t->key, &token, &n);) {
    uint32_t term;
    bool known;
    if (!sp_json_scan_number(s, &x)) break;
    sp_err err = find_token(r, token, n, &term, &known);
    if (!err && known) err = sp_vec_push(&r->vec, term, (float)x);
    if (err) return err;
  }
  t->has_vector = true;
  return SP_OK;
}

static sp_err read_terms(sp_vector_reader *r, sp_json_scan *s) {
  text_reader *t = r->state;
  double x;
  for (bool first = true; sp_json_scan_element(s, &first);) {
    if (!sp_json_scan_number(s, &x)) break;
    sp_err err = make_room(r, r->vec.n);
    if (err) return err;
    r->vec.terms[r->vec.n++] = term_of(x);
  }
  t->has_terms = true;
  return SP_OK;
}

static sp_err read_weights(sp_vector_reader *r, sp_json_scan *s) {
  text_reader *t = r->state;
  double x;
  for (bool first = true; sp_json_scan_element(s, &first);) {
    if (!sp_json_scan_number(s, &x)) break;
    sp_err err = make_room(r, t->n_weights);
    if (err) return err;
    r->vec.weights[t->n_weights++] = (float)x;
  }
  t->has_weights = true;
  return SP_OK;
}

/* A string, or a whole number as it is written. */
static sp_err read_id(sp_vector_reader *r, sp_json_scan *s) {
  text_reader *t = r->state;
  const char *id = NULL;
  size_t n = 0;
  if (sp_json_scan_peek(s) == '0') {
    double x;
    id = s->at;
    if (sp_json_scan_number(s, &x)) n = (size_t)(s->at - id);
  } else {
    sp_json_scan_string(s, &t->string, &id, &n);
  }
  if (s->fault) return SP_OK; /* the caller tells it */
  t->has_id = true;
  sp_buf_clear(&r->id);
  return sp_buf_append(&r->id, id, n);
}

static sp_err read_content(sp_vector_reader *r, sp_json_scan *s) {
  text_reader *t = r->state;
  const char *text;
  size_t n;
  if (sp_json_scan_peek(s) != '"' || r->has_text) {
    sp_json_scan_skip(s);
    return SP_OK;
  }
  if (!sp_json_scan_string(s, &t->string, &text, &n)) return SP_OK;
  r->has_text = true;
  return sp_buf_append(&r->text, text, n);
}

static bool is_key(const char *key, size_t n, const char *name) {
  return strlen(name) == n && memcmp(key, name, n) == 0;
}

static sp_err read_member(sp_vector_reader *r, sp_json_scan *s, const char *key,
                          size_t n) {
  text_reader *t = r->state;
  if (!t->has_id &&
      (is_key(key, n, "id") || is_key(key, n, "_id") || is_key(key, n, "docid")))
    return read_id(r, s);
  if (is_key(key, n, "content") || is_key(key, n, "text")) return read_content(r, s);
  if (is_key(key, n, "contents")) {
    t->anserini = true;
    return read_content(r, s);
  }
  bool tokens = is_key(key, n, "vector"), terms = is_key(key, n, "terms"),
       weights = is_key(key, n, "weights");
  if ((tokens && (t->has_vector || t->has_terms || t->has_weights)) ||
      (terms && (t->has_vector || t->has_terms)) ||
      (weights && (t->has_vector || t->has_weights)))
    return bad_line(r, "more than one vector");
  if (tokens) return read_tokens(r, s);
  if (terms) return read_terms(r, s);
  if (weights) return read_weights(r, s);
  sp_json_scan_skip(s);
  return SP_OK;
}

static sp_err check_record(sp_vector_reader *r) {
  text_reader *t = r->state;
  if (!t->has_id) return bad_line(r, "no \"id\"");
  if (t->has_terms != t->has_weights || (!t->has_vector && !t->has_terms))
    return bad_line(r, "neither a \"vector\" nor \"terms\" with \"weights\"");
  if (t->has_terms && r->vec.n != t->n_weights)
    return sp_fail(SP_EFORMAT, "%s: line %llu (id '%.64s'): %u terms but %u weights",
                   r->path, (unsigned long long)r->place, r->id.data, r->vec.n,
                   t->n_weights);
  t->numbered = t->numbered || t->has_terms;
  if (t->numbered && r->vocabulary)
    return bad_line(r, "the file has tokens as well as term numbers");
  if (r->options.format == SP_VECTORS_AUTO && r->report.n_read == 0)
    r->format = t->has_terms  ? SP_VECTORS_JSONL
                : t->anserini ? SP_VECTORS_ANSERINI
                              : SP_VECTORS_SEISMIC;
  r->ordered = t->has_terms;
  return SP_OK;
}

static sp_err read_record(sp_vector_reader *r) {
  text_reader *t = r->state;
  sp_json_scan s = sp_json_scan_begin(t->lines.line, t->lines.n);
  t->has_id = t->has_vector = t->has_terms = t->has_weights = t->anserini = false;
  t->n_weights = 0;
  const char *key;
  size_t n;
  for (bool first = true; sp_json_scan_member(&s, &first, &t->key, &key, &n);) {
    sp_err err = read_member(r, &s, key, n);
    if (err) return err;
  }
  if (!s.fault && !sp_json_scan_ended(&s)) s.fault = "something behind the object";
  if (s.fault)
    return sp_fail(SP_EFORMAT, "%s: line %llu: not a JSON object: %s (at byte %zu)",
                   r->path, (unsigned long long)r->place, s.fault,
                   (size_t)(s.at - s.begin) + 1);
  return check_record(r);
}

static sp_err text_next(sp_vector_reader *r, bool *more) {
  text_reader *t = r->state;
  for (;;) {
    sp_err err = sp_lines_next(&t->lines, more);
    if (err || !*more) return err;
    r->place = t->lines.number;
    if (strspn(t->lines.line, " \t\r") < t->lines.n) return read_record(r);
  }
}

static void text_close(sp_vector_reader *r) {
  text_reader *t = r->state;
  if (!t) return;
  sp_lines_close(&t->lines);
  sp_buf_free(&t->key);
  sp_buf_free(&t->string);
  free(t);
}

static const sp_vector_reader_ops TEXT_READER = {text_next, text_close};

sp_err sp_vector_text_open(sp_vector_reader *r) {
  text_reader *t = calloc(1, sizeof *t);
  if (!t) return sp_fail(SP_ENOMEM, "%s: out of memory", r->path);
  r->ops = &TEXT_READER;
  r->state = t;
  r->unit = "line";
  return sp_lines_open(r->path, MAX_LINE_BYTES, &t->lines);
}

/* --- writing --- */

typedef struct text_writer {
  sp_out out;
  sp_buf line;
} text_writer;

/* The shorter of two forms that read back as the same float. */
static sp_err put_weight(sp_buf *out, float w) {
  char text[32];
  snprintf(text, sizeof text, "%.6g", (double)w);
  if (strtof(text, NULL) != w) snprintf(text, sizeof text, "%.9g", (double)w);
  return sp_buf_append_str(out, text);
}

static sp_err put_arrays(sp_buf *out, const sp_vec *v) {
  sp_err err = sp_buf_append_str(out, ", \"terms\": [");
  for (uint32_t i = 0; i < v->n && !err; i++)
    err = sp_buf_printf(out, "%s%u", i ? ", " : "", v->terms[i]);
  if (!err) err = sp_buf_append_str(out, "], \"weights\": [");
  for (uint32_t i = 0; i < v->n && !err; i++) {
    if (i) err = sp_buf_append_str(out, ", ");
    if (!err) err = put_weight(out, v->weights[i]);
  }
  return err ? err : sp_buf_append_char(out, ']');
}

static sp_err put_token(const sp_vector_writer *w, sp_buf *out, uint32_t term) {
  size_t n = 0;
  const char *token =
      w->options.spell ? w->options.spell(w->options.spell_context, term, &n) : NULL;
  if (token) return sp_json_put_string(out, token, n);
  return sp_buf_printf(out, "\"%u\"", term);
}

static sp_err put_object(const sp_vector_writer *w, sp_buf *out, const sp_vec *v) {
  bool whole = w->options.format == SP_VECTORS_ANSERINI;
  sp_err err = sp_buf_append_str(out, ", \"vector\": {");
  bool comma = false;
  for (uint32_t i = 0; i < v->n && !err; i++) {
    double scaled = round(100 * (double)v->weights[i]);
    if (whole && scaled == 0) continue; /* Anserini repeats a token that many times */
    if (comma) err = sp_buf_append_str(out, ", ");
    comma = true;
    if (!err) err = put_token(w, out, v->terms[i]);
    if (!err) err = sp_buf_append_str(out, ": ");
    if (err) break;
    err = whole ? sp_buf_printf(out, "%.0f", scaled) : put_weight(out, v->weights[i]);
  }
  return err ? err : sp_buf_append_char(out, '}');
}

static sp_err text_put(sp_vector_writer *w, const char *id, size_t id_n,
                       const sp_vec *vec, const char *text, size_t text_n) {
  text_writer *t = w->state;
  sp_buf *out = &t->line;
  sp_buf_clear(out);
  sp_err err = sp_buf_append_str(out, "{\"id\": ");
  if (!err) err = sp_json_put_string(out, id, id_n);
  if (!err && w->options.format == SP_VECTORS_JSONL) {
    err = put_arrays(out, vec);
  } else if (!err) {
    bool anserini = w->options.format == SP_VECTORS_ANSERINI;
    err = sp_buf_append_str(out, anserini ? ", \"contents\": " : ", \"content\": ");
    if (!err) err = sp_json_put_string(out, text ? text : "", text ? text_n : 0);
    if (!err) err = put_object(w, out, vec);
  }
  if (!err) err = sp_buf_append_str(out, "}\n");
  if (err) return err;
  if (fwrite(out->data, 1, out->n, t->out.f) == out->n) return SP_OK;
  return sp_fail_errno(errno, "%s: cannot write", w->path);
}

static sp_err text_finish(sp_vector_writer *w) {
  text_writer *t = w->state;
  return sp_out_commit(&t->out);
}

static void text_writer_close(sp_vector_writer *w) {
  text_writer *t = w->state;
  if (!t) return;
  sp_out_abort(&t->out);
  sp_buf_free(&t->line);
  free(t);
}

static const sp_vector_writer_ops TEXT_WRITER = {text_put, NULL, text_finish,
                                                 text_writer_close};

sp_err sp_vector_text_create(sp_vector_writer *w) {
  text_writer *t = calloc(1, sizeof *t);
  if (!t) return sp_fail(SP_ENOMEM, "%s: out of memory", w->path);
  w->ops = &TEXT_WRITER;
  w->state = t;
  return sp_out_open(w->path, &t->out);
}
