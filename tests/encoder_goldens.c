/* tests/encoder_goldens.c - golden lines of the encoders. */
#include "tests/encoder_goldens.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "tests/harness.h"

char *shared_path(const char *rest) {
  const char *dir = getenv("SPINDLE_SHARED");
  char *path = sp_path_join(dir ? dir : "../shared", rest);
  assert_non_null(path);
  return path;
}

static uint32_t number(const json_t *array, size_t i) {
  return (uint32_t)json_integer_value(json_array_get(array, i));
}

static golden read_line(const sp_lines *in) {
  golden g = {0};
  if (sp_json_parse(in->line, in->n, in->name, &g.line)) fail_msg("%s", sp_err_message());
  const json_t *text = json_object_get(g.line, "text"),
               *ids = json_object_get(g.line, "ids");
  const json_t *pool = json_object_get(g.line, "pool");
  const json_t *vector = json_object_get(g.line, "vector");
  g.text = json_string_value(text);
  g.text_n = json_string_length(text);
  g.query = !strcmp(json_string_value(json_object_get(g.line, "kind")), "query");
  g.n_ids = (uint32_t)json_array_size(ids);
  g.ids = malloc((g.n_ids + 1) * sizeof *g.ids);
  for (size_t i = 0; i < g.n_ids; i++) g.ids[i] = number(ids, i);
  g.pool_first = pool ? number(pool, 0) : 0;
  g.pool_end = pool ? number(pool, 1) : g.n_ids;
  const json_t *terms = json_object_get(vector, "terms");
  const json_t *weights = json_object_get(vector, "weights");
  for (size_t i = 0; i < json_array_size(terms); i++)
    sp_vec_push(&g.vector, number(terms, i),
                (float)json_number_value(json_array_get(weights, i)));
  return g;
}

goldens goldens_read(const char *rest) {
  goldens g = {0};
  char *path = shared_path(rest);
  if (!sp_path_exists(path)) {
    print_message("skipped: %s is not there\n", path);
    free(path);
    skip();
  }
  sp_lines in;
  assert_int_equal(sp_lines_open(path, 1 << 22, &in), SP_OK);
  for (bool more; !sp_lines_next(&in, &more) && more;) {
    g.all = realloc(g.all, (g.n + 1) * sizeof *g.all);
    assert_non_null(g.all);
    g.all[g.n++] = read_line(&in);
  }
  sp_lines_close(&in);
  free(path);
  assert_true(g.n > 0);
  return g;
}

void goldens_free(goldens *g) {
  for (size_t i = 0; i < g->n; i++) {
    json_decref(g->all[i].line);
    free(g->all[i].ids);
    sp_vec_free(&g->all[i].vector);
  }
  free(g->all);
}

double relative_l2(const sp_vec *a, const sp_vec *b) {
  double gap = 0, whole = sp_vec_dot(b, b);
  for (uint32_t i = 0, j = 0; i < a->n || j < b->n;) {
    uint32_t s = i < a->n ? a->terms[i] : UINT32_MAX;
    uint32_t t = j < b->n ? b->terms[j] : UINT32_MAX;
    double x = s <= t ? a->weights[i++] : 0, y = t <= s ? b->weights[j++] : 0;
    gap += (x - y) * (x - y);
  }
  return whole == 0 ? (a->n ? 1 : 0) : sqrt(gap / whole);
}

static float weight_of(const sp_vec *v, uint32_t term) {
  for (uint32_t i = 0; i < v->n; i++)
    if (v->terms[i] == term) return v->weights[i];
  return 0;
}

static float smallest(const sp_vec *v) {
  float least = INFINITY;
  for (uint32_t i = 0; i < v->n; i++) least = fminf(least, v->weights[i]);
  return least;
}

static float largest(const sp_vec *v) {
  float most = 0;
  for (uint32_t i = 0; i < v->n; i++) most = fmaxf(most, v->weights[i]);
  return most;
}

/* Every term of a's ten weighs as much in b as b's tenth, to within the slack. */
static bool holds(const sp_vec *a, const sp_vec *b, double slack) {
  sp_vec ten = {0}, want = {0};
  assert_int_equal(sp_vec_copy(a, &ten), SP_OK);
  assert_int_equal(sp_vec_copy(b, &want), SP_OK);
  sp_vec_keep_top(&ten, 10);
  sp_vec_keep_top(&want, 10);
  float tenth = want.n == 10 ? smallest(&want) : 0, dust = (float)slack * largest(&ten);
  bool all = true;
  for (uint32_t i = 0; i < ten.n && all; i++) {
    float w = weight_of(b, ten.terms[i]);
    all = ten.weights[i] <= dust || (w > 0 && w >= tenth * (1 - slack));
  }
  sp_vec_free(&ten);
  sp_vec_free(&want);
  return all;
}

bool same_top_ten(const sp_vec *a, const sp_vec *b, double slack) {
  return holds(a, b, slack) && holds(b, a, slack);
}
