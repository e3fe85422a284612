/* tests/test_cuda_golden.c - the CUDA backend against vectors that transformers computed in
 * float32 from the same directories (golden/encoders of SPINDLE_SHARED): every model, all its
 * texts packed into one batch.
 *
 * f16 is held to a relative L2 of 1e-2 (the worst is 8.2e-3). bf16 cannot be: rounding nothing
 * but the weights of bert-splade-tiny to bf16 and computing the rest exactly gives up to
 * 1.5e-2, rounding weights and activations 3.1e-2; so it is held to 5e-2. */
#include <math.h>
#include <stdlib.h>

#include "base/file.h"
#include "encoder/backend.h"
#include "tests/argmax_goldens.h"
#include "tests/cuda_fixture.h"
#include "tests/encoder_goldens.h"

enum { MAX_TEXTS = 256 };

/* A golden file's texts as one batch. */
typedef struct packed {
  goldens g;
  size_t line[MAX_TEXTS]; /* of each text in g.all */
  uint32_t starts[MAX_TEXTS + 1], first[MAX_TEXTS], end[MAX_TEXTS], attend_end[MAX_TEXTS];
  uint32_t *ids, *positions;
  sp_batch batch;
} packed;

static const golden *line_of(const packed *p, uint32_t text) {
  return &p->g.all[p->line[text]];
}

/* RoBERTa counts from pad_id + 1, over padding tokens it passes. */
static void add_text(packed *p, const sp_model_config *c, size_t line) {
  const golden *g = &p->g.all[line];
  const uint32_t t = p->batch.n_texts++, start = p->starts[t];
  assert_true(t < MAX_TEXTS);
  uint32_t count = 0;
  for (uint32_t i = 0; i < g->n_ids; i++) {
    p->ids[start + i] = g->ids[i];
    p->positions[start + i] = i;
    if (c->architecture == SP_ROBERTA)
      p->positions[start + i] = g->ids[i] == c->pad_id ? c->pad_id : c->pad_id + ++count;
  }
  p->line[t] = line;
  p->starts[t + 1] = start + g->n_ids;
  p->first[t] = g->pool_first, p->end[t] = g->pool_end;
  p->attend_end[t] = g->n_ids;
  const json_t *attend = json_object_get(g->line, "attend");
  for (size_t i = json_array_size(attend); i > 0; i--)
    if (json_integer_value(json_array_get(attend, i - 1)) == 0) {
      p->attend_end[t] = (uint32_t)i - 1;
      p->batch.attend_end = p->attend_end;
    }
}

static packed *pack(const char *vectors, const sp_model_config *c, bool documents_only) {
  packed *p = calloc(1, sizeof *p);
  assert_non_null(p);
  p->g = goldens_read(vectors);
  size_t n = 1;
  for (size_t i = 0; i < p->g.n; i++) n += p->g.all[i].n_ids;
  p->ids = calloc(n, sizeof *p->ids);
  p->positions = calloc(n, sizeof *p->positions);
  assert_non_null(p->ids);
  assert_non_null(p->positions);
  for (size_t i = 0; i < p->g.n; i++)
    if (!(p->g.all[i].query && documents_only)) add_text(p, c, i);
  p->batch.n_tokens = p->starts[p->batch.n_texts];
  p->batch.ids = p->ids, p->batch.positions = p->positions, p->batch.starts = p->starts;
  p->batch.pool_first = p->first, p->batch.pool_end = p->end;
  return p;
}

static void unpack(packed *p) {
  goldens_free(&p->g);
  free(p->ids), free(p->positions), free(p);
}

static sp_backend *open_backend(const char *dir, const char *precision, sp_model **m) {
  char *path = shared_path(dir);
  if (!sp_path_exists(path)) {
    printf("skipped: %s is not there\n", path);
    free(path);
    skip();
  }
  expect_ok(sp_model_open(path, m));
  free(path);
  sp_backend *b;
  const sp_backend_options o = {.precision = precision, .n_slots = 2};
  expect_ok(sp_cuda_backend_new(*m, &o, &b));
  assert_string_equal(b->ops->device, "cuda");
  assert_string_equal(b->precision, precision);
  return b;
}

typedef struct golden_case {
  const char *model, *vectors;
  bool documents_only; /* queries are a table look-up */
} golden_case;

#define G "golden/encoders/golden/"
#define M "golden/encoders/models/"
static const golden_case CASES[] = {
    {M "bert-splade-tiny", G "bert-splade-tiny/vectors.jsonl", false},
    {M "bert-splade-odd", G "bert-splade-odd/vectors.jsonl", false},
    {M "bert-splade-odd-bf16", G "bert-splade-odd-bf16/vectors.jsonl", false},
    {M "bert-splade-topk", G "bert-splade-topk/vectors-unpruned.jsonl", false},
    {M "distilbert-l0-infree", G "distilbert-l0-infree/vectors.jsonl", true},
    {M "distilbert-idf-infree", G "distilbert-idf-infree/vectors.jsonl", true},
    {M "roberta-splade", G "roberta-splade/vectors.jsonl", false},
    {M "xlm-roberta-splade", G "xlm-roberta-splade/vectors.jsonl", false},
    {M "mistral-splade", G "mistral-splade/vectors.jsonl", false},
    {M "mistral-splade", G "mistral-splade/vectors-plain.jsonl", false},
    {M "mistral-splade-full", G "mistral-splade-full/vectors.jsonl", false},
    {M "mistral-splade-full", G "mistral-splade-full/vectors-plain.jsonl", false},
    {M "mistral-splade-lora", G "mistral-splade-lora/vectors.jsonl", false},
    {M "mistral-splade-rslora", G "mistral-splade-rslora/vectors.jsonl", false},
    {M "modernbert-splade", G "modernbert-splade/vectors.jsonl", false},
    {"models/splade-tiny", G "splade-tiny/vectors.jsonl", true},
    {"models/spindle-mini", G "spindle-mini/vectors.jsonl", true}};

/* Both slots are under way at once, with the same batch: they must not disturb each other. */
static void check_vectors(const golden_case *c, const char *precision, double tolerance) {
  sp_model *m;
  sp_backend *b = open_backend(c->model, precision, &m);
  packed *p = pack(c->vectors, &m->config, c->documents_only);
  sp_batch batch = p->batch;
  batch.want_vectors = true;
  sp_vec got[2][MAX_TEXTS] = {0};
  for (uint32_t s = 0; s < 2; s++) expect_ok(b->ops->begin(b, s, &batch));
  for (uint32_t s = 0; s < 2; s++) expect_ok(b->ops->end(b, s, got[s], NULL));
  double worst = 0;
  uint32_t other = 0;
  for (uint32_t t = 0; t < batch.n_texts; t++) {
    worst = fmax(worst, relative_l2(&got[0][t], &line_of(p, t)->vector));
    other += !same_top_ten(&got[0][t], &line_of(p, t)->vector, 0.02);
    assert_int_equal(got[0][t].n, got[1][t].n);
    assert_memory_equal(got[0][t].terms, got[1][t].terms, got[0][t].n * 4);
    assert_memory_equal(got[0][t].weights, got[1][t].weights, got[0][t].n * 4);
    for (uint32_t s = 0; s < 2; s++) sp_vec_free(&got[s][t]);
  }
  printf("%s %-54s %3u texts, worst relative L2 %.2g, another top ten: %u\n", precision,
         c->vectors, batch.n_texts, worst, other);
  assert_true(worst <= tolerance);
  if (tolerance <= 1e-2) assert_int_equal(other, 0);
  unpack(p);
  b->ops->free(b);
  sp_model_close(m);
}

static void f16_gives_the_golden_vectors(void **state) {
  needs_device();
  check_vectors(*state, "f16", 1e-2);
}

static void bf16_gives_the_golden_vectors(void **state) {
  needs_device();
  check_vectors(*state, "bf16", 5e-2);
}

static void token_vectors_are_those_of_the_model(void **state) {
  (void)state;
  needs_device();
  sp_model *m;
  sp_backend *b = open_backend(M "colbert-tiny", "f16", &m);
  packed *p = pack(G "colbert-tiny/tokens.jsonl", &m->config, false);
  char *path = shared_path(G "colbert-tiny/tokens.f32");
  sp_map file;
  expect_ok(sp_map_open(path, &file));
  const float *want = (const float *)file.data;
  const size_t dim = m->tokens.linear.weight.rows;
  sp_batch batch = p->batch;
  batch.want_tokens = true;
  float *got = calloc(batch.n_tokens * dim, sizeof *got);
  assert_non_null(got);
  expect_ok(b->ops->begin(b, 0, &batch));
  expect_ok(b->ops->end(b, 0, NULL, got));
  double worst = 0;
  for (uint32_t t = 0; t < batch.n_texts; t++) {
    const json_t *line = line_of(p, t)->line, *keep = json_object_get(line, "keep");
    const size_t first = (size_t)json_integer_value(json_object_get(line, "row"));
    for (size_t i = 0; i < json_array_size(keep); i++) {
      const size_t at =
          p->starts[t] + (size_t)json_integer_value(json_array_get(keep, i));
      assert_true((first + i + 1) * dim * sizeof *want <= file.n);
      worst = fmax(worst, distance(got + at * dim, want + (first + i) * dim, dim));
    }
  }
  printf("f16 token vectors of %u texts, worst relative L2 %.2g\n", batch.n_texts, worst);
  assert_true(worst <= 1e-2);
  free(got);
  sp_map_close(&file);
  free(path);
  unpack(p);
  b->ops->free(b);
  sp_model_close(m);
}

/* Which token said a term: the f16 head over the GPU's own hidden states. */
static void terms_come_from_the_golden_tokens(void **state) {
  (void)state;
  needs_device();
  argmax_goldens a;
  argmax_goldens_open(&a);
  sp_backend *b;
  const sp_backend_options o = {.precision = "f16", .n_slots = 1};
  expect_ok(sp_cuda_backend_new(a.model, &o, &b));
  float *y = argmax_goldens_states(&a, b);
  const size_t n = a.lines.n * a.vocab;
  void *w = rows_to_device(SP_CUDA_F16, a.decoder, a.vocab, a.dim, a.dim);
  void *h = rows_to_device(SP_CUDA_F16, y, a.batch.n_tokens, a.dim, a.dim);
  void *bias = to_device(a.bias, a.vocab * sizeof *a.bias);
  void *d_out = device_bytes(n * sizeof(float), 0xff);
  void *d_argmax = device_bytes(n * sizeof(int32_t), 0xff);
  const sp_lm_head_config c = {.w = w,
                               .bias = bias,
                               .vocab = a.vocab,
                               .dim = a.dim,
                               .dtype = SP_LM_F16,
                               .log1p_times = a.model->log1p_times};
  sp_lm_head *head;
  expect_ok(sp_lm_head_new(&c, &head));
  const sp_lm_texts texts = argmax_goldens_texts(&a);
  expect_ok(sp_lm_head_dense(head, h, a.batch.n_tokens, &texts, d_out, d_argmax, NULL));
  float *out = malloc(n * sizeof *out);
  int32_t *argmax = malloc(n * sizeof *argmax);
  assert_non_null(out);
  assert_non_null(argmax);
  from_device(out, d_out, n * sizeof *out);
  from_device(argmax, d_argmax, n * sizeof *argmax);
  argmax_goldens_expect(&a, out, argmax, 0.05, 0.05);
  sp_lm_head_free(head);
  cudaFree(w), cudaFree(h), cudaFree(bias), cudaFree(d_out), cudaFree(d_argmax);
  free(argmax), free(out), free(y);
  b->ops->free(b);
  argmax_goldens_close(&a);
}

/* A text's vector does not depend on what else is in the batch, beyond rounding: products of
 * another size may be summed in another order. Also: empty texts, top_k, threshold. */
static void a_text_alone_gives_what_it_gives_in_a_batch(void **state) {
  (void)state;
  needs_device();
  sp_model *m;
  sp_backend *b = open_backend(M "bert-splade-tiny", "f16", &m);
  packed *p = pack(G "bert-splade-tiny/vectors.jsonl", &m->config, true);
  for (uint32_t t = 0; t < 8; t++) {
    const uint32_t from = p->starts[t], n = p->starts[t + 1] - from;
    const uint32_t starts[] = {0, 0, n}, first[] = {0, 0}, end[] = {0, n};
    const sp_batch batch = {.n_texts = 2,
                            .n_tokens = n,
                            .ids = p->ids + from,
                            .positions = p->positions + from,
                            .starts = starts,
                            .pool_first = first,
                            .pool_end = end,
                            .want_vectors = true,
                            .top_k = 20,
                            .threshold = 0.05f};
    sp_vec got[2] = {0}, want = {0};
    expect_ok(b->ops->begin(b, 1, &batch));
    expect_ok(b->ops->end(b, 1, got, NULL));
    assert_int_equal(got[0].n, 0);
    expect_ok(sp_vec_copy(&line_of(p, t)->vector, &want));
    expect_ok(sp_vec_keep_top(&want, 20));
    sp_vec_keep_above(&want, 0.05f);
    assert_int_equal(got[1].n, want.n);
    assert_true(same_top_ten(&got[1], &line_of(p, t)->vector, 0.02));
    sp_vec_free(&got[0]), sp_vec_free(&got[1]), sp_vec_free(&want);
  }
  unpack(p);
  b->ops->free(b);
  sp_model_close(m);
}

/* The same batches of many sizes once more take no more memory than the first time. */
static void memory_stays_flat(void **state) {
  (void)state;
  needs_device();
  sp_model *m;
  sp_backend *b = open_backend(M "bert-splade-tiny", "f16", &m);
  packed *p = pack(G "bert-splade-tiny/vectors.jsonl", &m->config, false);
  sp_vec got[MAX_TEXTS] = {0};
  size_t left[3], total;
  for (int turn = 0; turn < 3; turn++) {
    for (uint32_t n = p->batch.n_texts; n > 0; n -= n > 7 ? 7 : n) {
      sp_batch batch = p->batch;
      batch.want_vectors = true;
      batch.n_texts = n, batch.n_tokens = p->starts[n];
      for (uint32_t s = 0; s < 2; s++) expect_ok(b->ops->begin(b, s, &batch));
      for (uint32_t s = 0; s < 2; s++) expect_ok(b->ops->end(b, s, got, NULL));
    }
    assert_int_equal(cudaMemGetInfo(&left[turn], &total), cudaSuccess);
  }
  /* A checker that watches the program may take a little for itself. */
  assert_true(left[2] + ((size_t)4 << 20) >= left[1]);
  for (uint32_t t = 0; t < p->batch.n_texts; t++) sp_vec_free(&got[t]);
  unpack(p);
  b->ops->free(b);
  sp_model_close(m);
}

/* Takes device memory until none of a megabyte is left; n blocks. */
static size_t fill_device(void **blocks, size_t most) {
  size_t n = 0;
  for (size_t bytes = (size_t)1 << 36; bytes >= (size_t)1 << 20; bytes /= 2)
    while (n < most && cudaMalloc(&blocks[n], bytes) == cudaSuccess) n++;
  cudaGetLastError();
  return n;
}

/* A batch that does not fit says so, and the slot serves again once there is room. */
static void a_full_device_is_out_of_memory_and_no_more(void **state) {
  (void)state;
  needs_device();
  sp_model *m;
  sp_backend *b = open_backend(M "bert-splade-tiny", "f16", &m);
  packed *p = pack(G "bert-splade-tiny/vectors.jsonl", &m->config, false);
  sp_batch batch = p->batch;
  batch.want_vectors = true;
  void *blocks[512];
  const size_t n = fill_device(blocks, 512);
  assert_int_equal(b->ops->begin(b, 0, &batch), SP_ENOMEM);
  assert_non_null(strstr(sp_err_message(), "memory"));
  for (size_t i = 0; i < n; i++) cudaFree(blocks[i]);
  sp_vec got[MAX_TEXTS] = {0};
  expect_ok(b->ops->begin(b, 0, &batch));
  expect_ok(b->ops->end(b, 0, got, NULL));
  for (uint32_t t = 0; t < batch.n_texts; t++) {
    assert_true(relative_l2(&got[t], &line_of(p, t)->vector) <= 1e-2);
    sp_vec_free(&got[t]);
  }
  unpack(p);
  b->ops->free(b);
  sp_model_close(m);
}

static void a_precision_that_cuda_lacks_is_refused(void **state) {
  (void)state;
  needs_device();
  char *path = shared_path(M "bert-splade-tiny");
  sp_model *m;
  expect_ok(sp_model_open(path, &m));
  sp_backend *b;
  const sp_backend_options o = {.precision = "int8", .n_slots = 1};
  assert_int_equal(sp_cuda_backend_new(m, &o, &b), SP_EINVAL);
  assert_null(b);
  sp_model_close(m);
  free(path);
}

int main(void) {
  enum { N_CASES = sizeof CASES / sizeof *CASES };
  enum { N_OTHERS = 6 };
  struct CMUnitTest tests[2 * N_CASES + N_OTHERS] = {
      cmocka_unit_test(token_vectors_are_those_of_the_model),
      cmocka_unit_test(terms_come_from_the_golden_tokens),
      cmocka_unit_test(a_text_alone_gives_what_it_gives_in_a_batch),
      cmocka_unit_test(memory_stays_flat),
      cmocka_unit_test(a_full_device_is_out_of_memory_and_no_more),
      cmocka_unit_test(a_precision_that_cuda_lacks_is_refused),
  };
  for (size_t i = 0; i < N_CASES; i++) {
    void *state = (void *)(uintptr_t)&CASES[i];
    struct CMUnitTest *t = &tests[N_OTHERS + 2 * i];
    t[0] = (struct CMUnitTest){CASES[i].vectors, f16_gives_the_golden_vectors, NULL, NULL,
                               state};
    t[1] = (struct CMUnitTest){CASES[i].vectors, bf16_gives_the_golden_vectors, NULL,
                               NULL, state};
  }
  return cmocka_run_group_tests_name("cuda_golden", tests, NULL, NULL);
}
