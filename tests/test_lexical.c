/* tests/test_lexical.c - lexical encoding against BM25 written out, and kept in a state. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/pool.h"
#include "encoder/encoder.h"
#include "encoder/words.h"
#include "tests/harness.h"

static const char *const TEXTS[] = {"The cat sat on the mat.",
                                    "A dog and a cat, and another DOG!", "",
                                    "Mat: a cat's mat",
                                    "Stra\xc3\x9f"
                                    "e \xef\xbc\xa1\xef\xbc\xa2 na\xc3\xafve 42"};
enum { N_TEXTS = sizeof TEXTS / sizeof *TEXTS };

static const char VOCABULARY[] =
    "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ncat\nsat\non\nmat\na\ndog\nand\nother\n##"
    "n\n"
    "##other\n.\n,\n!\n:\n'\ns\n4\n##2\n";

static sp_text text_of(const char *s) {
  return (sp_text){s, strlen(s)};
}

static sp_encoder *open_with(const char *tokenizer, unsigned n_threads) {
  const sp_lexical_options o = {tokenizer, 1.2, 0.75, n_threads};
  sp_encoder *e;
  if (sp_encoder_open_lexical(&o, &e)) fail_msg("%s", sp_err_message());
  return e;
}

/* Writes the vocabulary to a file of its own; the encoder keeps none of the path. */
static sp_encoder *open_tokens(void) {
  char path[] = "/tmp/spindle-vocab-XXXXXX.txt";
  int fd = mkstemps(path, 4);
  assert_true(fd >= 0);
  assert_int_equal(write(fd, VOCABULARY, strlen(VOCABULARY)), strlen(VOCABULARY));
  close(fd);
  sp_encoder *e = open_with(path, 2);
  unlink(path);
  return e;
}

/* Encodes all texts into frequencies[] and counts them. */
static void learn(sp_encoder *e, sp_vec frequencies[N_TEXTS]) {
  sp_text texts[N_TEXTS];
  for (int i = 0; i < N_TEXTS; i++) texts[i] = text_of(TEXTS[i]);
  memset(frequencies, 0, N_TEXTS * sizeof *frequencies);
  assert_true(sp_encoder_learns(e));
  assert_int_equal(sp_encoder_encode(e, SP_DOCUMENT, texts, N_TEXTS, frequencies), SP_OK);
  for (int i = 0; i < N_TEXTS; i++)
    assert_int_equal(sp_encoder_observe(e, &frequencies[i], 1), SP_OK);
}

static void free_all(sp_vec vectors[N_TEXTS]) {
  for (int i = 0; i < N_TEXTS; i++) sp_vec_free(&vectors[i]);
}

static void expect_words(const char *text, const char *expected) {
  sp_words w = {0};
  assert_int_equal(sp_words_split(text, strlen(text), &w), SP_OK);
  char joined[512] = "";
  for (uint32_t i = 0; i < w.n; i++) {
    size_t n;
    const char *word = sp_words_get(&w, i, &n);
    strncat(strcat(joined, i ? "|" : ""), word, n);
  }
  assert_string_equal(joined, expected);
  sp_words_free(&w);
}

static void text_is_cut_into_folded_words(void **state) {
  (void)state;
  expect_words("", "");
  expect_words(" ...", "");
  expect_words("It's 3.5 Snake_case", "it|s|3|5|snake|case");
  expect_words(
      "Stra\xc3\x9f"
      "e \xef\xbc\xa1\xef\xbc\xa2",
      "strasse|ab");
  expect_words("caf\xc3\xa9 cafe\xcc\x81", "caf\xc3\xa9|caf\xc3\xa9");
  expect_words(
      "\xe6\x9d\xb1\xe4\xba\xac"
      "A1",
      "\xe6\x9d\xb1|\xe4\xba\xac|a1");
  expect_words(
      "bad\xff"
      "bytes\xe4\xba",
      "bad|bytes");
}

static void endless_words_are_cut(void **state) {
  (void)state;
  char text[512];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  sp_words w = {0};
  assert_int_equal(sp_words_split(text, sizeof text - 1, &w), SP_OK);
  assert_int_equal(w.n, 1);
  assert_int_equal(w.ends[0], SP_WORD_MAX_CODES);
  sp_words_free(&w);
}

/* BM25 from nothing but the texts' frequencies. */
static void expect_bm25(const sp_encoder *e, sp_vec f[N_TEXTS]) {
  double total = 0, lengths[N_TEXTS] = {0};
  for (int d = 0; d < N_TEXTS; d++) {
    for (uint32_t i = 0; i < f[d].n; i++) lengths[d] += f[d].weights[i];
    total += lengths[d];
  }
  float *weights = calloc(sp_encoder_n_terms(e), sizeof *weights);
  assert_non_null(weights);
  assert_true(sp_encoder_query_weights(e, weights));
  for (int d = 0; d < N_TEXTS; d++) {
    sp_vec v = {0};
    assert_int_equal(sp_vec_copy(&f[d], &v), SP_OK);
    sp_encoder_finish_document(e, &v);
    for (uint32_t i = 0; i < v.n; i++) {
      double tf = f[d].weights[i], df = 0;
      double norm = 1.2 * (1 - 0.75 + 0.75 * lengths[d] / (total / N_TEXTS));
      assert_float_equal(v.weights[i], tf * 2.2 / (tf + norm), 1e-6);
      for (int other = 0; other < N_TEXTS; other++)
        for (uint32_t j = 0; j < f[other].n; j++) df += f[other].terms[j] == v.terms[i];
      assert_float_equal(weights[v.terms[i]], log(1 + (N_TEXTS - df + 0.5) / (df + 0.5)),
                         1e-6);
    }
    sp_vec_free(&v);
  }
  free(weights);
}

static void impacts_and_weights_are_bm25s(void **state) {
  (void)state;
  sp_encoder *encoders[] = {open_with(NULL, 2), open_tokens()};
  for (int i = 0; i < 2; i++) {
    sp_vec f[N_TEXTS];
    learn(encoders[i], f);
    assert_int_equal(f[2].n, 0); /* the empty text counts as a document too */
    expect_bm25(encoders[i], f);
    free_all(f);
    sp_encoder_free(encoders[i]);
  }
}

static void a_query_holds_each_known_term_once(void **state) {
  (void)state;
  sp_encoder *e = open_with(NULL, 1);
  sp_vec f[N_TEXTS], q = {0};
  learn(e, f);
  sp_text text = text_of("Cat? CAT! unicorn mat");
  assert_int_equal(sp_encoder_encode(e, SP_QUERY, &text, 1, &q), SP_OK);
  assert_int_equal(q.n, 2);
  size_t n;
  assert_string_equal(sp_encoder_term(e, q.terms[0], &n), "cat");
  assert_string_equal(sp_encoder_term(e, q.terms[1], &n), "mat");
  assert_float_equal(q.weights[0], log(1 + (5 - 3 + 0.5) / (3 + 0.5)), 1e-6);

  /* when the last document with "mat" goes, the word is in no query any more */
  assert_int_equal(sp_encoder_observe(e, &f[0], -1), SP_OK);
  assert_int_equal(sp_encoder_observe(e, &f[3], -1), SP_OK);
  assert_int_equal(sp_encoder_encode(e, SP_QUERY, &text, 1, &q), SP_OK);
  assert_int_equal(q.n, 1);
  assert_float_equal(q.weights[0], log(1 + (3 - 1 + 0.5) / (1 + 0.5)), 1e-6);
  assert_int_equal(sp_encoder_observe(e, &f[3], -1), SP_EINVAL);
  sp_vec_free(&q);
  free_all(f);
  sp_encoder_free(e);
}

static void tokens_come_without_special_ones(void **state) {
  (void)state;
  sp_encoder *e = open_tokens();
  assert_int_equal(sp_encoder_n_terms(e), 24);
  sp_vec f[N_TEXTS];
  learn(e, f);
  size_t n;
  for (uint32_t i = 0; i < f[0].n; i++)
    assert_int_not_equal(sp_encoder_term(e, f[0].terms[i], &n)[0], '[');
  assert_int_equal(f[0].n, 6); /* the (twice) cat sat on mat . */
  assert_true(f[0].weights[0] == 2);
  free_all(f);
  sp_encoder_free(e);
}

static void threads_do_not_change_the_numbers_of_words(void **state) {
  (void)state;
  sp_encoder *one = open_with(NULL, 1), *four = open_with(NULL, 4);
  sp_vec a[N_TEXTS], b[N_TEXTS];
  learn(one, a);
  learn(four, b);
  assert_int_equal(sp_encoder_n_terms(one), sp_encoder_n_terms(four));
  for (int i = 0; i < N_TEXTS; i++) {
    assert_int_equal(a[i].n, b[i].n);
    if (a[i].n) assert_memory_equal(a[i].terms, b[i].terms, a[i].n * sizeof *a[i].terms);
  }
  free_all(a);
  free_all(b);
  sp_encoder_free(one);
  sp_encoder_free(four);
}

typedef struct ask_job {
  sp_encoder *e;
  uint32_t n[64];
} ask_job;

static sp_err ask(void *job, size_t piece, unsigned worker) {
  (void)worker;
  ask_job *j = job;
  sp_text text = text_of("the cat and the dog");
  sp_vec q = {0};
  sp_err err = sp_encoder_encode(j->e, SP_QUERY, &text, 1, &q);
  j->n[piece] = q.n;
  sp_vec_free(&q);
  return err;
}

static void queries_may_come_from_many_threads(void **state) {
  (void)state;
  ask_job job = {.e = open_with(NULL, 1)};
  sp_vec f[N_TEXTS];
  learn(job.e, f);
  sp_pool *pool;
  assert_int_equal(sp_pool_new(4, &pool), SP_OK);
  assert_int_equal(sp_pool_run(pool, 64, ask, &job), SP_OK);
  for (int i = 0; i < 64; i++) assert_int_equal(job.n[i], 4);
  sp_pool_free(pool);
  free_all(f);
  sp_encoder_free(job.e);
}

static void a_saved_encoder_answers_as_before(void **state) {
  (void)state;
  sp_encoder *encoders[] = {open_with(NULL, 2), open_tokens()};
  for (int i = 0; i < 2; i++) {
    sp_vec f[N_TEXTS], q = {0}, again = {0};
    learn(encoders[i], f);
    sp_buf saved = {0}, twice = {0};
    assert_int_equal(sp_encoder_save(encoders[i], &saved), SP_OK);
    sp_encoder *e;
    if (sp_encoder_restore(saved.data, saved.n, NULL, NULL, &e))
      fail_msg("%s", sp_err_message());
    assert_int_equal(sp_encoder_save(e, &twice), SP_OK);
    assert_int_equal(saved.n, twice.n);
    assert_memory_equal(saved.data, twice.data, saved.n);

    sp_text text = text_of("another cat on 42 mats, naive Strasse");
    assert_int_equal(sp_encoder_encode(encoders[i], SP_QUERY, &text, 1, &q), SP_OK);
    assert_int_equal(sp_encoder_encode(e, SP_QUERY, &text, 1, &again), SP_OK);
    assert_true(q.n > 2 && q.n == again.n);
    assert_memory_equal(q.terms, again.terms, q.n * sizeof *q.terms);
    assert_memory_equal(q.weights, again.weights, q.n * sizeof *q.weights);

    json_t *a, *b;
    assert_int_equal(sp_encoder_contract(encoders[i], &a), SP_OK);
    assert_int_equal(sp_encoder_contract(e, &b), SP_OK);
    assert_int_equal(sp_contract_compare(a, b, "index"), SP_OK);
    json_object_set_new(b, "k1", json_real(0.9));
    assert_int_equal(sp_contract_compare(a, b, "index"), SP_EINVAL);
    assert_non_null(strstr(sp_err_message(), "k1"));
    json_decref(a);
    json_decref(b);

    expect_bm25(e, f);
    free_all(f);
    learn(e, f); /* it goes on learning */
    sp_vec_free(&q);
    sp_vec_free(&again);
    sp_buf_free(&saved);
    sp_buf_free(&twice);
    free_all(f);
    sp_encoder_free(e);
    sp_encoder_free(encoders[i]);
  }
}

/* Puts the checksum right, so that what lies behind it is tried too. */
static void mend(char *state, size_t n) {
  if (n < 57) return;
  XXH3_state_t *x = XXH3_createState();
  assert_non_null(x);
  XXH3_64bits_reset(x);
  XXH3_64bits_update(x, state + 1, 48);
  XXH3_64bits_update(x, state + 57, n - 57);
  uint64_t sum = XXH3_64bits_digest(x);
  memcpy(state + 49, &sum, sizeof sum);
  XXH3_freeState(x);
}

static void hostile_states_are_refused(void **state) {
  (void)state;
  sp_encoder *e = open_with(NULL, 1), *out;
  sp_vec f[N_TEXTS];
  learn(e, f);
  sp_buf saved = {0};
  assert_int_equal(sp_encoder_save(e, &saved), SP_OK);
  for (size_t n = 0; n < saved.n; n++) {
    assert_int_equal(sp_encoder_restore(saved.data, n, NULL, NULL, &out), SP_EFORMAT);
    assert_null(out);
  }
  for (size_t bit = 8; bit < saved.n * 8; bit++) {
    saved.data[bit / 8] ^= (char)(1 << bit % 8);
    assert_int_equal(sp_encoder_restore(saved.data, saved.n, NULL, NULL, &out),
                     SP_EFORMAT);
    saved.data[bit / 8] ^= (char)(1 << bit % 8);
  }
  for (size_t bit = 8; bit < saved.n * 8; bit++) { /* any answer, but no harm */
    char *copy = malloc(saved.n);
    assert_non_null(copy);
    memcpy(copy, saved.data, saved.n);
    copy[bit / 8] ^= (char)(1 << bit % 8);
    mend(copy, saved.n);
    if (sp_encoder_restore(copy, saved.n, NULL, NULL, &out) == SP_OK)
      sp_encoder_free(out);
    free(copy);
  }
  sp_buf_free(&saved);
  free_all(f);
  sp_encoder_free(e);
}

static void impossible_parameters_are_refused(void **state) {
  (void)state;
  const sp_lexical_options bad[] = {
      {NULL, -1, 0.4, 1}, {NULL, NAN, 0.4, 1}, {NULL, 0.9, 1.5, 1}, {NULL, 0.9, NAN, 1}};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sp_encoder *e = (sp_encoder *)1;
    assert_int_equal(sp_encoder_open_lexical(&bad[i], &e), SP_EINVAL);
    assert_null(e);
  }
  const sp_lexical_options missing = {"/nonexistent/vocab.txt", 0.9, 0.4, 1};
  sp_encoder *e;
  assert_int_equal(sp_encoder_open_lexical(&missing, &e), SP_ENOTFOUND);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(text_is_cut_into_folded_words),
      cmocka_unit_test(endless_words_are_cut),
      cmocka_unit_test(impacts_and_weights_are_bm25s),
      cmocka_unit_test(a_query_holds_each_known_term_once),
      cmocka_unit_test(tokens_come_without_special_ones),
      cmocka_unit_test(threads_do_not_change_the_numbers_of_words),
      cmocka_unit_test(queries_may_come_from_many_threads),
      cmocka_unit_test(a_saved_encoder_answers_as_before),
      cmocka_unit_test(hostile_states_are_refused),
      cmocka_unit_test(impossible_parameters_are_refused),
  };
  return cmocka_run_group_tests_name("lexical", tests, NULL, NULL);
}
