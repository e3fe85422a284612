/* tests/test_model_open.c - model directories, sound and hostile. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "encoder/model.h"
#include "tests/harness.h"

static const char *shared(void) {
  const char *dir = getenv("SPINDLE_SHARED");
  return dir ? dir : "../shared";
}

static char *golden_path(const char *rest) {
  char *path = NULL;
  if (asprintf(&path, "%s/golden/encoders/%s", shared(), rest) < 0) abort();
  return path;
}

static char *need_golden(const char *rest) {
  char *path = golden_path(rest);
  if (sp_path_exists(path)) return path;
  print_message("skipped: %s is not there\n", path);
  free(path);
  skip();
  return NULL;
}

/* The file that expected.txt blames, or NULL where the directory is sound. */
static char *blamed_file(const char *dir) {
  char *path = sp_path_join(dir, "expected.txt"), *text;
  size_t n;
  assert_int_equal(sp_file_read(path, 1 << 16, &text, &n), SP_OK);
  free(path);
  char *colon = strchr(text, ':');
  bool sound = !strncmp(text, "nothing", 7);
  if (!sound && colon) *colon = '\0';
  if (!sound) return text;
  free(text);
  return NULL;
}

static int is_tokenizers_fault(const char *name) {
  return !strncmp(name, "tokenizer-", 10) && strcmp(name, "tokenizer-missing");
}

static void every_hostile_directory_is_refused_by_file_and_fault(void **state) {
  (void)state;
  char *root = need_golden("bad");
  DIR *d = opendir(root);
  assert_non_null(d);
  int n = 0, wrong = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.' || is_tokenizers_fault(e->d_name)) continue;
    char *dir = sp_path_join(root, e->d_name);
    char *file = blamed_file(dir);
    sp_model *m = (sp_model *)1;
    sp_err err = sp_model_open(dir, &m);
    const char *message = err ? sp_err_message() : "(opened)";
    if (file ? !err || !strstr(message, file) || strchr(message, '\n') : err) {
      print_message("%s: %s\n", e->d_name, message);
      wrong++;
    }
    assert_true(err ? m == NULL : m != NULL);
    sp_model_close(m);
    free(file);
    free(dir);
    n++;
  }
  closedir(d);
  free(root);
  assert_true(n > 60);
  assert_int_equal(wrong, 0);
}

static void every_golden_model_opens(void **state) {
  (void)state;
  char *root = need_golden("models");
  DIR *d = opendir(root);
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    char *dir = sp_path_join(root, e->d_name);
    sp_model *m;
    if (sp_model_open(dir, &m)) fail_msg("%s: %s", e->d_name, sp_err_message());
    sp_model_close(m);
    free(dir);
  }
  closedir(d);
  free(root);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_hostile_directory_is_refused_by_file_and_fault),
      cmocka_unit_test(every_golden_model_opens),
  };
  return cmocka_run_group_tests_name("model_open", tests, NULL, NULL);
}
