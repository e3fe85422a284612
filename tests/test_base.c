/* tests/test_base.c - the pieces every room stands on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/half.h"
#include "base/json.h"
#include "base/pool.h"
#include "base/strmap.h"
#include "base/utf8.h"
#include "base/vec.h"
#include "tests/harness.h"

static void every_half_survives_a_round_trip(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x10000; h++) {
    float f = sp_f16_to_f32((uint16_t)h);
    if (isnan(f))
      assert_true(isnan(sp_f16_to_f32(sp_f32_to_f16(f))));
    else
      assert_int_equal(sp_f32_to_f16(f), h);
    float b = sp_bf16_to_f32((uint16_t)h);
    if (!isnan(b)) assert_int_equal(sp_f32_to_bf16(b), h);
  }
}

static void narrowing_rounds_to_nearest_even(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 0x7bff; h++) { /* between neighbours, and the midpoint */
    float low = sp_f16_to_f32((uint16_t)h), high = sp_f16_to_f32((uint16_t)(h + 1));
    float middle = (low + high) / 2;
    assert_int_equal(sp_f32_to_f16(middle), h & 1 ? h + 1 : h);
    assert_int_equal(sp_f32_to_f16(nextafterf(middle, low)), h);
    assert_int_equal(sp_f32_to_f16(nextafterf(middle, high)), h + 1);
  }
  assert_int_equal(sp_f32_to_f16(65520.0f), 0x7c00);
  assert_int_equal(sp_f32_to_f16(65519.0f), 0x7bff);
}

static void normalizing_sorts_sums_and_drops(void **state) {
  (void)state;
  sp_vec v = {0};
  const uint32_t terms[] = {9, 3, 9, 7, 1, 3};
  const float weights[] = {1, 2, 0.5f, -1, 4, 0.25f};
  for (int i = 0; i < 6; i++)
    assert_int_equal(sp_vec_push(&v, terms[i], weights[i]), SP_OK);
  sp_vec_normalize(&v);
  assert_int_equal(v.n, 3);
  assert_int_equal(v.terms[0], 1);
  assert_int_equal(v.terms[1], 3);
  assert_int_equal(v.terms[2], 9);
  assert_true(v.weights[1] == 2.25f && v.weights[2] == 1.5f);
  sp_vec_free(&v);
}

static void keeping_the_top_prefers_low_terms_on_ties(void **state) {
  (void)state;
  sp_vec v = {0};
  const float weights[] = {1, 3, 2, 2, 2, 5};
  for (uint32_t i = 0; i < 6; i++) sp_vec_push(&v, i, weights[i]);
  assert_int_equal(sp_vec_keep_top(&v, 4), SP_OK);
  const uint32_t kept[] = {1, 2, 3, 5};
  assert_int_equal(v.n, 4);
  assert_memory_equal(v.terms, kept, sizeof kept);
  sp_vec_free(&v);
}

static void faults_are_told_apart(void **state) {
  (void)state;
  const uint32_t up[] = {1, 2}, down[] = {2, 1}, same[] = {2, 2};
  const float fine[] = {1, 1}, nan_[] = {1, NAN}, minus[] = {-1, 1}, zero[] = {0, 1};
  uint32_t at;
  assert_int_equal(sp_vec_check(up, fine, 2, 3, &at), SP_VEC_SOUND);
  assert_int_equal(sp_vec_check(down, fine, 2, 3, &at), SP_VEC_UNSORTED);
  assert_int_equal(sp_vec_check(same, fine, 2, 3, &at), SP_VEC_DUPLICATE);
  assert_int_equal(sp_vec_check(up, nan_, 2, 3, &at), SP_VEC_NAN);
  assert_int_equal(at, 1);
  assert_int_equal(sp_vec_check(up, minus, 2, 3, &at), SP_VEC_NEGATIVE);
  assert_int_equal(sp_vec_check(up, zero, 2, 3, &at), SP_VEC_ZERO);
  assert_int_equal(sp_vec_check(up, fine, 2, 2, &at), SP_VEC_RANGE);
}

static void bad_utf8_is_replaced_by_maximal_subparts(void **state) {
  (void)state;
  /* Unicode 16, table 3-8 and its neighbours */
  static const struct {
    const char *in, *out;
  } CASES[] = {
      {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41",
       "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
       "A"},
      {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41",
       "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
       "A"},
      {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41",
       "\ufffd\ufffd\ufffd\ufffd"
       "A"},
      {"\xf4\x90\x80\x80", "\ufffd\ufffd\ufffd\ufffd"},
      {"sound \u00e9\u4e2d\U0001f600\ufffd", "sound \u00e9\u4e2d\U0001f600\ufffd"},
  };
  for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
    sp_buf b = {0};
    assert_int_equal(sp_utf8_repair(CASES[i].in, strlen(CASES[i].in), &b), SP_OK);
    assert_string_equal(b.data, CASES[i].out);
    assert_true(sp_utf8_valid(b.data, b.n));
    sp_buf_free(&b);
  }
}

static void a_buffer_stops_at_its_maximum(void **state) {
  (void)state;
  sp_buf b = {.max = 5};
  assert_int_equal(sp_buf_append(&b, "12345", 5), SP_OK);
  assert_int_equal(sp_buf_append_char(&b, '6'), SP_EINVAL);
  assert_string_equal(b.data, "12345");
  sp_buf_free(&b);
}

static void a_string_map_numbers_in_order(void **state) {
  (void)state;
  sp_strmap *m;
  assert_int_equal(sp_strmap_new(&m), SP_OK);
  assert_int_equal(sp_strmap_find(m, "x", 1), SP_STRMAP_NONE);
  char key[16];
  for (int round = 0; round < 2; round++)
    for (uint32_t i = 0; i < 10000; i++) {
      uint32_t number;
      int n = snprintf(key, sizeof key, "key %u", i * 7919);
      assert_int_equal(sp_strmap_add(m, key, (size_t)n, &number), SP_OK);
      assert_int_equal(number, i);
    }
  assert_int_equal(sp_strmap_count(m), 10000);
  size_t n;
  assert_string_equal(sp_strmap_key(m, 2, &n), "key 15838");
  assert_int_equal(n, 9);
  assert_int_equal(sp_strmap_find(m, "key", 3), SP_STRMAP_NONE);
  sp_strmap_free(m);
}

static sp_err count_piece(void *job, size_t piece, unsigned worker) {
  (void)worker;
  __atomic_fetch_add((size_t *)job + piece, 1, __ATOMIC_RELAXED);
  return piece == 700 ? sp_fail(SP_EINVAL, "piece %zu", piece) : SP_OK;
}

static void a_pool_runs_every_piece_once(void **state) {
  (void)state;
  for (unsigned threads = 1; threads < 5; threads++) {
    sp_pool *p;
    size_t counts[1000] = {0};
    assert_int_equal(sp_pool_new(threads, &p), SP_OK);
    assert_int_equal(sp_pool_run(p, 500, count_piece, counts), SP_OK);
    for (int i = 0; i < 500; i++) assert_int_equal(counts[i], 1);
    assert_int_equal(sp_pool_run(p, 1000, count_piece, counts), SP_EINVAL);
    assert_string_equal(sp_err_message(), "piece 700");
    assert_int_equal(sp_pool_run(p, 0, count_piece, counts), SP_OK);
    sp_pool_free(p);
  }
}

static void json_numbers_are_checked(void **state) {
  (void)state;
  json_t *o;
  const char *text = "{\"a\": 7, \"b\": -1, \"c\": \"x\", \"d\": null, \"e\": 0.5}";
  assert_int_equal(sp_json_parse(text, strlen(text), "t", &o), SP_OK);
  uint32_t u = 3;
  double d = 0;
  assert_int_equal(sp_json_get_u32(o, "a", "t", 0, 10, &u), SP_OK);
  assert_int_equal(u, 7);
  assert_int_equal(sp_json_get_u32(o, "b", "t", 0, 10, &u), SP_EFORMAT);
  assert_string_equal(sp_err_message(), "t: \"b\" is -1, expected 0 to 10");
  assert_int_equal(sp_json_get_u32(o, "c", "t", 0, 10, &u), SP_EFORMAT);
  assert_int_equal(sp_json_get_u32(o, "d", "t", 0, 10, &u), SP_OK);
  assert_int_equal(u, 7);
  assert_int_equal(sp_json_need_u32(o, "d", "t", 0, 10, &u), SP_EFORMAT);
  assert_int_equal(sp_json_get_double(o, "e", "t", 0, 1, &d), SP_OK);
  assert_true(d == 0.5);
  json_decref(o);
  assert_int_equal(sp_json_parse("{", 1, "t", &o), SP_EFORMAT);
}

static void json_strings_are_escaped(void **state) {
  (void)state;
  sp_buf b = {0};
  assert_int_equal(sp_json_put_string(&b, "a\"\\\n\x01\xff\u00e9", 8), SP_OK);
  assert_string_equal(b.data, "\"a\\\"\\\\\\n\\u0001\ufffd\u00e9\"");
  sp_buf_free(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_half_survives_a_round_trip),
      cmocka_unit_test(narrowing_rounds_to_nearest_even),
      cmocka_unit_test(normalizing_sorts_sums_and_drops),
      cmocka_unit_test(keeping_the_top_prefers_low_terms_on_ties),
      cmocka_unit_test(faults_are_told_apart),
      cmocka_unit_test(bad_utf8_is_replaced_by_maximal_subparts),
      cmocka_unit_test(a_buffer_stops_at_its_maximum),
      cmocka_unit_test(a_string_map_numbers_in_order),
      cmocka_unit_test(a_pool_runs_every_piece_once),
      cmocka_unit_test(json_numbers_are_checked),
      cmocka_unit_test(json_strings_are_escaped),
  };
  return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
