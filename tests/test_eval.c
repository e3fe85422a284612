/* tests/test_eval.c - what the golden runs leave out: odd files, round trips, reports. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "tests/harness.h"
#include "tools/beir.h"
#include "tools/eval_measures.h"
#include "tools/eval_report.h"
#include "tools/trec.h"

static char dir[] = "/tmp/spindle-eval-XXXXXX";
static char run_path[64], qrels_path[64];

static int make_dir(void **state) {
  (void)state;
  if (!mkdtemp(dir)) return -1;
  snprintf(run_path, sizeof run_path, "%s/run", dir);
  snprintf(qrels_path, sizeof qrels_path, "%s/qrels", dir);
  return 0;
}

static int remove_dir(void **state) {
  (void)state;
  unlink(run_path);
  unlink(qrels_path);
  return rmdir(dir);
}

static void plant(const char *path, const char *text) {
  FILE *f = fopen(path, "wb");
  assert_non_null(f);
  assert_true(fputs(text, f) >= 0);
  assert_int_equal(fclose(f), 0);
}

/* One evaluation with all that belongs to it. */
typedef struct trial {
  sp_eval_ids ids;
  sp_run run;
  sp_qrels qrels;
  sp_evaluation e;
} trial;

static sp_err try(trial *t, const char *run, const char *qrels, sp_eval_options how) {
  *t = (trial){0};
  plant(run_path, run);
  plant(qrels_path, qrels);
  sp_err err = sp_run_read(run_path, &t->ids, &t->run);
  if (!err) err = sp_qrels_read(qrels_path, &t->ids, &t->qrels);
  return err ? err : sp_evaluate(&t->ids, &t->run, &t->qrels, &how, &t->e);
}

static void end(trial *t) {
  sp_evaluation_free(&t->e);
  sp_run_free(&t->run);
  sp_qrels_free(&t->qrels);
  sp_eval_ids_free(&t->ids);
}

static void hand_computed_measures_agree(void **state) {
  (void)state;
  trial t;
  /* ranks: b (grade 3), x (none), a (grade 1); c (grade 2) is not found */
  assert_int_equal(
      try(&t, "q Q0 a 0 1 t\nq Q0 b 0 3 t\nq Q0 x 0 2 t\n",
          "q 0 a 1\nq 0 b 3\nq 0 c 2\nq 0 z -1\nr 0 a 1\n", (sp_eval_options){0}),
      SP_OK);
  double dcg = 3 + 1 / log2(4), ideal = 3 + 2 / log2(3) + 1 / log2(4);
  assert_float_equal(t.e.all[SP_NDCG_10], dcg / ideal, 1e-12);
  assert_float_equal(t.e.all[SP_MAP], (1 + 2.0 / 3) / 3, 1e-12);
  assert_float_equal(t.e.all[SP_RECALL_10], 2.0 / 3, 1e-12);
  assert_float_equal(t.e.all[SP_RECIP_RANK], 1, 1e-12);
  assert_float_equal(t.e.all[SP_MRR_10], 0.5, 1e-12); /* r counts there */
  end(&t);
}

static void what_trec_eval_trips_over_is_read(void **state) {
  (void)state;
  trial t;
  /* ids with #, comments in a row and at the end, only negative grades */
  assert_int_equal(try(&t, "# one\n  # two\nq#1 Q0 d#1 1 2 t\nneg Q0 d 1 1 t\n# end",
                       "# one\n# two\nq#1 0 d#1 1\nneg 0 d -5\nneg 0 e -1\n# end\n",
                       (sp_eval_options){0}),
                   SP_OK);
  assert_true(t.e.all[SP_NUM_Q] == 2 && t.e.all[SP_MAP] == 0.5);
  end(&t);
}

static void bad_files_are_refused_by_line(void **state) {
  (void)state;
  static const char RUN[] = "q Q0 d 1 2 t\n", QRELS[] = "q 0 d 1\n";
  static const struct {
    const char *run, *qrels, *says;
  } BAD[] = {
      {" \n\n\t\n", QRELS, "no results"},
      {"q Q0 d 1 2 t\nq Q0 e 1 nan t\n", QRELS, "line 2"},
      {"q Q0 d 1 2\n", QRELS, "line 1"},
      {RUN, "q 0 d 1\n \n", "line 2"},
      {RUN, "q 0 d 1 1\n", "line 1"},
      {RUN, "# only\n", "no judgements"},
      {RUN, " # late\n", "line 1"},
      {RUN, "query-id\tcorpus-id\tscore\nq\td\n", "line 2"},
      {"{\"q\": {\"d\": 1}", QRELS, "byte"},
      {"{\"q\": {\"d\": NaN}}", QRELS, "NaN"},
      {"{\"q\": {\"d\": \"1\"}}", QRELS, "expected a number"},
      {"{}", QRELS, "no results"},
      {"{\"q\": {\"d\": 1, \"d\": 2}}", QRELS, "twice"},
      {RUN, "p 0 d 1\n", "no query"},
  };
  for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
    trial t;
    if (try(&t, BAD[i].run, BAD[i].qrels, (sp_eval_options){0}) == SP_OK)
      fail_msg("case %zu was taken", i);
    if (!strstr(sp_err_message(), BAD[i].says)) fail_msg("%s", sp_err_message());
    end(&t);
  }
}

static void a_query_that_loses_all_results_still_counts(void **state) {
  (void)state;
  trial t;
  assert_int_equal(try(&t, "a Q0 a 1 2 t\nb Q0 a 1 2 t\n", "a 0 b 1\nb 0 a 1\n",
                       (sp_eval_options){.drop_same_id = true}),
                   SP_OK);
  assert_true(t.e.all[SP_NUM_Q] == 2 && t.e.all[SP_NUM_RET] == 1);
  assert_float_equal(t.e.all[SP_MAP], 0.5, 1e-12);
  end(&t);
}

static void a_written_run_reads_back_with_equal_scores(void **state) {
  (void)state;
  sp_eval_ids ids = {0};
  sp_run run = {0};
  const double scores[] = {1.0f / 3, 0.1, 1e300, -2.5, 12345.678f};
  for (size_t i = 0; i < 5; i++) {
    char doc[8];
    snprintf(doc, sizeof doc, "d%zu", i);
    assert_int_equal(
        sp_run_add(&run, &ids, i % 2 ? "q2" : "q10", i % 2 ? 2 : 3, doc, 2, scores[i]),
        SP_OK);
  }
  assert_int_equal(sp_run_write(run_path, &ids, &run, "spindle"), SP_OK);
  sp_eval_ids again = {0};
  sp_run back = {0};
  assert_int_equal(sp_run_read(run_path, &again, &back), SP_OK);
  assert_int_equal(back.n, 5);
  for (size_t i = 0; i < 5; i++) assert_true(back.lines[i].score == run.lines[i].score);
  char *text;
  size_t n;
  assert_int_equal(sp_file_read(run_path, 1000, &text, &n), SP_OK);
  assert_non_null(strstr(text, "q10 Q0 d2 1 1e+300 spindle\n"));
  assert_ptr_equal(strstr(text, "q10 Q0 d2 1"), text);
  free(text);

  assert_int_equal(sp_run_add(&run, &ids, "q2", 2, "two words", 9, 1), SP_OK);
  assert_int_equal(sp_run_write(run_path, &ids, &run, "spindle"), SP_EINVAL);
  sp_run_free(&run);
  sp_run_free(&back);
  sp_eval_ids_free(&ids);
  sp_eval_ids_free(&again);
}

static void the_json_report_parses(void **state) {
  (void)state;
  trial t;
  assert_int_equal(try(&t, "\"q\\ Q0 d 1 2 t\n", "\"q\\ 0 d 1\n", (sp_eval_options){0}),
                   SP_OK);
  sp_buf out = {0};
  const sp_eval_extra extra = {"scored_fraction", 0.25};
  assert_int_equal(sp_eval_put_json(&out, &t.ids, &t.e, true, &extra, 1), SP_OK);
  json_t *o;
  assert_int_equal(sp_json_parse(out.data, out.n, "report", &o), SP_OK);
  static const char *const KEYS[] = {"ndcg@10", "mrr@10", "recall@100", "map",
                                     "scored_fraction"};
  for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++)
    assert_true(json_is_number(json_object_get(o, KEYS[i])));
  const json_t *one = json_object_get(json_object_get(o, "queries"), "\"q\\");
  assert_true(json_number_value(json_object_get(one, "ndcg@10")) == 1);
  json_decref(o);
  sp_buf_free(&out);
  end(&t);
}

static void queries_are_read_in_order(void **state) {
  (void)state;
  plant(run_path,
        "{\"_id\": \"a\", \"metadata\": {\"x\": [1]}, \"text\": \"caf\\u00e9\"}\n\n"
        "{\"text\": \"\", \"_id\": 7}\n");
  sp_beir_queries q;
  assert_int_equal(sp_beir_queries_read(run_path, &q), SP_OK);
  assert_int_equal(q.n, 2);
  assert_string_equal(q.bytes.data + q.list[0].text, "caf\xc3\xa9");
  assert_string_equal(q.bytes.data + q.list[1].id, "7");
  assert_int_equal(q.list[1].text_n, 0);
  sp_beir_queries_free(&q);
  plant(run_path, "{\"_id\": \"a\", \"text\": \"x\"}\n{\"_id\": \"b\"}\n");
  assert_int_equal(sp_beir_queries_read(run_path, &q), SP_EFORMAT);
  assert_non_null(strstr(sp_err_message(), "line 2"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(hand_computed_measures_agree),
      cmocka_unit_test(what_trec_eval_trips_over_is_read),
      cmocka_unit_test(bad_files_are_refused_by_line),
      cmocka_unit_test(a_query_that_loses_all_results_still_counts),
      cmocka_unit_test(a_written_run_reads_back_with_equal_scores),
      cmocka_unit_test(the_json_report_parses),
      cmocka_unit_test(queries_are_read_in_order),
  };
  return cmocka_run_group_tests_name("eval", tests, make_dir, remove_dir);
}
