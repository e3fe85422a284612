/* tests/test_lm_head.c - the fused head on the CPU against a sum in double. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/lm_head.h"
#include "tests/harness.h"

static uint64_t seed;
static uint32_t draw(uint32_t below) { /* xorshift*, Marsaglia 2003 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (uint32_t)((seed * 0x2545f4914f6cdd1dull) >> 33) % below;
}
static float draw_float(void) {
  return (float)draw(20001) / 10000 - 1;
}

typedef struct problem {
  sp_lm_cpu head;
  sp_lm_texts texts;
  uint32_t n_tokens;
  float *w, *bias, *h;
  uint32_t *first, *end;
} problem;

/* Lengths below max_len; gap: tokens that belong to no text in between. Coarse values
 * make ties frequent and all sums exact. */
static problem make(uint32_t vocab, uint32_t dim, uint32_t n_texts, uint32_t max_len,
                    uint32_t gap, bool coarse) {
  problem p = {.head = {.vocab = vocab, .dim = dim, .log1p_times = 1 + draw(2)}};
  p.first = malloc((n_texts + 1) * sizeof *p.first);
  p.end = malloc((n_texts + 1) * sizeof *p.end);
  for (uint32_t b = 0; b < n_texts; b++) {
    p.first[b] = p.n_tokens + (gap ? draw(gap) : 0);
    p.end[b] = p.first[b] + draw(max_len);
    p.n_tokens = p.end[b];
  }
  p.n_tokens += gap;
  p.w = malloc((size_t)vocab * dim * sizeof *p.w);
  p.bias = malloc(vocab * sizeof *p.bias);
  p.h = malloc(((size_t)p.n_tokens * dim + 1) * sizeof *p.h);
  for (size_t i = 0; i < (size_t)vocab * dim; i++)
    p.w[i] = coarse ? (float)draw(3) - 1 : draw_float();
  for (size_t i = 0; i < vocab; i++) p.bias[i] = coarse ? 0.25f : draw_float();
  for (size_t i = 0; i < (size_t)p.n_tokens * dim; i++)
    p.h[i] = coarse ? (float)draw(3) - 1 : draw_float();
  p.head.w = p.w;
  p.head.bias = draw(4) ? p.bias : NULL;
  p.texts = (sp_lm_texts){p.first, p.end, n_texts};
  return p;
}

static void drop(problem *p) {
  free(p->w), free(p->bias), free(p->h), free(p->first), free(p->end);
}

static double logit(const problem *p, uint32_t row, uint32_t v) {
  double sum = p->head.bias ? p->bias[v] : 0;
  for (uint32_t k = 0; k < p->head.dim; k++)
    sum +=
        (double)p->h[(size_t)row * p->head.dim + k] * p->w[(size_t)v * p->head.dim + k];
  return sum;
}

static double expected(const problem *p, uint32_t b, uint32_t v, int32_t *at) {
  double best = -INFINITY;
  *at = -1;
  for (uint32_t s = p->first[b]; s < p->end[b]; s++) {
    double z = logit(p, s, v);
    if (z > best) best = z, *at = (int32_t)s;
  }
  if (!(best > 0)) return *at = -1, 0;
  double y = log1p(best);
  return p->head.log1p_times == 2 ? log1p(y) : y;
}

static void expect_near(float got, double want) {
  if (!(fabs(got - want) <= 2e-5 * (1 + fabs(want))))
    fail_msg("got %.9g, expected %.9g", got, want);
}

/* Dense values and arg-max, and the sparse form against the dense one. */
static void check(const problem *p, bool exact_ties, float threshold, uint32_t top_k) {
  const uint32_t n = p->texts.n, vocab = p->head.vocab;
  sp_pool *pool;
  assert_int_equal(sp_pool_new(2, &pool), SP_OK);
  const size_t size = (size_t)n * vocab + 1;
  float *out = malloc(size * sizeof *out), *values = malloc(size * sizeof *values);
  int32_t *at = malloc(size * sizeof *at);
  memset(out, 0xff, size * sizeof *out); /* NaN */
  memset(values, 0xff, size * sizeof *values);
  memset(at, 0x77, size * sizeof *at);
  assert_int_equal(sp_lm_cpu_dense(&p->head, p->h, p->n_tokens, &p->texts, pool, out, at),
                   SP_OK);
  assert_int_equal(
      sp_lm_cpu_dense(&p->head, p->h, p->n_tokens, &p->texts, pool, values, NULL), SP_OK);
  assert_memory_equal(out, values, (size - 1) * sizeof *out);
  assert_int_equal(at[size - 1], 0x77777777); /* nothing behind the end */

  for (uint32_t b = 0; b < n; b++)
    for (uint32_t v = 0; v < vocab; v++) {
      const size_t i = (size_t)b * vocab + v;
      int32_t want_at;
      double want = expected(p, b, v, &want_at);
      expect_near(out[i], want);
      if (exact_ties) {
        assert_int_equal(at[i], want_at);
      } else if (out[i] > 0) {
        assert_in_range(at[i], p->first[b], p->end[b] - 1);
        assert_true(fabs(logit(p, (uint32_t)at[i], v) -
                         logit(p, (uint32_t)(want_at < 0 ? at[i] : want_at), v)) < 1e-3);
      } else {
        assert_int_equal(at[i], -1);
      }
    }

  sp_vec *vectors = calloc(n + 1, sizeof *vectors), kept = {0};
  for (int twice = 0; twice < 2; twice++) /* the second time over used vectors */
    assert_int_equal(sp_lm_cpu_sparse(&p->head, p->h, p->n_tokens, &p->texts, pool,
                                      threshold, top_k, vectors),
                     SP_OK);
  for (uint32_t b = 0; b < n; b++) {
    sp_vec_clear(&kept);
    for (uint32_t v = 0; v < vocab; v++) {
      float y = out[(size_t)b * vocab + v];
      if (y > 0 && y >= threshold) assert_int_equal(sp_vec_push(&kept, v, y), SP_OK);
    }
    if (top_k) assert_int_equal(sp_vec_keep_top(&kept, top_k), SP_OK);
    assert_int_equal(vectors[b].n, kept.n);
    if (!kept.n) continue;
    assert_memory_equal(vectors[b].terms, kept.terms, kept.n * sizeof *kept.terms);
    assert_memory_equal(vectors[b].weights, kept.weights, kept.n * sizeof *kept.weights);
  }
  for (uint32_t b = 0; b < n; b++) sp_vec_free(&vectors[b]);
  sp_vec_free(&kept);
  free(vectors), free(out), free(values), free(at);
  sp_pool_free(pool);
}

static void random_shapes_equal_the_sum_in_double(void **state) {
  (void)state;
  for (uint64_t s = 1; s <= 60; s++) {
    seed = s * 0x9e3779b97f4a7c15ull;
    problem p = make(1 + draw(700), 1 + draw(40), draw(7), 1 + draw(30), draw(9), false);
    check(&p, false, draw(2) ? 0.3f : 0, draw(2) ? 1 + draw(50) : 0);
    drop(&p);
  }
}

static void texts_longer_than_a_block_keep_their_maximum(void **state) {
  (void)state;
  seed = 5;
  problem p = make(530, 8, 3, 2000, 300, false);
  check(&p, false, 0, 0);
  drop(&p);
}

static void the_lowest_token_wins_a_tie(void **state) {
  (void)state;
  for (uint64_t s = 1; s <= 20; s++) {
    seed = s * 0x9e3779b97f4a7c15ull;
    problem p = make(1 + draw(600), 1 + draw(6), 1 + draw(5), 1 + draw(400), 5, true);
    check(&p, true, 0.5f, 10);
    drop(&p);
  }
}

static void negative_logits_and_empty_texts_give_zeros(void **state) {
  (void)state;
  seed = 9;
  problem p = make(100, 4, 5, 1, 0, false); /* all of length 0 */
  check(&p, false, 0, 0);
  drop(&p);
  p = make(100, 4, 5, 20, 0, false);
  for (int i = 0; i < 400; i++) p.w[i] = -1;
  for (size_t i = 0; i < (size_t)p.n_tokens * 4; i++) p.h[i] = 1;
  p.head.bias = NULL;
  check(&p, false, 0, 0);
  drop(&p);
}

static void nan_logits_count_as_absent(void **state) {
  (void)state;
  float w[2] = {1, 1}, h[3] = {NAN, 2, NAN}, out[2];
  int32_t at[2];
  uint32_t offsets[3] = {0, 2, 3};
  sp_lm_cpu head = {.w = w, .vocab = 1, .dim = 1, .log1p_times = 1};
  sp_lm_texts texts = {offsets, offsets + 1, 2};
  sp_pool *pool;
  assert_int_equal(sp_pool_new(1, &pool), SP_OK);
  assert_int_equal(sp_lm_cpu_dense(&head, h, 3, &texts, pool, out, at), SP_OK);
  expect_near(out[0], log1p(2));
  assert_int_equal(at[0], 1);
  assert_true(out[1] == 0);
  assert_int_equal(at[1], -1);
  sp_pool_free(pool);
}

static void texts_out_of_order_or_range_are_refused(void **state) {
  (void)state;
  float w = 1, h[4] = {0}, out[4];
  sp_lm_cpu head = {.w = &w, .vocab = 1, .dim = 1, .log1p_times = 1};
  sp_pool *pool;
  assert_int_equal(sp_pool_new(1, &pool), SP_OK);
  const uint32_t bad[3][2][2] = {
      {{0, 1}, {2, 3}}, /* overlap */
      {{0, 3}, {2, 2}}, /* ends before it begins */
      {{0, 2}, {2, 5}}, /* past the last token */
  };
  for (int i = 0; i < 3; i++) {
    sp_lm_texts texts = {bad[i][0], bad[i][1], 2};
    assert_int_equal(sp_lm_cpu_dense(&head, h, 4, &texts, pool, out, NULL), SP_EINVAL);
  }
  sp_lm_texts none = {NULL, NULL, 0};
  assert_int_equal(sp_lm_cpu_dense(&head, h, 0, &none, pool, NULL, NULL), SP_OK);
  assert_int_equal(sp_lm_cpu_sparse(&head, h, 0, &none, pool, 0, 0, NULL), SP_OK);
  sp_pool_free(pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(random_shapes_equal_the_sum_in_double),
      cmocka_unit_test(texts_longer_than_a_block_keep_their_maximum),
      cmocka_unit_test(the_lowest_token_wins_a_tie),
      cmocka_unit_test(negative_logits_and_empty_texts_give_zeros),
      cmocka_unit_test(nan_logits_count_as_absent),
      cmocka_unit_test(texts_out_of_order_or_range_are_refused),
  };
  return cmocka_run_group_tests_name("lm_head", tests, NULL, NULL);
}
