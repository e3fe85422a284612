/* tools/inspect_vector.c - the vector of a document or of a text, strongest terms first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/json.h"
#include "tools/inspect.h"
#include "tools/shown.h"

enum { FIELD_BYTES = 1000 /* shown of a stored field */ };

/* --- entries --- */

static json_t *entries_json(inspection *s, const sp_vec *v, const uint32_t *order) {
  json_t *all = json_array();
  for (uint32_t i = 0; all && i < inspect_shown(s, v->n); i++) {
    uint32_t term = v->terms[order[i]];
    json_t *one =
        json_pack("{s:I, s:o, s:f}", "term", (json_int_t)term, "token",
                  inspect_token_json(s, term), "weight", (double)v->weights[order[i]]);
    if (json_array_append_new(all, one)) {
      json_decref(all);
      return NULL;
    }
  }
  return all;
}

static sp_err print_entries(inspection *s, const sp_vec *v, const uint32_t *order) {
  uint32_t n = inspect_shown(s, v->n);
  if (v->n) printf("    weight       term  token\n");
  for (uint32_t i = 0; i < n; i++) {
    const char *token;
    uint32_t term = v->terms[order[i]];
    sp_err err = inspect_token(s, term, &token);
    if (err) return err;
    printf("%10.4f %10u  %s\n", (double)v->weights[order[i]], term, token);
  }
  printf("%u entries", v->n);
  if (n < v->n) printf(", the %u strongest shown", n);
  putchar('\n');
  return SP_OK;
}

/* --- a document --- */

/* The vector of segment-local document `local`. */
static sp_err read_vector(const sp_segment *segment, uint32_t local, sp_vec *out) {
  sp_doc d = sp_segment_doc(segment, local);
  sp_err err = sp_vec_reserve(out, d.n);
  if (err) return err;
  sp_vec_clear(out);
  for (uint32_t i = 0; i < d.n; i++) {
    out->terms[i] = segment->term_bytes == 2 ? ((const uint16_t *)d.terms)[i]
                                             : ((const uint32_t *)d.terms)[i];
    out->weights[i] = sp_f16_to_f32(d.weights[i]);
  }
  out->n = d.n;
  return SP_OK;
}

static sp_err print_fields(inspection *s, const json_t *fields) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)fields, key, value) {
    char *other = NULL;
    const char *text = json_string_value(value);
    size_t n = json_string_length(value);
    if (!text) {
      other = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
      if (!other) return sp_fail(SP_ENOMEM, "no memory for a stored field");
      text = other;
      n = strlen(other);
    }
    sp_buf_clear(&s->scratch);
    sp_err err = shown_append(&s->scratch, key, strlen(key), FIELD_BYTES);
    if (!err) err = sp_buf_append_str(&s->scratch, ": ");
    if (!err) err = shown_append(&s->scratch, text, n, FIELD_BYTES);
    free(other);
    if (err) return err;
    puts(s->scratch.data);
  }
  return SP_OK;
}

static sp_err print_document(inspection *s, const char *id, uint32_t doc,
                             const sp_segment *segment, const json_t *fields,
                             const sp_vec *v, const uint32_t *order) {
  sp_buf_clear(&s->scratch);
  sp_err err = shown_append(&s->scratch, id, strlen(id), FIELD_BYTES);
  if (err) return err;
  printf("%s: document number %u, in segment %u\n", s->scratch.data, doc, segment->id);
  err = print_fields(s, fields);
  return err ? err : print_entries(s, v, order);
}

static sp_err show_document(inspection *s, const char *id, uint32_t doc,
                            const sp_segment *segment, json_t *fields, const sp_vec *v,
                            const uint32_t *order) {
  if (!s->json) return print_document(s, id, doc, segment, fields, v, order);
  return inspect_print(
      json_pack("{s:o, s:I, s:I, s:O, s:I, s:o}", "id", inspect_string(s, id, strlen(id)),
                "document", (json_int_t)doc, "segment", (json_int_t)segment->id, "fields",
                fields, "nnz", (json_int_t)v->n, "entries", entries_json(s, v, order)));
}

sp_err inspect_document(inspection *s, const char *id) {
  uint32_t doc, *order = NULL;
  const sp_segment *segment;
  sp_err err = inspect_find(s, id, &doc, &segment);
  if (err) return err;
  sp_vec v = {0};
  sp_buf stored = {0};
  json_t *fields = NULL;
  err = read_vector(segment, doc - segment->first_doc, &v);
  if (!err) err = inspect_order(&v, &order);
  if (!err) err = sp_snapshot_fields(s->snapshot, doc, &stored);
  if (!err) err = sp_json_parse(stored.data, stored.n, "stored fields", &fields);
  if (!err) err = show_document(s, id, doc, segment, fields, &v, order);
  json_decref(fields);
  sp_buf_free(&stored);
  free(order);
  sp_vec_free(&v);
  return err;
}

/* --- a text --- */

sp_err inspect_text(inspection *s, sp_side side, const char *text) {
  sp_text one = {text, strlen(text)};
  sp_vec v = {0};
  uint32_t *order = NULL;
  sp_err err = sp_encoder_encode(s->encoder, side, &one, 1, &v);
  if (!err) err = inspect_order(&v, &order);
  if (!err && s->json)
    err = inspect_print(
        json_pack("{s:o, s:s, s:I, s:o}", "text", inspect_string(s, text, one.n), "side",
                  side == SP_QUERY ? "query" : "document", "nnz", (json_int_t)v.n,
                  "entries", entries_json(s, &v, order)));
  else if (!err)
    err = print_entries(s, &v, order);
  free(order);
  sp_vec_free(&v);
  return err;
}
