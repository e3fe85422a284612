/* tests/test_sparse_kernels.c - every level computes the same sums as plain C. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "kernels/sparse.h"
#include "tests/harness.h"

static uint64_t random_state;

static uint32_t random_below(uint32_t n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((random_state >> 33) % n);
}

static const uint32_t LENGTHS[] = {0,  1,  2,  15, 16, 17,  31,  32,
                                   33, 47, 48, 49, 63, 180, 657, 65535};
enum { N_LENGTHS = sizeof LENGTHS / sizeof *LENGTHS };

/* The levels of this processor above plain C. */
static const sp_sparse_kernels *level(int i) {
  if (i > (int)sp_cpu_detect()) return NULL;
  return sp_sparse_kernels_get((sp_cpu_level)i);
}

/* n distinct ascending terms below `n_terms` with weights of every size, packed as in the
 * forward index and at the very end of their allocation, so that a sanitizer sees a read
 * past it. *block is to be freed. */
static const void *make_doc(uint32_t n, uint32_t n_terms, uint32_t term_bytes,
                            void **block) {
  size_t bytes = (size_t)n * (term_bytes + 2);
  uint8_t *doc = *block = malloc(bytes ? bytes : 1);
  uint16_t *weights = (uint16_t *)(void *)(doc + (size_t)n * term_bytes);
  uint32_t done = 0;
  for (uint32_t t = 0; t < n_terms && done < n; t++) {
    if (random_below(n_terms - t) >= n - done) continue;
    if (term_bytes == 2)
      ((uint16_t *)(void *)doc)[done] = (uint16_t)t;
    else
      ((uint32_t *)(void *)doc)[done] = t;
    uint16_t kinds[] = {(uint16_t)(1 + random_below(0x3ff)), /* denormal */
                        (uint16_t)(0x3000 + random_below(0x1400)),
                        (uint16_t)(0x7bff - random_below(4))}; /* the largest */
    weights[done++] = kinds[random_below(64) < 62 ? 1 : random_below(2) * 2];
  }
  assert_int_equal(done, n);
  return doc;
}

static void make_query(float *table, uint32_t n_terms, uint32_t n) {
  memset(table, 0, n_terms * sizeof *table);
  while (n) {
    uint32_t t = random_below(n_terms);
    if (table[t] != 0) continue;
    table[t] = (float)(1 + random_below(1000)) / 333.0f;
    n--;
  }
}

static double plain_dot(const void *doc, uint32_t n, uint32_t term_bytes,
                        const float *table, uint32_t n_table) {
  const uint8_t *at = doc;
  const uint16_t *weights = (const void *)(at + (size_t)n * term_bytes);
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) {
    uint32_t t =
        term_bytes == 2 ? ((const uint16_t *)doc)[i] : ((const uint32_t *)doc)[i];
    if (t < n_table) sum += (double)table[t] * sp_f16_to_f32(weights[i]);
  }
  return sum;
}

static void assert_close(float got, double want) {
  /* all terms are positive: each of at most 2,048 + 5 roundings of a partial sum costs
   * 2^-24 of it */
  assert_true(fabs(got - want) <= want * 2053 * 0x1p-24);
}

static void u16_documents_score_the_same_at_every_level(void **state) {
  (void)state;
  random_state = 1;
  float *table = calloc(65536, sizeof *table);
  const sp_sparse_kernels *plain = sp_sparse_kernels_get(SP_CPU_PORTABLE);
  for (int i = 0; i < N_LENGTHS; i++)
    for (int round = 0; round < 10; round++) {
      void *block;
      uint32_t n = LENGTHS[i];
      const void *doc = make_doc(n, n > 30000 ? 65536 : 30522, 2, &block);
      make_query(table, 65536, round == 0 ? 0 : 1 + random_below(20000));
      float want = plain->dot_u16(doc, n, table);
      assert_close(want, plain_dot(doc, n, 2, table, 65536));
      for (int l = 1; level(l); l++)
        assert_true(level(l)->dot_u16(doc, n, table) == want);
      free(block);
    }
  free(table);
}

static void u32_documents_score_the_same_at_every_level(void **state) {
  (void)state;
  random_state = 2;
  enum { N_TABLE = 250002 };
  float *table = calloc(N_TABLE + 1, sizeof *table);
  const sp_sparse_kernels *plain = sp_sparse_kernels_get(SP_CPU_PORTABLE);
  for (int i = 0; i < N_LENGTHS; i++)
    for (int round = 0; round < 5; round++) {
      void *block;
      uint32_t n = LENGTHS[i];
      const void *doc = make_doc(n, N_TABLE + 5000, 4, &block); /* some out of range */
      if (n > 1 && round == 1) ((uint32_t *)block)[n - 1] = UINT32_MAX;
      make_query(table, N_TABLE, 1 + random_below(20000));
      float want = plain->dot_u32(doc, n, table, N_TABLE);
      assert_close(want, plain_dot(doc, n, 4, table, N_TABLE));
      for (int l = 1; level(l); l++)
        assert_true(level(l)->dot_u32(doc, n, table, N_TABLE) == want);
      free(block);
    }
  free(table);
}

/* Takes n terms of the document (or others) as a query. */
static bool short_query_of(const uint16_t *doc, uint32_t n_doc, uint32_t n,
                           sp_short_query *q, float *table) {
  uint32_t terms[SP_SHORT_MAX];
  memset(table, 0, 65536 * sizeof *table);
  for (uint32_t i = 0; i < n;) {
    uint32_t t =
        n_doc && random_below(4) ? doc[random_below(n_doc)] : random_below(65536);
    if (table[t] != 0) t = random_below(65536);
    if (table[t] != 0) continue;
    table[t] = (float)(1 + random_below(1000)) / 77.0f;
    terms[i++] = t;
  }
  return sp_short_query_set(q, terms, n);
}

static void short_queries_score_the_same_at_every_level(void **state) {
  (void)state;
  random_state = 3;
  float *table = calloc(65536, sizeof *table);
  const sp_sparse_kernels *plain = sp_sparse_kernels_get(SP_CPU_PORTABLE);
  for (int i = 0; i < N_LENGTHS; i++)
    for (uint32_t n_query = 1; n_query <= SP_SHORT_MAX; n_query++) {
      void *block;
      uint32_t n = LENGTHS[i];
      const void *doc = make_doc(n, n > 30000 ? 65536 : 30522, 2, &block);
      sp_short_query q;
      assert_true(short_query_of(doc, n, n_query, &q, table));
      float want = plain->dot_short(doc, n, &q, table);
      assert_close(want, plain_dot(doc, n, 2, table, 65536));
      for (int l = 1; level(l); l++)
        assert_true(level(l)->dot_short(doc, n, &q, table) == want);
      free(block);
    }
  free(table);
}

static void queries_that_are_not_short_are_turned_away(void **state) {
  (void)state;
  sp_short_query q;
  uint32_t terms[SP_SHORT_MAX + 1];
  for (uint32_t i = 0; i <= SP_SHORT_MAX; i++) terms[i] = i * 3;
  assert_false(sp_short_query_set(&q, terms, 0));
  assert_true(sp_short_query_set(&q, terms, SP_SHORT_MAX));
  assert_false(sp_short_query_set(&q, terms, SP_SHORT_MAX + 1));
  terms[0] = 65536;
  assert_false(sp_short_query_set(&q, terms, 1));
}

static void a_damaged_document_of_one_repeated_term_harms_nothing(void **state) {
  (void)state;
  enum { N = 5000 };
  uint16_t *doc = malloc(2 * N * sizeof *doc);
  float *table = calloc(65536, sizeof *table);
  sp_short_query q;
  for (int i = 0; i < N; i++) doc[i] = 7, doc[N + i] = 0x3c00;
  table[7] = 1;
  assert_true(sp_short_query_set(&q, (const uint32_t[]){7}, 1));
  for (int l = 0; level(l); l++)
    assert_true(level(l)->dot_short(doc, N, &q, table) == 32);
  free(table);
  free(doc);
}

enum { N_WINDOW = 65536 };

/* n distinct ascending documents of a window with codes, at the very end of their
 * allocations, so that a sanitizer sees a read past them. */
static void make_postings(uint32_t n, uint16_t *docs, uint8_t *codes) {
  uint32_t done = 0;
  for (uint32_t d = 0; d < N_WINDOW && done < n; d++) {
    if (random_below(N_WINDOW - d) >= n - done) continue;
    docs[done] = (uint16_t)d;
    codes[done++] = (uint8_t)(1 + random_below(255));
  }
}

static void postings_add_up_and_are_taken_the_same_at_every_level(void **state) {
  (void)state;
  random_state = 4;
  const sp_sparse_kernels *plain = sp_sparse_kernels_get(SP_CPU_PORTABLE);
  float *want = calloc(N_WINDOW, sizeof *want), *got = calloc(N_WINDOW, sizeof *got);
  float *sums[2];
  uint16_t *found[2];
  for (int f = 0; f < 2; f++) {
    sums[f] = malloc((N_WINDOW + 16) * sizeof **sums);
    found[f] = malloc((N_WINDOW + 16) * sizeof **found);
  }
  for (int i = 0; i < N_LENGTHS; i++)
    for (int l = 1; level(l); l++) {
      uint32_t n = LENGTHS[i];
      uint16_t *docs = malloc(n ? n * sizeof *docs : 1);
      uint8_t *codes = malloc(n ? n : 1);
      for (int round = 0; round < 5; round++) {
        make_postings(n, docs, codes);
        float scale = (float)random_below(1000) / 25000, shift = (float)round / 7;
        plain->add_postings(docs, codes, n, scale, shift, want);
        level(l)->add_postings(docs, codes, n, scale, shift, got);
      }
      assert_memory_equal(want, got, N_WINDOW * sizeof *want);
      for (uint32_t k = 0; k < n; k++) assert_true(want[docs[k]] > 0);
      float least = (float)random_below(100) / 25;
      uint32_t n_want = plain->take_sums(docs, n, least, want, found[0], sums[0]);
      uint32_t n_got = level(l)->take_sums(docs, n, least, got, found[1], sums[1]);
      assert_int_equal(n_want, n_got);
      assert_memory_equal(found[0], found[1], n_want * sizeof **found);
      assert_memory_equal(sums[0], sums[1], n_want * sizeof **sums);
      assert_memory_equal(want, got, N_WINDOW * sizeof *want);
      for (uint32_t k = 0; k < n_want; k++) assert_true(sums[0][k] >= least);
      assert_int_equal(plain->take_sums(docs, n, 0, want, found[0], sums[0]), 0);
      memset(want, 0, N_WINDOW * sizeof *want);
      memset(got, 0, N_WINDOW * sizeof *got);
      free(docs);
      free(codes);
    }
  for (int f = 0; f < 2; f++) {
    free(sums[f]);
    free(found[f]);
  }
  free(want);
  free(got);
}

static void the_environment_can_lower_the_level(void **state) {
  (void)state;
  sp_cpu_level best = sp_cpu_detect();
  assert_int_equal(setenv("SPINDLE_CPU", "portable", 1), 0);
  assert_int_equal(sp_cpu_detect(), SP_CPU_PORTABLE);
  assert_int_equal(setenv("SPINDLE_CPU", "nonsense", 1), 0);
  assert_int_equal(sp_cpu_detect(), best);
  assert_int_equal(unsetenv("SPINDLE_CPU"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(u16_documents_score_the_same_at_every_level),
      cmocka_unit_test(u32_documents_score_the_same_at_every_level),
      cmocka_unit_test(short_queries_score_the_same_at_every_level),
      cmocka_unit_test(queries_that_are_not_short_are_turned_away),
      cmocka_unit_test(a_damaged_document_of_one_repeated_term_harms_nothing),
      cmocka_unit_test(postings_add_up_and_are_taken_the_same_at_every_level),
      cmocka_unit_test(the_environment_can_lower_the_level),
  };
  return cmocka_run_group_tests_name("sparse kernels", tests, NULL, NULL);
}
