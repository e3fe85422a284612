/* encoder/tokenizer_members.c - where in a tokenizer.json its parts lie. */
#include <string.h>

#include "base/json.h"
#include "encoder/tokenizer_parts.h"

sp_err sp_scan_fault(const sp_json_scan *scan, const char *where) {
  return sp_fail(SP_EFORMAT, "%s: not JSON: %s%s (at byte %zu)", where,
                 scan->at < scan->end ? "" : "end of file, ", scan->fault,
                 (size_t)(scan->at - scan->begin));
}

/* Appends one more member to an object whose '}' is still to come. */
static sp_err put_member(sp_buf *out, const char *key, size_t n, const char *value,
                         const char *end) {
  sp_err err = sp_buf_append_char(out, out->n ? ',' : '{');
  if (!err) err = sp_json_put_string(out, key, n);
  if (!err) err = sp_buf_append_char(out, ':');
  return err ? err : sp_buf_append(out, value, (size_t)(end - value));
}

sp_err sp_members_find(sp_json_scan *scan, const char *const *names, size_t n,
                       const char *where, sp_member *out, sp_buf *rest) {
  sp_buf scratch = {0};
  sp_err err = SP_OK;
  const char *key;
  size_t n_key;
  for (size_t i = 0; i < n; i++) out[i] = (sp_member){0};
  for (bool first = true;
       !err && sp_json_scan_member(scan, &first, &scratch, &key, &n_key);) {
    size_t at = 0;
    while (at < n && !(strlen(names[at]) == n_key && !memcmp(key, names[at], n_key)))
      at++;
    sp_json_scan_peek(scan);
    sp_json_scan value = *scan;
    if (!sp_json_scan_skip(scan)) break;
    if (at < n)
      out[at] = (sp_member){value, scan->at};
    else if (rest)
      err = put_member(rest, key, n_key, value.at, scan->at);
  }
  sp_buf_free(&scratch);
  if (!err && scan->fault) err = sp_scan_fault(scan, where);
  if (!err && rest) err = sp_buf_append_str(rest, rest->n ? "}" : "{}");
  return err;
}

sp_err sp_member_parse(const sp_member *m, const char *name, const char *where,
                       json_t **out) {
  *out = NULL;
  if (!m->scan.begin) return SP_OK;
  sp_err err = sp_json_parse(m->scan.at, (size_t)(m->end - m->scan.at), "its value", out);
  return err ? sp_err_at(err, "%s: \"%s\"", where, name) : SP_OK;
}

char sp_member_kind(const sp_member *m) {
  sp_json_scan s = m->scan;
  return s.begin ? sp_json_scan_peek(&s) : 0;
}
