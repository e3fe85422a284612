/* tests/test_json_scan.c - reading JSON without a tree. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json_scan.h"
#include "tests/harness.h"

static sp_json_scan scan(const char *text) {
  return sp_json_scan_begin(text, strlen(text));
}

static void expect_number(const char *text, double expected) {
  sp_json_scan s = scan(text);
  double x = 0;
  assert_true(sp_json_scan_number(&s, &x));
  assert_true(x == expected || (isnan(x) && isnan(expected)));
  assert_true(sp_json_scan_ended(&s));
}

static void numbers_are_rounded_as_the_library_does(void **state) {
  (void)state;
  static const char *const TEXTS[] = {
      "0",    "-0",     "12",       "0.1",    "3.5500001907348633",
      "1e-7", "-2.5E3", "1.5e+300", "1e999",  "123456789012345678901234567890",
      "0.3",  "2.675",  "5e-324",   "1e-400", "99999999999999.9"};
  for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
    expect_number(TEXTS[i], strtod(TEXTS[i], NULL));
  expect_number("NaN", NAN);
  expect_number("Infinity", INFINITY);
  expect_number("-Infinity", -INFINITY);
}

static void what_json_calls_no_number_is_refused(void **state) {
  (void)state;
  static const char *const TEXTS[] = {"",   "-",   "+1", ".5", "1.",   "01",
                                      "1e", "1e+", "x",  "Na", "\"1\""};
  for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
    sp_json_scan s = scan(TEXTS[i]);
    double x;
    if (sp_json_scan_number(&s, &x)) fail_msg("'%s' was taken as %g", TEXTS[i], x);
    assert_non_null(s.fault);
  }
}

static void escapes_become_utf8(void **state) {
  (void)state;
  sp_buf scratch = {0};
  sp_json_scan s = scan("\"a\\n\\u00e9\\ud83d\\ude00\\ud83dx\\\\\\/\\u0000\"");
  const char *text;
  size_t n;
  assert_true(sp_json_scan_string(&s, &scratch, &text, &n));
  static const char EXPECTED[] = "a\n\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbdx\\/";
  assert_int_equal(n, sizeof EXPECTED); /* the last is a NUL of the text's own */
  assert_memory_equal(text, EXPECTED, n);
  sp_buf_free(&scratch);
}

static void members_and_elements_are_visited_in_order(void **state) {
  (void)state;
  sp_buf scratch = {0};
  sp_json_scan s = scan(" { \"a\" : [1, 2,3] , \"b\":[], \"c\": {} ,\"d\":null } ");
  char seen[64] = "";
  const char *key;
  size_t n;
  for (bool first = true; sp_json_scan_member(&s, &first, &scratch, &key, &n);) {
    strncat(seen, key, n);
    if (*key != 'a') {
      assert_true(sp_json_scan_skip(&s));
      continue;
    }
    double x, sum = 0;
    for (bool f = true; sp_json_scan_element(&s, &f);) {
      assert_true(sp_json_scan_number(&s, &x));
      sum += x;
    }
    assert_true(sum == 6);
  }
  assert_null(s.fault);
  assert_true(sp_json_scan_ended(&s));
  assert_string_equal(seen, "abcd");
  sp_buf_free(&scratch);
}

static void skipping_refuses_what_is_not_json(void **state) {
  (void)state;
  static const char *const BAD[] = {"{",          "[1,]",  "{\"a\"}", "{\"a\":1,}",
                                    "[1 2]",      "\"abc", "\"a\\",   "{1:2}",
                                    "[\"\x01\"]", "tru",   "[[]",     "]"};
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    sp_json_scan s = scan(BAD[i]);
    if (sp_json_scan_skip(&s)) fail_msg("'%s' was passed over", BAD[i]);
    assert_non_null(s.fault);
  }
  sp_json_scan s = scan("{\"a\":[{\"b\":[true,false,null,-1.5e3,\"\\\"\"]},[],{}]}");
  assert_true(sp_json_scan_skip(&s));
  assert_true(sp_json_scan_ended(&s));
}

static void whole_numbers_fit_64_bits(void **state) {
  (void)state;
  int64_t x;
  sp_json_scan s = scan("[0, -0, 17, 9223372036854775807, -9223372036854775808]");
  const int64_t expected[] = {0, 0, 17, INT64_MAX, INT64_MIN};
  size_t n = 0;
  for (bool first = true; sp_json_scan_element(&s, &first); n++) {
    assert_true(sp_json_scan_integer(&s, &x));
    assert_true(x == expected[n]);
  }
  assert_int_equal(n, 5);
  static const char *const REFUSED[] = {
      "1.0", "1e2", "9223372036854775808", "-9223372036854775809", "01", "NaN", "x", ""};
  for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
    s = scan(REFUSED[i]);
    assert_false(sp_json_scan_integer(&s, &x));
  }
}

static void endless_nesting_is_refused(void **state) {
  (void)state;
  char text[4096];
  memset(text, '[', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  sp_json_scan s = scan(text);
  assert_false(sp_json_scan_skip(&s));
  assert_string_equal(s.fault, "nested beyond the parsing depth of 512");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(numbers_are_rounded_as_the_library_does),
      cmocka_unit_test(what_json_calls_no_number_is_refused),
      cmocka_unit_test(escapes_become_utf8),
      cmocka_unit_test(members_and_elements_are_visited_in_order),
      cmocka_unit_test(skipping_refuses_what_is_not_json),
      cmocka_unit_test(whole_numbers_fit_64_bits),
      cmocka_unit_test(endless_nesting_is_refused),
  };
  return cmocka_run_group_tests_name("json_scan", tests, NULL, NULL);
}
