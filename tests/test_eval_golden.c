/* tests/test_eval_golden.c - the very lines that trec_eval prints, for every golden case.
 *
 * $SPINDLE_SHARED/golden/trec_eval/ holds a folder a case: run.txt and qrels.txt with
 * expected.txt and expected-c.txt (what `trec_eval -q -m all_trec`, without and with -c,
 * prints of the measures known here), or with expected-error.txt where it refuses. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tests/harness.h"
#include "tools/eval_measures.h"
#include "tools/eval_report.h"
#include "tools/trec.h"

static char golden[512];

static int find_golden(void **state) {
  (void)state;
  const char *shared = getenv("SPINDLE_SHARED");
  snprintf(golden, sizeof golden, "%s/golden/trec_eval", shared ? shared : "../shared");
  return 0;
}

static void need_golden(void) {
  if (sp_path_is_dir(golden)) return;
  print_message("skipped: no folder %s (SPINDLE_SHARED names the one above)\n", golden);
  skip();
}

/* "folder/name" of a case, in a static buffer. */
static const char *path_of(const char *name, const char *file) {
  static char path[1024];
  snprintf(path, sizeof path, "%s/%s/%s", golden, name, file);
  return path;
}

static bool has(const char *name, const char *file) {
  return sp_path_exists(path_of(name, file));
}

/* Evaluates one case; *out gets trec_eval's lines, *mrr MS MARCO's number. */
static sp_err evaluate(const char *name, const char *run_file, const char *qrels_file,
                       const sp_eval_options *how, sp_buf *out, double *mrr) {
  sp_eval_ids ids = {0};
  sp_run run = {0};
  sp_qrels qrels = {0};
  sp_evaluation e = {0};
  sp_err err = sp_run_read(path_of(name, run_file), &ids, &run);
  if (!err) err = sp_qrels_read(path_of(name, qrels_file), &ids, &qrels);
  if (!err) err = sp_evaluate(&ids, &run, &qrels, how, &e);
  if (!err) {
    *mrr = e.all[SP_MRR_10];
    err = sp_eval_put_trec(out, &ids, &e, true);
    sp_evaluation_free(&e);
  }
  sp_run_free(&run);
  sp_qrels_free(&qrels);
  sp_eval_ids_free(&ids);
  return err;
}

static double check(const char *name, const char *run, const char *qrels,
                    sp_eval_options how, const char *expected_file) {
  sp_buf out = {0};
  double mrr = 0;
  sp_err err = evaluate(name, run, qrels, &how, &out, &mrr);
  if (err) fail_msg("%s: %s", name, sp_err_message());
  char *expected;
  size_t n;
  assert_int_equal(sp_file_read(path_of(name, expected_file), 1 << 24, &expected, &n),
                   SP_OK);
  if (n != out.n || memcmp(expected, out.data, n) != 0) {
    size_t line = 1, i = 0;
    for (; i < n && i < out.n && expected[i] == out.data[i]; i++)
      line += expected[i] == '\n';
    fail_msg("%s: line %zu differs from %s", name, line, expected_file);
  }
  free(expected);
  sp_buf_free(&out);
  return mrr;
}

static void check_refused(const char *name) {
  for (int complete = 0; complete < 2; complete++) {
    sp_buf out = {0};
    double mrr;
    const sp_eval_options how = {.complete = complete};
    if (evaluate(name, "run.txt", "qrels.txt", &how, &out, &mrr) == SP_OK)
      fail_msg("%s: was not refused", name);
    assert_int_equal(out.n, 0);
    sp_buf_free(&out);
  }
}

/* The first number of the form "mrr_10 <tab> all <tab> 0.1234". */
static double expected_mrr(const char *name) {
  char *text;
  size_t n;
  assert_int_equal(sp_file_read(path_of(name, "expected-mrr10.txt"), 1 << 16, &text, &n),
                   SP_OK);
  double x = strtod(strstr(text, "all") + 3, NULL);
  free(text);
  return x;
}

static void check_case(const char *name) {
  if (has(name, "expected-error.txt")) {
    check_refused(name);
    return;
  }
  bool beir = has(name, "expected-kept.txt");
  sp_eval_options how = {.drop_same_id = beir};
  double mrr = check(name, "run.txt", "qrels.txt", how, "expected.txt");
  if (has(name, "expected-mrr10.txt"))
    assert_float_equal(mrr, expected_mrr(name), 0.00005);
  if (beir) {
    check(name, "run.json", "qrels.tsv", how, "expected.txt");
    check(name, "run.json", "qrels.tsv", (sp_eval_options){0}, "expected-kept.txt");
    check(name, "run.json", "qrels.tsv", (sp_eval_options){.complete = true},
          "expected-kept-c.txt");
  }
  how.complete = true;
  check(name, "run.txt", "qrels.txt", how, "expected-c.txt");
}

static void every_case_prints_what_trec_eval_prints(void **state) {
  (void)state;
  need_golden();
  DIR *dir = opendir(golden);
  assert_non_null(dir);
  int n = 0;
  for (struct dirent *d; (d = readdir(dir));) {
    if (d->d_name[0] == '.' || !has(d->d_name, "run.txt")) continue;
    check_case(d->d_name);
    n++;
  }
  closedir(dir);
  print_message("%d cases\n", n);
  assert_true(n >= 30);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_case_prints_what_trec_eval_prints),
  };
  return cmocka_run_group_tests_name("eval_golden", tests, find_golden, NULL);
}
