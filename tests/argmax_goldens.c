/* tests/argmax_goldens.c - golden positions, and hidden states through a backend. */
#include "tests/argmax_goldens.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "tests/harness.h"

#define FOLDER "golden/encoders/golden/bert-splade-tiny/"

static void *array(size_t n, size_t size) {
  void *a = calloc(n + 1, size);
  assert_non_null(a);
  return a;
}

static void read_positions(argmax_goldens *a) {
  char *path = shared_path(FOLDER "argmax.jsonl");
  a->want = array(a->lines.n, sizeof *a->want);
  sp_lines in;
  assert_int_equal(sp_lines_open(path, 1 << 22, &in), SP_OK);
  for (size_t i = 0; i < a->lines.n; i++) {
    bool more;
    assert_int_equal(sp_lines_next(&in, &more), SP_OK);
    assert_true(more);
    assert_int_equal(sp_json_parse(in.line, in.n, in.name, &a->want[i]), SP_OK);
    assert_int_equal(json_integer_value(json_object_get(a->want[i], "id")),
                     json_integer_value(json_object_get(a->lines.all[i].line, "id")));
  }
  sp_lines_close(&in);
  free(path);
}

static void project_identically(argmax_goldens *a) {
  a->identity = array((size_t)a->dim * a->dim, sizeof *a->identity);
  for (size_t i = 0; i < a->dim; i++) a->identity[i * a->dim + i] = 1;
  a->model->tokens.linear = (sp_linear){
      .weight = {.data = a->identity, .dtype = SP_F32, .rows = a->dim, .cols = a->dim}};
  a->model->tokens.input = SP_FROM_TRANSFORM;
  a->model->tokens.l2 = false;
}

static void read_decoder(argmax_goldens *a) {
  a->decoder = array((size_t)a->vocab * a->dim, sizeof *a->decoder);
  a->bias = array(a->vocab, sizeof *a->bias);
  sp_matrix_read(&a->model->decoder.weight, 0, a->vocab, a->decoder);
  sp_matrix_read(&a->model->decoder.bias, 0, 1, a->bias);
}

static void pack(argmax_goldens *a) {
  const size_t n = a->lines.n;
  size_t n_tokens = 0;
  for (size_t i = 0; i < n; i++) n_tokens += a->lines.all[i].n_ids;
  a->ids = array(n_tokens, sizeof *a->ids);
  a->positions = array(n_tokens, sizeof *a->positions);
  a->starts = array(n + 1, sizeof *a->starts);
  a->first = array(n, sizeof *a->first);
  a->end = array(n, sizeof *a->end);
  for (size_t t = 0; t < n; t++) {
    const golden *g = &a->lines.all[t];
    for (uint32_t i = 0; i < g->n_ids; i++) {
      a->ids[a->starts[t] + i] = g->ids[i];
      a->positions[a->starts[t] + i] = i;
    }
    a->starts[t + 1] = a->starts[t] + g->n_ids;
    a->first[t] = g->pool_first;
    a->end[t] = g->pool_end;
  }
  a->batch = (sp_batch){.n_texts = (uint32_t)n,
                        .n_tokens = a->starts[n],
                        .ids = a->ids,
                        .positions = a->positions,
                        .starts = a->starts,
                        .pool_first = a->first,
                        .pool_end = a->end,
                        .want_tokens = true};
}

void argmax_goldens_open(argmax_goldens *a) {
  *a = (argmax_goldens){.lines = goldens_read(FOLDER "vectors.jsonl")};
  char *dir = shared_path("golden/encoders/models/bert-splade-tiny");
  assert_int_equal(sp_model_open(dir, &a->model), SP_OK);
  free(dir);
  a->dim = a->model->decoder.weight.cols;
  a->vocab = a->model->decoder.weight.rows;
  read_positions(a);
  project_identically(a);
  read_decoder(a);
  pack(a);
}

void argmax_goldens_close(argmax_goldens *a) {
  for (size_t i = 0; i < a->lines.n; i++) json_decref(a->want[i]);
  free(a->want);
  goldens_free(&a->lines);
  sp_model_close(a->model);
  free(a->identity), free(a->decoder), free(a->bias);
  free(a->ids), free(a->positions), free(a->starts), free(a->first), free(a->end);
}

float *argmax_goldens_states(const argmax_goldens *a, sp_backend *b) {
  float *y = array((size_t)a->batch.n_tokens * a->dim, sizeof *y);
  assert_int_equal(b->ops->begin(b, 0, &a->batch), SP_OK);
  assert_int_equal(b->ops->end(b, 0, NULL, y), SP_OK);
  return y;
}

sp_lm_texts argmax_goldens_texts(const argmax_goldens *a) {
  return (sp_lm_texts){a->starts, a->starts + 1, a->batch.n_texts};
}

void argmax_goldens_expect(const argmax_goldens *a, const float *out,
                           const int32_t *argmax, double least_gap, double tolerance) {
  size_t n = 0, n_close = 0;
  for (size_t t = 0; t < a->lines.n; t++) {
    const sp_vec *v = &a->lines.all[t].vector;
    const json_t *position = json_object_get(a->want[t], "argmax");
    const json_t *gap = json_object_get(a->want[t], "gap");
    assert_int_equal(json_array_size(position), v->n);
    for (uint32_t i = 0; i < v->n; i++) {
      const size_t at = t * a->vocab + v->terms[i];
      const int64_t want =
          a->starts[t] + (int64_t)json_integer_value(json_array_get(position, i));
      assert_true(fabs((double)out[at] - (double)v->weights[i]) <= tolerance);
      const bool close = json_number_value(json_array_get(gap, i)) <= least_gap ||
                         (out[at] == 0 && argmax[at] == -1);
      if (!close && argmax[at] != want)
        fail_msg("text %zu, term %u: token %d, expected %d", t, v->terms[i], argmax[at],
                 (int)want);
      n++, n_close += close;
    }
  }
  assert_true(n > 1000);
  printf(
      "%zu terms have their positions; %zu of them too close to a second token, or to 0, "
      "to say\n",
      n, n_close);
}
