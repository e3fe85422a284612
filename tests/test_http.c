/* tests/test_http.c - the HTTP layer alone: bodies, limits, rude clients, stopping. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "server/http.h"
#include "tests/harness.h"
#include "tests/http_client.h"

enum { MAX_BODY = 1000 };

/* Echoes a body's size. "/slow" first says that it is there and waits to be let go. */
typedef struct echo {
  sp_http *http;
  sem_t slow_began, slow_may_end;
} echo;

static void check(void *context, const sp_request *request, sp_reply *reply) {
  (void)context;
  if (strcmp(request->path, "/none") == 0) sp_reply_error(reply, 404, "nothing here");
}

static void answer(void *context, const sp_request *request, sp_reply *reply) {
  echo *e = context;
  if (strcmp(request->path, "/slow") == 0) {
    sem_post(&e->slow_began);
    sem_wait(&e->slow_may_end);
  }
  reply->status = 200;
  sp_buf_printf(&reply->body, "{\"method\": \"%s\", \"bytes\": %zu, \"arguments\": %d}",
                request->method, request->body_n, request->has_arguments);
}

static int start(void **state) {
  static echo e;
  sem_init(&e.slow_began, 0, 0);
  sem_init(&e.slow_may_end, 0, 0);
  sp_http_options options = {.listen = "127.0.0.1:0",
                             .n_threads = 2,
                             .max_body_bytes = MAX_BODY,
                             .max_connections = 64,
                             .idle_s = 2};
  sp_http_handler handler = {&e, check, answer};
  assert_int_equal(sp_http_start(&options, &handler, &e.http), SP_OK);
  *state = &e;
  return 0;
}

static int stop(void **state) {
  echo *e = *state;
  sp_http_stop(e->http, 20);
  sem_destroy(&e->slow_began);
  sem_destroy(&e->slow_may_end);
  return 0;
}

static const char *address(void **state) {
  return sp_http_address(((echo *)*state)->http);
}

static void expect(http_reply r, int status, const char *in_body) {
  assert_int_equal(r.status, status);
  if (!strstr(r.body, in_body)) fail_msg("no %s in %s", in_body, r.body);
  json_t *o;
  assert_int_equal(sp_json_parse(r.body, r.body_n, "reply", &o), SP_OK);
  json_decref(o);
  free(r.body);
}

static void a_body_arrives_whole(void **state) {
  char body[MAX_BODY + 1] = "";
  memset(body, 'x', MAX_BODY);
  expect(http_once(address(state), "POST", "/", body), 200, "\"bytes\": 1000");
  expect(http_once(address(state), "POST", "/", ""), 200, "\"bytes\": 0");
  expect(http_once(address(state), "GET", "/?a=1", NULL), 200, "\"arguments\": 1");
}

static void several_requests_share_a_connection(void **state) {
  int fd = http_connect(address(state));
  for (int i = 0; i < 20; i++) expect(http_ask(fd, "POST", "/", "1234"), 200, ": 4,");
  close(fd);
}

static void chunks_are_put_together(void **state) {
  int fd = http_connect(address(state));
  http_send_str(fd,
                "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                "3\r\nabc\r\n");
  http_send_str(fd, "4\r\ndefg\r\n0\r\n\r\n");
  expect(http_read(fd), 200, "\"bytes\": 7");
  close(fd);
}

static void a_body_over_the_limit_is_413(void **state) {
  char body[4 * MAX_BODY] = "";
  memset(body, 'x', MAX_BODY + 1);
  expect(http_once(address(state), "POST", "/", body), 413, "larger than 1000 bytes");
  int fd = http_connect(address(state)); /* in chunks, where no length warns */
  http_send_str(
      fd, "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n");
  memset(body, 'x', 2000);
  http_send(fd, body, 2000);
  http_send_str(fd, "\r\n0\r\n\r\n");
  expect(http_read(fd), 413, "larger than 1000 bytes");
  close(fd);
}

/* 8 EB are promised: the answer must not wait for them. */
static void a_huge_body_is_refused_before_it_comes(void **state) {
  int fd = http_connect(address(state));
  http_send_str(
      fd, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 8000000000000000000\r\n\r\n");
  expect(http_read(fd), 413, "larger than");
  close(fd);
}

static void a_post_without_length_is_411(void **state) {
  expect(http_once(address(state), "POST", "/", NULL), 411, "Content-Length");
}

static void a_refused_head_answers_without_the_body(void **state) {
  int fd = http_connect(address(state));
  http_send_str(fd, "POST /none HTTP/1.1\r\nHost: t\r\nContent-Length: 500\r\n\r\n");
  expect(http_read(fd), 404, "nothing here");
  close(fd);
}

static void head_is_get_without_a_body(void **state) {
  int fd = http_connect(address(state));
  http_send_str(fd, "HEAD / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  char reply[4096];
  size_t n = 0;
  for (ssize_t got; (got = read(fd, reply + n, sizeof reply - 1 - n)) > 0;)
    n += (size_t)got;
  reply[n] = '\0';
  assert_non_null(strstr(reply, " 200 "));
  assert_string_equal(reply + n - 4, "\r\n\r\n");
  close(fd);
}

static void bytes_that_are_no_http_end_the_connection(void **state) {
  int fd = http_connect(address(state));
  http_send_str(fd, "\x16\x03\x01\x02nonsense\r\n\r\n");
  http_reply r = http_read(fd);
  assert_true(r.status == 0 || r.status >= 400);
  free(r.body);
  close(fd);
  expect(http_once(address(state), "GET", "/", NULL), 200, "GET");
}

/* More half-sent requests than threads: others are still answered, and the silent ones are
 * put out after idle_s. */
static void slow_clients_hold_nobody_up(void **state) {
  int slow[6];
  for (int i = 0; i < 6; i++) {
    slow[i] = http_connect(address(state));
    http_send_str(slow[i], "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12");
  }
  for (int i = 0; i < 20; i++)
    expect(http_once(address(state), "POST", "/", "1234"), 200, ": 4,");
  http_send_str(slow[0], "345");
  http_send_str(slow[0], "67890");
  expect(http_read(slow[0]), 200, "\"bytes\": 10");
  http_reply r = http_read(slow[1]);
  assert_int_not_equal(r.status, 200);
  free(r.body);
  for (int i = 0; i < 6; i++) close(slow[i]);
}

static void *stop_it(void *http) {
  sp_http_stop(http, 20);
  return NULL;
}

static void stopping_finishes_what_had_begun_and_refuses_the_rest(void **state) {
  echo *e = *state;
  char where[80];
  snprintf(where, sizeof where, "%s", sp_http_address(e->http));
  int working = http_connect(where);
  http_send_str(working, "GET /slow HTTP/1.1\r\nHost: t\r\n\r\n");
  sem_wait(&e->slow_began);
  int half = http_connect(where); /* its body is still on the way */
  http_send_str(half, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\n\r\n12");
  expect(http_once(where, "GET", "/", NULL), 200, "GET"); /* so `half` was seen too */

  pthread_t stopper;
  assert_int_equal(pthread_create(&stopper, NULL, stop_it, e->http), 0);
  for (;;) { /* until it refuses */
    int fd = http_connect(where);
    if (fd < 0) break;
    close(fd);
    usleep(1000);
  }
  http_send_str(half, "34");
  http_reply r = http_read(half);
  assert_true(r.closes);
  expect(r, 200, "\"bytes\": 4");
  sem_post(&e->slow_may_end);
  r = http_read(working);
  assert_true(r.closes);
  expect(r, 200, "GET");
  pthread_join(stopper, NULL);
  e->http = NULL;
  close(working);
  close(half);
}

static void an_address_that_is_none_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "",       "127.0.0.1", ":80",  "127.0.0.1:", "h:99999", "h:8o",
      "::1:80", "[::1:80",   "h:-1", "h: 1",       "[::1]80"};
  sp_http_handler handler = {NULL, check, answer};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    sp_http_options options = {.listen = bad[i], .n_threads = 1, .max_connections = 8};
    sp_http *http = (sp_http *)1;
    assert_int_equal(sp_http_start(&options, &handler, &http), SP_EINVAL);
    assert_null(http);
  }
}

static void a_port_in_use_is_a_sentence(void **state) {
  sp_http_handler handler = {NULL, check, answer};
  sp_http_options options = {
      .listen = address(state), .n_threads = 1, .max_connections = 8};
  sp_http *http;
  assert_int_equal(sp_http_start(&options, &handler, &http), SP_EIO);
  assert_non_null(strstr(sp_err_message(), "in use"));
}

#define SERVED(f) cmocka_unit_test_setup_teardown(f, start, stop)

int main(void) {
  const struct CMUnitTest tests[] = {
      SERVED(a_body_arrives_whole),
      SERVED(several_requests_share_a_connection),
      SERVED(chunks_are_put_together),
      SERVED(a_body_over_the_limit_is_413),
      SERVED(a_huge_body_is_refused_before_it_comes),
      SERVED(a_post_without_length_is_411),
      SERVED(a_refused_head_answers_without_the_body),
      SERVED(head_is_get_without_a_body),
      SERVED(bytes_that_are_no_http_end_the_connection),
      SERVED(slow_clients_hold_nobody_up),
      SERVED(stopping_finishes_what_had_begun_and_refuses_the_rest),
      cmocka_unit_test(an_address_that_is_none_is_refused),
      SERVED(a_port_in_use_is_a_sentence),
  };
  return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
