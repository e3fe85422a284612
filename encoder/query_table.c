/* encoder/query_table.c - reads tables of token weights and looks queries up in them. */
#include "encoder/query_table.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"

enum { MAX_TABLE_BYTES = 512 << 20, MAX_LINE_BYTES = 1 << 16 };

static sp_err new_table(uint32_t n_terms, const char *where, sp_query_table *out) {
  *out = (sp_query_table){.n_terms = n_terms};
  out->weights = calloc(n_terms ? n_terms : 1, sizeof *out->weights);
  return out->weights ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", where);
}

static sp_err finish(sp_err err, sp_query_table *t) {
  if (err) {
    sp_query_table_free(t);
    return err;
  }
  /* A weight below 0 would make no sparse vector: relu, as the models' own code does. */
  for (uint32_t i = 0; i < t->n_terms; i++)
    if (t->weights[i] < 0) t->weights[i] = 0;
  t->hash = XXH3_64bits(t->weights, t->n_terms * sizeof *t->weights);
  return SP_OK;
}

sp_err sp_query_table_from_matrix(const sp_matrix *m, const char *where,
                                  sp_query_table *out) {
  sp_err err = new_table(m->cols, where, out);
  if (err) return err;
  sp_matrix_read(m, 0, 1, out->weights);
  for (uint32_t i = 0; i < m->cols && !err; i++)
    if (!isfinite(out->weights[i]))
      err =
          sp_fail(SP_EFORMAT, "%s: the query weight of term %u is not finite", where, i);
  return finish(err, out);
}

/* Sets one token's weight; *n_known counts those that are in the vocabulary. */
static sp_err set_weight(sp_query_table *t, const sp_tokenizer *tokenizer,
                         const char *path, const char *token, size_t n, double weight,
                         uint32_t *n_known) {
  if (!isfinite(weight))
    return sp_fail(SP_EFORMAT, "%s: the weight of \"%.*s\" is not finite", path,
                   (int)(n < 100 ? n : 100), token);
  uint32_t id = sp_tokenizer_find(tokenizer, token, n);
  if (id >= t->n_terms) return SP_OK;
  t->weights[id] = (float)weight;
  ++*n_known;
  return SP_OK;
}

static sp_err read_json(const char *path, const sp_tokenizer *tokenizer,
                        sp_query_table *t, uint32_t *n_known) {
  json_t *o;
  sp_err err = sp_json_load_file(path, MAX_TABLE_BYTES, &o);
  if (err) return err;
  if (!json_is_object(o))
    err = sp_fail(SP_EFORMAT, "%s: not a JSON object of tokens and weights", path);
  const char *token;
  json_t *weight;
  json_object_foreach(o, token, weight) {
    if (err) break;
    if (!json_is_number(weight))
      err = sp_fail(SP_EFORMAT, "%s: the weight of \"%.100s\" is not a number", path,
                    token);
    else
      err = set_weight(t, tokenizer, path, token, strlen(token),
                       json_number_value(weight), n_known);
  }
  json_decref(o);
  return err;
}

static sp_err read_lines(const char *path, const sp_tokenizer *tokenizer,
                         sp_query_table *t, uint32_t *n_known) {
  sp_lines in;
  sp_err err = sp_path_need_file(path);
  if (!err) err = sp_lines_open(path, MAX_LINE_BYTES, &in);
  if (err) return err;
  bool more;
  while (!(err = sp_lines_next(&in, &more)) && more) {
    size_t n = in.n;
    while (n > 0 && in.line[n - 1] != '\t' && in.line[n - 1] != ' ') n--;
    char *end;
    double weight = strtod(in.line + n, &end);
    if (in.n == 0) continue;
    if (n < 2 || end == in.line + n || *end) {
      err = sp_fail(SP_EFORMAT, "%s:%llu: not a token and a weight", path,
                    (unsigned long long)in.number);
      break;
    }
    err = set_weight(t, tokenizer, path, in.line, n - 1, weight, n_known);
    if (err) break;
  }
  sp_lines_close(&in);
  return err;
}

sp_err sp_query_table_load(const char *path, const sp_tokenizer *tokenizer,
                           uint32_t n_terms, sp_query_table *out) {
  sp_err err = new_table(n_terms, path, out);
  if (err) return err;
  uint32_t n_known = 0;
  size_t n = strlen(path);
  bool json = n >= 5 && !strcmp(path + n - 5, ".json");
  err = (json ? read_json : read_lines)(path, tokenizer, out, &n_known);
  if (!err && n_known == 0)
    err =
        sp_fail(SP_EFORMAT, "%s: none of its tokens is in the model's vocabulary", path);
  return finish(err, out);
}

void sp_query_table_free(sp_query_table *t) {
  free(t->weights);
  *t = (sp_query_table){0};
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

sp_err sp_query_table_apply(const sp_query_table *t, uint32_t *ids, uint32_t n,
                            sp_vec *out) {
  sp_vec_clear(out);
  if (n > 0) qsort(ids, n, sizeof *ids, by_value); /* else there is no array */
  for (uint32_t i = 0; i < n; i++) {
    if ((i && ids[i] == ids[i - 1]) || ids[i] >= t->n_terms) continue;
    float weight = t->weights[ids[i]];
    sp_err err = weight > 0 ? sp_vec_push(out, ids[i], weight) : SP_OK;
    if (err) return err;
  }
  return SP_OK;
}
