/* tests/test_vector_file.c - vectors survive every format, and bad files are refused. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "index/vector_file.h"
#include "index/vector_io.h"
#include "tests/harness.h"

enum { N_VECTORS = 3000 };

static char dir[] = "/tmp/spindle-vectors-XXXXXX";
static char path[64], other[64];

static int make_dir(void **state) {
  (void)state;
  if (!mkdtemp(dir)) return -1;
  snprintf(path, sizeof path, "%s/a", dir);
  snprintf(other, sizeof other, "%s/b", dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  unlink(path);
  unlink(other);
  return rmdir(dir);
}

static void plant(const void *bytes, size_t n) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_int_equal(fwrite(bytes, 1, n, f), n);
  assert_int_equal(fclose(f), 0);
}

static void plant_text(const char *text) {
  plant(text, strlen(text));
}

static uint32_t random_u32(uint64_t *seed) {
  *seed = *seed * 6364136223846793005u + 1442695040888963407u;
  return (uint32_t)(*seed >> 33);
}

/* Vector i of a made-up collection: some are empty, ids differ in length. With `wide`,
 * terms and weights need 32 bits. */
static void make_vector(uint32_t i, bool wide, sp_vec *v, char id[32]) {
  uint64_t seed = i * 7919u + 1;
  sp_vec_clear(v);
  snprintf(id, 32, "doc-%u", i * i);
  uint32_t n = i % 17 == 3 ? 0 : random_u32(&seed) % 60, term = 0;
  for (uint32_t j = 0; j < n; j++) {
    term += 1 + random_u32(&seed) % (wide ? 100000 : 500);
    float w = (float)(1 + random_u32(&seed) % 1000);
    assert_int_equal(sp_vec_push(v, term, wide ? w / 7 : w / 64), SP_OK);
  }
}

static void put_vectors(sp_vector_writer *w, uint32_t from, uint32_t to, bool wide) {
  sp_vec v = {0};
  char id[32];
  for (uint32_t i = from; i < to; i++) {
    make_vector(i, wide, &v, id);
    assert_int_equal(sp_vector_writer_put(w, id, strlen(id), &v, "a text", 6), SP_OK);
  }
  sp_vec_free(&v);
}

static void write_vectors(const char *name, sp_vector_format format, bool wide) {
  sp_vector_write_options o = {.format = format};
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open(name, &o, &w), SP_OK);
  put_vectors(w, 0, N_VECTORS, wide);
  assert_int_equal(sp_vector_writer_finish(w), SP_OK);
}

static void expect_vectors(sp_vector_reader *r, uint32_t n, bool wide, bool ids) {
  sp_vec v = {0};
  char id[32];
  bool more;
  sp_vector_record rec;
  for (uint32_t i = 0;; i++) {
    assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
    if (!more) {
      assert_int_equal(i, n);
      break;
    }
    make_vector(i, wide, &v, id);
    if (!ids) snprintf(id, sizeof id, "%u", i);
    assert_string_equal(rec.id, id);
    assert_int_equal(rec.vec->n, v.n);
    if (v.n == 0) continue;
    assert_memory_equal(rec.vec->terms, v.terms, v.n * sizeof *v.terms);
    assert_memory_equal(rec.vec->weights, v.weights, v.n * sizeof *v.weights);
  }
  sp_vec_free(&v);
}

static sp_err open_reader(const sp_vector_read_options *o, sp_vector_reader **r) {
  return sp_vector_reader_open(path, o, r);
}

static void every_format_gives_back_what_was_written(void **state) {
  (void)state;
  static const sp_vector_format ALL[] = {SP_VECTORS_COMPACT, SP_VECTORS_JSONL,
                                         SP_VECTORS_SEISMIC, SP_VECTORS_CSR};
  for (int wide = 0; wide < 2; wide++) {
    for (size_t f = 0; f < sizeof ALL / sizeof *ALL; f++) {
      write_vectors(path, ALL[f], wide);
      sp_vector_read_options o = {.numeric_tokens = true};
      sp_vector_reader *r;
      assert_int_equal(open_reader(&o, &r), SP_OK);
      bool csr = ALL[f] == SP_VECTORS_CSR;
      expect_vectors(r, N_VECTORS, wide, !csr);
      assert_int_equal(sp_vector_reader_format(r), ALL[f]);
      if (csr || ALL[f] == SP_VECTORS_COMPACT) {
        assert_int_equal(sp_vector_reader_n_vectors(r), N_VECTORS);
        assert_int_equal(sp_vector_reader_n_terms(r),
                         sp_vector_reader_report(r)->n_terms);
      }
      sp_vector_reader_close(r);
    }
  }
}

static void blocks_can_be_read_in_any_order(void **state) {
  (void)state;
  write_vectors(path, SP_VECTORS_COMPACT, false);
  sp_vector_file *f;
  assert_int_equal(sp_vector_file_open(path, &f), SP_OK);
  const sp_vector_file_info *info = sp_vector_file_get_info(f);
  assert_true(info->finished && info->n_blocks > 1);
  assert_int_equal(info->n_vectors, N_VECTORS);
  sp_vector_block b = {0};
  sp_vec v = {0}, expected = {0};
  char id[32];
  uint64_t n_seen = 0;
  for (uint64_t k = info->n_blocks; k-- > 0;) {
    assert_int_equal(sp_vector_file_read(f, k, &b), SP_OK);
    for (uint32_t i = 0; i < b.n_vectors; i++, n_seen++) {
      make_vector((uint32_t)b.first + i, false, &expected, id);
      assert_int_equal(sp_vector_block_get(&b, i, &v), SP_OK);
      assert_int_equal(v.n, expected.n);
      assert_true(sp_vec_dot(&v, &v) == sp_vec_dot(&v, &expected));
      size_t n;
      const char *at = sp_vector_block_id(&b, i, &n);
      assert_int_equal(n, strlen(id));
      assert_memory_equal(at, id, n);
    }
  }
  assert_int_equal(n_seen, N_VECTORS);
  sp_vec_free(&v);
  sp_vec_free(&expected);
  sp_vector_block_free(&b);
  sp_vector_file_close(f);
}

static void exact_halves_take_half_the_room(void **state) {
  (void)state;
  write_vectors(path, SP_VECTORS_COMPACT, false);
  write_vectors(other, SP_VECTORS_COMPACT, true);
  struct stat narrow, wide;
  assert_int_equal(stat(path, &narrow), 0);
  assert_int_equal(stat(other, &wide), 0);
  assert_true(narrow.st_size * 3 < wide.st_size * 2);
}

static sp_vector_writer *open_resumable(void) {
  sp_vector_write_options o = {.format = SP_VECTORS_COMPACT, .resumable = true};
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open(path, &o, &w), SP_OK);
  return w;
}

static void a_broken_off_file_is_continued(void **state) {
  (void)state;
  unlink(path);
  sp_vector_writer *w = open_resumable();
  put_vectors(w, 0, 1000, true);
  assert_int_equal(sp_vector_writer_sync(w), SP_OK);
  put_vectors(w, 1000, 1010, true);
  sp_vector_writer_abort(w); /* the ten were not yet a block */
  FILE *f = fopen(path, "ab");
  assert_non_null(f);
  fputs("BLOK half of a block", f);
  fclose(f);

  w = open_resumable();
  assert_int_equal(sp_vector_writer_n_vectors(w), 1000);
  put_vectors(w, 1000, 2000, true);
  assert_int_equal(sp_vector_writer_finish(w), SP_OK);
  w = open_resumable(); /* and a finished one is continued too */
  assert_int_equal(sp_vector_writer_n_vectors(w), 2000);
  put_vectors(w, 2000, N_VECTORS, true);
  assert_int_equal(sp_vector_writer_finish(w), SP_OK);

  sp_vector_reader *r;
  assert_int_equal(open_reader(NULL, &r), SP_OK);
  expect_vectors(r, N_VECTORS, true, true);
  sp_vector_reader_close(r);
}

static void two_writers_do_not_share_a_file(void **state) {
  (void)state;
  unlink(path);
  sp_vector_writer *w = open_resumable(), *second;
  sp_vector_write_options o = {.format = SP_VECTORS_COMPACT, .resumable = true};
  assert_int_equal(sp_vector_writer_open(path, &o, &second), SP_EBUSY);
  assert_null(second);
  sp_vector_writer_abort(w);
}

static void a_foreign_file_is_not_overwritten_by_continuing(void **state) {
  (void)state;
  plant_text("somebody's diary");
  sp_vector_write_options o = {.format = SP_VECTORS_COMPACT, .resumable = true};
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open(path, &o, &w), SP_EFORMAT);
  char *text;
  size_t n;
  assert_int_equal(sp_file_read(path, 100, &text, &n), SP_OK);
  assert_string_equal(text, "somebody's diary");
  free(text);
}

/* Reads to the end or the first failure; *n counts the vectors. */
static sp_err drain(const sp_vector_read_options *o, uint32_t *n) {
  *n = 0;
  sp_vector_reader *r;
  sp_err err = open_reader(o, &r);
  if (err) return err;
  sp_vector_record rec;
  for (bool more = true; !err && more;) {
    err = sp_vector_reader_next(r, &rec, &more);
    *n += !err && more;
  }
  sp_vector_reader_close(r);
  return err;
}

/* A finished compact file of two small blocks. */
static char *small_file(size_t *n) {
  unlink(path);
  sp_vector_writer *w = open_resumable();
  put_vectors(w, 0, 5, false);
  assert_int_equal(sp_vector_writer_sync(w), SP_OK);
  put_vectors(w, 5, 9, true);
  assert_int_equal(sp_vector_writer_finish(w), SP_OK);
  char *bytes;
  assert_int_equal(sp_file_read(path, 1 << 20, &bytes, n), SP_OK);
  return bytes;
}

static void every_prefix_gives_its_whole_blocks_and_no_more(void **state) {
  (void)state;
  size_t n;
  char *bytes = small_file(&n);
  for (size_t cut = 0; cut < n; cut++) {
    plant(bytes, cut);
    uint32_t n_strict, n_prefix;
    sp_vector_read_options strict = {.format = SP_VECTORS_COMPACT},
                           prefix = {.format = SP_VECTORS_COMPACT, .accept_prefix = true};
    assert_int_equal(drain(&strict, &n_strict), SP_EFORMAT);
    sp_err err = drain(&prefix, &n_prefix);
    assert_int_equal(err, cut < 32 ? SP_EFORMAT : SP_OK);
    assert_int_equal(n_strict, n_prefix);
    assert_true(n_prefix == 0 || n_prefix == 5 || n_prefix == 9);
    sp_vector_file *f;
    if (sp_vector_file_open(path, &f)) continue;
    assert_int_equal(sp_vector_file_get_info(f)->n_vectors, n_prefix);
    assert_false(sp_vector_file_get_info(f)->finished);
    sp_vector_file_close(f);
  }
  free(bytes);
}

static void every_flipped_bit_of_a_finished_file_is_seen(void **state) {
  (void)state;
  size_t n;
  char *bytes = small_file(&n);
  for (size_t i = 0; i < n * 8; i += 3) {
    bytes[i / 8] ^= (char)(1 << i % 8);
    plant(bytes, n);
    uint32_t n_read;
    sp_vector_read_options o = {.format = SP_VECTORS_COMPACT};
    assert_int_equal(drain(&o, &n_read), SP_EFORMAT);
    bytes[i / 8] ^= (char)(1 << i % 8);
  }
  bytes[n / 2] ^= 1; /* and a writer does not cut away what lies behind the damage */
  plant(bytes, n);
  sp_vector_write_options o = {.format = SP_VECTORS_COMPACT, .resumable = true};
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open(path, &o, &w), SP_EFORMAT);
  free(bytes);
}

static void a_newer_version_is_refused_by_its_number(void **state) {
  (void)state;
  static const uint8_t HEADER[32] = {'S', 'P', 'V', 'E', 'C', 'T', 'O', 'R', 2};
  plant(HEADER, sizeof HEADER);
  uint32_t n;
  assert_int_equal(drain(NULL, &n), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "version 2"));
}

static void a_lying_csr_is_refused(void **state) {
  (void)state;
  static const struct {
    int64_t head[3], starts[3];
  } LIES[] = {
      {{2, 5, 2}, {0, 1, 3}},         {{2, 5, 2}, {0, 3, 2}},
      {{2, 5, 2}, {1, 1, 2}},         {{2, 5, 2}, {0, -1, 2}},
      {{2, 5, 2}, {0, 1, 1}},         {{3, 5, 2}, {0, 1, 2}},
      {{2, 5, 1}, {0, 1, 2}},         {{-2, 5, 2}, {0, 1, 2}},
      {{2, -5, 2}, {0, 1, 2}},        {{2, 5, INT64_MAX}, {0, 1, 2}},
      {{INT64_MAX, 5, 2}, {0, 1, 2}}, {{2, INT64_MAX, 2}, {0, 1, 2}},
  };
  const int32_t terms[2] = {3, 4};
  const float weights[2] = {1, 2};
  for (size_t i = 0; i <= sizeof LIES / sizeof *LIES; i++) {
    bool lie = i < sizeof LIES / sizeof *LIES;
    const int64_t truth[6] = {2, 5, 2, 0, 1, 2};
    char bytes[64];
    memcpy(bytes, lie ? (const void *)&LIES[i] : truth, 48);
    memcpy(bytes + 48, terms, 8);
    memcpy(bytes + 56, weights, 8);
    plant(bytes, sizeof bytes);
    uint32_t n;
    sp_vector_read_options o = {.format = SP_VECTORS_CSR};
    assert_int_equal(drain(&o, &n), lie ? SP_EFORMAT : SP_OK);
    if (!lie) assert_int_equal(n, 2);
  }
}

static const char BAD[] =
    "{\"id\": \"good\", \"terms\": [1, 5], \"weights\": [1, 2]}\n"
    "\n"
    "{\"id\": \"unsorted\", \"terms\": [5, 1], \"weights\": [2, 1]}\n"
    "{\"id\": \"twice\", \"terms\": [1, 1, 5], \"weights\": [0.5, 0.5, 2]}\n"
    "{\"id\": \"nan\", \"terms\": [1, 5], \"weights\": [NaN, 2]}\n"
    "{\"id\": \"huge\", \"terms\": [1, 5], \"weights\": [1e99, 2]}\n"
    "{\"id\": \"negative\", \"terms\": [1, 5], \"weights\": [1, -2]}\n"
    "{\"id\": \"zero\", \"terms\": [0, 1, 5], \"weights\": [0, 1, 2]}\n"
    "{\"id\": \"far\", \"terms\": [1, 10], \"weights\": [1, 2]}\n"
    "{\"id\": \"fraction\", \"terms\": [5, 1.5], \"weights\": [1, 2]}\n"
    "{\"id\": \"empty\", \"terms\": [], \"weights\": []}\n"
    "{\"id\": \"hollow\", \"terms\": [3], \"weights\": [0]}\n";

static void faults_are_counted_repaired_or_left_out(void **state) {
  (void)state;
  plant_text(BAD);
  sp_vector_read_options o = {.skip_refused = true, .n_terms = 10};
  sp_vector_reader *r;
  assert_int_equal(open_reader(&o, &r), SP_OK);
  sp_vector_record rec;
  bool more;
  char seen[128] = "";
  for (;;) {
    assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
    if (!more) break;
    strcat(strcat(seen, rec.id), " ");
    if (rec.vec->n == 0) continue;
    assert_int_equal(rec.vec->n, 2); /* all mean the same vector */
    assert_true(rec.vec->terms[0] == 1 && rec.vec->weights[0] == 1);
    assert_true(rec.vec->terms[1] == 5 && rec.vec->weights[1] == 2);
  }
  assert_string_equal(seen, "good unsorted twice zero empty hollow ");
  const sp_vector_report *report = sp_vector_reader_report(r);
  static const struct {
    sp_vector_fault fault;
    int n, record;
    const char *id;
  } EXPECTED[] = {
      {SP_VECTOR_UNSORTED, 1, 2, "unsorted"}, {SP_VECTOR_DUPLICATE, 1, 3, "twice"},
      {SP_VECTOR_NAN, 2, 4, "nan"},           {SP_VECTOR_NEGATIVE, 1, 6, "negative"},
      {SP_VECTOR_ZERO, 2, 7, "zero"},         {SP_VECTOR_RANGE, 2, 8, "far"},
      {SP_VECTOR_EMPTY, 2, 10, "empty"},      {SP_VECTOR_UNKNOWN, 0, 0, ""},
  };
  for (size_t i = 0; i < sizeof EXPECTED / sizeof *EXPECTED; i++) {
    assert_int_equal(report->faults[EXPECTED[i].fault].n, EXPECTED[i].n);
    assert_int_equal(report->faults[EXPECTED[i].fault].record, EXPECTED[i].record);
    assert_string_equal(report->faults[EXPECTED[i].fault].id, EXPECTED[i].id);
  }
  assert_int_equal(report->n_read, 11);
  assert_int_equal(report->n_skipped, 5);
  sp_vector_reader_close(r);
}

static void a_refused_vector_is_told_by_line_and_id(void **state) {
  (void)state;
  plant_text(BAD);
  uint32_t n;
  assert_int_equal(drain(NULL, &n), SP_EFORMAT);
  assert_int_equal(n, 3);
  assert_non_null(strstr(sp_err_message(), "line 5 (id 'nan')"));
}

static void lines_that_are_no_vectors_are_refused(void **state) {
  (void)state;
  static const char *const LINES[] = {"{\"id\": 1, \"terms\": [1], \"weights\": [1, 2]}",
                                      "{\"id\": 1}",
                                      "{\"terms\": [1], \"weights\": [1]}",
                                      "{\"id\": 1, \"terms\": [1]}",
                                      "{\"id\": 1, \"vector\": {\"a\": \"1\"}}",
                                      "{\"id\": 1, \"vector\": [1]}",
                                      "{\"id\": 1, \"vector\": {}, \"vector\": {}}",
                                      "{\"id\": 1, \"vector\": {}} x",
                                      "{\"id\": 1, \"vector\": {\"a\": 1}",
                                      "{\"id\": null, \"vector\": {}}"};
  for (size_t i = 0; i < sizeof LINES / sizeof *LINES; i++) {
    plant_text(LINES[i]);
    uint32_t n;
    if (drain(NULL, &n) != SP_EFORMAT) fail_msg("taken: %s", LINES[i]);
    assert_non_null(strstr(sp_err_message(), "line 1"));
  }
}

static void tokens_are_numbered_as_they_come(void **state) {
  (void)state;
  plant_text(
      "{\"id\": 7, \"contents\": \"x y\", \"vector\": {\"the\": 50, \"caf\\u00e9\": "
      "25}}\n"
      "{\"id\": \"8\", \"content\": \"z\", \"vector\": {\"new\": 3, \"the\": 100}}\n");
  sp_vector_read_options o = {.scale = 0.01f};
  sp_vector_reader *r;
  assert_int_equal(open_reader(&o, &r), SP_OK);
  sp_vector_record rec;
  bool more;
  assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
  assert_string_equal(rec.id, "7");
  assert_string_equal(rec.text, "x y");
  assert_true(rec.vec->n == 2 && rec.vec->weights[0] == 0.5f);
  assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
  assert_true(rec.vec->terms[0] == 0 && rec.vec->weights[0] == 1.0f);
  assert_true(rec.vec->terms[1] == 2 && rec.vec->weights[1] == 3 * 0.01f);
  assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
  assert_false(more);
  assert_int_equal(sp_vector_reader_format(r), SP_VECTORS_ANSERINI);
  assert_int_equal(sp_vector_reader_n_terms(r), 3);
  size_t n;
  assert_string_equal(sp_strmap_key(sp_vector_reader_vocabulary(r), 1, &n),
                      "caf\xc3\xa9");
  sp_vector_reader_close(r);
}

static uint32_t find_letter(void *context, const char *token, size_t n) {
  (void)context;
  return n == 1 ? (uint32_t)(token[0] - 'a') : SP_STRMAP_NONE;
}

static const char *spell_letter(void *context, uint32_t term, size_t *n) {
  static const char ALPHABET[] = "abcdefghijklmnopqrstuvwxyz";
  (void)context;
  *n = 1;
  return term < 26 ? ALPHABET + term : NULL;
}

static void a_callers_vocabulary_finds_and_spells(void **state) {
  (void)state;
  plant_text(
      "{\"id\": 1, \"vector\": {\"c\": 0.25, \"word\": 9, \"a\": 1.5, \"b\": 0.001}}");
  sp_vector_read_options o = {.find = find_letter};
  sp_vector_reader *r;
  assert_int_equal(open_reader(&o, &r), SP_OK);
  sp_vector_record rec;
  bool more;
  assert_int_equal(sp_vector_reader_next(r, &rec, &more), SP_OK);
  assert_int_equal(rec.vec->n, 3);
  assert_int_equal(sp_vector_reader_report(r)->faults[SP_VECTOR_UNKNOWN].n, 1);
  assert_int_equal(sp_vector_reader_report(r)->faults[SP_VECTOR_UNSORTED].n, 0);

  sp_vector_write_options wo = {.format = SP_VECTORS_ANSERINI, .spell = spell_letter};
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open(other, &wo, &w), SP_OK);
  assert_int_equal(sp_vector_writer_put(w, "1", 1, rec.vec, "\"hi\"", 4), SP_OK);
  assert_int_equal(sp_vector_writer_finish(w), SP_OK);
  sp_vector_reader_close(r);
  char *text;
  size_t n;
  assert_int_equal(sp_file_read(other, 1000, &text, &n), SP_OK);
  assert_string_equal(text,
                      "{\"id\": \"1\", \"contents\": \"\\\"hi\\\"\", \"vector\": "
                      "{\"a\": 150, \"c\": 25}}\n");
  free(text);
}

static void what_no_format_knows_is_refused(void **state) {
  (void)state;
  static const char *const TEXTS[] = {"", "hello", "[1, 2]", "SPVECTOX and more"};
  for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
    plant_text(TEXTS[i]);
    uint32_t n;
    assert_int_equal(drain(NULL, &n), SP_EFORMAT);
  }
  sp_vector_reader *r = (sp_vector_reader *)1;
  assert_int_equal(sp_vector_reader_open("/nonexistent", NULL, &r), SP_ENOTFOUND);
  assert_null(r);
  sp_vector_writer *w;
  assert_int_equal(sp_vector_writer_open("/tmp/x.vectors", NULL, &w), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_format_gives_back_what_was_written),
      cmocka_unit_test(blocks_can_be_read_in_any_order),
      cmocka_unit_test(exact_halves_take_half_the_room),
      cmocka_unit_test(a_broken_off_file_is_continued),
      cmocka_unit_test(two_writers_do_not_share_a_file),
      cmocka_unit_test(a_foreign_file_is_not_overwritten_by_continuing),
      cmocka_unit_test(every_prefix_gives_its_whole_blocks_and_no_more),
      cmocka_unit_test(every_flipped_bit_of_a_finished_file_is_seen),
      cmocka_unit_test(a_newer_version_is_refused_by_its_number),
      cmocka_unit_test(a_lying_csr_is_refused),
      cmocka_unit_test(faults_are_counted_repaired_or_left_out),
      cmocka_unit_test(a_refused_vector_is_told_by_line_and_id),
      cmocka_unit_test(lines_that_are_no_vectors_are_refused),
      cmocka_unit_test(tokens_are_numbered_as_they_come),
      cmocka_unit_test(a_callers_vocabulary_finds_and_spells),
      cmocka_unit_test(what_no_format_knows_is_refused),
  };
  return cmocka_run_group_tests_name("vector_file", tests, make_dir, remove_dir);
}
