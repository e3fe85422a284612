/* encoder/encoder.c - one face for all families. */
#include "encoder/encoder.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "encoder/encoder_ops.h"

sp_encoder_options sp_encoder_defaults(void) {
  return (sp_encoder_options){.device = "auto", .precision = "auto"};
}

sp_err sp_encoder_save(const sp_encoder *e, sp_buf *out) {
  sp_err err = sp_buf_append_char(out, e->ops->tag);
  return err ? err : e->ops->save(e, out);
}

void sp_encoder_free(sp_encoder *e) {
  if (e) e->ops->free(e);
}

uint32_t sp_encoder_n_terms(const sp_encoder *e) {
  return e->ops->n_terms(e);
}

sp_err sp_encoder_encode(sp_encoder *e, sp_side side, const sp_text *texts, size_t n,
                         sp_vec *out) {
  return e->ops->encode(e, side, texts, n, out);
}

bool sp_encoder_learns(const sp_encoder *e) {
  return e->ops->learns && e->ops->learns(e);
}

sp_err sp_encoder_observe(sp_encoder *e, const sp_vec *frequencies, int sign) {
  return e->ops->observe ? e->ops->observe(e, frequencies, sign) : SP_OK;
}

void sp_encoder_finish_document(const sp_encoder *e, sp_vec *v) {
  if (e->ops->finish_document) e->ops->finish_document(e, v);
}

bool sp_encoder_query_weights(const sp_encoder *e, float *weight) {
  return e->ops->query_weights && e->ops->query_weights(e, weight);
}

uint32_t sp_encoder_window(const sp_encoder *e) {
  return e->ops->window ? e->ops->window(e) : 1;
}

uint32_t sp_encoder_at_once(const sp_encoder *e) {
  return e->ops->at_once ? e->ops->at_once(e) : 1;
}

uint32_t sp_encoder_token_dim(const sp_encoder *e) {
  return e->ops->token_dim ? e->ops->token_dim(e) : 0;
}

sp_err sp_encoder_encode_tokens(sp_encoder *e, sp_side side, const sp_text *texts,
                                size_t n, sp_vec *vectors, sp_token_rows *out) {
  if (sp_encoder_token_dim(e) == 0)
    return sp_fail(SP_EINVAL, "this encoder has no token vectors");
  return e->ops->encode_tokens(e, side, texts, n, vectors, out);
}

void sp_token_rows_free(sp_token_rows *r) {
  free(r->rows);
  free(r->ids);
  *r = (sp_token_rows){0};
}

const char *sp_encoder_term(const sp_encoder *e, uint32_t term, size_t *n) {
  return e->ops->term(e, term, n);
}

sp_err sp_encoder_contract(const sp_encoder *e, json_t **out) {
  *out = NULL;
  return e->ops->contract(e, out);
}

/* A field's value for a message; the caller frees it. */
static char *spelled(const json_t *v) {
  char *text = v ? json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT) : strdup("nothing");
  return text ? text : strdup("?");
}

static sp_err differs(const char *where, const char *field, const json_t *stored,
                      const json_t *given) {
  char *a = spelled(stored), *b = spelled(given);
  sp_err err = sp_fail(SP_EINVAL,
                       "%s: the encoder is not the one it was built with: %s is %s, the "
                       "index has %s",
                       where, field, b ? b : "?", a ? a : "?");
  free(a);
  free(b);
  return err;
}

sp_err sp_contract_compare(const json_t *stored, const json_t *given, const char *where) {
  const char *field;
  json_t *value;
  json_object_foreach((json_t *)(uintptr_t)stored, field, value) {
    const json_t *other = json_object_get(given, field);
    if (!json_equal(value, other)) return differs(where, field, value, other);
  }
  json_object_foreach((json_t *)(uintptr_t)given, field, value) {
    if (!json_object_get(stored, field)) return differs(where, field, NULL, value);
  }
  return SP_OK;
}

sp_err sp_encoder_check_contract(const sp_encoder *e, const char *stored,
                                 const char *where) {
  json_t *was = NULL, *is = NULL;
  sp_err err = sp_json_parse(stored, strlen(stored), where, &was);
  if (!err) err = sp_encoder_contract(e, &is);
  if (!err) err = sp_contract_compare(was, is, where);
  json_decref(was);
  json_decref(is);
  return err;
}
