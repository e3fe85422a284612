/* tools/run.c - runs and qrels in memory, and trec_eval's order. */
#include "tools/run.h"

#include <stdlib.h>
#include <string.h>

void sp_eval_ids_free(sp_eval_ids *ids) {
  sp_strmap_free(ids->queries);
  sp_strmap_free(ids->docs);
  *ids = (sp_eval_ids){0};
}

void sp_run_free(sp_run *run) {
  free(run->lines);
  *run = (sp_run){0};
}

void sp_qrels_free(sp_qrels *qrels) {
  free(qrels->lines);
  *qrels = (sp_qrels){0};
}

static sp_err number_of(sp_strmap **map, const char *key, size_t n, uint32_t *number) {
  if (!*map) {
    sp_err err = sp_strmap_new(map);
    if (err) return err;
  }
  return sp_strmap_add(*map, key, n, number);
}

/* Room for one more line of `size` bytes. */
static sp_err make_room(void **lines, size_t n, size_t *cap, size_t size) {
  if (n < *cap) return SP_OK;
  size_t grown = *cap ? *cap * 2 : 256;
  void *p = grown <= SIZE_MAX / size ? realloc(*lines, grown * size) : NULL;
  if (!p) return sp_fail(SP_ENOMEM, "%zu results: out of memory", grown);
  *lines = p;
  *cap = grown;
  return SP_OK;
}

sp_err sp_run_add(sp_run *run, sp_eval_ids *ids, const char *query, size_t query_n,
                  const char *doc, size_t doc_n, double score) {
  sp_run_line line = {.score = score};
  void *lines = run->lines;
  sp_err err = make_room(&lines, run->n, &run->cap, sizeof line);
  run->lines = lines;
  if (!err) err = number_of(&ids->queries, query, query_n, &line.query);
  if (!err) err = number_of(&ids->docs, doc, doc_n, &line.doc);
  if (!err) run->lines[run->n++] = line;
  return err;
}

sp_err sp_qrels_add(sp_qrels *qrels, sp_eval_ids *ids, const char *query, size_t query_n,
                    const char *doc, size_t doc_n, int64_t grade) {
  sp_qrel line = {.grade = grade};
  void *lines = qrels->lines;
  sp_err err = make_room(&lines, qrels->n, &qrels->cap, sizeof line);
  qrels->lines = lines;
  if (!err) err = number_of(&ids->queries, query, query_n, &line.query);
  if (!err) err = number_of(&ids->docs, doc, doc_n, &line.doc);
  if (!err) qrels->lines[qrels->n++] = line;
  return err;
}

/* By unsigned bytes, the shorter first where one begins the other. */
static int compare_keys(const sp_strmap *map, uint32_t a, uint32_t b) {
  if (a == b) return 0;
  size_t n, m;
  const char *x = sp_strmap_key(map, a, &n), *y = sp_strmap_key(map, b, &m);
  int c = memcmp(x, y, n < m ? n : m);
  return c ? c : (n > m) - (n < m);
}

static int compare_queries(const void *a, const void *b, void *ids) {
  return compare_keys(((const sp_eval_ids *)ids)->queries, *(const uint32_t *)a,
                      *(const uint32_t *)b);
}

sp_err sp_eval_ids_order(const sp_eval_ids *ids, uint32_t **order) {
  uint32_t n = ids->queries ? sp_strmap_count(ids->queries) : 0;
  *order = malloc((n ? n : 1) * sizeof **order);
  if (!*order) return sp_fail(SP_ENOMEM, "%u queries: out of memory", n);
  for (uint32_t i = 0; i < n; i++) (*order)[i] = i;
  sp_eval_ids copy = *ids;
  qsort_r(*order, n, sizeof **order, compare_queries, &copy);
  return SP_OK;
}

typedef struct run_order {
  const sp_strmap *docs;
  const uint32_t *place; /* of each query in the byte order */
} run_order;

static int compare_lines(const void *a, const void *b, void *context) {
  const sp_run_line *x = a, *y = b;
  const run_order *o = context;
  if (x->query != y->query) return o->place[x->query] < o->place[y->query] ? -1 : 1;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return -compare_keys(o->docs, x->doc, y->doc);
}

sp_err sp_run_sort(const sp_eval_ids *ids, sp_run *run) {
  if (run->n == 0) return SP_OK;
  uint32_t *order;
  sp_err err = sp_eval_ids_order(ids, &order);
  if (err) return err;
  uint32_t n = sp_strmap_count(ids->queries);
  uint32_t *place = malloc(n * sizeof *place);
  if (!place) {
    free(order);
    return sp_fail(SP_ENOMEM, "%u queries: out of memory", n);
  }
  for (uint32_t i = 0; i < n; i++) place[order[i]] = i;
  run_order context = {ids->docs, place};
  qsort_r(run->lines, run->n, sizeof *run->lines, compare_lines, &context);
  free(place);
  free(order);
  return SP_OK;
}
