/* server/hit.c - a document's id, score and stored fields as a JSON object. */
#include "server/hit.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static bool is_wanted(const json_t *fields, const char *name) {
  if (strcmp(name, "id") == 0 || strcmp(name, "score") == 0) return false;
  if (!fields) return true;
  for (size_t i = 0; i < json_array_size(fields); i++)
    if (strcmp(json_string_value(json_array_get(fields, i)), name) == 0) return true;
  return false;
}

static sp_err put_value(const json_t *value, sp_buf *out) {
  if (json_is_string(value))
    return sp_json_put_string(out, json_string_value(value), json_string_length(value));
  char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
  if (!text) return sp_fail(SP_ENOMEM, "no memory for a stored field");
  sp_err err = sp_buf_append_str(out, text);
  free(text);
  return err;
}

/* ", \"title\": \"...\"" for each stored field that is wanted. */
static sp_err put_fields(const sp_buf *stored, const json_t *fields, sp_buf *out) {
  json_t *o;
  sp_err err = sp_json_parse(stored->data, stored->n, "stored fields", &o);
  if (err) return err;
  const char *key;
  json_t *value;
  json_object_foreach(o, key, value) {
    if (err || !is_wanted(fields, key)) continue;
    err = sp_buf_append_str(out, ", ");
    if (!err) err = sp_json_put_string(out, key, strlen(key));
    if (!err) err = sp_buf_append_str(out, ": ");
    if (!err) err = put_value(value, out);
  }
  json_decref(o);
  return err;
}

sp_err sp_put_hit(const sp_snapshot *snapshot, const sp_hit *hit, const json_t *fields,
                  sp_buf *scratch, sp_buf *out) {
  size_t n;
  const char *id = sp_snapshot_id(snapshot, hit->doc, &n);
  if (!id) return sp_fail(SP_EFORMAT, "document %u has no id", hit->doc);
  sp_err err = sp_buf_append_str(out, "{\"id\": ");
  if (!err) err = sp_json_put_string(out, id, n);
  if (!err) err = sp_buf_printf(out, ", \"score\": %.9g", (double)hit->score);
  if (!err && (!fields || json_array_size(fields) > 0)) {
    sp_buf_clear(scratch);
    err = sp_snapshot_fields(snapshot, hit->doc, scratch);
    if (!err) err = put_fields(scratch, fields, out);
  }
  return err ? err : sp_buf_append_char(out, '}');
}
