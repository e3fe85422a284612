/* tests/test_search.c - pruned search, exact search and plain sums agree. */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "query/search.h"
#include "tests/fake_segment.h"
#include "tests/harness.h"

enum { MAX_DOCS = 700 };

static uint64_t random_state;

static uint32_t random_below(uint32_t n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((random_state >> 33) % n);
}

/* A vector of about `n` entries below `n_terms`, low terms more often, weights multiples
 * of 1/8: every sum of products is exact, so that scores can be compared with ==. */
static void random_vec(sp_vec *v, uint32_t n, uint32_t n_terms) {
  sp_vec_clear(v);
  for (uint32_t i = 0; i < n; i++) {
    uint32_t t = random_below(random_below(n_terms) + 1);
    assert_int_equal(sp_vec_push(v, t, (float)(1 + random_below(16)) / 8), SP_OK);
  }
  sp_vec_normalize(v);
}

/* A made-up index and its vectors by internal id. */
typedef struct collection {
  sp_vec docs[MAX_DOCS];
  bool deleted[MAX_DOCS];
  uint32_t n;
  sp_snapshot snapshot;
} collection;

static void add(collection *c, uint32_t n, uint32_t n_entries, const fake_options *o) {
  for (uint32_t i = 0; i < n; i++)
    random_vec(&c->docs[c->n + i], random_below(n_entries + 1), o->n_terms);
  fake_add_segment(&c->snapshot, c->docs + c->n, n, o);
  c->n += n;
}

static void delete (collection *c, uint32_t doc) {
  c->deleted[doc] = true;
  fake_delete(&c->snapshot, doc);
}

static void drop(collection *c) {
  for (uint32_t i = 0; i < c->n; i++) sp_vec_free(&c->docs[i]);
  fake_free(&c->snapshot);
  memset(c, 0, sizeof *c);
}

/* The k best by plain sums and a plain selection. */
static uint32_t plain_search(const collection *c, const sp_vec *query, uint32_t k,
                             sp_hit *hits) {
  uint32_t n = 0;
  for (uint32_t d = 0; d < c->n; d++) {
    float score = (float)sp_vec_dot(&c->docs[d], query);
    if (c->deleted[d] || !(score > 0)) continue;
    uint32_t at = n < k ? n++ : k;
    while (at > 0 && hits[at - 1].score < score) {
      if (at < k) hits[at] = hits[at - 1];
      at--;
    }
    if (at < k) hits[at] = (sp_hit){d, score};
  }
  return n;
}

static void assert_hits(const sp_hit *got, uint32_t n_got, const sp_hit *want,
                        uint32_t n_want) {
  assert_int_equal(n_got, n_want);
  for (uint32_t i = 0; i < n_want; i++) {
    assert_int_equal(got[i].doc, want[i].doc);
    assert_true(got[i].score == want[i].score);
  }
}

static const sp_search_params NOTHING_PRUNED = {
    .k = 10, .exact = false, .query_cut = 0, .heap_factor = 0};
static const sp_search_params EXACT = {.k = 10, .exact = true};

static void search_agrees_with_plain_sums(collection *c, sp_search_params params,
                                          uint32_t n_terms, uint32_t n_queries) {
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&c->snapshot, &s), SP_OK);
  sp_hit got[1000], want[1000];
  sp_vec query = {0};
  const uint32_t ks[] = {1, 2, 10, 100, 1000};
  for (uint32_t i = 0; i < n_queries; i++) {
    random_vec(&query, 1 + random_below(i % 2 ? 60 : 8), n_terms);
    params.k = ks[random_below(5)];
    uint32_t n_got, n_want = plain_search(c, &query, params.k, want);
    assert_int_equal(sp_search(s, &query, &params, got, &n_got, NULL), SP_OK);
    assert_hits(got, n_got, want, n_want);
  }
  sp_vec_free(&query);
  sp_searcher_free(s);
}

static void unpruned_and_exact_search_find_what_plain_sums_find(void **state) {
  (void)state;
  random_state = 1;
  static collection c;
  for (int round = 0; round < 6; round++) {
    bool wide = round % 3 == 2; /* u32 terms; few documents, as making lists takes long */
    const fake_options o = {.n_terms = wide ? 65537 : 60, .sealed = true};
    add(&c, wide ? 12 : 400, 30, &o);
    search_agrees_with_plain_sums(&c, EXACT, o.n_terms, 50);
    search_agrees_with_plain_sums(&c, NOTHING_PRUNED, o.n_terms, 50);
    drop(&c);
  }
}

static void segments_deletions_and_unsealed_documents_are_searched_as_one(void **state) {
  (void)state;
  random_state = 2;
  static collection c;
  const fake_options sealed = {.n_terms = 80, .sealed = true};
  const fake_options unsealed = {.n_terms = 90, .sealed = false};
  add(&c, 300, 20, &sealed);
  add(&c, 40, 20, &unsealed);
  add(&c, 200, 20, &sealed);
  add(&c, 1, 20, &unsealed);
  for (int i = 0; i < 100; i++) delete (&c, random_below(c.n));
  search_agrees_with_plain_sums(&c, EXACT, 90, 100);
  search_agrees_with_plain_sums(&c, NOTHING_PRUNED, 90, 100);
  drop(&c);
}

static void equal_scores_come_by_internal_id(void **state) {
  (void)state;
  static collection c;
  const fake_options o = {.n_terms = 4, .sealed = true};
  for (int i = 0; i < 40; i++) assert_int_equal(sp_vec_push(&c.docs[i], 2, 1.5f), SP_OK);
  c.n = 40;
  fake_add_segment(&c.snapshot, c.docs, 20, &o);
  fake_add_segment(&c.snapshot, c.docs + 20, 20, &o);
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&c.snapshot, &s), SP_OK);
  sp_vec query = {0};
  assert_int_equal(sp_vec_push(&query, 2, 2), SP_OK);
  for (int exact = 0; exact < 2; exact++) {
    sp_search_params params = exact ? EXACT : NOTHING_PRUNED;
    params.k = 25;
    sp_hit hits[25];
    uint32_t n;
    assert_int_equal(sp_search(s, &query, &params, hits, &n, NULL), SP_OK);
    assert_int_equal(n, 25);
    for (uint32_t i = 0; i < n; i++) {
      assert_int_equal(hits[i].doc, i);
      assert_true(hits[i].score == 3);
    }
  }
  sp_vec_free(&query);
  sp_searcher_free(s);
  drop(&c);
}

static void pruning_scores_fewer_documents_and_never_other_scores(void **state) {
  (void)state;
  random_state = 3;
  static collection c;
  const fake_options o = {.n_terms = 200, .sealed = true, .n_postings = 100};
  add(&c, MAX_DOCS, 20, &o);
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&c.snapshot, &s), SP_OK);
  sp_vec query = {0};
  uint64_t scored[3] = {0};
  const float factors[3] = {0, 0.9f, 2};
  for (int i = 0; i < 100; i++) {
    random_vec(&query, 12, 200);
    for (int f = 0; f < 3; f++) {
      sp_search_params params = {.k = 10, .query_cut = 5, .heap_factor = factors[f]};
      sp_hit hits[10];
      uint32_t n;
      sp_search_stats stats;
      assert_int_equal(sp_search(s, &query, &params, hits, &n, &stats), SP_OK);
      assert_true(stats.n_lists <= 5);
      assert_true(stats.n_docs_scored <= stats.n_candidates);
      assert_true(stats.n_candidates <= stats.n_postings);
      scored[f] += stats.n_docs_scored;
      for (uint32_t j = 0; j < n; j++)
        assert_true(hits[j].score == (float)sp_vec_dot(&c.docs[hits[j].doc], &query));
    }
  }
  assert_true(scored[0] > scored[1]);
  assert_true(scored[1] > scored[2]);
  assert_true(scored[2] > 0);
  sp_vec_free(&query);
  sp_searcher_free(s);
  drop(&c);
}

static void exact_and_pruned_scores_are_the_same_bits(void **state) {
  (void)state;
  random_state = 4;
  static collection c;
  const fake_options o = {.n_terms = 60, .sealed = true};
  for (uint32_t i = 0; i < 300; i++) {
    random_vec(&c.docs[i], 40, o.n_terms);
    for (uint32_t j = 0; j < c.docs[i].n; j++) /* sums that do round */
      c.docs[i].weights[j] = (float)(1 + random_below(100000)) / 33333.0f;
  }
  c.n = 300;
  fake_add_segment(&c.snapshot, c.docs, c.n, &o);
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&c.snapshot, &s), SP_OK);
  sp_vec query = {0};
  for (int i = 0; i < 50; i++) {
    random_vec(&query, i % 2 ? 50 : 7, o.n_terms);
    for (uint32_t j = 0; j < query.n; j++)
      query.weights[j] = (float)(1 + random_below(100000)) / 33333.0f;
    sp_hit exact[10], pruned[10];
    uint32_t n_exact, n_pruned;
    assert_int_equal(sp_search(s, &query, &EXACT, exact, &n_exact, NULL), SP_OK);
    assert_int_equal(sp_search(s, &query, &NOTHING_PRUNED, pruned, &n_pruned, NULL),
                     SP_OK);
    assert_hits(pruned, n_pruned, exact, n_exact);
  }
  sp_vec_free(&query);
  sp_searcher_free(s);
  drop(&c);
}

/* Searches a small index; returns the error and the number of hits. */
static sp_err try_query(const sp_vec *query, sp_search_params params, uint32_t *n) {
  static collection c;
  random_state = 5;
  const fake_options o = {.n_terms = 50, .sealed = true};
  add(&c, 30, 20, &o);
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&c.snapshot, &s), SP_OK);
  static sp_hit hits[10000];
  sp_err err = sp_search(s, query, &params, hits, n, NULL);
  if (err) { /* and a search after a refused one is as good as any */
    sp_vec good = {0};
    uint32_t n_good, n_want;
    sp_hit want[10];
    random_vec(&good, 8, 50);
    n_want = plain_search(&c, &good, 10, want);
    assert_int_equal(sp_search(s, &good, &EXACT, hits, &n_good, NULL), SP_OK);
    assert_hits(hits, n_good, want, n_want);
    sp_vec_free(&good);
  }
  sp_searcher_free(s);
  drop(&c);
  return err;
}

static void odd_queries_find_little_and_bad_ones_are_refused(void **state) {
  (void)state;
  uint32_t n;
  sp_vec q = {0};
  assert_int_equal(try_query(&q, NOTHING_PRUNED, &n), SP_OK);
  assert_int_equal(n, 0);
  assert_int_equal(try_query(&q, EXACT, &n), SP_OK);
  assert_int_equal(n, 0);

  assert_int_equal(sp_vec_push(&q, 49999, 1), SP_OK); /* terms nobody has */
  assert_int_equal(sp_vec_push(&q, 4000000000u, 1), SP_OK);
  assert_int_equal(try_query(&q, NOTHING_PRUNED, &n), SP_OK);
  assert_int_equal(n, 0);

  sp_search_params params = NOTHING_PRUNED;
  q.terms[0] = 0; /* the most frequent term */
  q.n = 1;
  params.k = 10000;
  assert_int_equal(try_query(&q, params, &n), SP_OK);
  assert_in_range(n, 1, 30);

  params.k = 10001;
  assert_int_equal(try_query(&q, params, &n), SP_EINVAL);
  params.k = 0;
  assert_int_equal(try_query(&q, params, &n), SP_EINVAL);
  params = NOTHING_PRUNED;
  params.heap_factor = NAN;
  assert_int_equal(try_query(&q, params, &n), SP_EINVAL);
  params.heap_factor = -1;
  assert_int_equal(try_query(&q, params, &n), SP_EINVAL);

  /* beyond 1e28 a score could become infinite, which JSON cannot say */
  const float bad[] = {NAN, INFINITY, -INFINITY, -0.5f, 1.1e28f};
  for (int i = 0; i < 5; i++) {
    q.weights[0] = bad[i];
    assert_int_equal(try_query(&q, NOTHING_PRUNED, &n), SP_EINVAL);
    assert_int_equal(try_query(&q, EXACT, &n), SP_EINVAL);
  }
  q.weights[0] = 0;
  assert_int_equal(try_query(&q, EXACT, &n), SP_OK);
  assert_int_equal(n, 0);
  sp_vec_free(&q);
}

static void an_index_without_documents_answers_with_nothing(void **state) {
  (void)state;
  sp_snapshot none = {.n_segments = 0};
  sp_searcher *s;
  assert_int_equal(sp_searcher_new(&none, &s), SP_OK);
  sp_vec q = {0};
  assert_int_equal(sp_vec_push(&q, 3, 1), SP_OK);
  sp_hit hits[10];
  uint32_t n = 99;
  assert_int_equal(sp_search(s, &q, &EXACT, hits, &n, NULL), SP_OK);
  assert_int_equal(n, 0);
  sp_vec_free(&q);
  sp_searcher_free(s);
}

typedef struct thread_job {
  const collection *c;
  int n_wrong;
} thread_job;

static void *search_alone(void *arg) {
  thread_job *job = arg;
  sp_searcher *s;
  if (sp_searcher_new(&job->c->snapshot, &s)) return job->n_wrong = -1, NULL;
  for (uint32_t d = 0; d < 200; d++) {
    sp_hit hits[10], want[10];
    uint32_t n, n_want = plain_search(job->c, &job->c->docs[d], 10, want);
    const sp_search_params *p = d % 2 ? &EXACT : &NOTHING_PRUNED;
    if (sp_search(s, &job->c->docs[d], p, hits, &n, NULL) || n != n_want)
      job->n_wrong++;
    else
      for (uint32_t i = 0; i < n; i++)
        job->n_wrong += hits[i].doc != want[i].doc || hits[i].score != want[i].score;
  }
  sp_searcher_free(s);
  return NULL;
}

static void two_threads_search_one_snapshot(void **state) {
  (void)state;
  random_state = 6;
  static collection c;
  const fake_options o = {.n_terms = 60, .sealed = true};
  add(&c, 400, 20, &o);
  delete (&c, 17);
  thread_job jobs[2] = {{&c, 0}, {&c, 0}};
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    assert_int_equal(pthread_create(&threads[i], NULL, search_alone, &jobs[i]), 0);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(jobs[i].n_wrong, 0);
  }
  drop(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unpruned_and_exact_search_find_what_plain_sums_find),
      cmocka_unit_test(segments_deletions_and_unsealed_documents_are_searched_as_one),
      cmocka_unit_test(equal_scores_come_by_internal_id),
      cmocka_unit_test(pruning_scores_fewer_documents_and_never_other_scores),
      cmocka_unit_test(exact_and_pruned_scores_are_the_same_bits),
      cmocka_unit_test(odd_queries_find_little_and_bad_ones_are_refused),
      cmocka_unit_test(an_index_without_documents_answers_with_nothing),
      cmocka_unit_test(two_threads_search_one_snapshot),
  };
  return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
