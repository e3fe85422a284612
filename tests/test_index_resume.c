/* tests/test_index_resume.c - a build that was killed, and what may be different when it goes
 * on; readers that were killed. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "harness.h"
#include "index_fixture.h"

enum { N_TERMS = 3000, KILLED = 99, MAX_READERS = 1024 };

static int in_child(int (*f)(void *), void *arg) {
  return child_finish(child_start(f, arg));
}

/* --- builds --- */

/* Documents of one entry each, or those of the fixture. */
typedef struct job {
  const char *path;
  sp_build_options o;
  uint32_t n_docs;
  bool small;
  sp_build_hooks hooks;
} job;

static sp_err add_small(sp_builder *b, uint32_t i) {
  char id[32];
  int n = snprintf(id, sizeof id, "%u", i);
  sp_vec v = {&(uint32_t){i % 5}, &(float){1}, 1, 1};
  return sp_builder_add(b, id, (size_t)n, &v, NULL, 0);
}

static int build(void *arg) {
  job *j = arg;
  sp_builder *b;
  sp_err err = sp_builder_open(j->path, &j->o, &b);
  if (err) return (int)err;
  sp_builder_attach(b, &j->hooks);
  uint32_t first = (uint32_t)sp_builder_start(b)->n_docs;
  if (!j->small) err = fixture_add(b, first, j->n_docs, N_TERMS);
  for (uint32_t i = first; j->small && i < j->n_docs && !err; i++) err = add_small(b, i);
  if (!err) return (int)sp_builder_finish(b, NULL);
  sp_builder_abort(b);
  return (int)err;
}

/* Hooks that end the process: at the commit, or before anything of the segment is written. */
static sp_err die_at_commit(void *arg, sp_buf *out) {
  (void)arg, (void)out;
  _exit(KILLED);
}

static bool die_at_start(void *arg, float *weight, uint32_t n_terms) {
  (void)arg, (void)weight, (void)n_terms;
  _exit(KILLED);
}

static void ids_do_not_mix_when_a_build_goes_on_with_less_memory(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 540000};
  j.small = true;
  j.o.memory_bytes = (uint64_t)1 << 30;
  j.hooks.contract = die_at_commit;
  assert_int_equal(in_child(build, &j), KILLED);
  j.hooks.contract = NULL;
  j.o.memory_bytes = (uint64_t)64 << 20; /* too little to sort all hashes at once */
  assert_int_equal(in_child(build, &j), SP_OK);
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(j.path, &ix), SP_OK);
  if (sp_snapshot_open(ix, &s)) fail_msg("%s", sp_err_message());
  if (sp_snapshot_verify(s)) fail_msg("%s", sp_err_message());
  for (uint32_t i = 0, doc; i < j.n_docs; i += 7) {
    char id[32];
    int n = snprintf(id, sizeof id, "%u", i);
    assert_int_equal(sp_snapshot_lookup(s, id, (size_t)n, &doc), SP_OK);
    assert_int_equal(doc, i);
  }
  sp_snapshot_close(s);
  sp_index_close(ix);
}

static void other_parameters_begin_the_lists_anew(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 6000};
  job fresh = j;
  fresh.path = path_in(*state, "fresh");
  fresh.o.params.n_postings = 40;
  assert_int_equal(build(&fresh), SP_OK);
  j.o.params.n_postings = 5;
  j.hooks.contract = die_at_commit;
  assert_int_equal(in_child(build, &j), KILLED);
  j.o.params.n_postings = 40;
  j.hooks.contract = NULL;
  assert_int_equal(in_child(build, &j), SP_OK);
  assert_true(fixture_digest(j.path) == fixture_digest(fresh.path));
}

/* The spool is no checked file: its vectors are looked at before they index anything. */
static void a_spool_damaged_meanwhile_is_refused(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 3000};
  j.hooks.query_weights = die_at_start;
  assert_int_equal(in_child(build, &j), KILLED);
  j.hooks.query_weights = NULL;
  char *data;
  size_t n;
  const char *file = path_in(*state, "ix/build.data");
  assert_int_equal(sp_file_read(file, (size_t)1 << 30, &data, &n), SP_OK);
  free(data);
  int fd = open(file, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  uint8_t ones[256];
  memset(ones, 0xff, sizeof ones); /* terms far beyond the vocabulary */
  assert_int_equal(pwrite(fd, ones, sizeof ones, (off_t)(n / 2)), sizeof ones);
  close(fd);
  assert_int_equal(in_child(build, &j), SP_EFORMAT);
  assert_false(sp_path_exists(j.path)); /* and the next build begins anew */
}

/* --- what an encoder has to say --- */

static sp_err save_much(void *arg, sp_buf *out) {
  (void)arg;
  static char piece[1 << 20];
  sp_err err = SP_OK;
  for (int i = 0; i < 80 && !err; i++) err = sp_buf_append(out, piece, sizeof piece);
  return err;
}

static void the_map_grows_for_a_large_encoder(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 10};
  j.hooks.save = save_much;
  if (build(&j)) fail_msg("%s", sp_err_message());
}

/* Adds documents of 1 MiB that cannot be compressed; all in one chunk. */
static void build_large(const char *path, bool append, uint32_t n, char letter) {
  enum { BYTES = 1 << 20 };
  static uint8_t text[BYTES];
  sp_build_options o = fixture_options();
  o.append = append;
  sp_builder *b;
  if (sp_builder_open(path, &o, &b)) fail_msg("%s", sp_err_message());
  uint64_t x = 88172645463325252u; /* xorshift, Marsaglia 2003 */
  for (uint32_t i = 0; i < n; i++) {
    for (size_t at = 0; at < BYTES; at += sizeof x) {
      x ^= x << 13, x ^= x >> 7, x ^= x << 17;
      memcpy(text + at, &x, sizeof x);
    }
    char id[32];
    int id_n = snprintf(id, sizeof id, "%c%u", letter, i);
    sp_vec v = {&(uint32_t){1}, &(float){1}, 1, 1};
    assert_int_equal(sp_builder_add(b, id, (size_t)id_n, &v, (char *)text, BYTES), SP_OK);
  }
  if (sp_builder_finish(b, NULL)) fail_msg("%s", sp_err_message());
}

/* The map is guessed from what is added, and is nearly full of what is there: 12 MiB that
 * are written between two steps of 4 MiB do not fit without growing. */
static void the_map_grows_for_large_documents(void **state) {
  const char *path = path_in(*state, "ix");
  build_large(path, false, 80, 'a');
  build_large(path, true, 12, 'b');
}

/* --- readers --- */

static sp_snapshot *held[MAX_READERS];

/* Takes every place that there is for readers. */
static void read_everywhere(sp_index *ix) {
  for (int i = 0; i < MAX_READERS; i++)
    if (sp_snapshot_open(ix, &held[i])) fail_msg("%d: %s", i, sp_err_message());
}

static void too_many_readers_are_no_missing_index(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 50};
  assert_int_equal(in_child(build, &j), SP_OK);
  uint64_t digest = fixture_digest(j.path);
  sp_index *ix;
  assert_int_equal(sp_index_open(j.path, &ix), SP_OK);
  read_everywhere(ix);
  sp_snapshot *one;
  assert_int_equal(sp_snapshot_open(ix, &one), SP_EIO);
  assert_int_equal(in_child(build, &j), SP_EIO); /* and not as if nothing were there */
  j.o.append = true;
  assert_int_equal(in_child(build, &j), SP_EIO);
  for (int i = 0; i < MAX_READERS; i++) sp_snapshot_close(held[i]);
  sp_index_close(ix);
  assert_true(fixture_digest(j.path) == digest);
}

static int read_and_die(void *arg) {
  sp_index *ix;
  if (sp_index_open(arg, &ix)) return 1;
  read_everywhere(ix);
  _exit(KILLED);
}

static void killed_readers_give_their_places_back(void **state) {
  job j = {.path = path_in(*state, "ix"), .o = fixture_options(), .n_docs = 50};
  assert_int_equal(in_child(build, &j), SP_OK);
  sp_index *ix; /* while one process has the index open, the table of readers stays */
  sp_snapshot *s;
  assert_int_equal(sp_index_open(j.path, &ix), SP_OK);
  assert_int_equal(in_child(read_and_die, (void *)j.path), KILLED);
  if (sp_snapshot_open(ix, &s)) fail_msg("%s", sp_err_message());
  sp_snapshot_close(s);
  sp_index_close(ix);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_make, temp_dir_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_TEMP_DIR(ids_do_not_mix_when_a_build_goes_on_with_less_memory),
      IN_TEMP_DIR(other_parameters_begin_the_lists_anew),
      IN_TEMP_DIR(a_spool_damaged_meanwhile_is_refused),
      IN_TEMP_DIR(the_map_grows_for_a_large_encoder),
      IN_TEMP_DIR(the_map_grows_for_large_documents),
      IN_TEMP_DIR(too_many_readers_are_no_missing_index),
      IN_TEMP_DIR(killed_readers_give_their_places_back),
  };
  return cmocka_run_group_tests_name("index_resume", tests, NULL, NULL);
}
