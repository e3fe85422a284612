/* tests/test_files.c - lines of files, and files that appear when they are complete. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/lines.h"
#include "tests/harness.h"

static char folder[] = "/tmp/spindle-test-XXXXXX";
static int n_synced_folders;

/* The linker sends every fsync() here. */
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __wrap_fsync(int fd) {
  struct stat st;
  n_synced_folders += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
  return __real_fsync(fd);
}

static char *in_folder(const char *name) {
  char *path = sp_path_join(folder, name);
  assert_non_null(path);
  return path;
}

static void write_file(const char *path, const char *text) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  fputs(text, f);
  assert_int_equal(fclose(f), 0);
}

static void expect_file(const char *path, const char *text) {
  char *found;
  size_t n;
  assert_int_equal(sp_file_read(path, 1 << 20, &found, &n), SP_OK);
  assert_string_equal(found, text);
  free(found);
}

static void endless_lines_are_refused_early(void **state) {
  (void)state;
  sp_lines in;
  bool more;
  assert_int_equal(sp_lines_open("/dev/zero", 1000, &in), SP_OK);
  assert_int_equal(sp_lines_next(&in, &more), SP_EINVAL);
  assert_string_equal(sp_err_message(), "/dev/zero:1: a line of more than 1000 bytes");
  assert_true(in.cap < 5000);
  sp_lines_close(&in);
}

static void lines_are_what_lies_between_their_ends(void **state) {
  (void)state;
  static const char *const WANTED[] = {"12345", "", "\xef\xbb\xbfx", "12\r45", "last"};
  char *path = in_folder("lines");
  write_file(path,
             "\xef\xbb\xbf"
             "12345\r\n\n\xef\xbb\xbfx\n12\r45\nlast");
  sp_lines in;
  bool more;
  assert_int_equal(sp_lines_open(path, 8, &in), SP_OK);
  for (size_t i = 0; i < sizeof WANTED / sizeof *WANTED; i++) {
    assert_int_equal(sp_lines_next(&in, &more), SP_OK);
    assert_true(more);
    assert_string_equal(in.line, WANTED[i]);
    assert_int_equal(in.n, strlen(WANTED[i]));
    assert_int_equal(in.number, i + 1);
  }
  assert_int_equal(in.offset, 26);
  assert_int_equal(sp_lines_next(&in, &more), SP_OK);
  assert_false(more);
  sp_lines_close(&in);

  write_file(path, "1234\r\n12345\r\n");
  assert_int_equal(sp_lines_open(path, 4, &in), SP_OK);
  assert_int_equal(sp_lines_next(&in, &more), SP_OK);
  assert_string_equal(in.line, "1234");
  assert_int_equal(sp_lines_next(&in, &more), SP_EINVAL);
  sp_lines_close(&in);
  free(path);
}

static void finished_files_and_their_names_are_on_the_disk(void **state) {
  (void)state;
  char *path = in_folder("finished");
  sp_out out;
  n_synced_folders = 0;
  assert_int_equal(sp_out_open(path, &out), SP_OK);
  assert_false(sp_path_exists(path));
  fputs("all", out.f);
  assert_int_equal(sp_out_commit(&out), SP_OK);
  assert_int_equal(n_synced_folders, 1);
  expect_file(path, "all");
  free(path);
}

static void links_are_followed_and_stay(void **state) {
  (void)state;
  char *path = in_folder("target"), *link = in_folder("link");
  struct stat st;
  sp_out out;
  write_file(path, "old");
  assert_int_equal(symlink("target", link), 0);
  assert_int_equal(sp_out_open(link, &out), SP_OK);
  fputs("new", out.f);
  assert_int_equal(sp_out_commit(&out), SP_OK);
  assert_int_equal(lstat(link, &st), 0);
  assert_true(S_ISLNK(st.st_mode));
  expect_file(path, "new");
  free(path);
  free(link);
}

/* Renaming over /dev/null would end it for the whole machine. */
static void pipes_are_written_not_replaced(void **state) {
  (void)state;
  char *path = in_folder("pipe");
  struct stat st;
  sp_out out;
  char got[8] = "";
  assert_int_equal(mkfifo(path, 0600), 0);
  FILE *reader = fopen(path, "r+");
  assert_non_null(reader);
  assert_int_equal(sp_out_open(path, &out), SP_OK);
  fputs("line\n", out.f);
  assert_int_equal(sp_out_commit(&out), SP_OK);
  assert_non_null(fgets(got, sizeof got, reader));
  assert_string_equal(got, "line\n");
  fclose(reader);
  assert_int_equal(lstat(path, &st), 0);
  assert_true(S_ISFIFO(st.st_mode));
  free(path);
}

static int make_folder(void **state) {
  (void)state;
  return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
  (void)state;
  static const char *const NAMES[] = {"lines", "finished", "target", "link", "pipe"};
  for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
    char *path = in_folder(NAMES[i]);
    unlink(path);
    free(path);
  }
  return rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(endless_lines_are_refused_early),
      cmocka_unit_test(lines_are_what_lies_between_their_ends),
      cmocka_unit_test(finished_files_and_their_names_are_on_the_disk),
      cmocka_unit_test(links_are_followed_and_stay),
      cmocka_unit_test(pipes_are_written_not_replaced),
  };
  return cmocka_run_group_tests_name("files", tests, make_folder, remove_folder);
}
