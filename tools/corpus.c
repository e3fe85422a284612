/* tools/corpus.c - reading BEIR's and MS MARCO's corpora, refusing what isn't one. */
#include "tools/corpus.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/json_scan.h"
#include "base/lines.h"
#include "base/utf8.h"

enum { MAX_LINE_BYTES = 1 << 30, MAX_ID_BYTES = 511 };

struct sp_corpus {
  char **files; /* [n_files] */
  size_t n_files;
  sp_corpus_place place;
  sp_lines lines; /* of files[place.file], when open */
  bool open;
  sp_buf id, title, text; /* of the current document, escapes resolved */
  sp_buf whole, fields, key;
};

static sp_err add_file(sp_corpus *c, const char *path) {
  struct stat st;
  char *file = sp_path_is_dir(path) ? sp_path_join(path, "corpus.jsonl") : strdup(path);
  if (!file) return sp_fail(SP_ENOMEM, "%s: out of memory", path);
  c->files[c->n_files++] = file;
  if (stat(file, &st)) return sp_fail_errno(errno, "%s", file);
  return S_ISDIR(st.st_mode) ? sp_fail_errno(EISDIR, "%s", file) : SP_OK;
}

sp_err sp_corpus_open(char *const *paths, size_t n, sp_corpus **out) {
  *out = NULL;
  sp_corpus *c = calloc(1, sizeof *c);
  if (c) c->files = calloc(n + 1, sizeof *c->files);
  sp_err err = SP_OK;
  if (!c || !c->files) err = sp_fail(SP_ENOMEM, "corpus: out of memory");
  for (size_t i = 0; i < n && !err; i++) err = add_file(c, paths[i]);
  if (err) {
    sp_corpus_close(c);
    return err;
  }
  *out = c;
  return SP_OK;
}

void sp_corpus_close(sp_corpus *c) {
  if (!c) return;
  if (c->open) sp_lines_close(&c->lines);
  for (size_t i = 0; i < c->n_files; i++) free(c->files[i]);
  free(c->files);
  sp_buf_free(&c->id);
  sp_buf_free(&c->title);
  sp_buf_free(&c->text);
  sp_buf_free(&c->whole);
  sp_buf_free(&c->fields);
  sp_buf_free(&c->key);
  free(c);
}

char *const *sp_corpus_files(const sp_corpus *c, size_t *n) {
  *n = c->n_files;
  return c->files;
}

const sp_corpus_place *sp_corpus_tell(const sp_corpus *c) {
  return &c->place;
}

sp_err sp_corpus_seek(sp_corpus *c, const sp_corpus_place *place) {
  if (c->open) sp_lines_close(&c->lines);
  c->open = false;
  c->place = *place;
  return SP_OK;
}

static sp_err open_file(sp_corpus *c) {
  sp_err err = sp_lines_open(c->files[c->place.file], MAX_LINE_BYTES, &c->lines);
  if (err) return err;
  c->open = true;
  if (c->place.offset && fseeko(c->lines.f, (off_t)c->place.offset, SEEK_SET))
    return sp_fail_errno(errno, "%s", c->lines.name);
  c->lines.offset = c->place.offset;
  c->lines.number = c->place.line;
  return SP_OK;
}

/* The next line of any file that is not blank. */
static sp_err next_line(sp_corpus *c, bool *more) {
  *more = false;
  while (c->place.file < c->n_files) {
    sp_err err = c->open ? SP_OK : open_file(c);
    if (!err) err = sp_lines_next(&c->lines, more);
    if (err) return err;
    c->place.offset = c->lines.offset;
    c->place.line = c->lines.number;
    if (!*more) {
      sp_lines_close(&c->lines);
      c->open = false;
      c->place = (sp_corpus_place){.file = c->place.file + 1,
                                   .n_docs = c->place.n_docs,
                                   .n_repaired = c->place.n_repaired};
    } else if (strspn(c->lines.line, " \t") < c->lines.n) {
      return SP_OK;
    }
  }
  return SP_OK;
}

static sp_err bad_line(const sp_corpus *c, const char *what) {
  return sp_fail(SP_EFORMAT, "%s:%" PRIu64 ": %s", c->lines.name, c->lines.number, what);
}

/* A string value into `out`; null counts as empty. */
static bool read_string(sp_json_scan *s, sp_buf *out, sp_err *err) {
  const char *at;
  size_t n;
  if (sp_json_scan_peek(s) == 'n') {
    sp_buf_clear(out);
    return sp_json_scan_skip(s);
  }
  sp_buf scratch = {0};
  bool ok = sp_json_scan_string(s, &scratch, &at, &n);
  sp_buf_clear(out);
  if (ok) *err = sp_buf_append(out, at, n);
  sp_buf_free(&scratch);
  return ok && !*err;
}

/* An id is a string, or a whole number taken as it is written. */
static bool read_id(sp_json_scan *s, sp_buf *out, sp_err *err) {
  if (sp_json_scan_peek(s) != '0') return read_string(s, out, err);
  const char *from = s->at;
  double x;
  if (!sp_json_scan_number(s, &x)) return false;
  sp_buf_clear(out);
  *err = sp_buf_append(out, from, (size_t)(s->at - from));
  if (strspn(out->data ? out->data : "", "-0123456789") != out->n)
    s->fault = "an \"_id\" must be a string or a whole number";
  return !*err && !s->fault;
}

static bool is_key(const char *key, size_t n, const char *name) {
  return n == strlen(name) && memcmp(key, name, n) == 0;
}

static sp_err parse_json(sp_corpus *c) {
  sp_json_scan s = sp_json_scan_begin(c->lines.line, c->lines.n);
  const char *key,
      *wanted = "expected a JSON object with \"_id\", \"title\" and \"text\"";
  size_t n;
  sp_err err = SP_OK;
  bool has_id = false, has_text = false;
  if (sp_json_scan_peek(&s) != '{') return bad_line(c, wanted);
  for (bool first = true; sp_json_scan_member(&s, &first, &c->key, &key, &n);) {
    const char *name = NULL;
    if (is_key(key, n, "_id") && (name = "_id"))
      has_id = read_id(&s, &c->id, &err) || has_id;
    else if (is_key(key, n, "title") && (name = "title"))
      read_string(&s, &c->title, &err);
    else if (is_key(key, n, "text") && (name = "text"))
      has_text = read_string(&s, &c->text, &err) || has_text;
    else
      sp_json_scan_skip(&s);
    if (err) return err;
    if (s.fault && name)
      return sp_fail(SP_EFORMAT, "%s:%" PRIu64 ": \"%s\": %s", c->lines.name,
                     c->lines.number, name, s.fault);
  }
  if (s.fault || !sp_json_scan_ended(&s))
    return sp_fail(SP_EFORMAT, "%s:%" PRIu64 ": not JSON: %s (at byte %zu)",
                   c->lines.name, c->lines.number,
                   s.fault ? s.fault : "something follows the object",
                   (size_t)(s.at - s.begin));
  if (!has_id || c->id.n == 0) return bad_line(c, "a document without \"_id\"");
  if (!has_text) return bad_line(c, "a document without \"text\"");
  return SP_OK;
}

static sp_err parse_tsv(sp_corpus *c) {
  const char *line = c->lines.line, *tab = memchr(line, '\t', c->lines.n);
  if (!tab || tab == line) return bad_line(c, "expected an id, a tab and a passage");
  sp_err err = sp_buf_append(&c->id, line, (size_t)(tab - line));
  size_t n = c->lines.n - (size_t)(tab - line) - 1;
  if (!err && n) err = sp_buf_append(&c->text, tab + 1, n);
  return err;
}

/* Replaces invalid UTF-8; *repaired becomes true when there was some. */
static sp_err repair(sp_buf *b, bool *repaired) {
  if (b->n == 0 || sp_utf8_valid(b->data, b->n)) return SP_OK;
  sp_buf good = {0};
  sp_err err = sp_utf8_repair(b->data, b->n, &good);
  sp_buf_free(b);
  *b = good;
  *repaired = true;
  return err;
}

static bool is_blank(char ch) {
  return ch == ' ' || (ch >= '\t' && ch <= '\r');
}

static sp_err join(sp_corpus *c, sp_corpus_doc *out) {
  sp_err err = SP_OK;
  sp_buf_clear(&c->whole);
  if (c->title.n) err = sp_buf_append(&c->whole, c->title.data, c->title.n);
  if (!err) err = sp_buf_append_char(&c->whole, ' ');
  if (!err && c->text.n) err = sp_buf_append(&c->whole, c->text.data, c->text.n);
  if (err) return err;
  const char *from = c->whole.data, *end = from + c->whole.n;
  while (from < end && is_blank(*from)) from++;
  while (end > from && is_blank(end[-1])) end--;
  out->text = from;
  out->text_n = (size_t)(end - from);
  return SP_OK;
}

static sp_err store(sp_corpus *c, sp_corpus_doc *out) {
  sp_buf_clear(&c->fields);
  sp_err err = sp_buf_append_str(&c->fields, "{\"title\": ");
  if (!err) err = sp_json_put_string(&c->fields, c->title.data, c->title.n);
  if (!err) err = sp_buf_append_str(&c->fields, ", \"text\": ");
  if (!err) err = sp_json_put_string(&c->fields, c->text.data, c->text.n);
  if (!err) err = sp_buf_append_char(&c->fields, '}');
  out->fields = c->fields.data;
  out->fields_n = c->fields.n;
  return err;
}

static bool is_table(const char *path) {
  size_t n = strlen(path);
  return n >= 4 && strcmp(path + n - 4, ".tsv") == 0;
}

sp_err sp_corpus_next(sp_corpus *c, sp_corpus_doc *out, bool *more) {
  *out = (sp_corpus_doc){0};
  sp_err err = next_line(c, more);
  if (err || !*more) return err;
  sp_buf_clear(&c->id);
  sp_buf_clear(&c->title);
  sp_buf_clear(&c->text);
  err = is_table(c->lines.name) ? parse_tsv(c) : parse_json(c);
  bool repaired = false;
  if (!err) err = repair(&c->id, &repaired);
  if (!err) err = repair(&c->title, &repaired);
  if (!err) err = repair(&c->text, &repaired);
  if (err) return err;
  if (c->id.n > MAX_ID_BYTES || memchr(c->id.data, 0, c->id.n))
    return bad_line(c, "an \"_id\" has 1 to 511 bytes, and no NUL");
  out->id = c->id.data;
  out->id_n = c->id.n;
  err = join(c, out);
  if (!err) err = store(c, out);
  c->place.n_docs++;
  c->place.n_repaired += repaired;
  return err;
}
