/* tests/test_attention.c - attention of every kernel against sums in double. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/attention.h"
#include "tests/harness.h"

static uint64_t seed = 9;
static float draw(void) { /* xorshift*, Marsaglia 2003; -2 .. 2 */
  seed ^= seed >> 12, seed ^= seed << 25, seed ^= seed >> 27;
  return (float)((double)((seed * 0x2545f4914f6cdd1dull) >> 11) * 0x1p-51 - 2);
}

/* Runs the rest of the block for every kernel that this processor has. */
#define FOR_EACH_KERNEL(ops)                         \
  for (int at_ = 0; at_ < SP_ATTENTION_N_OPS; at_++) \
    for (const sp_attention_ops *ops = sp_attention_ops_at(at_); ops; ops = NULL)

/* What kernel `at` may be off where all numbers are at most 2.
 *
 * float32: a score is a sum of d products, and partial sums as large as a random walk's,
 * some sqrt(i), are rounded at each step i: that is some 2^-24 * d of the sum and, after the
 * division by sqrt(d), an error of the score that grows as sqrt(d), which is the weight's
 * relative error. exp and the sums over keys give what does not depend on d; the number of
 * keys adds nothing, as their errors are averaged by the weights. The worst of 200 draws of 3
 * to 1,100 keys was 3.0e-7 at d = 1, 8.1e-7 at 16, 1.4e-6 at 64, 2.4e-6 at 256 and 4.4e-6 at
 * 512, of all kernels; the bound is a fifth to a half above.
 * int16: the numbers are rounded before they are multiplied, to steps that themselves grow as
 * sqrt(d) above 32; the worst was 2.2e-4 at d = 1, 5.6e-4 at 64, 1.6e-3 at 256 and 512. */
static double room_of(int at, uint32_t d) {
  return at % 2 ? 2e-4 + 1.1e-4 * sqrt(d) : 3e-7 + 2.2e-7 * sqrt(d);
}

static bool sees(const sp_attention *a, long i, long j, long visible) {
  long w = a->window;
  if (j >= visible) return false;
  if (a->causal) return j <= i && (!w || j > i - w);
  return !w || labs(i - j) <= w;
}

/* One text of n tokens that begins at START, between tokens of other texts. */
enum { START = 7, BEHIND = 5 };
typedef struct problem {
  sp_attention a;
  uint32_t n, visible;
  float *qkv, *out;
  size_t n_out;
  double *want; /* [n, n_heads * d] */
} problem;

static void find_answer(problem *p) {
  const sp_attention *a = &p->a;
  size_t d = a->head_dim, width = a->n_heads * d;
  double *w = malloc(p->n * sizeof *w);
  p->want = calloc(p->n * width, sizeof *p->want);
  for (size_t h = 0; h < a->n_heads; h++)
    for (size_t i = 0; i < p->n; i++) {
      size_t g = h / (a->n_heads / a->n_kv_heads);
      double sum = 0, *want = p->want + i * width + h * d;
      for (size_t j = 0; j < p->n; j++) {
        const float *q = a->q + (START + i) * a->q_stride + h * d;
        const float *k = a->k + (START + j) * a->kv_stride + g * d;
        double score = 0;
        w[j] = 0;
        if (!sees(a, (long)i, (long)j, p->visible)) continue;
        for (size_t c = 0; c < d; c++) score += (double)q[c] * k[c];
        sum += w[j] = exp(score / sqrt((double)d));
      }
      for (size_t j = 0; j < p->n; j++) {
        if (w[j] == 0) continue;
        const float *v = a->v + (START + j) * a->kv_stride + g * d;
        for (size_t c = 0; c < d; c++) want[c] += w[j] / sum * v[c];
      }
    }
  free(w);
}

/* What nobody may look at is NaN: other texts' tokens, keys and values that are not visible. */
static problem make(sp_attention shape, uint32_t n, uint32_t visible) {
  problem p = {.a = shape, .n = n, .visible = visible};
  sp_attention *a = &p.a;
  size_t q_dim = (size_t)a->n_heads * a->head_dim;
  size_t kv_dim = (size_t)a->n_kv_heads * a->head_dim;
  size_t stride = q_dim + 2 * kv_dim, tokens = START + n + BEHIND;
  p.qkv = malloc(tokens * stride * sizeof *p.qkv);
  p.n_out = tokens * q_dim;
  p.out = malloc(p.n_out * sizeof *p.out);
  for (size_t t = 0; t < tokens; t++)
    for (size_t i = 0; i < stride; i++) {
      bool text = t >= START && t < START + n;
      bool read = i < q_dim ? text : text && t < START + visible;
      p.qkv[t * stride + i] = read ? draw() : NAN;
    }
  a->q = p.qkv;
  a->k = p.qkv + q_dim;
  a->v = p.qkv + q_dim + kv_dim;
  a->q_stride = a->kv_stride = stride;
  a->out = p.out;
  find_answer(&p);
  return p;
}

static void drop(problem *p) {
  free(p->qkv), free(p->out), free(p->want);
}

/* In pieces of `piece` queries; out and scratch are poisoned before. */
static void run(problem *p, const sp_attention_ops *ops, uint32_t piece) {
  size_t bytes = (sp_attention_scratch(p->a.head_dim) * sizeof(float) + 63) / 64 * 64;
  float *scratch = aligned_alloc(64, bytes);
  memset(scratch, 0xff, bytes);
  for (size_t i = 0; i < p->n_out; i++) p->out[i] = NAN;
  for (uint32_t h = 0; h < p->a.n_heads; h++)
    for (uint32_t first = 0; first < p->n; first += piece) {
      uint32_t left = p->n - first;
      ops->attend(&p->a, START, p->visible, h, first, left < piece ? left : piece,
                  scratch);
    }
  free(scratch);
}

static void expect_answer(const problem *p, const sp_attention_ops *ops, double room) {
  size_t width = (size_t)p->a.n_heads * p->a.head_dim;
  for (size_t i = 0; i < p->n_out; i++) {
    size_t token = i / width;
    if (token < START || token >= START + p->n) {
      if (!isnan(p->out[i])) fail_msg("%s wrote a token of another text", ops->name);
      continue;
    }
    double got = p->out[i], want = p->want[i - START * width];
    if (!(fabs(got - want) <= room))
      fail_msg("%s, %u tokens, head of %u, token %zu: %.9g, expected %.9g", ops->name,
               p->n, p->a.head_dim, token - START, got, want);
  }
}

static void check(problem *p, uint32_t piece) {
  FOR_EACH_KERNEL(ops) {
    run(p, ops, piece);
    expect_answer(p, ops, room_of(at_, p->a.head_dim));
  }
}

static const struct {
  uint32_t heads, kv_heads, d, window, n, visible;
  bool causal;
} SHAPES[] = {
    {2, 2, 8, 0, 1, 1, false},          {2, 2, 8, 0, 65, 65, false},
    {3, 1, 5, 0, 130, 130, true},       {4, 2, 16, 16, 150, 150, true},
    {2, 2, 6, 8, 200, 200, false},      {1, 1, 4, 3, 40, 10, false},
    {2, 2, 8, 0, 24, 15, false},        {1, 1, 4, 1, 70, 70, true},
    {1, 1, 1, 0, 3, 3, false},          {2, 2, 32, 0, 63, 63, false},
    {2, 2, 64, 0, 64, 64, false},       {2, 1, 80, 0, 65, 65, false},
    {2, 2, 128, 0, 33, 33, false},      {1, 1, 64, 0, 513, 513, false},
    {2, 2, 32, 0, 1030, 700, false},    {2, 1, 32, 0, 600, 600, true},
    {1, 1, 64, 64, 1200, 1200, false},  {1, 1, 80, 200, 530, 530, true},
    {1, 1, 32, 600, 1300, 1300, false}, {1, 1, 16, 520, 1100, 1100, true},
    {1, 1, 36, 0, 31, 30, false},       {1, 1, 33, 2, 97, 50, false},
    {1, 1, 256, 0, 19, 19, true},
};
enum { N_SHAPES = sizeof SHAPES / sizeof *SHAPES };

static problem make_shape(int i) {
  sp_attention a = {.n_heads = SHAPES[i].heads,
                    .n_kv_heads = SHAPES[i].kv_heads,
                    .head_dim = SHAPES[i].d,
                    .causal = SHAPES[i].causal,
                    .window = SHAPES[i].window};
  return make(a, SHAPES[i].n, SHAPES[i].visible);
}

static void attention_sees_what_it_may_and_nothing_else(void **state) {
  (void)state;
  for (int i = 0; i < N_SHAPES; i++) {
    problem p = make_shape(i);
    check(&p, SP_ATTENTION_QUERIES);
    drop(&p);
  }
}

static void pieces_of_any_size_give_the_same(void **state) {
  (void)state;
  static const uint32_t PIECES[] = {1, 31, 33, 100};
  for (int i = 0; i < N_SHAPES; i++) {
    if (SHAPES[i].n > 200) continue;
    problem p = make_shape(i);
    for (size_t s = 0; s < sizeof PIECES / sizeof *PIECES; s++) check(&p, PIECES[s]);
    drop(&p);
  }
}

/* Later keys outdo earlier ones by far, and the other way round: what was summed up must fade,
 * or what comes be nothing beside it. */
static void scores_far_apart_leave_the_largest(void **state) {
  (void)state;
  enum { N = 1100 };
  const sp_attention shape = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 4};
  for (int growing = 0; growing < 2; growing++) {
    problem p = make(shape, N, N);
    size_t stride = p.a.q_stride;
    for (size_t t = 0; t < N; t++) {
      float *token = p.qkv + (START + t) * stride, x = (float)(growing ? t : N - t);
      for (int i = 0; i < 4; i++) token[i] = 10, token[4 + i] = x;
    }
    size_t best = growing ? N - 1 : 0;
    for (size_t i = 0; i < (size_t)N * 4; i++)
      p.want[i] = p.qkv[(START + best) * stride + 8 + i % 4];
    check(&p, SP_ATTENTION_QUERIES);
    drop(&p);
  }
}

/* Of two keys with scores 0 and -x: the second's weight is e^-x / (1 + e^-x). */
static void weights_follow_the_exponential(void **state) {
  (void)state;
  float qkv[2][3] = {{1, 0, 0}, {1, 0, 1}}, out[2];
  float *scratch =
      aligned_alloc(64, (sp_attention_scratch(1) * sizeof *scratch + 63) / 64 * 64);
  const sp_attention a = {.q = &qkv[0][0],
                          .k = &qkv[0][1],
                          .v = &qkv[0][2],
                          .q_stride = 3,
                          .kv_stride = 3,
                          .out = out,
                          .n_heads = 1,
                          .n_kv_heads = 1,
                          .head_dim = 1};
  FOR_EACH_KERNEL(ops) {
    if (at_ % 2) continue; /* 15 bits are too few */
    for (int i = 0; i <= 5000; i++) {
      double x = i * 0.016, want = exp(-x) / (1 + exp(-x));
      qkv[1][1] = (float)-x;
      ops->attend(&a, 0, 2, 0, 0, 2, scratch);
      double room = 4e-7 + 1.3e-7 * x; /* the score itself is rounded */
      if (!(fabs(out[0] / want - 1) <= room))
        fail_msg("%s: e^-%g is off by %g", ops->name, x, out[0] / want - 1);
    }
    qkv[1][1] = -100; /* below 2^-126 */
    ops->attend(&a, 0, 2, 0, 0, 2, scratch);
    assert_true(out[0] == 0);
  }
  free(scratch);
}

static void queries_and_keys_of_zeros_take_the_mean(void **state) {
  (void)state;
  const sp_attention shape = {.n_heads = 1, .n_kv_heads = 1, .head_dim = 8};
  problem p = make(shape, 45, 45);
  for (int t = 0; t < 45; t++)
    memset(p.qkv + (size_t)(START + t) * 24 + (t % 2 ? 0 : 8), 0, 8 * sizeof(float));
  for (size_t i = 0; i < 45;
       i++) /* of even tokens the keys are 0, of odd ones the queries */
    for (size_t c = 0; c < 8 && i % 2; c++) {
      p.want[i * 8 + c] = 0;
      for (size_t j = 0; j < 45; j++)
        p.want[i * 8 + c] += (double)p.qkv[(START + j) * 24 + 16 + c] / 45;
    }
  FOR_EACH_KERNEL(ops) {
    run(&p, ops, SP_ATTENTION_QUERIES);
    for (size_t i = 1; i < 45; i += 2)
      for (size_t c = 0; c < 8; c++)
        assert_true(fabs(p.out[(START + i) * 8 + c] - p.want[i * 8 + c]) <=
                    room_of(at_, 8));
  }
  drop(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(attention_sees_what_it_may_and_nothing_else),
      cmocka_unit_test(pieces_of_any_size_give_the_same),
      cmocka_unit_test(scores_far_apart_leave_the_largest),
      cmocka_unit_test(weights_follow_the_exponential),
      cmocka_unit_test(queries_and_keys_of_zeros_take_the_mean),
  };
  return cmocka_run_group_tests_name("attention", tests, NULL, NULL);
}
