/* tools/inspect.c - opening for `spindle inspect`, and what its parts share. */
#include "tools/inspect.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "tools/shown.h"

enum { TOKEN_BYTES = 60 /* shown of a spelling */ };

sp_err inspection_open_index(inspection *s) {
  sp_err err = sp_index_open(s->path, &s->index);
  if (!err) err = sp_snapshot_open(s->index, &s->own_snapshot);
  s->snapshot = s->own_snapshot;
  return err;
}

sp_err inspection_open_engine(inspection *s, const char *model,
                              const sp_encoder_options *options) {
  sp_err err = sp_engine_open(s->path, model, options, &s->engine);
  if (err) return err;
  s->snapshot = sp_engine_snapshot(s->engine);
  s->encoder = sp_engine_encoder(s->engine);
  return SP_OK;
}

sp_err inspection_open_document(inspection *s, const char *model,
                                const sp_encoder_options *options) {
  sp_err err = inspection_open_engine(s, model, options);
  if (!err || model) return err;
  char why[1024];
  snprintf(why, sizeof why, "%s", sp_err_message());
  err = inspection_open_index(s); /* fails too where the index itself is the trouble */
  if (!err) fprintf(stderr, "spindle inspect: no spellings: %s\n", why);
  return err;
}

void inspection_close(inspection *s) {
  sp_engine_close(s->engine);
  sp_snapshot_close(s->own_snapshot);
  sp_index_close(s->index);
  sp_encoder_free(s->own_encoder);
  sp_buf_free(&s->scratch);
}

sp_err inspect_find(const inspection *s, const char *id, uint32_t *doc,
                    const sp_segment **segment) {
  sp_err err = sp_snapshot_lookup(s->snapshot, id, strlen(id), doc);
  if (err) return err;
  *segment = sp_snapshot_find_segment(s->snapshot, *doc);
  return *segment ? SP_OK
                  : sp_fail(SP_EFORMAT, "%s: no segment holds document number %u",
                            s->path, *doc);
}

typedef struct entry {
  float weight;
  uint32_t at;
} entry;

static int stronger_first(const void *a, const void *b) {
  const entry *x = a, *y = b;
  if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
  return (x->at > y->at) - (x->at < y->at);
}

sp_err inspect_order(const sp_vec *v, uint32_t **order) {
  size_t n = v->n;
  *order = malloc((n + 1) * sizeof **order);
  entry *entries = malloc((n + 1) * sizeof *entries);
  if (!*order || !entries) {
    free(entries);
    free(*order);
    *order = NULL;
    return sp_fail(SP_ENOMEM, "no memory for a vector of %u entries", v->n);
  }
  for (uint32_t i = 0; i < n; i++) entries[i] = (entry){v->weights[i], i};
  qsort(entries, n, sizeof *entries, stronger_first);
  for (uint32_t i = 0; i < n; i++) (*order)[i] = entries[i].at;
  free(entries);
  return SP_OK;
}

uint32_t inspect_shown(const inspection *s, uint32_t n) {
  return s->top && s->top < n ? s->top : n;
}

sp_err inspect_token(inspection *s, uint32_t term, const char **shown) {
  size_t n;
  const char *token = s->encoder ? sp_encoder_term(s->encoder, term, &n) : NULL;
  *shown = "";
  if (!token || n == 0) return SP_OK;
  sp_buf_clear(&s->scratch);
  sp_err err = shown_append(&s->scratch, token, n, TOKEN_BYTES);
  if (!err) *shown = s->scratch.data;
  return err;
}

json_t *inspect_string(inspection *s, const char *text, size_t n) {
  sp_buf_clear(&s->scratch);
  if (sp_buf_reserve(&s->scratch, 1) || sp_utf8_repair(text, n, &s->scratch)) return NULL;
  return json_stringn(s->scratch.data, s->scratch.n);
}

json_t *inspect_token_json(inspection *s, uint32_t term) {
  size_t n;
  const char *token = s->encoder ? sp_encoder_term(s->encoder, term, &n) : NULL;
  return token ? inspect_string(s, token, n) : json_null();
}

sp_err inspect_print(json_t *object) {
  char *text = object ? json_dumps(object, JSON_REAL_PRECISION(9)) : NULL;
  json_decref(object);
  if (!text) return sp_fail(SP_ENOMEM, "no memory for the output");
  puts(text);
  free(text);
  return SP_OK;
}
