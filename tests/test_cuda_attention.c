/* tests/test_cuda_attention.c - packed attention on the device against plain C. */
#include "kernels/cuda_attention.h"
#include "tests/cuda_fixture.h"

/* Lengths around the tiles' edges, an empty sequence, a single token. */
static const int32_t LENGTHS[] = {1, 0, 63, 64, 65, 30, 128, 200, 7, 129};
enum { N_SEQS = sizeof LENGTHS / sizeof *LENGTHS, MAX_LEN = 200 };

typedef struct shape {
  int n_heads, n_kv_heads, head_dim, left, right;
  bool key_end;
} shape;

/* One query's row of float64 sums over the keys it sees. */
static void plain_query(const shape *s, const float *qkv, size_t stride, int start,
                        int len, int key_end, int i, int head, float *out) {
  const int D = s->head_dim, kv = head / (s->n_heads / s->n_kv_heads);
  const float *q = qkv + (size_t)(start + i) * stride + head * D;
  const float *k = qkv + (size_t)start * stride + s->n_heads * D + kv * D;
  const float *v = k + s->n_kv_heads * D;
  double w[MAX_LEN], total = 0, sum[256] = {0};
  for (int j = 0; j < len; j++) {
    const bool seen = j < key_end && (s->left < 0 || j >= i - s->left) &&
                      (s->right < 0 || j <= i + s->right);
    double dot = 0;
    for (int d = 0; d < D; d++) dot += (double)q[d] * k[(size_t)j * stride + d];
    w[j] = seen ? exp(dot / sqrt(D)) : 0; /* inputs are small: no overflow */
    total += w[j];
  }
  for (int j = 0; j < len; j++)
    for (int d = 0; d < D; d++) sum[d] += w[j] * v[(size_t)j * stride + d];
  for (int d = 0; d < D; d++) out[d] = total > 0 ? (float)(sum[d] / total) : 0;
}

/* With max_len 200 head sizes 32 and 64 go to the kernel of short texts, with 400 to the one of
 * any; no sequence is longer than either. */
static void check_below(int max_len, sp_cuda_type type, shape s) {
  int32_t starts[N_SEQS + 1] = {0}, ends[N_SEQS];
  for (int b = 0; b < N_SEQS; b++) {
    starts[b + 1] = starts[b] + LENGTHS[b];
    ends[b] = LENGTHS[b] * 2 / 3; /* 0 for the single token: nothing to attend to */
  }
  const int D = s.head_dim, n = starts[N_SEQS],
            width = (s.n_heads + 2 * s.n_kv_heads) * D;
  const int q_width = s.n_heads * D, kv_width = s.n_kv_heads * D;
  /* q, k and v each start at a multiple of 8, as the backend lays them out. */
  const int q_stride = sp_cuda_stride(q_width), kv_stride = sp_cuda_stride(kv_width);
  const int stride = q_stride + 2 * kv_stride;
  float *qkv = random_floats((size_t)n * width, 1.5f, 17);
  float *laid = calloc((size_t)n * stride, sizeof *laid);
  assert_non_null(laid);
  for (int t = 0; t < n; t++)
    for (int i = 0; i < width; i++) {
      float *x = qkv + (size_t)t * width + i;
      *x = widen(type, narrow(type, *x));
      const int part = i < q_width ? 0 : i < q_width + kv_width ? 1 : 2;
      const int from = part == 0 ? 0 : part == 1 ? q_width : q_width + kv_width;
      const int to = part == 0 ? 0 : part == 1 ? q_stride : q_stride + kv_stride;
      laid[(size_t)t * stride + to + (i - from)] = *x;
    }
  uint16_t *in = rows_to_device(type, laid, n, stride, stride);
  void *starts_d = to_device(starts, sizeof starts),
       *ends_d = to_device(ends, sizeof ends);
  void *out = device_bytes((size_t)n * q_stride * 2, 0xff);
  const sp_cuda_attention_args args = {type,
                                       in,
                                       in + q_stride,
                                       in + q_stride + kv_stride,
                                       out,
                                       starts_d,
                                       s.key_end ? ends_d : NULL,
                                       stride,
                                       q_stride,
                                       N_SEQS,
                                       max_len,
                                       s.n_heads,
                                       s.n_kv_heads,
                                       D,
                                       s.left,
                                       s.right,
                                       1 / sqrtf((float)D),
                                       s.n_heads > s.n_kv_heads};
  expect_ok(sp_cuda_attention(&args, NULL));

  float *got = rows_from_device(type, out, n, q_width, q_stride);
  float *want = malloc((size_t)n * q_width * sizeof *want);
  assert_non_null(want);
  for (int b = 0; b < N_SEQS; b++)
    for (int i = 0; i < LENGTHS[b]; i++)
      for (int h = 0; h < s.n_heads; h++)
        plain_query(&s, qkv, width, starts[b], LENGTHS[b],
                    s.key_end ? ends[b] : LENGTHS[b], i, h,
                    want + (size_t)(starts[b] + i) * q_width + h * D);
  char what[96];
  snprintf(what, sizeof what, "attention %d/%d heads of %d, window %d %d, up to %d, %s",
           s.n_heads, s.n_kv_heads, D, s.left, s.right, max_len,
           type == SP_CUDA_F16 ? "f16" : "bf16");
  /* The weights are rounded once more before they multiply the values. */
  expect_near(got, want, (size_t)n * q_width, 2 * rounding(type), what);
  cudaFree(in), cudaFree(starts_d), cudaFree(ends_d), cudaFree(out);
  free(qkv), free(laid), free(got), free(want);
}

static void check(sp_cuda_type type, shape s) {
  check_below(MAX_LEN, type, s);
  if (s.head_dim == 32 || s.head_dim == 64) check_below(2 * MAX_LEN, type, s);
}

static const int HEAD_DIMS[] = {8, 10, 12, 16, 32, 64, 80, 96, 128, 256};

static void check_all_heads(int n_heads, int n_kv_heads, int left, int right,
                            bool key_end) {
  for (size_t t = 0; t < 2; t++)
    for (size_t d = 0; d < sizeof HEAD_DIMS / sizeof *HEAD_DIMS; d++)
      check(BOTH_TYPES[t],
            (shape){n_heads, n_kv_heads, HEAD_DIMS[d], left, right, key_end});
}

static void bidirectional_equals_plain_c(void **state) {
  (void)state;
  needs_device();
  check_all_heads(3, 3, -1, -1, false);
}
static void causal_with_shared_keys_equals_plain_c(void **state) {
  (void)state;
  needs_device();
  check_all_heads(6, 2, -1, 0, false);
}
static void causal_windows_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  check_all_heads(4, 1, 15, 0, false);
  check_all_heads(1, 1, 69, 0, false);
}
static void local_windows_equal_plain_c(void **state) {
  (void)state;
  needs_device();
  check_all_heads(2, 2, 8, 8, false);
  check_all_heads(1, 1, 64, 64, false);
}
static void tokens_that_nobody_attends_to_are_left_out(void **state) {
  (void)state;
  needs_device();
  check_all_heads(2, 2, -1, -1, true);
}

enum { ROW = 128 }; /* elements of each of q, k and v: 2 heads of 64 */

/* Attention of n_seqs texts over the first rows of `in`, bidirectional. */
static uint16_t *attend(const void *in, const int32_t *lens, int n_seqs,
                        int32_t max_len) {
  int32_t *starts = calloc((size_t)n_seqs + 1, sizeof *starts);
  assert_non_null(starts);
  for (int b = 0; b < n_seqs; b++) starts[b + 1] = starts[b] + lens[b];
  const size_t bytes = (size_t)starts[n_seqs] * ROW * sizeof(uint16_t);
  void *starts_d = to_device(starts, ((size_t)n_seqs + 1) * sizeof *starts);
  void *out = device_bytes(bytes, 0xff);
  const uint16_t *q = in;
  const sp_cuda_attention_args args = {.type = SP_CUDA_F16,
                                       .q = q,
                                       .k = q + ROW,
                                       .v = q + 2 * ROW,
                                       .out = out,
                                       .starts = starts_d,
                                       .stride = 3 * ROW,
                                       .out_stride = ROW,
                                       .n_seqs = n_seqs,
                                       .max_len = max_len,
                                       .n_heads = 2,
                                       .n_kv_heads = 2,
                                       .head_dim = 64,
                                       .left = -1,
                                       .right = -1,
                                       .scale = 0.125f};
  expect_ok(sp_cuda_attention(&args, NULL));
  uint16_t *got = malloc(bytes ? bytes : 1);
  assert_non_null(got);
  from_device(got, out, bytes);
  cudaFree(starts_d), cudaFree(out);
  free(starts);
  return got;
}

/* Each text once beside a long one, once alone, and as often among many short ones as it
 * takes for every block to use each place of its ring several times. */
static void a_text_is_the_same_in_every_company(void **state) {
  (void)state;
  needs_device();
  static const int32_t TEXTS[] = {72, 128, 5, 129, 0, 16, 67, 300};
  enum { N = sizeof TEXTS / sizeof *TEXTS, N_SHORT = N - 1, TIMES = 60 };
  enum { SHORT_TOKENS = 72 + 128 + 5 + 129 + 16 + 67, TOKENS = SHORT_TOKENS + 300 };
  const size_t short_bytes = (size_t)SHORT_TOKENS * ROW * sizeof(uint16_t);
  float *x = random_floats((size_t)TOKENS * 3 * ROW, 1.5f, 5);
  uint16_t *in = rows_to_device(SP_CUDA_F16, x, TOKENS, 3 * ROW, 3 * ROW);
  uint16_t *all = attend(in, TEXTS, N, 300);
  for (int b = 0, at = 0; b < N; at += TEXTS[b++]) {
    uint16_t *alone = attend(in + (size_t)at * 3 * ROW, &TEXTS[b], 1, TEXTS[b]);
    assert_memory_equal(alone, all + (size_t)at * ROW,
                        (size_t)TEXTS[b] * ROW * sizeof *alone);
    free(alone);
  }

  static int32_t lens[TIMES * N_SHORT];
  uint16_t *repeated = device_bytes(TIMES * 3 * short_bytes, 0xff);
  for (int i = 0; i < TIMES; i++) {
    memcpy(lens + i * N_SHORT, TEXTS, N_SHORT * sizeof *lens);
    assert_int_equal(cudaMemcpy((char *)repeated + i * 3 * short_bytes, in,
                                3 * short_bytes, cudaMemcpyDeviceToDevice),
                     cudaSuccess);
  }
  uint16_t *many = attend(repeated, lens, TIMES * N_SHORT, 129);
  for (int i = 0; i < TIMES; i++)
    assert_memory_equal((char *)many + i * short_bytes, all, short_bytes);
  cudaFree(in), cudaFree(repeated);
  free(x), free(all), free(many);
}

static void heads_that_do_not_fit_are_refused(void **state) {
  (void)state;
  char *p = (char *)64; /* never read */
  sp_cuda_attention_args a = {.q = p,
                              .k = p,
                              .v = p,
                              .out = p,
                              .starts = (int32_t *)p,
                              .stride = 64,
                              .out_stride = 64,
                              .n_seqs = 1,
                              .max_len = 1,
                              .n_heads = 3,
                              .n_kv_heads = 2,
                              .head_dim = 8};
  assert_int_equal(sp_cuda_attention(&a, NULL), SP_EINVAL);
  a.n_kv_heads = 3, a.head_dim = 32; /* 96 into rows of 64 */
  assert_int_equal(sp_cuda_attention(&a, NULL), SP_EINVAL);
  a.head_dim = 8, a.q = p + 2;
  assert_int_equal(sp_cuda_attention(&a, NULL), SP_EINVAL);
  a.q = p, a.n_seqs = 65536;
  assert_int_equal(sp_cuda_attention(&a, NULL), SP_EINVAL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bidirectional_equals_plain_c),
      cmocka_unit_test(causal_with_shared_keys_equals_plain_c),
      cmocka_unit_test(causal_windows_equal_plain_c),
      cmocka_unit_test(local_windows_equal_plain_c),
      cmocka_unit_test(tokens_that_nobody_attends_to_are_left_out),
      cmocka_unit_test(a_text_is_the_same_in_every_company),
      cmocka_unit_test(heads_that_do_not_fit_are_refused),
  };
  return cmocka_run_group_tests_name("cuda_attention", tests, NULL, NULL);
}
