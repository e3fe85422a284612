/* tests/test_search_request.c - what a search may ask, and how the rest is refused. */
#include <string.h>

#include "server/search_request.h"
#include "tests/harness.h"

static const sp_search_params DEFAULTS = {.k = 10, .query_cut = 5, .heap_factor = 0.5f};

static sp_search_request accepted(const char *body) {
  sp_search_request r;
  if (sp_search_request_parse(body, strlen(body), &DEFAULTS, &r))
    fail_msg("%s: %s", body, sp_err_message());
  return r;
}

static void a_text_and_the_defaults(void **state) {
  (void)state;
  sp_search_request r = accepted("{\"query\": \"frozen \\u0000 pipe\"}");
  assert_int_equal(r.text_n, 13);
  assert_memory_equal(r.text, "frozen \0 pipe", 13);
  assert_int_equal(r.params.k, 10);
  assert_int_equal(r.params.query_cut, 5);
  assert_true(r.params.heap_factor == 0.5f);
  assert_false(r.params.exact);
  assert_null(r.fields);
  sp_search_request_free(&r);
}

static void every_setting_is_read(void **state) {
  (void)state;
  sp_search_request r = accepted(
      "{\"query\": \"\", \"k\": 10000, \"query_cut\": 0, \"heap_factor\": 1, "
      "\"fields\": [\"title\"]}");
  assert_non_null(r.text);
  assert_int_equal(r.params.k, 10000);
  assert_int_equal(r.params.query_cut, 0);
  assert_true(r.params.heap_factor == 1.0f);
  assert_int_equal(json_array_size(r.fields), 1);
  assert_string_equal(json_string_value(json_array_get(r.fields, 0)), "title");
  sp_search_request_free(&r);
  r = accepted("{\"query\": \"a\", \"exact\": true, \"k\": null, \"fields\": []}");
  assert_true(r.params.exact);
  assert_int_equal(r.params.k, 10);
  assert_non_null(r.fields);
  assert_int_equal(json_array_size(r.fields), 0);
  sp_search_request_free(&r);
}

static void a_vector_is_put_in_order(void **state) {
  (void)state;
  sp_search_request r =
      accepted("{\"query\": {\"terms\": [9, 3, 7], \"weights\": [1.25, 2, 0]}}");
  assert_null(r.text);
  assert_int_equal(r.vector.n, 2);
  assert_int_equal(r.vector.terms[0], 3);
  assert_true(r.vector.weights[0] == 2.0f);
  assert_int_equal(r.vector.terms[1], 9);
  assert_true(r.vector.weights[1] == 1.25f);
  sp_search_request_free(&r);
  r = accepted("{\"query\": {\"terms\": [], \"weights\": []}}");
  assert_int_equal(r.vector.n, 0);
  sp_search_request_free(&r);
}

static void a_wrong_request_is_refused_with_what_is_wrong(void **state) {
  (void)state;
  static const struct {
    const char *body, *in_sentence;
  } cases[] = {
      {"", "request"},
      {"{", "request"},
      {"[]", "must be a JSON object"},
      {"\"text\"", "must be a JSON object"},
      {"{}", "\"query\" is missing"},
      {"{\"query\": null}", "\"query\" is missing"},
      {"{\"query\": 3}", "a text or an object"},
      {"{\"query\": \"a\"} b", "request"},
      {"{\"query\": \"a\", \"K\": 3}", "\"K\""},
      {"{\"query\": \"a\", \"k\": 0}", "expected 1 to 10000"},
      {"{\"query\": \"a\", \"k\": 10001}", "expected 1 to 10000"},
      {"{\"query\": \"a\", \"k\": 2.5}", "a whole number"},
      {"{\"query\": \"a\", \"k\": \"10\"}", "a whole number"},
      {"{\"query\": \"a\", \"exact\": 1}", "true or false"},
      {"{\"query\": \"a\", \"query_cut\": -1}", "\"query_cut\""},
      {"{\"query\": \"a\", \"heap_factor\": -0.5}", "\"heap_factor\""},
      {"{\"query\": \"a\", \"heap_factor\": \"x\"}", "a number"},
      {"{\"query\": \"a\", \"exact\": true, \"heap_factor\": 1}", "mean nothing"},
      {"{\"query\": \"a\", \"fields\": \"title\"}", "\"fields\" must be an array"},
      {"{\"query\": \"a\", \"fields\": [1]}", "fields[0]"},
      {"{\"query\": {\"terms\": [1]}}", "\"weights\" must be an array"},
      {"{\"query\": {\"terms\": 1, \"weights\": 1}}", "\"terms\" must be an array"},
      {"{\"query\": {\"terms\": [1], \"weights\": []}}", "1 terms but 0 weights"},
      {"{\"query\": {\"terms\": [1], \"weights\": [1], \"ids\": []}}", "\"ids\""},
      {"{\"query\": {\"terms\": [-1], \"weights\": [1]}}", "terms[0]"},
      {"{\"query\": {\"terms\": [4294967295], \"weights\": [1]}}", "terms[0]"},
      {"{\"query\": {\"terms\": [1.0], \"weights\": [1]}}", "terms[0]"},
      {"{\"query\": {\"terms\": [1, 2], \"weights\": [1, -1]}}", "weights[1]"},
      {"{\"query\": {\"terms\": [1], \"weights\": [1e39]}}", "weights[0]"},
      {"{\"query\": {\"terms\": [1], \"weights\": [1.1e28]}}", "weights[0]"},
      {"{\"query\": {\"terms\": [1], \"weights\": [null]}}", "weights[0]"},
      {"{\"query\": {\"terms\": [1, 1], \"weights\": [1, 1]}}", "twice"},
      {"{\"query\": {\"terms\": [1, 1], \"weights\": [9e27, 9e27]}}", "twice"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    sp_search_request r;
    const char *body = cases[i].body;
    assert_int_not_equal(sp_search_request_parse(body, strlen(body), &DEFAULTS, &r),
                         SP_OK);
    assert_null(r.root);
    if (!strstr(sp_err_message(), cases[i].in_sentence))
      fail_msg("%s: \"%s\" says nothing of %s", body, sp_err_message(),
               cases[i].in_sentence);
  }
}

static void no_prefix_of_a_request_is_accepted(void **state) {
  (void)state;
  const char *body =
      "{\"query\": {\"terms\": [9, 3], \"weights\": [1.25, 2]}, \"k\": 5, \"fields\": "
      "[]}";
  for (size_t n = 0; n < strlen(body); n++) {
    sp_search_request r;
    assert_int_not_equal(sp_search_request_parse(body, n, &DEFAULTS, &r), SP_OK);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_text_and_the_defaults),
      cmocka_unit_test(every_setting_is_read),
      cmocka_unit_test(a_vector_is_put_in_order),
      cmocka_unit_test(a_wrong_request_is_refused_with_what_is_wrong),
      cmocka_unit_test(no_prefix_of_a_request_is_accepted),
  };
  return cmocka_run_group_tests_name("search_request", tests, NULL, NULL);
}
