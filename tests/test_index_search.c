/* tests/test_index_search.c - searches of indexes that the builder made. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness.h"
#include "index_fixture.h"
#include "query/search.h"

enum { N_DOCS = 4000, N_TERMS = 3000, N_QUERIES = 60, K = 20 };

/* Queries are documents of the same collection that the index does not hold. */
static void query_of(uint32_t i, sp_vec *q) {
  fixture_vector(900000 + i, N_TERMS, q);
}

/* Runs the queries with both parameters; returns how many hits of `a` are those of `b`. */
static uint32_t count_equal_hits(const char *path, const sp_search_params *a,
                                 const sp_search_params *b, uint32_t *n_all) {
  sp_index *ix;
  sp_snapshot *s;
  sp_searcher *searcher;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  assert_int_equal(sp_searcher_new(s, &searcher), SP_OK);
  sp_vec q = {0};
  uint32_t n_equal = 0;
  *n_all = 0;
  for (uint32_t i = 0; i < N_QUERIES; i++) {
    sp_hit first[K], second[K];
    uint32_t n_first, n_second;
    query_of(i, &q);
    assert_int_equal(sp_search(searcher, &q, a, first, &n_first, NULL), SP_OK);
    assert_int_equal(sp_search(searcher, &q, b, second, &n_second, NULL), SP_OK);
    for (uint32_t h = 0; h < n_second; h++)
      n_equal += h < n_first && first[h].doc == second[h].doc &&
                 first[h].score == second[h].score;
    *n_all += n_second;
  }
  sp_vec_free(&q);
  sp_searcher_free(searcher);
  sp_snapshot_close(s);
  sp_index_close(ix);
  return n_equal;
}

static const sp_search_params EXACT = {.k = K, .exact = true};

static void nothing_pruned_is_exact(void **state) {
  sp_build_options o = fixture_options();
  o.params.n_postings = UINT32_MAX;
  const char *path = path_in(*state, "ix");
  assert_int_equal(fixture_build(path, &o, 0, N_DOCS, N_TERMS, NULL), SP_OK);
  const sp_search_params all = {.k = K, .query_cut = 0, .heap_factor = 0};
  uint32_t n_all, n_equal = count_equal_hits(path, &all, &EXACT, &n_all);
  assert_true(n_all > N_QUERIES);
  assert_int_equal(n_equal, n_all);
}

/* Postings are kept in windows of 65,536 documents: here are two, one of them short. */
static void lists_of_several_windows_are_searched_as_one(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  o.params.n_postings = UINT32_MAX;
  enum { N_MANY = SP_WINDOW_DOCS + 3000 };
  assert_int_equal(fixture_build(path, &o, 0, N_MANY, N_TERMS, NULL), SP_OK);
  const sp_search_params all = {.k = K, .query_cut = 0, .heap_factor = 0};
  uint32_t n_all, n_equal = count_equal_hits(path, &all, &EXACT, &n_all);
  assert_true(n_all > N_QUERIES);
  assert_int_equal(n_equal, n_all);
}

static void several_segments_with_replaced_documents_are_searched_as_one(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  o.params.n_postings = UINT32_MAX;
  assert_int_equal(fixture_build(path, &o, 0, 2500, N_TERMS, NULL), SP_OK);
  o.append = true;
  o.source = "the second part";
  assert_int_equal(fixture_build(path, &o, 2300, N_DOCS, N_TERMS, NULL), SP_OK);
  const sp_search_params all = {.k = K, .query_cut = 0, .heap_factor = 0};
  uint32_t n_all, n_equal = count_equal_hits(path, &all, &EXACT, &n_all);
  assert_int_equal(n_equal, n_all);
  assert_true(n_all > N_QUERIES);
}

static void the_defaults_find_most_of_the_exact_hits(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  assert_int_equal(fixture_build(path, &o, 0, N_DOCS, N_TERMS, NULL), SP_OK);
  sp_search_params defaults = sp_search_defaults();
  defaults.k = K;
  uint32_t n_all, n_equal = count_equal_hits(path, &defaults, &EXACT, &n_all);
  print_message("%u of %u hits as exact search has them\n", n_equal, n_all);
  assert_true(n_equal > n_all / 2);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_make, temp_dir_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_TEMP_DIR(nothing_pruned_is_exact),
      IN_TEMP_DIR(lists_of_several_windows_are_searched_as_one),
      IN_TEMP_DIR(several_segments_with_replaced_documents_are_searched_as_one),
      IN_TEMP_DIR(the_defaults_find_most_of_the_exact_hits),
  };
  return cmocka_run_group_tests_name("index_search", tests, NULL, NULL);
}
