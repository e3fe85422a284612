/* server/search_request.c - reading and judging the body of a search. */
#include "server/search_request.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "base/json.h"

static const char WHERE[] = "request";

/* `known` ends with NULL. */
static sp_err refuse_unknown(const json_t *object, const char *where,
                             const char *const *known) {
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) {
    const char *const *k = known;
    while (*k && strcmp(*k, key) != 0) k++;
    if (!*k) return sp_fail(SP_EFORMAT, "%s: there is no member \"%.64s\"", where, key);
  }
  return SP_OK;
}

static sp_err need_array(const json_t *object, const char *where, const char *key,
                         const json_t **out) {
  *out = json_object_get(object, key);
  if (json_is_array(*out)) return SP_OK;
  return sp_fail(SP_EFORMAT, "%s: \"%s\" must be an array", where, key);
}

static sp_err read_entry(const json_t *term, const json_t *weight, size_t i, sp_vec *v) {
  if (!json_is_integer(term) || json_integer_value(term) < 0 ||
      json_integer_value(term) >= UINT32_MAX)
    return sp_fail(SP_EFORMAT, "%s: terms[%zu] is not a whole number from 0 to %u", WHERE,
                   i, UINT32_MAX - 1);
  float w = json_is_number(weight) ? (float)json_number_value(weight) : NAN;
  if (!(w >= 0 && w <= SP_MAX_QUERY_WEIGHT)) /* refuses NaN too */
    return sp_fail(SP_EFORMAT, "%s: weights[%zu] is not a number from 0 to %g", WHERE, i,
                   (double)SP_MAX_QUERY_WEIGHT);
  return sp_vec_push(v, (uint32_t)json_integer_value(term), w);
}

/* Order does not matter; zeros count for nothing; a term twice is refused, as summing could
 * hide a mistake. */
static sp_err read_vector(const json_t *query, sp_vec *v) {
  static const char *const known[] = {"terms", "weights", NULL};
  const json_t *terms, *weights;
  sp_err err = refuse_unknown(query, "query", known);
  if (!err) err = need_array(query, "query", "terms", &terms);
  if (!err) err = need_array(query, "query", "weights", &weights);
  if (err) return err;
  size_t n = json_array_size(terms);
  if (n != json_array_size(weights))
    return sp_fail(SP_EFORMAT, "query: %zu terms but %zu weights", n,
                   json_array_size(weights));
  uint32_t n_positive = 0;
  for (size_t i = 0; i < n; i++) {
    err = read_entry(json_array_get(terms, i), json_array_get(weights, i), i, v);
    if (err) return err;
    n_positive += v->weights[i] > 0;
  }
  sp_vec_normalize(v);
  if (v->n != n_positive) return sp_fail(SP_EFORMAT, "query: a term stands there twice");
  return SP_OK;
}

static sp_err read_query(const json_t *root, sp_search_request *r) {
  const json_t *query = json_object_get(root, "query");
  if (!query || json_is_null(query))
    return sp_fail(SP_EFORMAT, "%s: \"query\" is missing", WHERE);
  if (json_is_object(query)) return read_vector(query, &r->vector);
  if (!json_is_string(query))
    return sp_fail(SP_EFORMAT,
                   "%s: \"query\" must be a text or an object of \"terms\" and "
                   "\"weights\"",
                   WHERE);
  r->text = json_string_value(query);
  r->text_n = json_string_length(query);
  return SP_OK;
}

static bool given(const json_t *root, const char *key) {
  const json_t *v = json_object_get(root, key);
  return v && !json_is_null(v);
}

static sp_err read_params(const json_t *root, sp_search_params *p) {
  double heap_factor = (double)p->heap_factor;
  sp_err err = sp_json_get_u32(root, "k", WHERE, 1, SP_MAX_K, &p->k);
  if (!err) err = sp_json_get_bool(root, "exact", WHERE, &p->exact);
  if (!err) err = sp_json_get_u32(root, "query_cut", WHERE, 0, 65536, &p->query_cut);
  if (!err) err = sp_json_get_double(root, "heap_factor", WHERE, 0, 100, &heap_factor);
  if (err) return err;
  p->heap_factor = (float)heap_factor;
  if (p->exact && (given(root, "query_cut") || given(root, "heap_factor")))
    return sp_fail(SP_EFORMAT,
                   "%s: \"query_cut\" and \"heap_factor\" mean nothing with \"exact\"",
                   WHERE);
  return SP_OK;
}

static sp_err read_fields(const json_t *root, sp_search_request *r) {
  if (!given(root, "fields")) return SP_OK;
  sp_err err = need_array(root, WHERE, "fields", &r->fields);
  if (err) return err;
  for (size_t i = 0; i < json_array_size(r->fields); i++)
    if (!json_is_string(json_array_get(r->fields, i)))
      return sp_fail(SP_EFORMAT, "%s: fields[%zu] is not a string", WHERE, i);
  return SP_OK;
}

sp_err sp_search_request_parse(const char *body, size_t n,
                               const sp_search_params *defaults, sp_search_request *out) {
  static const char *const known[] = {"query",       "k",      "exact", "query_cut",
                                      "heap_factor", "fields", NULL};
  *out = (sp_search_request){.params = *defaults};
  sp_err err = sp_json_parse(body, n, WHERE, &out->root);
  if (!err && !json_is_object(out->root))
    err = sp_fail(SP_EFORMAT, "%s: must be a JSON object", WHERE);
  if (!err) err = refuse_unknown(out->root, WHERE, known);
  if (!err) err = read_query(out->root, out);
  if (!err) err = read_params(out->root, &out->params);
  if (!err) err = read_fields(out->root, out);
  if (err) sp_search_request_free(out);
  return err;
}

void sp_search_request_free(sp_search_request *r) {
  json_decref(r->root);
  sp_vec_free(&r->vector);
  *r = (sp_search_request){0};
}
