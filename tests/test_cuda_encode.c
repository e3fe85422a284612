/* tests/test_cuda_encode.c - the two trained models of SPINDLE_SHARED over SciFact's first 500
 * documents: the GPU gives the CPU's vectors, whatever the batches and the threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/lines.h"
#include "encoder/neural.h"
#include "tests/cuda_fixture.h"
#include "tests/encoder_goldens.h"

enum { N_DOCS = 500 };

typedef struct documents {
  sp_text texts[N_DOCS];
  char *bytes[N_DOCS];
} documents;

static char *title_and_text(const sp_lines *in) {
  json_t *o;
  expect_ok(sp_json_parse(in->line, in->n, in->name, &o));
  const char *title = json_string_value(json_object_get(o, "title"));
  const char *text = json_string_value(json_object_get(o, "text"));
  assert_non_null(text);
  char *joined;
  assert_true(asprintf(&joined, "%s %s", title ? title : "", text) > 0);
  json_decref(o);
  return joined;
}

static documents *read_documents(void) {
  char *path = shared_path("beir/scifact/corpus.jsonl");
  if (!sp_path_exists(path)) {
    printf("skipped: %s is not there\n", path);
    free(path);
    skip();
  }
  documents *d = calloc(1, sizeof *d);
  assert_non_null(d);
  sp_lines in;
  expect_ok(sp_lines_open(path, 1 << 22, &in));
  for (size_t i = 0; i < N_DOCS; i++) {
    bool more;
    expect_ok(sp_lines_next(&in, &more));
    assert_true(more);
    d->bytes[i] = title_and_text(&in);
    d->texts[i] = (sp_text){d->bytes[i], strlen(d->bytes[i])};
  }
  sp_lines_close(&in);
  free(path);
  return d;
}

static void free_documents(documents *d) {
  for (size_t i = 0; i < N_DOCS; i++) free(d->bytes[i]);
  free(d);
}

static sp_encoder *open_encoder(const char *model, const char *device,
                                const char *precision, uint32_t batch_tokens,
                                unsigned n_threads) {
  char *dir = shared_path(model);
  if (!sp_path_exists(dir)) {
    printf("skipped: %s is not there\n", dir);
    free(dir);
    skip();
  }
  sp_encoder_options o = sp_encoder_defaults();
  o.device = device, o.precision = precision;
  o.batch_tokens = batch_tokens, o.n_threads = n_threads;
  sp_encoder *e;
  expect_ok(sp_encoder_open(dir, &o, &e));
  free(dir);
  return e;
}

/* The vectors of n texts; the caller ends them with free_vectors(). */
static sp_vec *encode(sp_encoder *e, const sp_text *texts, size_t n) {
  sp_vec *v = calloc(n, sizeof *v);
  assert_non_null(v);
  expect_ok(sp_encoder_encode(e, SP_DOCUMENT, texts, n, v));
  return v;
}

static sp_vec *encode_by(const char *model, const char *device, const char *precision,
                         uint32_t batch_tokens, unsigned n_threads, const documents *d) {
  sp_encoder *e = open_encoder(model, device, precision, batch_tokens, n_threads);
  sp_vec *v = encode(e, d->texts, N_DOCS);
  sp_encoder_free(e);
  return v;
}

static void free_vectors(sp_vec *v, size_t n) {
  for (size_t i = 0; i < n; i++) sp_vec_free(&v[i]);
  free(v);
}

static bool same_bits(const sp_vec *a, const sp_vec *b) {
  return a->n == b->n && !memcmp(a->terms, b->terms, a->n * sizeof *a->terms) &&
         !memcmp(a->weights, b->weights, a->n * sizeof *a->weights);
}

static void compare(const char *model, const char *what, const sp_vec *got,
                    const sp_vec *want, double tolerance) {
  double worst = 0, sum = 0;
  size_t equal = 0, other = 0;
  for (size_t i = 0; i < N_DOCS; i++) {
    const double d = relative_l2(&got[i], &want[i]);
    worst = fmax(worst, d), sum += d;
    equal += same_bits(&got[i], &want[i]);
    other += !same_top_ten(&got[i], &want[i], 0.02);
  }
  printf(
      "%s, %s: worst relative L2 %.2g, mean %.2g, another top ten: %zu, to the last bit: "
      "%zu of %d\n",
      model, what, worst, sum / N_DOCS, other, equal, N_DOCS);
  assert_true(worst <= tolerance);
  if (tolerance <= 1e-2) assert_int_equal(other, 0);
}

static void the_gpu_gives_the_vectors_of_the_cpu(void **state) {
  const char *model = *state;
  needs_device();
  documents *d = read_documents();
  sp_vec *want = encode_by(model, "cpu", "f32", 0, 0, d);
  sp_vec *f16 = encode_by(model, "cuda", "f16", 0, 0, d);
  sp_vec *bf16 = encode_by(model, "cuda", "bf16", 0, 0, d);
  compare(model, "f16 against the CPU's f32", f16, want, 1e-2);
  compare(model, "bf16 against the CPU's f32", bf16, want, 5e-2);
  free_vectors(want, N_DOCS), free_vectors(f16, N_DOCS), free_vectors(bf16, N_DOCS);
  free_documents(d);
}

static void batches_and_threads_change_no_more_than_rounding(void **state) {
  const char *model = *state;
  static const struct {
    const char *what;
    uint32_t batch_tokens;
    unsigned n_threads;
  } WAYS[] = {{"the same once more", 0, 0},
              {"each text alone", 1, 0},
              {"batches of 3,000 tokens, one thread", 3000, 1},
              {"all in one batch", 1 << 20, 0}};
  needs_device();
  documents *d = read_documents();
  sp_vec *want = encode_by(model, "cuda", "f16", 0, 0, d);
  for (size_t w = 0; w < sizeof WAYS / sizeof *WAYS; w++) {
    sp_vec *got =
        encode_by(model, "cuda", "f16", WAYS[w].batch_tokens, WAYS[w].n_threads, d);
    compare(model, WAYS[w].what, got, want, w ? 5e-3 : 0);
    free_vectors(got, N_DOCS);
  }
  free_vectors(want, N_DOCS);
  free_documents(d);
}

static void calls_of_whole_windows_change_nothing(void **state) {
  const char *model = *state;
  needs_device();
  documents *d = read_documents();
  sp_encoder *e = open_encoder(model, "cuda", "f16", 0, 0);
  const size_t window = sp_encoder_window(e), n = 2 * window + window / 3;
  sp_text *texts = calloc(n, sizeof *texts);
  assert_non_null(texts);
  for (size_t i = 0; i < n; i++) { /* beginnings of many lengths */
    const sp_text *from = &d->texts[i % N_DOCS];
    texts[i] = (sp_text){from->data, from->n < 20 + i % 293 ? from->n : 20 + i % 293};
  }
  sp_vec *whole = encode(e, texts, n), *first = encode(e, texts, window),
         *rest = encode(e, texts + window, n - window);
  for (size_t i = 0; i < n; i++)
    assert_true(same_bits(&whole[i], i < window ? &first[i] : &rest[i - window]));
  free_vectors(whole, n), free_vectors(first, window), free_vectors(rest, n - window);
  free(texts);
  sp_encoder_free(e);
  free_documents(d);
}

static void auto_takes_the_gpu_unless_the_precision_is_the_cpus(void **state) {
  const char *model = *state;
  needs_device();
  sp_encoder *e = open_encoder(model, "auto", "auto", 0, 0);
  assert_string_equal(((neural *)e)->backend->ops->device, "cuda");
  assert_string_equal(((neural *)e)->backend->precision, "f16");
  sp_encoder_free(e);
  e = open_encoder(model, "auto", "f32", 0, 0);
  assert_string_equal(((neural *)e)->backend->ops->device, "cpu");
  sp_encoder_free(e);
}

#define FOR_MODEL(f, model) \
  { #f ", " model, f, NULL, NULL, (void *)(uintptr_t)model }
#define FOR_BOTH(f) \
  FOR_MODEL(f, "models/splade-tiny"), FOR_MODEL(f, "models/spindle-mini")

int main(void) {
  const struct CMUnitTest tests[] = {
      FOR_BOTH(the_gpu_gives_the_vectors_of_the_cpu),
      FOR_BOTH(batches_and_threads_change_no_more_than_rounding),
      FOR_BOTH(calls_of_whole_windows_change_nothing),
      FOR_BOTH(auto_takes_the_gpu_unless_the_precision_is_the_cpus)};
  return cmocka_run_group_tests_name("cuda_encode", tests, NULL, NULL);
}
