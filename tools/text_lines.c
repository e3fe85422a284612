/* tools/text_lines.c - reads texts line by line, keeping ids as they are written. */
#include "tools/text_lines.h"

#include <string.h>

#include "base/json_scan.h"

static const size_t MAX_LINE = (size_t)1 << 30;

sp_err text_lines_open(const char *path, text_lines *out) {
  *out = (text_lines){0};
  return sp_lines_open(path, MAX_LINE, &out->in);
}

void text_lines_close(text_lines *t) {
  sp_lines_close(&t->in);
  sp_buf_free(&t->key);
  sp_buf_free(&t->id);
  sp_buf_free(&t->title);
  sp_buf_free(&t->text);
}

static bool is(const char *key, size_t n, const char *word) {
  return n == strlen(word) && memcmp(key, word, n) == 0;
}

/* The id, a string or a number; false when it is neither. */
static bool read_id(text_lines *t, sp_json_scan *s, text_line *out) {
  char kind = sp_json_scan_peek(s);
  if (kind != '"' && kind != '0') return false;
  out->id_json = s->at;
  if (kind == '"')
    sp_json_scan_string(s, &t->id, &out->id, &out->n_id);
  else
    sp_json_scan_skip(s);
  out->n_id_json = (size_t)(s->at - out->id_json);
  if (kind == '0') {
    out->id = out->id_json;
    out->n_id = out->n_id_json;
  }
  return true;
}

static const char *read_members(text_lines *t, sp_json_scan *s, text_line *out) {
  const char *key;
  size_t n;
  for (bool first = true; sp_json_scan_member(s, &first, &t->key, &key, &n);) {
    if (is(key, n, "text")) {
      sp_json_scan_string(s, &t->text, &out->text, &out->n_text);
    } else if (is(key, n, "title") && sp_json_scan_peek(s) == '"') {
      sp_json_scan_string(s, &t->title, &out->title, &out->n_title);
    } else if (is(key, n, "_id") || (is(key, n, "id") && !out->id)) {
      if (!read_id(t, s, out)) return "the id must be a string or a number";
    } else {
      sp_json_scan_skip(s);
    }
  }
  if (s->fault) return s->fault;
  if (!sp_json_scan_ended(s)) return "more follows the object";
  if (!out->id) return "\"id\" is missing";
  return out->text ? NULL : "\"text\" is missing";
}

sp_err text_lines_next(text_lines *t, text_line *out, bool *more) {
  sp_err err;
  do {
    err = sp_lines_next(&t->in, more);
    if (err || !*more) return err;
  } while (strspn(t->in.line, " \t") == t->in.n);
  *out = (text_line){0};
  sp_json_scan s = sp_json_scan_begin(t->in.line, t->in.n);
  const char *fault = read_members(t, &s, out);
  if (!fault) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s:%llu: %s", t->in.name, (unsigned long long)t->in.number,
                 fault);
}

static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

sp_err text_line_document(const text_line *l, sp_buf *out) {
  if (!l->title) return sp_buf_append(out, l->text, l->n_text);
  size_t begin = out->n;
  sp_err err = sp_buf_append(out, l->title, l->n_title);
  if (!err) err = sp_buf_append_char(out, ' ');
  if (!err) err = sp_buf_append(out, l->text, l->n_text);
  if (err) return err;
  size_t skip = begin;
  while (skip < out->n && is_blank(out->data[skip])) skip++;
  memmove(out->data + begin, out->data + skip, out->n - skip);
  out->n -= skip - begin;
  while (out->n > begin && is_blank(out->data[out->n - 1])) out->n--;
  return SP_OK;
}
