/* base/json.c - checked access to parsed JSON. */
#include "base/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

static const size_t FLAGS = JSON_DECODE_ANY | JSON_ALLOW_NUL;

enum { MAX_BESIDE_BYTES = 4 << 20 };

sp_err sp_json_parse(const char *text, size_t n, const char *where, json_t **out) {
  json_error_t e;
  *out = json_loadb(n ? text : "", n, FLAGS, &e);
  if (*out) return SP_OK;
  if (json_error_code(&e) == json_error_out_of_memory)
    return sp_fail(SP_ENOMEM, "%s: out of memory", where);
  return sp_fail(SP_EFORMAT, "%s: not JSON: %s (at byte %d)", where, e.text, e.position);
}

static sp_err load(const char *path, size_t max_bytes, size_t flags, json_t **out) {
  *out = NULL;
  char *text;
  size_t n;
  sp_err err = sp_file_read(path, max_bytes, &text, &n);
  if (err) return err;
  json_error_t e;
  *out = json_loadb(text, n, flags, &e);
  if (!*out && n == 0)
    err = sp_fail(SP_EFORMAT, "%s: the file is empty", path);
  else if (!*out)
    err = json_error_code(&e) == json_error_out_of_memory
              ? sp_fail(SP_ENOMEM, "%s: out of memory", path)
              : sp_fail(SP_EFORMAT, "%s:%d: not JSON: %s", path, e.line, e.text);
  free(text);
  return err;
}

sp_err sp_json_load_file(const char *path, size_t max_bytes, json_t **out) {
  return load(path, max_bytes, FLAGS, out);
}

sp_err sp_json_load_beside(const char *dir, const char *name, bool numbers_as_reals,
                           char **path, json_t **out) {
  *out = NULL;
  sp_err err = SP_OK;
  *path = sp_path_if_exists(dir, name, &err);
  if (err || !*path) return err;
  size_t flags = numbers_as_reals ? FLAGS | JSON_DECODE_INT_AS_REAL : FLAGS;
  return load(*path, MAX_BESIDE_BYTES, flags, out);
}

/* The member, or NULL when it is missing or null. */
static const json_t *member(const json_t *o, const char *key) {
  const json_t *v = json_object_get(o, key);
  return json_is_null(v) ? NULL : v;
}

static const char *type_name(const json_t *v) {
  switch (json_typeof(v)) {
    case JSON_OBJECT:
      return "an object";
    case JSON_ARRAY:
      return "an array";
    case JSON_STRING:
      return "a string";
    case JSON_INTEGER:
      return "a whole number";
    case JSON_REAL:
      return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
      return "a truth value";
    case JSON_NULL:
      return "null";
  }
  return "something else";
}

static sp_err wrong(const json_t *v, const char *key, const char *where,
                    const char *expected) {
  return sp_fail(SP_EFORMAT, "%s: \"%s\" must be %s, not %s", where, key, expected,
                 type_name(v));
}

sp_err sp_json_get_bool(const json_t *o, const char *key, const char *where, bool *out) {
  const json_t *v = member(o, key);
  if (!v) return SP_OK;
  if (!json_is_boolean(v)) return wrong(v, key, where, "true or false");
  *out = json_is_true(v);
  return SP_OK;
}

sp_err sp_json_get_u32(const json_t *o, const char *key, const char *where, uint32_t min,
                       uint32_t max, uint32_t *out) {
  const json_t *v = member(o, key);
  if (!v) return SP_OK;
  if (!json_is_integer(v)) return wrong(v, key, where, "a whole number");
  json_int_t n = json_integer_value(v);
  if (n < (json_int_t)min || n > (json_int_t)max)
    return sp_fail(SP_EFORMAT, "%s: \"%s\" is %lld, expected %u to %u", where, key,
                   (long long)n, min, max);
  *out = (uint32_t)n;
  return SP_OK;
}

sp_err sp_json_get_double(const json_t *o, const char *key, const char *where, double min,
                          double max, double *out) {
  const json_t *v = member(o, key);
  if (!v) return SP_OK;
  if (!json_is_number(v)) return wrong(v, key, where, "a number");
  double x = json_number_value(v);
  if (!(x >= min && x <= max))
    return sp_fail(SP_EFORMAT, "%s: \"%s\" is %g, expected %g to %g", where, key, x, min,
                   max);
  *out = x;
  return SP_OK;
}

sp_err sp_json_get_string(const json_t *o, const char *key, const char *where,
                          const char **out) {
  const json_t *v = member(o, key);
  if (!v) return SP_OK;
  if (!json_is_string(v)) return wrong(v, key, where, "a string");
  *out = json_string_value(v);
  return SP_OK;
}

static sp_err need(const json_t *o, const char *key, const char *where) {
  if (member(o, key)) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s: \"%s\" is missing", where, key);
}

sp_err sp_json_need_u32(const json_t *o, const char *key, const char *where, uint32_t min,
                        uint32_t max, uint32_t *out) {
  sp_err err = need(o, key, where);
  return err ? err : sp_json_get_u32(o, key, where, min, max, out);
}

sp_err sp_json_need_string(const json_t *o, const char *key, const char *where,
                           const char **out) {
  sp_err err = need(o, key, where);
  return err ? err : sp_json_get_string(o, key, where, out);
}

static sp_err put_escaped(sp_buf *out, unsigned char c) {
  switch (c) {
    case '"':
      return sp_buf_append(out, "\\\"", 2);
    case '\\':
      return sp_buf_append(out, "\\\\", 2);
    case '\n':
      return sp_buf_append(out, "\\n", 2);
    case '\r':
      return sp_buf_append(out, "\\r", 2);
    case '\t':
      return sp_buf_append(out, "\\t", 2);
    default:
      return sp_buf_printf(out, "\\u%04x", c);
  }
}

sp_err sp_json_put_string(sp_buf *out, const char *s, size_t n) {
  sp_err err = sp_buf_append_char(out, '"');
  for (size_t i = 0; i < n && !err;) {
    size_t run = i; /* plain ASCII in one piece */
    while (run < n && (unsigned char)s[run] >= 0x20 && (unsigned char)s[run] < 0x7f &&
           s[run] != '"' && s[run] != '\\')
      run++;
    if (run > i) {
      err = sp_buf_append(out, s + i, run - i);
      i = run;
      continue;
    }
    if ((unsigned char)s[i] < 0x80) {
      err = put_escaped(out, (unsigned char)s[i++]);
      continue;
    }
    uint32_t code;
    char bytes[4];
    i += sp_utf8_next(s + i, n - i, &code);
    err = sp_buf_append(out, bytes, sp_utf8_put(code, bytes));
  }
  return err ? err : sp_buf_append_char(out, '"');
}
