/* tests/test_index_damage.c - what is damaged, cut short or too new is refused in one
 * sentence, and never read as if it were sound. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "harness.h"
#include "index/format.h"
#include "index_fixture.h"
#include "query/search.h"

enum { N_DOCS = 600, N_TERMS = 400, N_FLIPS = 600 };

/* A sound index and its bytes. */
typedef struct sound {
  const char *path;
  char file[512];
  uint8_t *data;
  size_t n;
  uint64_t digest;
} sound;

static sp_err read_everything(const char *path, uint64_t *digest, sp_err *verified);

static sound make_sound(void **state) {
  sound s = {.path = path_in(*state, "ix")};
  sp_build_options o = fixture_options();
  assert_int_equal(fixture_build(s.path, &o, 0, N_DOCS, N_TERMS, NULL), SP_OK);
  snprintf(s.file, sizeof s.file, "%s/data.mdb", s.path);
  char *data;
  assert_int_equal(sp_file_read(s.file, (size_t)1 << 30, &data, &s.n), SP_OK);
  s.data = (uint8_t *)data;
  sp_err verified = SP_EIO;
  assert_int_equal(read_everything(s.path, &s.digest, &verified), SP_OK);
  assert_int_equal(verified, SP_OK);
  return s;
}

static void write_at(const sound *s, const void *data, size_t n, size_t at) {
  int fd = open(s->file, O_WRONLY | O_CLOEXEC);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, data, n, (off_t)at), n);
  close(fd);
}

static uint64_t feed(uint64_t digest, const void *data, size_t n) {
  const uint8_t *p = data;
  for (size_t i = 0; i < n; i++) digest = (digest ^ p[i]) * 0x100000001b3u;
  return digest;
}

static uint64_t read_document(const sp_snapshot *s, const sp_segment *g, uint32_t d,
                              uint64_t digest) {
  sp_doc v = sp_segment_doc(g, d);
  digest = feed(digest, v.terms, (size_t)v.n * g->term_bytes);
  digest = feed(digest, v.weights, (size_t)v.n * 2);
  sp_buf fields = {0};
  size_t n;
  uint32_t back = UINT32_MAX;
  const char *id = sp_snapshot_id(s, g->first_doc + d, &n);
  if (id) digest = feed(digest, id, n);
  if (id) sp_snapshot_lookup(s, id, n, &back);
  digest = feed(digest, &back, sizeof back);
  if (sp_snapshot_fields(s, g->first_doc + d, &fields) == SP_OK)
    digest = feed(digest, fields.data, fields.n);
  sp_buf_free(&fields);
  return digest;
}

static uint64_t read_list(const sp_segment *g, uint32_t term, uint64_t digest) {
  sp_list l;
  if (!sp_segment_list(g, term, &l)) return feed(digest, "none", 4);
  return fixture_feed_list(&l, digest);
}

/* Failing is fine here, crashing is not: what a search answers goes into the digest. */
static uint64_t search(const sp_snapshot *s, bool exact, uint64_t digest) {
  sp_searcher *r;
  if (sp_searcher_new(s, &r)) return digest;
  sp_search_params p = sp_search_defaults();
  p.exact = exact;
  for (uint64_t i = 0; i < 20; i++) {
    sp_vec q = {0};
    sp_hit hits[10] = {0};
    uint32_t n = 0;
    fixture_vector(100000 + i, N_TERMS, &q);
    if (sp_search(r, &q, &p, hits, &n, NULL) == SP_OK)
      digest = feed(digest, hits, n * sizeof *hits);
    sp_vec_free(&q);
  }
  sp_searcher_free(r);
  return digest;
}

/* Opens, reads and searches everything; then asks whether it was sound. */
static sp_err read_everything(const char *path, uint64_t *digest, sp_err *verified) {
  sp_index *ix;
  sp_snapshot *s = NULL;
  sp_err err = sp_index_open(path, &ix);
  if (!err) err = sp_snapshot_open(ix, &s);
  uint64_t d = 0xcbf29ce484222325u;
  for (uint32_t i = 0; !err && i < sp_snapshot_n_segments(s); i++) {
    const sp_segment *g = sp_snapshot_segment(s, i);
    for (uint32_t k = 0; k < g->n_docs; k++) d = read_document(s, g, k, d);
    for (uint32_t t = 0; t < g->n_terms; t++) d = read_list(g, t, d);
  }
  if (!err) d = search(s, true, search(s, false, d));
  if (!err) *verified = sp_snapshot_verify(s);
  *digest = d;
  sp_snapshot_close(s);
  sp_index_close(ix);
  return err;
}

static void expect_one_sentence(const char *path) {
  const char *m = sp_err_message();
  assert_non_null(strstr(m, path));
  assert_null(strchr(m, '\n'));
}

/* Cut where pages lie that no tree uses, it is as sound as before. */
static void a_file_cut_short_is_refused(void **state) {
  sound s = make_sound(state);
  unsigned n_refused = 0, n_tried = 0;
  for (size_t i = 0; i < 200; i++) {
    size_t n = i < 40 ? i * 233 : s.n * i / 200 + i % 7;
    assert_int_equal(truncate(s.file, 0), 0);
    if (n) write_at(&s, s.data, n, 0);
    uint64_t digest;
    sp_err verified = SP_EIO, err = read_everything(s.path, &digest, &verified);
    n_tried++;
    if (err) {
      assert_int_equal(err, n ? SP_EFORMAT : SP_ENOTFOUND);
      expect_one_sentence(s.path);
      n_refused++;
    } else {
      assert_int_equal(verified, SP_OK);
      assert_true(digest == s.digest);
    }
  }
  assert_true(n_refused * 10 >= n_tried * 9);
  free(s.data);
}

static void an_empty_file_is_where_a_build_begins(void **state) {
  sound s = make_sound(state);
  assert_int_equal(truncate(s.file, 0), 0);
  sp_build_options o = fixture_options();
  assert_int_equal(fixture_build(s.path, &o, 0, N_DOCS, N_TERMS, NULL), SP_OK);
  fixture_expect(s.path, 0, N_DOCS, N_TERMS);
  free(s.data);
}

/* Whatever byte is flipped: nothing crashes, and what verify calls sound reads as it did.
 */
static void flipped_bytes_are_found(void **state) {
  sound s = make_sound(state);
  unsigned n_found = 0;
  uint64_t random = 7;
  for (size_t i = 0; i < N_FLIPS; i++) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    /* The heads of LMDB's two first pages byte by byte; then anywhere. */
    size_t at = i < 300 ? (i % 2) * 4096 + i / 2 : (random >> 16) % s.n;
    uint8_t flipped = s.data[at] ^ (i % 3 ? (uint8_t)(1 << (random >> 60) % 8) : 0xff);
    write_at(&s, &flipped, 1, at);
    uint64_t digest;
    sp_err verified = SP_EIO, err = read_everything(s.path, &digest, &verified);
    if (err || verified) expect_one_sentence(s.path);
    if (!err && verified) assert_int_equal(verified, SP_EFORMAT);
    if (!err && !verified && digest != s.digest)
      fail_msg("byte %zu: nobody noticed that it was flipped", at);
    n_found += i >= 300 && (err || verified);
    write_at(&s, &s.data[at], 1, at);
  }
  print_message("%u of %u flips outside the heads were found\n", n_found, N_FLIPS - 300);
  assert_true(n_found > 150);
  free(s.data);
}

/* Neither to be read nor to be built upon, and left as it is. */
static void expect_version_refused(const sound *s, uint32_t version, const char *words) {
  for (size_t i = 0; i + 12 < s->n; i++)
    if (memcmp(s->data + i, SP_INDEX_MAGIC, 8) == 0) write_at(s, &version, 4, i + 8);
  sp_index *ix = (sp_index *)1;
  assert_int_equal(sp_index_open(s->path, &ix), SP_EFORMAT);
  assert_null(ix);
  assert_non_null(strstr(sp_err_message(), words));
  expect_one_sentence(s->path);
  sp_build_options o = fixture_options();
  sp_builder *b;
  o.append = true;
  assert_int_equal(sp_builder_open(s->path, &o, &b), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), words));
  o.append = false;
  assert_int_equal(sp_builder_open(s->path, &o, &b), SP_EFORMAT);
  struct stat st;
  assert_int_equal(stat(s->file, &st), 0);
  assert_int_equal(st.st_size, s->n);
}

static void another_version_is_named(void **state) {
  sound s = make_sound(state);
  assert_int_equal(SP_FORMAT_VERSION, 2); /* the sentences below have it */
  expect_version_refused(&s, 3, "format version 3 is newer");
  expect_version_refused(&s, 1,
                         "format version 1 is older than this program's 2: build the "
                         "index again with `spindle index`");
  free(s.data);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_make, temp_dir_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_TEMP_DIR(a_file_cut_short_is_refused),
      IN_TEMP_DIR(an_empty_file_is_where_a_build_begins),
      IN_TEMP_DIR(flipped_bytes_are_found),
      IN_TEMP_DIR(another_version_is_named),
  };
  return cmocka_run_group_tests_name("index_damage", tests, NULL, NULL);
}
