/* tests/test_index_build.c - what goes into an index comes out of it. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "harness.h"
#include "index/spool.h"
#include "index_fixture.h"

enum { N_TERMS = 3000, N_WIDE = 70000 };

/* The linker sends the calls of these two here first. */
static int n_checked, n_synced_folders;

int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
  struct stat st;
  n_synced_folders += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
  return __real_fsync(fd);
}

sp_err __real_sp_spool_check(const sp_spool *s, uint64_t i, uint32_t n_terms);
sp_err __wrap_sp_spool_check(const sp_spool *s, uint64_t i, uint32_t n_terms);
sp_err __wrap_sp_spool_check(const sp_spool *s, uint64_t i, uint32_t n_terms) {
  n_checked++;
  return __real_sp_spool_check(s, i, n_terms);
}

static sp_err observe_nothing(void *arg, const sp_vec *v) {
  (void)arg;
  (void)v;
  return SP_OK;
}

static void a_spooled_document_is_checked_once(void **state) {
  sp_build_options o = fixture_options();
  const sp_build_hooks learning = {.observe = observe_nothing}, none = {0};
  for (int learns = 0; learns < 2; learns++) {
    sp_builder *b;
    const char *path = path_in(*state, learns ? "learns" : "does-not");
    assert_int_equal(sp_builder_open(path, &o, &b), SP_OK);
    sp_builder_attach(b, learns ? &learning : &none);
    assert_int_equal(fixture_add(b, 0, 500, N_TERMS), SP_OK);
    n_checked = 0;
    assert_int_equal(sp_builder_finish(b, NULL), SP_OK);
    assert_int_equal(n_checked, 500);
  }
}

static void the_names_of_a_finished_index_are_on_the_disk(void **state) {
  sp_build_options o = fixture_options();
  sp_builder *b;
  assert_int_equal(sp_builder_open(path_in(*state, "ix"), &o, &b), SP_OK);
  assert_int_equal(fixture_add(b, 0, 10, N_TERMS), SP_OK);
  n_synced_folders = 0;
  assert_int_equal(sp_builder_finish(b, NULL), SP_OK);
  assert_true(n_synced_folders >= 3); /* the last checkpoint's, then its own and above */
}

static void every_document_and_list_reads_back(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  sp_build_summary sum;
  assert_int_equal(fixture_build(path, &o, 0, 9000, N_TERMS, &sum), SP_OK);
  assert_int_equal(sum.n_docs, 9000);
  assert_int_equal(sum.n_duplicates, 0);
  fixture_expect(path, 0, 9000, N_TERMS);
}

static void a_vocabulary_beyond_16_bits_reads_back(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  assert_int_equal(fixture_build(path, &o, 0, 5000, N_WIDE, NULL), SP_OK);
  fixture_expect(path, 0, 5000, N_WIDE);
}

static void threads_and_memory_change_no_byte(void **state) {
  sp_build_options o = fixture_options();
  const char *one = path_in(*state, "one"), *four = path_in(*state, "four");
  assert_int_equal(fixture_build(one, &o, 0, 6000, N_TERMS, NULL), SP_OK);
  uint64_t digest = fixture_digest(one);
  o.n_threads = 4;
  o.memory_bytes = 512 << 20;
  assert_int_equal(fixture_build(four, &o, 0, 6000, N_TERMS, NULL), SP_OK);
  assert_true(fixture_digest(four) == digest);
}

static void pruning_keeps_lists_short_and_documents_reachable(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  o.params.n_postings = 20;
  o.params.max_fraction = 2;
  sp_build_summary sum;
  assert_int_equal(fixture_build(path, &o, 0, 6000, N_TERMS, &sum), SP_OK);
  uint64_t n_in_short = 0, n_in_long = 0, n_kept = 0;
  fixture_expect(path, 0, 6000, N_TERMS);
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  const sp_segment *g = sp_snapshot_segment(s, 0);
  uint8_t *reached = calloc(g->n_docs, 1);
  sp_list l;
  bool discarded = false;
  for (uint32_t t = 0; t < g->n_terms; t++) {
    if (!sp_segment_list(g, t, &l)) continue;
    for (uint32_t i = 0; i < l.n_docs; i++) reached[l.docs[i]] = 1; /* one window */
    if (l.n_all_docs <= 64) {                                       /* short: whole */
      assert_int_equal(l.n_docs, l.n_all_docs);
      n_in_short += l.n_docs;
    } else {
      n_in_long += l.n_all_docs;
      n_kept += l.n_docs;
    }
    assert_true((l.n_docs < l.n_all_docs) == (l.max_discarded > 0));
    assert_true(l.max_discarded <= l.max_weight);
    discarded |= l.max_discarded > 0;
  }
  assert_true(discarded);
  assert_int_equal(sum.n_postings, n_in_short + n_kept);
  assert_int_equal(n_in_short + n_in_long, g->nnz);
  assert_true(n_kept < n_in_long / 2);
  for (uint32_t d = 0; d < g->n_docs; d++)
    if (sp_segment_doc(g, d).n) assert_true(reached[d]);
  free(reached);
  sp_snapshot_close(s);
  sp_index_close(ix);
}

/* A term whose weights are all far below the others' keeps no posting, but its counts. */
static void a_term_without_postings_keeps_its_frequency(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  o.params.n_postings = 1;
  sp_builder *b;
  assert_int_equal(sp_builder_open(path, &o, &b), SP_OK);
  for (uint32_t i = 0; i < 100; i++) {
    char id[32];
    int n = snprintf(id, sizeof id, "doc-%u", i);
    uint32_t terms[] = {0, 1 + i, 101 + i, 201 + i % 50};
    float weights[] = {i == 50 ? 0.5f : 0.25f, 3, 3, 3};
    sp_vec v = {.terms = terms, .weights = weights, .n = 4};
    assert_int_equal(sp_builder_add(b, id, (size_t)n, &v, NULL, 0), SP_OK);
  }
  assert_int_equal(sp_builder_finish(b, NULL), SP_OK);
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  sp_list l;
  assert_true(sp_segment_list(sp_snapshot_segment(s, 0), 0, &l));
  assert_int_equal(l.n_docs, 0);
  assert_int_equal(l.n_all_docs, 100);
  assert_true(l.max_weight == 0.5f && l.max_discarded == 0.5f);
  assert_true(sp_segment_list(sp_snapshot_segment(s, 0), 1, &l));
  assert_int_equal(l.n_docs, 1);
  assert_false(sp_segment_list(sp_snapshot_segment(s, 0), 251, &l));
  assert_int_equal(sp_snapshot_verify(s), SP_OK);
  sp_snapshot_close(s);
  sp_index_close(ix);
}

static void of_equal_ids_the_last_one_stays(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  sp_builder *b;
  assert_int_equal(sp_builder_open(path, &o, &b), SP_OK);
  /* Wrong vectors first under the ids of documents 0 .. 99, then all as they should be. */
  sp_vec v = {0};
  for (uint64_t i = 0; i < 100; i++) {
    char id[32];
    int n = snprintf(id, sizeof id, "doc-%llu", (unsigned long long)i);
    fixture_vector(i + 77777, N_TERMS, &v);
    assert_int_equal(sp_builder_add(b, id, (size_t)n, &v, NULL, 0), SP_OK);
  }
  sp_vec_free(&v);
  assert_int_equal(fixture_add(b, 0, 5000, N_TERMS), SP_OK);
  sp_build_summary sum;
  assert_int_equal(sp_builder_finish(b, &sum), SP_OK);
  assert_int_equal(sum.n_docs, 5000);
  assert_int_equal(sum.n_duplicates, 100);
  fixture_expect(path, 0, 5000, N_TERMS);
}

static void appending_replaces_documents_of_the_same_id(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  assert_int_equal(fixture_build(path, &o, 0, 5000, N_TERMS, NULL), SP_OK);
  assert_int_equal(fixture_build(path, &o, 0, 10, N_TERMS, NULL), SP_EINVAL);
  o.append = true;
  o.source = "fixture, the second part";
  sp_build_summary sum;
  assert_int_equal(fixture_build(path, &o, 4800, 6000, N_TERMS, &sum), SP_OK);
  assert_int_equal(sum.n_replaced, 200);
  fixture_expect(path, 0, 6000, N_TERMS);
  o.source = "fixture, the third part";
  assert_int_equal(fixture_build(path, &o, 4700, 4900, N_WIDE, &sum), SP_OK);
  assert_int_equal(sum.n_replaced, 200);
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  assert_int_equal(sp_snapshot_info(s)->n_docs, 6000);
  assert_int_equal(sp_snapshot_info(s)->n_deleted, 400);
  assert_int_equal(sp_snapshot_info(s)->n_segments, 3);
  sp_snapshot_close(s);
  sp_index_close(ix);
}

static void bad_documents_are_refused_and_nothing_is_left(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  o.n_terms = 10;
  sp_builder *b;
  assert_int_equal(sp_builder_open(path, &o, &b), SP_OK);
  uint32_t terms[] = {1, 10};
  float weights[] = {1, 1};
  sp_vec v = {terms, weights, 2, 2};
  assert_int_equal(sp_builder_add(b, "a", 1, &v, NULL, 0), SP_EINVAL);
  terms[1] = 1;
  assert_int_equal(sp_builder_add(b, "a", 1, &v, NULL, 0), SP_EINVAL);
  terms[1] = 2;
  assert_int_equal(sp_builder_add(b, "", 0, &v, NULL, 0), SP_EINVAL);
  assert_int_equal(sp_builder_add(b, "a\0b", 3, &v, NULL, 0), SP_EINVAL);
  char *long_id = calloc(1, 513);
  memset(long_id, 'x', 512);
  assert_int_equal(sp_builder_add(b, long_id, 512, &v, NULL, 0), SP_EINVAL);
  assert_int_equal(sp_builder_add(b, long_id, 511, &v, NULL, 0), SP_OK);
  free(long_id);
  sp_builder_abort(b);
  assert_false(sp_path_exists(path));
  assert_int_equal(sp_builder_open(path, &o, &b), SP_OK);
  assert_int_equal(sp_builder_finish(b, NULL), SP_EINVAL); /* no document */
  assert_false(sp_path_exists(path));
}

static void a_second_builder_is_told_to_wait(void **state) {
  const char *path = path_in(*state, "ix");
  sp_build_options o = fixture_options();
  sp_builder *a, *b;
  assert_int_equal(sp_builder_open(path, &o, &a), SP_OK);
  assert_int_equal(sp_builder_open(path, &o, &b), SP_EBUSY);
  assert_null(b);
  sp_builder_abort(a);
  o.append = true;
  assert_int_equal(sp_builder_open(path, &o, &b), SP_ENOTFOUND);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_make, temp_dir_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_TEMP_DIR(a_spooled_document_is_checked_once),
      IN_TEMP_DIR(the_names_of_a_finished_index_are_on_the_disk),
      IN_TEMP_DIR(every_document_and_list_reads_back),
      IN_TEMP_DIR(a_vocabulary_beyond_16_bits_reads_back),
      IN_TEMP_DIR(threads_and_memory_change_no_byte),
      IN_TEMP_DIR(pruning_keeps_lists_short_and_documents_reachable),
      IN_TEMP_DIR(a_term_without_postings_keeps_its_frequency),
      IN_TEMP_DIR(of_equal_ids_the_last_one_stays),
      IN_TEMP_DIR(appending_replaces_documents_of_the_same_id),
      IN_TEMP_DIR(bad_documents_are_refused_and_nothing_is_left),
      IN_TEMP_DIR(a_second_builder_is_told_to_wait),
  };
  return cmocka_run_group_tests_name("index_build", tests, NULL, NULL);
}
