/* tests/test_encoder_golden.c - the CPU against vectors that transformers computed from the
 * same directories (golden/encoders of SPINDLE_SHARED). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "encoder/backend.h"
#include "tests/harness.h"

static char *shared_path(const char *rest) {
  const char *dir = getenv("SPINDLE_SHARED");
  char *path = sp_path_join(dir ? dir : "../shared", rest);
  assert_non_null(path);
  return path;
}

/* One line of a golden file. */
typedef struct golden {
  json_t *line;
  uint32_t *ids;
  uint32_t n_ids, pool_first, pool_end;
  sp_vec vector;
} golden;

static golden read_golden(const sp_lines *in) {
  golden g = {0};
  assert_int_equal(sp_json_parse(in->line, in->n, in->name, &g.line), SP_OK);
  json_t *ids = json_object_get(g.line, "ids"), *pool = json_object_get(g.line, "pool");
  g.n_ids = (uint32_t)json_array_size(ids);
  g.ids = malloc((g.n_ids + 1) * sizeof *g.ids);
  for (size_t i = 0; i < g.n_ids; i++)
    g.ids[i] = (uint32_t)json_integer_value(json_array_get(ids, i));
  g.pool_end = g.n_ids;
  if (pool) {
    g.pool_first = (uint32_t)json_integer_value(json_array_get(pool, 0));
    g.pool_end = (uint32_t)json_integer_value(json_array_get(pool, 1));
  }
  json_t *vector = json_object_get(g.line, "vector");
  json_t *terms = json_object_get(vector, "terms");
  json_t *weights = json_object_get(vector, "weights");
  for (size_t i = 0; i < json_array_size(terms); i++)
    assert_int_equal(
        sp_vec_push(&g.vector, (uint32_t)json_integer_value(json_array_get(terms, i)),
                    (float)json_number_value(json_array_get(weights, i))),
        SP_OK);
  return g;
}

static void drop_golden(golden *g) {
  json_decref(g->line);
  free(g->ids);
  sp_vec_free(&g->vector);
}

static double distance(const sp_vec *a, const sp_vec *b) {
  double aa = sp_vec_dot(a, a), bb = sp_vec_dot(b, b), ab = sp_vec_dot(a, b);
  if (bb == 0) return aa == 0 ? 0 : 1;
  double gap = 0;
  for (uint32_t i = 0, j = 0; i < a->n || j < b->n;) {
    double x = 0, y = 0;
    uint32_t s = i < a->n ? a->terms[i] : UINT32_MAX,
             t = j < b->n ? b->terms[j] : UINT32_MAX;
    if (s <= t) x = a->weights[i++];
    if (t <= s) y = b->weights[j++];
    gap += (x - y) * (x - y);
  }
  (void)ab;
  return sqrt(gap / bb);
}

static bool same_top_ten(const sp_vec *a, const sp_vec *b) {
  sp_vec x = {0}, y = {0};
  sp_vec_copy(a, &x), sp_vec_copy(b, &y);
  sp_vec_keep_top(&x, 10), sp_vec_keep_top(&y, 10);
  bool same = x.n == y.n && !memcmp(x.terms, y.terms, x.n * sizeof *x.terms);
  sp_vec_free(&x), sp_vec_free(&y);
  return same;
}

static void check_file(const char *model_dir, const char *vectors, bool documents_only,
                       uint32_t top_k) {
  char *dir = shared_path(model_dir), *path = shared_path(vectors);
  if (!sp_path_exists(path)) {
    print_message("skipped: %s is not there\n", path);
    free(dir), free(path);
    skip();
  }
  sp_model *m;
  if (sp_model_open(dir, &m)) fail_msg("%s", sp_err_message());
  sp_backend *b;
  sp_backend_options o = {.n_slots = 1};
  assert_int_equal(sp_cpu_backend_new(m, &o, &b), SP_OK);
  sp_lines in;
  assert_int_equal(sp_lines_open(path, 1 << 20, &in), SP_OK);
  double worst = 0;
  int n = 0, other_order = 0;
  for (bool more; !sp_lines_next(&in, &more) && more;) {
    golden g = read_golden(&in);
    bool query = !strcmp(json_string_value(json_object_get(g.line, "kind")), "query");
    if (!(query && documents_only)) {
      uint32_t *positions = malloc((g.n_ids + 1) * sizeof *positions), count = 0;
      for (uint32_t i = 0; i < g.n_ids; i++) {
        positions[i] = i;
        if (m->config.architecture == SP_ROBERTA)
          positions[i] = g.ids[i] == m->config.pad_id ? m->config.pad_id
                                                      : m->config.pad_id + ++count;
      }
      uint32_t starts[2] = {0, g.n_ids};
      sp_batch batch = {.n_texts = 1,
                        .n_tokens = g.n_ids,
                        .ids = g.ids,
                        .positions = positions,
                        .starts = starts,
                        .pool_first = &g.pool_first,
                        .pool_end = &g.pool_end,
                        .want_vectors = true,
                        .top_k = top_k};
      sp_vec v = {0};
      assert_int_equal(b->ops->begin(b, 0, &batch), SP_OK);
      assert_int_equal(b->ops->end(b, 0, &v, NULL), SP_OK);
      double d = distance(&v, &g.vector);
      if (d > worst) worst = d;
      if (!same_top_ten(&v, &g.vector)) other_order++;
      sp_vec_free(&v);
      free(positions);
      n++;
    }
    drop_golden(&g);
  }
  print_message("%-50s %d texts, worst %.2g, other top ten %d\n", vectors, n, worst,
                other_order);
  sp_lines_close(&in);
  b->ops->free(b);
  sp_model_close(m);
  free(dir), free(path);
}

#define G "golden/encoders/golden/"
#define M "golden/encoders/models/"
static void all(void **state) {
  (void)state;
  check_file(M "bert-splade-tiny", G "bert-splade-tiny/vectors.jsonl", false, 0);
  check_file(M "bert-splade-odd", G "bert-splade-odd/vectors.jsonl", false, 0);
  check_file(M "bert-splade-odd-bf16", G "bert-splade-odd-bf16/vectors.jsonl", false, 0);
  check_file(M "bert-splade-topk", G "bert-splade-topk/vectors-unpruned.jsonl", false, 0);
  check_file(M "bert-splade-topk", G "bert-splade-topk/vectors-query-k8.jsonl", false, 8);
  check_file(M "distilbert-l0-infree", G "distilbert-l0-infree/vectors.jsonl", true, 0);
  check_file(M "distilbert-idf-infree", G "distilbert-idf-infree/vectors.jsonl", true, 0);
  check_file(M "roberta-splade", G "roberta-splade/vectors.jsonl", false, 0);
  check_file(M "xlm-roberta-splade", G "xlm-roberta-splade/vectors.jsonl", false, 0);
  check_file(M "mistral-splade", G "mistral-splade/vectors.jsonl", false, 0);
  check_file(M "mistral-splade", G "mistral-splade/vectors-plain.jsonl", false, 0);
  check_file(M "mistral-splade-full", G "mistral-splade-full/vectors.jsonl", false, 0);
  check_file(M "mistral-splade-full", G "mistral-splade-full/vectors-plain.jsonl", false,
             0);
  check_file(M "mistral-splade-lora", G "mistral-splade-lora/vectors.jsonl", false, 0);
  check_file(M "mistral-splade-rslora", G "mistral-splade-rslora/vectors.jsonl", false,
             0);
  check_file(M "modernbert-splade", G "modernbert-splade/vectors.jsonl", false, 0);
  check_file("models/splade-tiny", G "splade-tiny/vectors.jsonl", true, 0);
  check_file("models/spindle-mini", G "spindle-mini/vectors.jsonl", true, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(all)};
  return cmocka_run_group_tests_name("encoder_golden", tests, NULL, NULL);
}
