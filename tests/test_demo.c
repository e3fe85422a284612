/* tests/test_demo.c - the demo corpus is sound: it is the first thing a user indexes. */
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/lines.h"
#include "base/strmap.h"
#include "base/utf8.h"
#include "tests/harness.h"

enum { MAX_LINE = 1 << 16 };

/* Adds the ids of a JSON-lines file to `ids`; each line must be an object with a new _id
 * and a text that is not empty. */
static void read_ids(const char *path, bool titled, sp_strmap *ids) {
  sp_lines in;
  assert_int_equal(sp_lines_open(path, MAX_LINE, &in), SP_OK);
  bool more;
  while (sp_lines_next(&in, &more) == SP_OK && more) {
    json_t *o;
    const char *id, *text, *title = "";
    assert_true(sp_utf8_valid(in.line, in.n));
    assert_int_equal(sp_json_parse(in.line, in.n, path, &o), SP_OK);
    assert_int_equal(sp_json_need_string(o, "_id", path, &id), SP_OK);
    assert_int_equal(sp_json_need_string(o, "text", path, &text), SP_OK);
    assert_true(strlen(id) > 0 && strlen(text) > 0);
    if (titled) {
      assert_int_equal(sp_json_need_string(o, "title", path, &title), SP_OK);
      assert_true(strlen(title) > 0);
    }
    uint32_t number, before = sp_strmap_count(ids);
    assert_int_equal(sp_strmap_add(ids, id, strlen(id), &number), SP_OK);
    if (number != before)
      fail_msg("%s:%llu: %s again", path, (unsigned long long)in.number, id);
    json_decref(o);
  }
  assert_false(more); /* it ended by reaching the end, not by a failure */
  sp_lines_close(&in);
}

typedef struct corpus {
  sp_strmap *documents, *queries;
} corpus;

static int load(void **state) {
  static corpus c;
  assert_int_equal(sp_strmap_new(&c.documents), SP_OK);
  assert_int_equal(sp_strmap_new(&c.queries), SP_OK);
  read_ids("data/demo/corpus.jsonl", true, c.documents);
  read_ids("data/demo/queries.jsonl", false, c.queries);
  *state = &c;
  return 0;
}

static int unload(void **state) {
  corpus *c = *state;
  sp_strmap_free(c->documents);
  sp_strmap_free(c->queries);
  return 0;
}

static void there_are_enough_passages_topics_and_questions(void **state) {
  const corpus *c = *state;
  sp_strmap *topics;
  assert_int_equal(sp_strmap_new(&topics), SP_OK);
  for (uint32_t d = 0; d < sp_strmap_count(c->documents); d++) {
    size_t n;
    const char *id = sp_strmap_key(c->documents, d, &n);
    const char *dash = strrchr(id, '-');
    assert_non_null(dash);
    uint32_t number;
    assert_int_equal(sp_strmap_add(topics, id, (size_t)(dash - id), &number), SP_OK);
  }
  assert_true(sp_strmap_count(c->documents) >= 320);
  assert_true(sp_strmap_count(topics) >= 40);
  assert_true(sp_strmap_count(c->queries) >= 40);
  sp_strmap_free(topics);
}

static void every_judgement_names_a_question_and_a_passage(void **state) {
  const corpus *c = *state;
  const char *path = "data/demo/qrels/test.tsv";
  uint32_t n_queries = sp_strmap_count(c->queries), n_judgements = 0;
  bool *judged = calloc(n_queries, sizeof *judged);
  assert_non_null(judged);
  sp_lines in;
  assert_int_equal(sp_lines_open(path, MAX_LINE, &in), SP_OK);
  bool more;
  assert_int_equal(sp_lines_next(&in, &more), SP_OK);
  assert_string_equal(in.line, "query-id\tcorpus-id\tscore");
  while (sp_lines_next(&in, &more) == SP_OK && more) {
    char *query = in.line, *document = strchr(query, '\t');
    assert_non_null(document);
    char *grade = strchr(document + 1, '\t');
    assert_non_null(grade);
    uint32_t q = sp_strmap_find(c->queries, query, (size_t)(document - query));
    uint32_t d =
        sp_strmap_find(c->documents, document + 1, (size_t)(grade - document - 1));
    if (q == SP_STRMAP_NONE || d == SP_STRMAP_NONE)
      fail_msg("%s:%llu: %s", path, (unsigned long long)in.number, in.line);
    assert_true(grade[1] >= '1' && grade[1] <= '3' && grade[2] == '\0');
    judged[q] = true;
    n_judgements++;
  }
  assert_false(more);
  sp_lines_close(&in);
  assert_true(n_judgements >= 60);
  for (uint32_t q = 0; q < n_queries; q++) {
    size_t n;
    if (!judged[q]) fail_msg("%s has no judgement", sp_strmap_key(c->queries, q, &n));
  }
  free(judged);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(there_are_enough_passages_topics_and_questions),
      cmocka_unit_test(every_judgement_names_a_question_and_a_passage),
  };
  return cmocka_run_group_tests_name("demo", tests, load, unload);
}
