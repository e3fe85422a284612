/* tests/index_fixture.c - made-up collections, built and compared. */
#include "index_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/half.h"
#include "harness.h"

int temp_dir_make(void **state) {
  char *path = strdup("/tmp/spindle-test-XXXXXX");
  if (!path || !mkdtemp(path)) return -1;
  *state = path;
  return 0;
}

static void remove_tree(const char *path) {
  DIR *d = opendir(path);
  if (!d) {
    unlink(path);
    return;
  }
  for (struct dirent *e; (e = readdir(d));) {
    if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
    char *inner;
    if (asprintf(&inner, "%s/%s", path, e->d_name) < 0) break;
    remove_tree(inner);
    free(inner);
  }
  closedir(d);
  rmdir(path);
}

int temp_dir_remove(void **state) {
  remove_tree(*state);
  free(*state);
  return 0;
}

pid_t child_start(int (*f)(void *), void *arg) {
  fflush(NULL);
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid == 0) _exit(f(arg));
  return pid;
}

int child_finish(pid_t pid) {
  int status;
  assert_int_equal(waitpid(pid, &status, 0), pid);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

const char *path_in(const char *dir, const char *name) {
  static char paths[4][512];
  static int next;
  char *p = paths[next++ % 4];
  snprintf(p, sizeof paths[0], "%s/%s", dir, name);
  return p;
}

static uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

void fixture_vector(uint64_t i, uint32_t n_terms, sp_vec *v) {
  sp_vec_clear(v);
  uint64_t state = i * 1000003, n = mix(state) % 61;
  if (i % 97 == 5) n = 0;
  for (uint64_t e = 0; e < n; e++) {
    double u = (double)(mix(++state) >> 11) / 9007199254740992.0;
    uint32_t term = (uint32_t)(u * u * u * n_terms);
    float w = (float)(mix(++state) % 2000 + 1) / 512;
    assert_int_equal(sp_vec_push(v, term, w), SP_OK);
  }
  sp_vec_normalize(v);
  for (uint32_t e = 0; e < v->n; e++)
    v->weights[e] = sp_f16_to_f32(sp_f32_to_f16(v->weights[e]));
}

static void fixture_fields(uint64_t i, char out[128]) {
  snprintf(out, 128, "{\"text\": \"document number %llu speaks of %llu\"}",
           (unsigned long long)i, (unsigned long long)mix(i));
}

sp_err fixture_add(sp_builder *b, uint64_t first, uint64_t end, uint32_t n_terms) {
  sp_vec v = {0};
  sp_err err = SP_OK;
  for (uint64_t i = first; i < end && !err; i++) {
    char id[32], fields[128];
    int n = snprintf(id, sizeof id, "doc-%llu", (unsigned long long)i);
    fixture_vector(i, n_terms, &v);
    fixture_fields(i, fields);
    err = sp_builder_add(b, id, (size_t)n, &v, fields, strlen(fields));
  }
  sp_vec_free(&v);
  return err;
}

sp_build_options fixture_options(void) {
  sp_build_options o = sp_build_options_defaults();
  o.n_threads = 1;
  o.memory_bytes = 64 << 20;
  o.source = "fixture";
  return o;
}

sp_err fixture_build(const char *path, const sp_build_options *o, uint64_t first,
                     uint64_t end, uint32_t n_terms, sp_build_summary *summary) {
  sp_builder *b;
  sp_err err = sp_builder_open(path, o, &b);
  if (err) return err;
  err = fixture_add(b, first + sp_builder_start(b)->n_docs, end, n_terms);
  if (!err) return sp_builder_finish(b, summary);
  sp_builder_abort(b);
  return err;
}

static uint32_t term_at(const sp_segment *g, const void *terms, uint32_t i) {
  return g->term_bytes == 2 ? ((const uint16_t *)terms)[i] : ((const uint32_t *)terms)[i];
}

static void expect_document(const sp_snapshot *s, uint64_t i, uint32_t n_terms) {
  char id[32], fields[128];
  int id_n = snprintf(id, sizeof id, "doc-%llu", (unsigned long long)i);
  uint32_t doc;
  assert_int_equal(sp_snapshot_lookup(s, id, (size_t)id_n, &doc), SP_OK);
  size_t n;
  const char *name = sp_snapshot_id(s, doc, &n);
  assert_non_null(name);
  assert_int_equal(n, id_n);
  assert_memory_equal(name, id, n);

  sp_buf got = {0};
  fixture_fields(i, fields);
  assert_int_equal(sp_snapshot_fields(s, doc, &got), SP_OK);
  assert_string_equal(got.data, fields);
  sp_buf_free(&got);

  sp_vec v = {0};
  fixture_vector(i, n_terms, &v);
  const sp_segment *g = sp_snapshot_find_segment(s, doc);
  sp_doc d = sp_segment_doc(g, doc - g->first_doc);
  assert_int_equal(d.n, v.n);
  for (uint32_t e = 0; e < d.n; e++) {
    assert_int_equal(term_at(g, d.terms, e), v.terms[e]);
    assert_true(sp_f16_to_f32(d.weights[e]) == v.weights[e]);
  }
  sp_vec_free(&v);
}

/* What the document has of the term; 0: nothing. */
static float weight_in(const sp_segment *g, uint32_t doc, uint32_t term) {
  sp_doc d = sp_segment_doc(g, doc);
  for (uint32_t e = 0; e < d.n; e++)
    if (term_at(g, d.terms, e) == term) return sp_f16_to_f32(d.weights[e]);
  return 0;
}

/* Runs cover the list, documents ascend and have the term, and codes are their weights
 * rounded up. */
static void expect_list(const sp_segment *g, uint32_t term, const sp_list *l) {
  assert_true(l->n_docs <= l->n_all_docs);
  assert_int_equal(l->run_start[0], 0);
  assert_int_equal(l->run_start[l->n_runs], l->n_docs);
  uint32_t next = 0;
  for (uint32_t r = 0; r < l->n_runs; r++) {
    assert_true(l->run_start[r] < l->run_start[r + 1]);
    for (uint32_t i = l->run_start[r]; i < l->run_start[r + 1]; i++) {
      uint32_t doc = l->run_window[r] * SP_WINDOW_DOCS + l->docs[i];
      assert_true(doc >= next);
      next = doc + 1;
      float w = weight_in(g, doc, term), coded = l->step * l->codes[i];
      assert_true(w > 0 && w <= l->max_weight);
      assert_true(coded >= w * (1 - 1e-6f) && coded < w + 1.001f * l->step);
    }
  }
}

void fixture_expect(const char *path, uint64_t first, uint64_t end, uint32_t n_terms) {
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  assert_int_equal(sp_snapshot_verify(s), SP_OK);
  assert_int_equal(sp_snapshot_info(s)->n_docs, end - first);
  for (uint64_t i = first; i < end; i++) expect_document(s, i, n_terms);
  for (uint32_t i = 0; i < sp_snapshot_n_segments(s); i++) {
    const sp_segment *g = sp_snapshot_segment(s, i);
    sp_list l;
    for (uint32_t t = 0; t < g->n_terms; t++) {
      if (sp_segment_list(g, t, &l)) expect_list(g, t, &l);
    }
    assert_int_equal(sp_segment_health(g), SP_OK);
  }
  sp_snapshot_close(s);
  sp_index_close(ix);
}

static void feed(uint64_t *digest, const void *data, size_t n) {
  const uint8_t *p = data;
  for (size_t i = 0; i < n; i++) *digest = (*digest ^ p[i]) * 0x100000001b3u;
}

uint64_t fixture_feed_list(const sp_list *l, uint64_t digest) {
  feed(&digest, l->run_start, ((size_t)l->n_runs + 1) * 4);
  feed(&digest, l->run_window, (size_t)l->n_runs * 2);
  feed(&digest, l->docs, (size_t)l->n_docs * 2);
  feed(&digest, l->codes, l->n_docs);
  feed(&digest, &l->n_all_docs, sizeof l->n_all_docs);
  feed(&digest, &l->max_weight, sizeof l->max_weight);
  feed(&digest, &l->max_discarded, sizeof l->max_discarded);
  return digest;
}

uint64_t fixture_digest(const char *path) {
  uint64_t digest = 0xcbf29ce484222325u;
  sp_index *ix;
  sp_snapshot *s;
  assert_int_equal(sp_index_open(path, &ix), SP_OK);
  assert_int_equal(sp_snapshot_open(ix, &s), SP_OK);
  for (uint32_t i = 0; i < sp_snapshot_n_segments(s); i++) {
    const sp_segment *g = sp_snapshot_segment(s, i);
    for (uint32_t d = 0; d < g->n_docs; d++) {
      sp_doc v = sp_segment_doc(g, d);
      size_t n;
      const char *id = sp_snapshot_id(s, g->first_doc + d, &n);
      feed(&digest, id, n);
      feed(&digest, v.terms, (size_t)v.n * g->term_bytes);
      feed(&digest, v.weights, (size_t)v.n * 2);
    }
    sp_list l;
    for (uint32_t t = 0; t < g->n_terms; t++) {
      feed(&digest, &g->list_at[t], 8);
      if (sp_segment_list(g, t, &l)) digest = fixture_feed_list(&l, digest);
    }
  }
  sp_snapshot_close(s);
  sp_index_close(ix);
  return digest;
}
