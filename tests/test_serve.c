/* tests/test_serve.c - `spindle serve` as its users meet it, from index to SIGTERM.
 *
 * One server over two indexes of the demo corpus for all tests but the last. */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/lines.h"
#include "tests/harness.h"
#include "tests/http_client.h"
#include "tests/program.h"

enum { N_CLIENTS = 8, N_REQUESTS = 1000, MAX_QUESTIONS = 4096 };

typedef struct world {
  char folder[64], demo[96], other[96];
  program server;
  char address[80];
  json_t *questions[MAX_QUESTIONS]; /* lines of queries.jsonl */
  json_t *expected[MAX_QUESTIONS];  /* what `spindle search --json` said to each */
  int n_questions;
} world;

static json_t *parse(const char *text, size_t n) {
  json_t *o;
  if (sp_json_parse(text, n, "output", &o)) fail_msg("%s", sp_err_message());
  return o;
}

/* The answers of `spindle search`, one line a question, in order. */
static void read_answers(world *w) {
  const char *argv[] = {"search", w->demo, "-k", "10", "--json", NULL};
  program search = program_start(argv);
  for (int i = 0; i < w->n_questions; i++) {
    fprintf(search.in, "%s\n",
            json_string_value(json_object_get(w->questions[i], "text")));
    fflush(search.in);
    char *line = NULL;
    size_t cap = 0;
    ssize_t n = getline(&line, &cap, search.out);
    assert_true(n > 0);
    w->expected[i] = parse(line, (size_t)n);
    free(line);
  }
  assert_int_equal(program_wait(&search), 0);
}

static void read_questions(world *w, const char *path) {
  sp_lines in;
  bool more;
  assert_int_equal(sp_lines_open(path, 1 << 16, &in), SP_OK);
  while (sp_lines_next(&in, &more) == SP_OK && more && w->n_questions < MAX_QUESTIONS)
    w->questions[w->n_questions++] = parse(in.line, in.n);
  sp_lines_close(&in);
}

static program start_server(const char *const *argv, char address[80]) {
  program p = program_start(argv);
  assert_int_equal(fscanf(p.out, "Listening on http://%79s", address), 1);
  return p;
}

/* An index of a BEIR folder, and what `spindle search` answers to its questions. */
static void make_demo(world *w, const char *corpus) {
  char queries[512];
  snprintf(queries, sizeof queries, "%s/queries.jsonl", corpus);
  temp_folder_make(w->folder);
  snprintf(w->demo, sizeof w->demo, "%s/demo", w->folder);
  snprintf(w->other, sizeof w->other, "%s/other", w->folder);
  const char *index[] = {"index", w->demo, "--corpus", corpus, NULL};
  assert_int_equal(program_run(index), 0);
  read_questions(w, queries);
  read_answers(w);
}

static int make_world(void **state) {
  static world w;
  make_demo(&w, "data/demo");
  const char *index[] = {"index", w.other, "--corpus", "data/demo/corpus.jsonl",
                         "--k1",  "1.5",   NULL};
  assert_int_equal(program_run(index), 0);
  const char *serve[] = {"serve",       w.demo,      w.other, "--listen",
                         "127.0.0.1:0", "--threads", "3",     NULL};
  w.server = start_server(serve, w.address);
  *state = &w;
  return 0;
}

static void end_world(world *w) {
  kill(w->server.pid, SIGINT);
  assert_int_equal(program_wait(&w->server), 0);
  for (int i = 0; i < w->n_questions; i++) {
    json_decref(w->questions[i]);
    json_decref(w->expected[i]);
  }
  temp_folder_remove(w->folder);
}

static int end_shared_world(void **state) {
  end_world(*state);
  return 0;
}

static http_reply ask(const world *w, const char *body) {
  return http_once(w->address, "POST", "/v1/indexes/demo/search", body);
}

/* The JSON of a reply that must have this status. */
static json_t *expect(http_reply r, int status) {
  if (r.status != status) fail_msg("status %d: %s", r.status, r.body ? r.body : "");
  json_t *o = parse(r.body, r.body_n);
  free(r.body);
  return o;
}

static void expect_error(http_reply r, int status, const char *in_sentence) {
  json_t *o = expect(r, status);
  const char *sentence = json_string_value(json_object_get(o, "error"));
  assert_int_equal(json_object_size(o), 1);
  if (!sentence || !strstr(sentence, in_sentence))
    fail_msg("\"%s\" says nothing of %s", sentence ? sentence : "", in_sentence);
  json_decref(o);
}

/* --- many at a time --- */

typedef struct clients {
  const world *w;
  atomic_int next, n_same, n_other, n_silent;
} clients;

static bool same_results(const json_t *a, const json_t *b) {
  a = json_object_get(a, "results");
  b = json_object_get(b, "results");
  if (!json_is_array(a) || json_array_size(a) != json_array_size(b)) return false;
  for (size_t i = 0; i < json_array_size(a); i++) {
    const json_t *x = json_array_get(a, i), *y = json_array_get(b, i);
    if (!json_equal(json_object_get(x, "id"), json_object_get(y, "id"))) return false;
    if ((float)json_number_value(json_object_get(x, "score")) !=
        (float)json_number_value(json_object_get(y, "score")))
      return false;
  }
  return true;
}

/* Asks until N_REQUESTS have been asked by all clients together, ten on a connection. */
static void *run_client(void *context) {
  clients *c = context;
  const world *w = c->w;
  int fd = -1, on_this = 0;
  for (int i; (i = atomic_fetch_add(&c->next, 1)) < N_REQUESTS;) {
    if (on_this++ % 10 == 0) {
      if (fd >= 0) close(fd);
      fd = http_connect(w->address);
    }
    int question = i % w->n_questions;
    json_t *body = json_pack("{s:O, s:i}", "query",
                             json_object_get(w->questions[question], "text"), "k", 10);
    char *text = json_dumps(body, 0);
    http_reply r = http_ask(fd, "POST", "/v1/indexes/demo/search", text);
    json_t *o = NULL;
    if (r.status == 0 && !r.torn) {
      atomic_fetch_add(&c->n_silent, 1);
    } else if (r.status == 200 && !sp_json_parse(r.body, r.body_n, "reply", &o) &&
               same_results(o, w->expected[question])) {
      atomic_fetch_add(&c->n_same, 1);
    } else {
      atomic_fetch_add(&c->n_other, 1);
    }
    json_decref(o);
    free(r.body);
    free(text);
    json_decref(body);
    if (r.closes) on_this = 0;
  }
  if (fd >= 0) close(fd);
  return NULL;
}

static void run_clients(clients *c) {
  pthread_t threads[N_CLIENTS];
  for (int t = 0; t < N_CLIENTS; t++)
    assert_int_equal(pthread_create(&threads[t], NULL, run_client, c), 0);
  for (int t = 0; t < N_CLIENTS; t++) pthread_join(threads[t], NULL);
}

static void a_thousand_questions_get_what_search_says(void **state) {
  clients c = {.w = *state};
  run_clients(&c);
  assert_int_equal(c.n_same, N_REQUESTS);
}

static void scifact_questions_get_what_search_says(void **state) {
  (void)state;
  char corpus[512];
  const char *shared = getenv("SPINDLE_SHARED");
  snprintf(corpus, sizeof corpus, "%s/beir/scifact", shared ? shared : "../shared");
  if (access(corpus, R_OK) != 0) {
    printf("%s is not there: skipped\n", corpus);
    skip();
  }
  static world w;
  make_demo(&w, corpus);
  const char *serve[] = {"serve", w.demo, "--listen", "127.0.0.1:0", NULL};
  w.server = start_server(serve, w.address);
  clients c = {.w = &w};
  run_clients(&c);
  assert_int_equal(c.n_same, N_REQUESTS);
  end_world(&w);
}

/* --- one at a time --- */

static void a_result_has_id_score_title_and_text(void **state) {
  json_t *o = expect(ask(*state, "{\"query\": \"thaw frozen pipes\", \"k\": 2}"), 200);
  const json_t *results = json_object_get(o, "results");
  assert_int_equal(json_array_size(results), 2);
  const json_t *best = json_array_get(results, 0);
  assert_string_equal(json_string_value(json_object_get(best, "id")), "plumbing-4");
  assert_string_equal(json_string_value(json_object_get(best, "title")), "Frozen pipes");
  assert_non_null(strstr(json_string_value(json_object_get(best, "text")), "hair dryer"));
  assert_true(json_number_value(json_object_get(best, "score")) > 0);
  json_decref(o);
}

static void fields_choose_what_is_shown(void **state) {
  json_t *o = expect(
      ask(*state, "{\"query\": \"frozen\", \"k\": 1, \"fields\": [\"title\", \"id\"]}"),
      200);
  const json_t *best = json_array_get(json_object_get(o, "results"), 0);
  assert_int_equal(json_object_size(best), 3);
  assert_non_null(json_object_get(best, "title"));
  json_decref(o);
  o = expect(ask(*state, "{\"query\": \"frozen\", \"k\": 1, \"fields\": []}"), 200);
  best = json_array_get(json_object_get(o, "results"), 0);
  assert_int_equal(json_object_size(best), 2);
  json_decref(o);
}

static void exact_search_scores_every_document(void **state) {
  json_t *o =
      expect(ask(*state, "{\"query\": \"frozen\", \"exact\": true, \"k\": 10000}"), 200);
  assert_int_equal(json_integer_value(json_object_get(o, "documents_scored")), 350);
  json_decref(o);
}

static void a_vector_is_a_query_too(void **state) {
  json_t *o = expect(
      ask(*state, "{\"query\": {\"terms\": [3, 2, 4294967294], \"weights\": [1, 2, 1]}}"),
      200);
  assert_true(json_array_size(json_object_get(o, "results")) > 0);
  json_decref(o);
  o = expect(ask(*state, "{\"query\": {\"terms\": [], \"weights\": []}}"), 200);
  assert_int_equal(json_array_size(json_object_get(o, "results")), 0);
  json_decref(o);
}

static void a_query_of_no_known_word_finds_nothing(void **state) {
  json_t *o = expect(ask(*state, "{\"query\": \"qqqxyzzy\"}"), 200);
  assert_int_equal(json_array_size(json_object_get(o, "results")), 0);
  json_decref(o);
}

static void indexes_are_described(void **state) {
  const world *w = *state;
  json_t *o = expect(http_once(w->address, "GET", "/v1/indexes", NULL), 200);
  const json_t *all = json_object_get(o, "indexes");
  assert_int_equal(json_array_size(all), 2);
  json_t *one = expect(http_once(w->address, "GET", "/v1/indexes/other", NULL), 200);
  assert_true(json_equal(one, json_array_get(all, 1)));
  assert_int_equal(json_integer_value(json_object_get(one, "documents")), 350);
  assert_true(json_is_object(json_object_get(one, "encoder")));
  json_decref(one);
  json_decref(o);
  o = expect(http_once(w->address, "GET", "/health", NULL), 200);
  assert_string_equal(json_string_value(json_object_get(o, "status")), "ok");
  json_decref(o);
  o = expect(http_once(w->address, "GET", "/info", NULL), 200);
  assert_true(json_is_string(json_object_get(o, "version")));
  json_decref(o);
}

static void each_bad_request_gets_its_status_and_a_sentence(void **state) {
  const world *w = *state;
  expect_error(http_once(w->address, "GET", "/", NULL), 404, "nothing at /");
  expect_error(http_once(w->address, "GET", "/v1/indexes/none", NULL), 404, "\"none\"");
  expect_error(http_once(w->address, "POST", "/v1/indexes/none/search", "{}"), 404,
               "none");
  expect_error(http_once(w->address, "GET", "/v1/indexes/demo/serch", NULL), 404,
               "serch");
  expect_error(http_once(w->address, "POST", "/health", "{}"), 405, "GET");
  http_reply r = http_once(w->address, "GET", "/v1/indexes/demo/search", NULL);
  assert_string_equal(r.allow, "POST");
  expect_error(r, 405, "POST");
  expect_error(http_once(w->address, "POST", "/v1/indexes/demo/search?k=3", "{}"), 400,
               "address");
  expect_error(http_once(w->address, "POST", "/v1/indexes/demo/search", NULL), 411,
               "Content-Length");
  expect_error(ask(w, "{\"query\": \"a\", \"K\": 3}"), 400, "\"K\"");
  expect_error(ask(w, "{\"query\": \"a\""), 400, "request");
  expect_error(ask(w, ""), 400, "request");
  int fd = http_connect(w->address);
  http_send_str(
      fd,
      "POST /v1/indexes/demo/search HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\n"
      "Content-Type: application/x-www-form-urlencoded\r\n\r\n{}");
  expect_error(http_read(fd), 415, "application/json");
  close(fd);
  size_t n = (1 << 20) + 1;
  char *body = malloc(n + 1);
  assert_non_null(body);
  memset(body, ' ', n);
  body[n] = '\0';
  expect_error(ask(w, body), 413, "1048576");
  free(body);
}

/* --- damage --- */

/* Overwrites the lists of an index: the payloads of chunks of kind 2 (index/format.h). */
static int spoil_lists(const char *index) {
  char path[128];
  snprintf(path, sizeof path, "%s/data.mdb", index);
  FILE *f = fopen(path, "r+be");
  assert_non_null(f);
  uint8_t h[48], ones[512];
  int n = 0;
  memset(ones, 0xff, sizeof ones);
  for (long at = 16; fseek(f, at, SEEK_SET) == 0 && fread(h, sizeof h, 1, f) == 1;
       at += 4096) {
    if (memcmp(h, "SPCK\2", 5) != 0) continue;
    assert_int_equal(fseek(f, at + 48, SEEK_SET), 0);
    assert_int_equal(fwrite(ones, sizeof ones, 1, f), 1);
    n++;
  }
  assert_int_equal(fclose(f), 0);
  return n;
}

/* Not 400: the request is good. */
static void a_damaged_index_is_the_servers_fault(void **state) {
  (void)state;
  world w = {0};
  temp_folder_make(w.folder);
  snprintf(w.demo, sizeof w.demo, "%s/demo", w.folder);
  const char *index[] = {"index", w.demo, "--corpus", "data/demo", NULL};
  assert_int_equal(program_run(index), 0);
  assert_true(spoil_lists(w.demo) > 0);
  const char *serve[] = {"serve", w.demo, "--listen", "127.0.0.1:0", NULL};
  w.server = start_server(serve, w.address);
  /* the first words of the first document: their lists are at the front */
  expect_error(ask(&w, "{\"query\": {\"terms\": [0, 1, 2], \"weights\": [1, 1, 1]}}"),
               500, "damaged");
  end_world(&w);
}

/* --- starting and stopping --- */

static void two_indexes_of_one_name_are_refused(void **state) {
  const world *w = *state;
  const char *serve[] = {"serve", w->demo, w->demo, "--listen", "127.0.0.1:0", NULL};
  assert_int_equal(program_run(serve), 1);
}

static void what_cannot_be_served_is_refused(void **state) {
  (void)state;
  const char *missing[] = {"serve", "/nonexistent/index", NULL};
  assert_int_equal(program_run(missing), 1);
  const char *none[] = {"serve", NULL};
  assert_int_equal(program_run(none), 2);
}

/* A thread of the process, not its first, that does not block SIGTERM; 0: there is none. */
static pid_t find_open_thread(pid_t pid) {
  char path[80], line[128];
  snprintf(path, sizeof path, "/proc/%d/task", pid);
  DIR *tasks = opendir(path);
  assert_non_null(tasks);
  pid_t found = 0;
  for (struct dirent *e; (e = readdir(tasks));) {
    const pid_t tid = atoi(e->d_name); /* 0 for "." and ".." */
    snprintf(path, sizeof path, "/proc/%d/task/%d/status", pid, tid);
    FILE *f = tid && tid != pid ? fopen(path, "re") : NULL;
    unsigned long long blocked;
    while (f && fgets(line, sizeof line, f))
      if (sscanf(line, "SigBlk: %llx", &blocked) == 1 && !(blocked >> (SIGTERM - 1) & 1))
        found = tid;
    if (f) fclose(f);
  }
  closedir(tasks);
  return found;
}

/* A library's threads are older than main(), and the system may pick one of them. */
static void a_signal_to_any_thread_stops_in_good_order(void **state) {
  const world *w = *state;
  world own = *w;
  const char *serve[] = {"serve", w->demo, "--listen", "127.0.0.1:0", NULL};
  own.server = start_server(serve, own.address);
  const pid_t tid = find_open_thread(own.server.pid);
  if (!tid) print_message("no thread but the first takes signals here: one for all\n");
  assert_int_equal(tgkill(own.server.pid, tid ? tid : own.server.pid, SIGTERM), 0);
  assert_int_equal(program_wait(&own.server), 0);
}

/* Whoever was accepted is answered in full; the rest is turned away; exit status 0. */
static void a_stop_in_mid_flight_tears_no_answer(void **state) {
  const world *w = *state;
  world own = *w;
  const char *serve[] = {"serve", w->demo, "--listen", "127.0.0.1:0", NULL};
  own.server = start_server(serve, own.address);
  clients c = {.w = &own};
  pthread_t threads[N_CLIENTS];
  for (int t = 0; t < N_CLIENTS; t++)
    assert_int_equal(pthread_create(&threads[t], NULL, run_client, &c), 0);
  while (atomic_load(&c.n_same) < 100) usleep(100);
  kill(own.server.pid, SIGTERM);
  for (int t = 0; t < N_CLIENTS; t++) pthread_join(threads[t], NULL);
  assert_int_equal(program_wait(&own.server), 0);
  assert_int_equal(c.n_other, 0);
  assert_int_equal(c.n_same + c.n_silent, N_REQUESTS);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_thousand_questions_get_what_search_says),
      cmocka_unit_test(scifact_questions_get_what_search_says),
      cmocka_unit_test(a_result_has_id_score_title_and_text),
      cmocka_unit_test(fields_choose_what_is_shown),
      cmocka_unit_test(exact_search_scores_every_document),
      cmocka_unit_test(a_vector_is_a_query_too),
      cmocka_unit_test(a_query_of_no_known_word_finds_nothing),
      cmocka_unit_test(indexes_are_described),
      cmocka_unit_test(each_bad_request_gets_its_status_and_a_sentence),
      cmocka_unit_test(two_indexes_of_one_name_are_refused),
      cmocka_unit_test(what_cannot_be_served_is_refused),
      cmocka_unit_test(a_damaged_index_is_the_servers_fault),
      cmocka_unit_test(a_signal_to_any_thread_stops_in_good_order),
      cmocka_unit_test(a_stop_in_mid_flight_tears_no_answer),
  };
  return cmocka_run_group_tests_name("serve", tests, make_world, end_shared_world);
}
