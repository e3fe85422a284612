/* tests/test_encoder_golden.c - texts in, transformers' vectors out, for every model of
 * golden/encoders: the ids are the same, the vectors to within float32, whatever the batch.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "encoder/neural.h"
#include "kernels/cpu/lm_head.h"
#include "tests/argmax_goldens.h"
#include "tests/encoder_goldens.h"
#include "tests/harness.h"
#include "tools/blas_core.h"

#define GOLDEN "golden/encoders/golden/"
#define MODEL "golden/encoders/models/"

typedef struct row {
  const char *model, *vectors;
  uint32_t top_k; /* as an option; 0: as the model ships */
  bool plain_ids; /* the lines' ids are given to the backend: not the model's own input */
} row;

static const row ROWS[] = {
    {MODEL "bert-splade-tiny", GOLDEN "bert-splade-tiny/vectors.jsonl", 0, false},
    {MODEL "bert-splade-odd", GOLDEN "bert-splade-odd/vectors.jsonl", 0, false},
    {MODEL "bert-splade-odd-bf16", GOLDEN "bert-splade-odd-bf16/vectors.jsonl", 0, false},
    {MODEL "bert-splade-topk", GOLDEN "bert-splade-topk/vectors.jsonl", 0, false},
    {MODEL "bert-splade-topk", GOLDEN "bert-splade-topk/vectors-query-k8.jsonl", 8,
     false},
    {MODEL "bert-splade-topk", GOLDEN "bert-splade-topk/vectors-unpruned.jsonl", 100000,
     false},
    {MODEL "distilbert-l0-infree", GOLDEN "distilbert-l0-infree/vectors.jsonl", 0, false},
    {MODEL "distilbert-idf-infree", GOLDEN "distilbert-idf-infree/vectors.jsonl", 0,
     false},
    {MODEL "roberta-splade", GOLDEN "roberta-splade/vectors.jsonl", 0, false},
    {MODEL "xlm-roberta-splade", GOLDEN "xlm-roberta-splade/vectors.jsonl", 0, false},
    {MODEL "mistral-splade", GOLDEN "mistral-splade/vectors.jsonl", 0, false},
    {MODEL "mistral-splade", GOLDEN "mistral-splade/vectors-plain.jsonl", 0, true},
    {MODEL "mistral-splade-full", GOLDEN "mistral-splade-full/vectors.jsonl", 0, false},
    {MODEL "mistral-splade-full", GOLDEN "mistral-splade-full/vectors-plain.jsonl", 0,
     true},
    {MODEL "mistral-splade-lora", GOLDEN "mistral-splade-lora/vectors.jsonl", 0, false},
    {MODEL "mistral-splade-lora", GOLDEN "mistral-splade-lora/vectors-plain.jsonl", 0,
     true},
    {MODEL "mistral-splade-rslora", GOLDEN "mistral-splade-rslora/vectors.jsonl", 0,
     false},
    {MODEL "mistral-splade-rslora", GOLDEN "mistral-splade-rslora/vectors-plain.jsonl", 0,
     true},
    {MODEL "modernbert-splade", GOLDEN "modernbert-splade/vectors.jsonl", 0, false},
    {"models/splade-tiny", GOLDEN "splade-tiny/vectors.jsonl", 0, false},
    {"models/spindle-mini", GOLDEN "spindle-mini/vectors.jsonl", 0, false},
};

static sp_encoder *open_encoder(const char *model, sp_encoder_options o) {
  char *dir = shared_path(model);
  if (!sp_path_exists(dir)) {
    print_message("skipped: %s is not there\n", dir);
    free(dir);
    skip();
  }
  o.device = "cpu";
  sp_encoder *e;
  if (sp_encoder_open(dir, &o, &e)) fail_msg("%s", sp_err_message());
  free(dir);
  return e;
}

/* float32 to within rounding; the quantized kernels to within 1 %, with terms near the tenth
 * weight free to change places. */
static void expect_vector(const row *r, const neural *e, const golden *g, size_t line,
                          const sp_vec *v) {
  assert_int_equal(sp_vec_check(v->terms, v->weights, v->n, 0, NULL), SP_VEC_SOUND);
  bool quantized = !strcmp(e->backend->precision, "int8");
  double d = relative_l2(v, &g->vector);
  if (d > (quantized ? 0.01 : 1e-4))
    fail_msg("%s, line %zu: relative L2 %g", r->vectors, line + 1, d);
  if (!same_top_ten(v, &g->vector, quantized ? 0.02 : 0))
    fail_msg("%s, line %zu: another top ten", r->vectors, line + 1);
}

/* A text's ids are what transformers fed to the model. */
static void expect_ids(const row *r, const neural *e, const golden *g, size_t line) {
  wish w = {.side = g->query ? SP_QUERY : SP_DOCUMENT, .vectors = true};
  sp_text text = {g->text, g->text_n};
  sp_tokens scratch = {0};
  sp_buf joined = {0};
  text_ids ids = {0};
  assert_int_equal(neural_text_ids(e, &w, &text, &scratch, &joined, &ids), SP_OK);
  if (ids.n_ids != g->n_ids || memcmp(ids.ids, g->ids, g->n_ids * sizeof *g->ids))
    fail_msg("%s, line %zu: other ids", r->vectors, line + 1);
  if (g->pool_first != g->pool_end || g->n_ids == 0) {
    assert_int_equal(ids.texts[0].pool_first, g->pool_first);
    assert_int_equal(ids.texts[0].pool_end, g->pool_end);
  }
  text_ids_free(&ids);
  sp_tokens_free(&scratch);
  sp_buf_free(&joined);
}

/* Encodes one side's lines in one call, so that batches mix lengths. */
static void check_side(const row *r, sp_encoder *e, const goldens *g, sp_side side) {
  sp_text *texts = calloc(g->n, sizeof *texts);
  size_t *lines = calloc(g->n, sizeof *lines), n = 0;
  sp_vec *vectors = calloc(g->n, sizeof *vectors);
  bool table = side == SP_QUERY && ((neural *)e)->use_table;
  for (size_t i = 0; i < g->n; i++) {
    if (g->all[i].query != (side == SP_QUERY)) continue;
    if (!table) expect_ids(r, (neural *)e, &g->all[i], i);
    texts[n] = (sp_text){g->all[i].text, g->all[i].text_n};
    lines[n++] = i;
  }
  assert_int_equal(sp_encoder_encode(e, side, texts, n, vectors), SP_OK);
  for (size_t i = 0; i < n; i++) {
    expect_vector(r, (neural *)e, &g->all[lines[i]], lines[i], &vectors[i]);
    sp_vec_free(&vectors[i]);
  }
  free(vectors), free(lines), free(texts);
}

/* The golden file's ids through the backend, one text a batch, all positions pooled. */
static void check_plain_ids(const row *r, sp_encoder *base, const goldens *g) {
  neural *e = (neural *)base;
  for (size_t i = 0; i < g->n; i++) {
    const golden *line = &g->all[i];
    uint32_t *positions = malloc((line->n_ids + 1) * sizeof *positions);
    for (uint32_t p = 0; p < line->n_ids; p++) positions[p] = p;
    uint32_t starts[2] = {0, line->n_ids}, first = 0;
    sp_batch batch = {.n_texts = 1,
                      .n_tokens = line->n_ids,
                      .ids = line->ids,
                      .positions = positions,
                      .starts = starts,
                      .pool_first = &first,
                      .pool_end = &line->n_ids,
                      .want_vectors = true};
    sp_vec v = {0};
    assert_int_equal(e->backend->ops->begin(e->backend, 0, &batch), SP_OK);
    assert_int_equal(e->backend->ops->end(e->backend, 0, &v, NULL), SP_OK);
    expect_vector(r, e, line, i, &v);
    sp_vec_free(&v);
    free(positions);
  }
}

static void model_gives_the_golden_vectors(void **state) {
  const row *r = *state;
  goldens g = goldens_read(r->vectors);
  sp_encoder *e = open_encoder(r->model, (sp_encoder_options){.top_k = r->top_k});
  if (r->plain_ids) {
    check_plain_ids(r, e, &g);
  } else {
    check_side(r, e, &g, SP_DOCUMENT);
    check_side(r, e, &g, SP_QUERY);
  }
  sp_encoder_free(e);
  goldens_free(&g);
}

static void quantized_kernels_stay_within_one_percent(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
    const row *r = &ROWS[i];
    if (r->top_k || r->plain_ids) continue; /* a cut may fall elsewhere */
    goldens g = goldens_read(r->vectors);
    sp_encoder *e = open_encoder(r->model, (sp_encoder_options){.precision = "int8"});
    if (((neural *)e)->top_k == 0) check_side(r, e, &g, SP_DOCUMENT);
    sp_encoder_free(e);
    goldens_free(&g);
  }
}

/* golden/encoders/colbert-tiny: L2-normalised rows in tokens.f32. */
static void check_rows(const goldens *g, const float *all, sp_encoder *e) {
  size_t dim = sp_encoder_token_dim(e);
  for (size_t i = 0; i < g->n; i++) {
    const golden *line = &g->all[i];
    sp_text text = {line->text, line->text_n};
    sp_token_rows rows = {0};
    assert_int_equal(sp_encoder_encode_tokens(e, line->query ? SP_QUERY : SP_DOCUMENT,
                                              &text, 1, NULL, &rows),
                     SP_OK);
    const json_t *keep = json_object_get(line->line, "keep");
    size_t first = (size_t)json_integer_value(json_object_get(line->line, "row"));
    if (rows.n != json_array_size(keep))
      fail_msg("line %zu: %u rows, expected %zu", i + 1, rows.n, json_array_size(keep));
    double gap = 0;
    for (size_t k = 0; k < rows.n; k++)
      assert_int_equal(rows.ids[k],
                       line->ids[json_integer_value(json_array_get(keep, k))]);
    for (size_t k = 0; k < rows.n * dim; k++)
      gap = fmax(gap, fabs((double)rows.rows[k] - (double)all[first * dim + k]));
    if (gap > 1e-5) fail_msg("line %zu: off by %g", i + 1, gap);
    sp_token_rows_free(&rows);
  }
}

static void colbert_gives_the_golden_token_vectors(void **state) {
  (void)state;
  goldens g = goldens_read(GOLDEN "colbert-tiny/tokens.jsonl");
  char *path = shared_path(GOLDEN "colbert-tiny/tokens.f32");
  sp_map map;
  assert_int_equal(sp_map_open(path, &map), SP_OK);
  sp_encoder *e = open_encoder(MODEL "colbert-tiny", (sp_encoder_options){0});
  assert_int_equal(sp_encoder_token_dim(e), 16);
  check_rows(&g, (const float *)(const void *)map.data, e);

  sp_vec v = {0};
  sp_text text = {"x", 1};
  assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, &text, 1, &v), SP_EINVAL);
  sp_encoder_free(e);
  sp_map_close(&map);
  free(path);
  goldens_free(&g);
}

/* Which token said a term: the float32 head over the CPU backend's own hidden states. */
static void terms_come_from_the_golden_tokens(void **state) {
  (void)state;
  argmax_goldens a;
  argmax_goldens_open(&a);
  sp_backend *b;
  const sp_backend_options o = {.n_slots = 1, .n_threads = 2};
  assert_int_equal(sp_cpu_backend_new(a.model, &o, &b), SP_OK);
  float *y = argmax_goldens_states(&a, b);
  const size_t n = a.lines.n * a.vocab;
  float *out = malloc(n * sizeof *out);
  int32_t *argmax = malloc(n * sizeof *argmax);
  assert_non_null(out);
  assert_non_null(argmax);
  sp_pool *pool;
  assert_int_equal(sp_pool_new(2, &pool), SP_OK);
  const sp_lm_cpu head = {.w = a.decoder,
                          .bias = a.bias,
                          .vocab = a.vocab,
                          .dim = a.dim,
                          .log1p_times = a.model->log1p_times};
  const sp_lm_texts texts = argmax_goldens_texts(&a);
  assert_int_equal(sp_lm_cpu_dense(&head, y, a.batch.n_tokens, &texts, pool, out, argmax),
                   SP_OK);
  argmax_goldens_expect(&a, out, argmax, 1e-4, 1e-4);
  sp_pool_free(pool);
  free(argmax), free(out), free(y);
  b->ops->free(b);
  argmax_goldens_close(&a);
}

/* Calls that take whole windows are cut into the same batches as one call for all. */
static void calls_of_whole_windows_change_nothing(void **state) {
  (void)state;
  sp_encoder *e = open_encoder(MODEL "bert-splade-tiny", (sp_encoder_options){0});
  const size_t window = sp_encoder_window(e), n = 2 * window + 100;
  static const char WORDS[] = "the river runs over seven old stones, and a heron waits";
  sp_text *texts = calloc(n, sizeof *texts);
  for (size_t i = 0; i < n; i++)
    texts[i] = (sp_text){WORDS + i % 17, 1 + (i * 7) % (sizeof WORDS - 18)};
  sp_vec *whole = calloc(n, sizeof *whole), *parts = calloc(n, sizeof *parts);
  assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts, n, whole), SP_OK);
  for (size_t at = 0; at < n; at += window)
    assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts + at,
                                       n - at < window ? n - at : window, parts + at),
                     SP_OK);
  for (size_t i = 0; i < n; i++) {
    assert_int_equal(whole[i].n, parts[i].n);
    assert_memory_equal(whole[i].terms, parts[i].terms, whole[i].n * sizeof(uint32_t));
    assert_memory_equal(whole[i].weights, parts[i].weights, whole[i].n * sizeof(float));
    sp_vec_free(&whole[i]), sp_vec_free(&parts[i]);
  }
  free(whole), free(parts), free(texts);
  sp_encoder_free(e);
}

typedef struct call {
  sp_encoder *e;
  const sp_text *texts;
  size_t n;
  sp_vec *out;
  sp_err err;
} call;

static void *encode_documents(void *arg) {
  call *c = arg;
  c->err = sp_encoder_encode(c->e, SP_DOCUMENT, c->texts, c->n, c->out);
  return NULL;
}

/* More calls than the encoder has room for: none gets another's vectors. */
static void calls_at_once_change_nothing(void **state) {
  (void)state;
  enum { CALLS = 4 };
  goldens g = goldens_read(GOLDEN "bert-splade-tiny/vectors.jsonl");
  const size_t n = g.n;
  sp_encoder *e =
      open_encoder(MODEL "bert-splade-tiny", (sp_encoder_options){.batch_tokens = 200});
  sp_text *texts = calloc(n, sizeof *texts);
  sp_vec *alone = calloc(n, sizeof *alone), *out = calloc(CALLS * n, sizeof *out);
  for (size_t i = 0; i < n; i++) texts[i] = (sp_text){g.all[i].text, g.all[i].text_n};
  assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts, n, alone), SP_OK);
  call calls[CALLS];
  pthread_t threads[CALLS];
  for (size_t c = 0; c < CALLS; c++) { /* each its own part, so that a mix-up shows */
    const size_t from = c * n / (2 * CALLS);
    calls[c] = (call){e, texts + from, n - from, out + c * n + from, SP_EIO};
    assert_int_equal(pthread_create(&threads[c], NULL, encode_documents, &calls[c]), 0);
  }
  for (size_t c = 0; c < CALLS; c++) {
    pthread_join(threads[c], NULL);
    assert_int_equal(calls[c].err, SP_OK);
    for (size_t i = n - calls[c].n; i < n; i++)
      assert_true(relative_l2(&out[c * n + i], &alone[i]) < 1e-5);
  }
  for (size_t i = 0; i < n; i++) sp_vec_free(&alone[i]);
  for (size_t i = 0; i < CALLS * n; i++) sp_vec_free(&out[i]);
  free(alone), free(out), free(texts);
  sp_encoder_free(e);
  goldens_free(&g);
}

/* One text alone, in small batches or beside many others: the same vector. */
static void batches_and_threads_do_not_change_vectors(void **state) {
  (void)state;
  goldens g = goldens_read(GOLDEN "bert-splade-tiny/vectors.jsonl");
  sp_text *texts = calloc(g.n, sizeof *texts);
  for (size_t i = 0; i < g.n; i++) texts[i] = (sp_text){g.all[i].text, g.all[i].text_n};
  const sp_encoder_options ways[] = {{.batch_tokens = 1, .n_threads = 1},
                                     {.batch_tokens = 100, .n_threads = 3},
                                     {.batch_tokens = 100000, .n_threads = 2}};
  sp_vec *first = calloc(g.n, sizeof *first), *other = calloc(g.n, sizeof *other);
  for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
    sp_encoder *e = open_encoder(MODEL "bert-splade-tiny", ways[w]);
    sp_vec *out = w ? other : first;
    assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts, g.n, out), SP_OK);
    for (size_t i = 0; i < g.n; i++) assert_true(relative_l2(&out[i], &first[i]) < 1e-5);
    sp_encoder_free(e);
  }
  for (size_t i = 0; i < g.n; i++) sp_vec_free(&first[i]), sp_vec_free(&other[i]);
  free(first), free(other), free(texts);
  goldens_free(&g);
}

/* spindle-mini: both kinds of vectors from one pass, rows of length 1. */
static void token_vectors_come_with_the_sparse_vector(void **state) {
  (void)state;
  goldens g = goldens_read(GOLDEN "spindle-mini/vectors.jsonl");
  sp_encoder *e = open_encoder("models/spindle-mini", (sp_encoder_options){0});
  const golden *line = &g.all[0];
  sp_text text = {line->text, line->text_n};
  sp_vec v = {0};
  sp_token_rows rows = {0};
  assert_int_equal(sp_encoder_encode_tokens(e, SP_DOCUMENT, &text, 1, &v, &rows), SP_OK);
  assert_true(relative_l2(&v, &line->vector) < 1e-4);
  assert_int_equal(rows.n, line->n_ids);
  size_t dim = sp_encoder_token_dim(e);
  assert_int_equal(dim, 64);
  for (size_t r = 0; r < rows.n; r++) {
    double square = 0;
    for (size_t i = 0; i < dim; i++)
      square += rows.rows[r * dim + i] * rows.rows[r * dim + i];
    assert_true(fabs(square - 1) < 1e-4);
  }
  sp_token_rows_free(&rows);
  sp_vec_free(&v);
  sp_encoder_free(e);
  goldens_free(&g);
}

int main(int argc, char **argv) {
  (void)argc;
  blas_core_fit(argv);
  enum { N_ROWS = sizeof ROWS / sizeof *ROWS };
  struct CMUnitTest tests[N_ROWS + 7];
  for (size_t i = 0; i < N_ROWS; i++)
    tests[i] = (struct CMUnitTest){ROWS[i].vectors, model_gives_the_golden_vectors, NULL,
                                   NULL, (void *)(uintptr_t)&ROWS[i]};
  tests[N_ROWS] =
      (struct CMUnitTest)cmocka_unit_test(colbert_gives_the_golden_token_vectors);
  tests[N_ROWS + 1] =
      (struct CMUnitTest)cmocka_unit_test(batches_and_threads_do_not_change_vectors);
  tests[N_ROWS + 2] =
      (struct CMUnitTest)cmocka_unit_test(token_vectors_come_with_the_sparse_vector);
  tests[N_ROWS + 3] =
      (struct CMUnitTest)cmocka_unit_test(quantized_kernels_stay_within_one_percent);
  tests[N_ROWS + 4] =
      (struct CMUnitTest)cmocka_unit_test(terms_come_from_the_golden_tokens);
  tests[N_ROWS + 5] =
      (struct CMUnitTest)cmocka_unit_test(calls_of_whole_windows_change_nothing);
  tests[N_ROWS + 6] = (struct CMUnitTest)cmocka_unit_test(calls_at_once_change_nothing);
  return cmocka_run_group_tests_name("encoder_golden", tests, NULL, NULL);
}
