/* tests/test_list.c - a list as bytes: what is written reads back, and damage leads
 * nowhere. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "harness.h"
#include "index/format.h"

enum { N = 500, N_DOCS = 3 * SP_WINDOW_DOCS + 20000, TERM = 77 };

static uint64_t random_state;

static uint32_t random_below(uint32_t n) {
  random_state = random_state * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)((random_state >> 33) % n);
}

/* N postings in the first, the third and the fourth window. */
typedef struct postings {
  uint32_t docs[N];
  uint16_t weights[N];
  sp_disk_list heading;
  sp_buf bytes;
} postings;

static void make_postings(postings *p) {
  random_state = 1;
  uint32_t doc = 0;
  float most = 0;
  for (uint32_t i = 0; i < N; i++) {
    doc += 1 + random_below(300);
    if (i == 200 || i == 480) doc = (i == 200 ? 2 : 3) * SP_WINDOW_DOCS + 7;
    p->docs[i] = doc;
    p->weights[i] = sp_f32_to_f16((float)(1 + random_below(4000)) / 1024);
    most = fmaxf(most, sp_f16_to_f32(p->weights[i]));
  }
  p->heading = (sp_disk_list){.term = TERM,
                              .n_docs = N,
                              .n_all_docs = 2 * N,
                              .max_weight = most,
                              .max_discarded = 0.25f};
  p->bytes = (sp_buf){0};
  assert_int_equal(sp_list_write(&p->heading, p->docs, p->weights, &p->bytes), SP_OK);
}

static bool read_back(const postings *p, size_t room, sp_list *l) {
  return sp_list_read((const uint8_t *)p->bytes.data, room, TERM, N_DOCS, l);
}

static void a_list_reads_back_as_it_was_written(void **state) {
  (void)state;
  postings p;
  sp_list l;
  make_postings(&p);
  assert_true(read_back(&p, p.bytes.n, &l));
  assert_int_equal(l.n_docs, N);
  assert_int_equal(l.n_all_docs, 2 * N);
  assert_int_equal(l.n_runs, 3);
  assert_true(l.max_weight == p.heading.max_weight && l.max_discarded == 0.25f);
  for (uint32_t r = 0; r < l.n_runs; r++)
    for (uint32_t i = l.run_start[r]; i < l.run_start[r + 1]; i++) {
      assert_int_equal(l.run_window[r] * SP_WINDOW_DOCS + l.docs[i], p.docs[i]);
      float w = sp_f16_to_f32(p.weights[i]), coded = l.step * l.codes[i];
      assert_true(coded >= w * (1 - 1e-6f) && coded < w + 1.001f * l.step);
    }
  sp_buf_free(&p.bytes);
}

static void a_list_without_postings_keeps_its_counts(void **state) {
  (void)state;
  sp_disk_list h = {
      .term = TERM, .n_all_docs = 9, .max_weight = 0.5f, .max_discarded = 0.5f};
  postings p = {.heading = h};
  sp_list l;
  assert_int_equal(sp_list_write(&h, p.docs, p.weights, &p.bytes), SP_OK);
  assert_true(read_back(&p, p.bytes.n, &l));
  assert_int_equal(l.n_docs, 0);
  assert_int_equal(l.n_runs, 0);
  assert_int_equal(l.n_all_docs, 9);
  assert_true(l.max_weight == 0.5f && l.max_discarded == 0.5f);
  sp_buf_free(&p.bytes);
}

static void a_list_cut_short_or_of_another_term_is_refused(void **state) {
  (void)state;
  postings p;
  sp_list l;
  make_postings(&p);
  for (size_t room = 0; room < p.bytes.n; room++) assert_false(read_back(&p, room, &l));
  assert_true(read_back(&p, p.bytes.n + 100, &l));
  const uint8_t *at = (const uint8_t *)p.bytes.data;
  assert_false(sp_list_read(at, p.bytes.n, TERM + 1, N_DOCS, &l));
  assert_true(sp_list_read(at, p.bytes.n, TERM, p.docs[N - 1] + 1, &l));
  assert_false(sp_list_read(at, p.bytes.n, TERM, p.docs[N - 1], &l));
  sp_buf_free(&p.bytes);
}

/* What a search relies on: it follows all of it without looking. */
static void expect_harmless(const postings *p, const sp_list *l) {
  const char *end = p->bytes.data + p->bytes.n;
  assert_true((const char *)(l->codes + l->n_docs) <= end);
  assert_true(isfinite(l->max_weight) && isfinite(l->max_discarded));
  uint32_t next = 0;
  for (uint32_t r = 0; r < l->n_runs; r++)
    for (uint32_t i = l->run_start[r]; i < l->run_start[r + 1]; i++) {
      uint32_t doc = l->run_window[r] * SP_WINDOW_DOCS + l->docs[i];
      assert_true(i < l->n_docs && doc >= next && doc < N_DOCS);
      next = doc + 1;
    }
}

static void no_flipped_bit_leads_out_of_a_list(void **state) {
  (void)state;
  postings p;
  make_postings(&p);
  unsigned n_refused = 0;
  for (size_t bit = 0; bit < 8 * p.bytes.n; bit++) {
    sp_list l;
    p.bytes.data[bit / 8] ^= (char)(1 << bit % 8);
    if (read_back(&p, p.bytes.n, &l))
      expect_harmless(&p, &l);
    else
      n_refused++;
    p.bytes.data[bit / 8] ^= (char)(1 << bit % 8);
  }
  assert_true(n_refused > 8 * N); /* most bits of documents break their order */
  sp_buf_free(&p.bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_list_reads_back_as_it_was_written),
      cmocka_unit_test(a_list_without_postings_keeps_its_counts),
      cmocka_unit_test(a_list_cut_short_or_of_another_term_is_refused),
      cmocka_unit_test(no_flipped_bit_leads_out_of_a_list),
  };
  return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
