/* tests/test_encode_stages.c - texts in, vectors out in order, through an encoder made for the
 * test: a text's vector is its number, and the earlier of two chunks takes longer. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "encoder/encoder_ops.h"
#include "tests/harness.h"
#include "tools/encode_stages.h"

enum { WINDOW = 16, NOBODY = -1 };

typedef struct numbers {
  sp_encoder base; /* {0} but for its calls */
  uint32_t at_once;
  int bad_text; /* encoding it fails */
  pthread_mutex_t lock;
  unsigned under_way, most_under_way;
} numbers;

static void enter(numbers *e, int sign) {
  pthread_mutex_lock(&e->lock);
  e->under_way += (unsigned)sign;
  if (e->under_way > e->most_under_way) e->most_under_way = e->under_way;
  pthread_mutex_unlock(&e->lock);
}

static sp_err encode(sp_encoder *base, sp_side side, const sp_text *texts, size_t n,
                     sp_vec *out) {
  numbers *e = (numbers *)base;
  sp_err err = side == SP_DOCUMENT ? SP_OK : sp_fail(SP_EINVAL, "the wrong side");
  enter(e, 1);
  for (size_t i = 0; i < n && !err; i++) {
    const uint32_t number = (uint32_t)strtoul(texts[i].data, NULL, 10);
    if (i == 0) { /* chunks overtake one another */
      const long ms = number / WINDOW % 3;
      nanosleep(&(struct timespec){0, (3 - ms) * 1000000}, NULL);
    }
    if ((int)number == e->bad_text) err = sp_fail(SP_ECUDA, "text %u is bad", number);
    sp_vec_clear(&out[i]);
    if (!err) err = sp_vec_push(&out[i], number, 1);
  }
  enter(e, -1);
  return err;
}

static uint32_t window(const sp_encoder *e) {
  (void)e;
  return WINDOW;
}

static uint32_t at_once(const sp_encoder *e) {
  return ((const numbers *)e)->at_once;
}

static const sp_encoder_ops OPS = {
    .encode = encode, .window = window, .at_once = at_once};

/* A source of n numbers and what came of them. Its calls come from other threads than the
 * test's, where cmocka's assertions would end the program: they fail as sources do. */
typedef struct stream {
  int n, n_given, n_kept, n_placed;
  int bad_read, bad_put; /* the number that fails there */
  char id[16];
} stream;

static sp_err next(void *context, encode_record *out, bool *more) {
  stream *s = context;
  *more = s->n_given < s->n;
  if (!*more) return SP_OK;
  if (s->n_given == s->bad_read) return sp_fail(SP_EFORMAT, "line %d", s->n_given);
  snprintf(s->id, sizeof s->id, "%d", s->n_given++);
  *out = (encode_record){.id = s->id,
                         .n_id = strlen(s->id),
                         .text = s->id,
                         .n_text = strlen(s->id) + 1}; /* the zero too */
  return SP_OK;
}

static size_t place(void *context, void *out) {
  const stream *s = context;
  memcpy(out, &s->n_given, sizeof s->n_given);
  return sizeof s->n_given;
}

static sp_err put(void *context, const encode_record *r, const sp_vec *v) {
  stream *s = context;
  if (s->n_kept == s->bad_put) return sp_fail(SP_EIO, "no room for %d", s->n_kept);
  if (v->n != 1 || v->terms[0] != (uint32_t)s->n_kept ||
      strtol(r->text, NULL, 10) != s->n_kept || memcmp(r->id, r->text, r->n_id))
    return sp_fail(SP_EINVAL, "%.*s with another's vector", (int)r->n_id, r->id);
  s->n_kept++;
  return SP_OK;
}

static sp_err put_place(void *context, const void *at, size_t n) {
  stream *s = context;
  if (n != sizeof s->n_placed) return sp_fail(SP_EINVAL, "a place of %zu bytes", n);
  memcpy(&s->n_placed, at, n);
  return s->n_placed == s->n_kept /* a place holds for all that was put */
             ? SP_OK
             : sp_fail(SP_EINVAL, "%d are placed, %d kept", s->n_placed, s->n_kept);
}

static sp_err run(numbers *e, stream *s, bool in_turn) {
  e->base.ops = &OPS;
  pthread_mutex_init(&e->lock, NULL);
  const encode_stages stages = {.encoder = &e->base,
                                .side = SP_DOCUMENT,
                                .most_texts = 16 * WINDOW,
                                .good_bytes = 1 << 20,
                                .in_turn = in_turn,
                                .context = s,
                                .next = next,
                                .place = place,
                                .put = put,
                                .put_place = put_place};
  sp_err err = encode_stages_run(&stages);
  pthread_mutex_destroy(&e->lock);
  return err;
}

static numbers calls(uint32_t at_once) {
  return (numbers){.at_once = at_once, .bad_text = NOBODY};
}

static stream source(int n) {
  return (stream){.n = n, .bad_read = NOBODY, .bad_put = NOBODY};
}

static void vectors_are_kept_in_order_however_many_encode(void **state) {
  (void)state;
  const int sizes[] = {0, 1, 256, 257, 6000};
  for (uint32_t k = 1; k <= 7; k += 2) /* 7: more than there are ever */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      numbers e = calls(k);
      stream s = source(sizes[i]);
      assert_int_equal(run(&e, &s, false), SP_OK);
      assert_int_equal(s.n_kept, sizes[i]);
      assert_int_equal(s.n_placed, sizes[i]);
      assert_true(e.most_under_way <= k);
    }
}

static void in_turn_one_thread_does_it_all(void **state) {
  (void)state;
  numbers e = calls(2);
  stream s = source(1000);
  assert_int_equal(run(&e, &s, true), SP_OK);
  assert_int_equal(s.n_kept, 1000);
  assert_int_equal(e.most_under_way, 1);
}

static void the_first_failure_ends_all(void **state) {
  (void)state;
  for (uint32_t k = 1; k <= 3; k++) {
    numbers e = calls(k);
    stream s = source(5000);
    s.bad_read = 3333;
    assert_int_equal(run(&e, &s, false), SP_EFORMAT);
    assert_string_equal(sp_err_message(), "line 3333");

    e = calls(k);
    e.bad_text = 2222;
    s = source(5000);
    assert_int_equal(run(&e, &s, false), SP_ECUDA);
    assert_string_equal(sp_err_message(), "text 2222 is bad");
    assert_true(s.n_kept <= 2222);

    e = calls(k);
    s = source(5000);
    s.bad_put = 1111;
    assert_int_equal(run(&e, &s, false), SP_EIO);
    assert_string_equal(sp_err_message(), "no room for 1111");
    assert_int_equal(s.n_kept, 1111);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(vectors_are_kept_in_order_however_many_encode),
      cmocka_unit_test(in_turn_one_thread_does_it_all),
      cmocka_unit_test(the_first_failure_ends_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
