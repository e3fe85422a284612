/* tests/test_index_robust.c - many processes, killed ones, full disks, little memory. */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "harness.h"
#include "index_fixture.h"

enum { N_TERMS = 3000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

/* A build, as a child's work: the exit status is its sp_err. */
typedef struct build_job {
  const char *path;
  sp_build_options o;
  uint64_t first, end;
  rlim_t file_bytes; /* 0: no limit */
} build_job;

static int build(void *arg) {
  build_job *j = arg;
  if (j->file_bytes) {
    struct rlimit limit = {j->file_bytes, j->file_bytes};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit)) return 100;
  }
  sp_err err = fixture_build(j->path, &j->o, j->first, j->end, N_TERMS, NULL);
  if (err && strchr(sp_err_message(), '\n')) return 101;
  if (err == SP_EIO && !strstr(sp_err_message(), "cannot write") &&
      !strstr(sp_err_message(), j->path))
    return 102;
  return (int)err;
}

static int build_in_child(build_job *j) {
  return child_finish(child_start(build, j));
}

static build_job job_of(const char *path, uint64_t first, uint64_t end) {
  return (build_job){.path = path, .o = fixture_options(), .first = first, .end = end};
}

/* A reader: says that it has begun, reads its snapshot until it is told to stop, and
 * then looks for what came meanwhile. */
typedef struct reader {
  const char *path;
  int say, hear;
} reader;

static uint64_t digest_snapshot(const sp_snapshot *s) {
  uint64_t digest = 0xcbf29ce484222325u;
  for (uint32_t i = 0; i < sp_snapshot_n_segments(s); i++) {
    const sp_segment *g = sp_snapshot_segment(s, i);
    for (uint32_t d = 0; d < g->n_docs; d++) {
      sp_doc v = sp_segment_doc(g, d);
      const uint8_t *at = v.terms;
      for (size_t k = 0; k < (size_t)v.n * g->term_bytes; k++)
        digest = (digest ^ at[k]) * 0x100000001b3u;
    }
    sp_list l;
    for (uint32_t t = 0; t < g->n_terms; t++)
      for (uint32_t k = 0; sp_segment_list(g, t, &l) && k < l.n_docs; k++)
        digest = (digest ^ l.docs[k]) * 0x100000001b3u;
  }
  return digest;
}

static int read_on(void *arg) {
  reader *r = arg;
  sp_index *ix;
  sp_snapshot *s, *later;
  if (sp_index_open(r->path, &ix) || sp_snapshot_open(ix, &s)) return 1;
  uint64_t digest = digest_snapshot(s);
  if (write(r->say, "r", 1) != 1) return 2;
  struct pollfd p = {.fd = r->hear, .events = POLLIN};
  do {
    if (digest_snapshot(s) != digest || sp_snapshot_info(s)->n_docs != 3000) return 3;
  } while (poll(&p, 1, 0) == 0);
  if (digest_snapshot(s) != digest || sp_snapshot_verify(s)) return 4;
  if (sp_snapshot_open(ix, &later)) return 5;
  if (sp_snapshot_info(later)->n_docs != 4000) return 6;
  if (sp_snapshot_info(later)->n_segments != 2 || sp_snapshot_verify(later)) return 7;
  sp_snapshot_close(later);
  sp_snapshot_close(s);
  sp_index_close(ix);
  return 0;
}

static void two_readers_keep_their_snapshots_while_a_segment_is_added(void **state) {
  build_job j = job_of(path_in(*state, "ix"), 0, 3000);
  assert_int_equal(build_in_child(&j), SP_OK);
  int say[2], hear[2];
  assert_int_equal(pipe(say), 0);
  assert_int_equal(pipe(hear), 0);
  reader r = {j.path, say[1], hear[0]};
  pid_t readers[2] = {child_start(read_on, &r), child_start(read_on, &r)};
  char byte;
  for (int i = 0; i < 2; i++) assert_int_equal(read(say[0], &byte, 1), 1);
  build_job more = job_of(j.path, 2900, 4000); /* and replaces a hundred */
  more.o.append = true;
  assert_int_equal(build_in_child(&more), SP_OK);
  assert_int_equal(write(hear[1], "..", 2), 2); /* nobody takes it out: both see it */
  for (int i = 0; i < 2; i++) assert_int_equal(child_finish(readers[i]), 0);
  fixture_expect(j.path, 0, 4000, N_TERMS);
  for (int i = 0; i < 2; i++) {
    close(say[i]);
    close(hear[i]);
  }
}

static uint64_t next_random(uint64_t *state) {
  *state = *state * 6364136223846793005u + 1442695040888963407u;
  return *state >> 33;
}

static uint64_t now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void wait_us(uint64_t us) {
  struct timespec t = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
  nanosleep(&t, NULL);
}

/* Twenty kills; each time the build goes on from where the one before was killed. The
 * instants are shares of the time that an unbroken build takes, in several commits. */
static void a_build_killed_anywhere_goes_on_to_the_same_index(void **state) {
  enum { N_KILLED = 30000 };
  build_job whole = job_of(path_in(*state, "whole"), 0, N_KILLED);
  build_job killed = job_of(path_in(*state, "killed"), 0, N_KILLED);
  uint64_t began = now_us();
  assert_int_equal(build_in_child(&whole), SP_OK);
  uint64_t us = now_us() - began, random = 11, digest = fixture_digest(whole.path);
  unsigned n_whole = 0;
  for (int i = 0; i < 20; i++) {
    pid_t pid = child_start(build, &killed);
    wait_us(us * (next_random(&random) % 80) / 100);
    kill(pid, SIGKILL);
    int status = child_finish(pid);
    if (status == 128 + SIGKILL) continue;
    /* Done; or told that it is done, when the kill before came after the commit. */
    assert_true(status == SP_OK || status == SP_EINVAL);
    assert_true(fixture_digest(killed.path) == digest);
    n_whole++;
    char command[600];
    snprintf(command, sizeof command, "rm -rf '%s'", killed.path);
    assert_int_equal(system(command), 0);
  }
  print_message("%u builds were done before their kill came\n", n_whole);
  int status = build_in_child(&killed);
  assert_true(status == SP_OK || status == SP_EINVAL);
  assert_true(fixture_digest(killed.path) == digest);
  fixture_expect(killed.path, 0, N_KILLED, N_TERMS);
  assert_false(sp_path_exists(path_in(killed.path, "build.state")));
}

/* A new index vanishes, an old one is as it was, wherever the limit strikes. */
static void a_full_disk_leaves_what_was_there(void **state) {
  build_job old = job_of(path_in(*state, "old"), 0, 1000);
  assert_int_equal(build_in_child(&old), SP_OK);
  uint64_t digest = fixture_digest(old.path);
  const char *fresh = path_in(*state, "new");
  static const rlim_t LIMITS[] = {1, 4096, 60000, 300000, 700000, 1000000, 1400000};
  unsigned n_refused = 0;
  for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
    build_job new = job_of(fresh, 0, 8000);
    new.file_bytes = LIMITS[i];
    assert_int_equal(build_in_child(&new), SP_EIO);
    assert_false(sp_path_exists(new.path));
    build_job more = job_of(old.path, 900, 8000);
    more.o.append = true;
    more.o.source = "the second part";
    more.file_bytes = LIMITS[i];
    assert_int_equal(build_in_child(&more), SP_EIO);
    assert_true(fixture_digest(old.path) == digest);
    n_refused++;
  }
  assert_int_equal(n_refused, 7);
  build_job more = job_of(old.path, 900, 8000);
  more.o.append = true;
  assert_int_equal(build_in_child(&more), SP_OK);
  fixture_expect(old.path, 0, 8000, N_TERMS);
}

static void a_full_map_leaves_what_was_there(void **state) {
  sp_build_options o = fixture_options();
  const char *old = path_in(*state, "old"), *new = path_in(*state, "new");
  assert_int_equal(fixture_build(old, &o, 0, 1000, N_TERMS, NULL), SP_OK);
  uint64_t digest = fixture_digest(old);
  for (uint64_t bytes = 100000; bytes < 1000000; bytes *= 3) {
    o.max_bytes = bytes;
    o.append = false;
    assert_int_equal(fixture_build(new, &o, 0, 3000, N_TERMS, NULL), SP_EIO);
    assert_non_null(strstr(sp_err_message(), "map is full"));
    assert_null(strchr(sp_err_message(), '\n'));
    assert_false(sp_path_exists(new));
    o.append = true;
    assert_int_equal(fixture_build(old, &o, 900, 4000, N_TERMS, NULL), SP_EIO);
    assert_non_null(strstr(sp_err_message(), "map is full"));
    assert_true(fixture_digest(old) == digest);
  }
  o.max_bytes = sp_build_options_defaults().max_bytes;
  assert_int_equal(fixture_build(old, &o, 900, 4000, N_TERMS, NULL), SP_OK);
  fixture_expect(old, 0, 4000, N_TERMS);
}

static long peak_kib(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return u.ru_maxrss;
}

/* More than the memory holds goes through it. */
static int build_within_memory(void *arg) {
  build_job *j = arg;
  j->o.n_threads = 2;
  sp_build_summary sum;
  sp_err err = fixture_build(j->path, &j->o, j->first, j->end, N_TERMS, &sum);
  if (err) return 1;
  print_message("%ld KiB at most, for an index of %llu KiB\n", peak_kib(),
                (unsigned long long)sum.bytes / 1024);
  fflush(NULL);
  if (sum.bytes < 64 << 20) return 2; /* too small to show anything */
  return peak_kib() < (64 + 32) * 1024 ? 0 : 3;
}

static void a_build_keeps_within_its_memory(void **state) {
  if (IS_SANITIZED) {
    print_message("skipped: a sanitizer holds memory of its own\n");
    skip();
  }
  build_job j = job_of(path_in(*state, "ix"), 0, 330000);
  assert_int_equal(child_finish(child_start(build_within_memory, &j)), 0);
}

#define IN_TEMP_DIR(f) cmocka_unit_test_setup_teardown(f, temp_dir_make, temp_dir_remove)

int main(void) {
  const struct CMUnitTest tests[] = {
      IN_TEMP_DIR(two_readers_keep_their_snapshots_while_a_segment_is_added),
      IN_TEMP_DIR(a_build_killed_anywhere_goes_on_to_the_same_index),
      IN_TEMP_DIR(a_full_disk_leaves_what_was_there),
      IN_TEMP_DIR(a_full_map_leaves_what_was_there),
      IN_TEMP_DIR(a_build_keeps_within_its_memory),
  };
  return cmocka_run_group_tests_name("index_robust", tests, NULL, NULL);
}
