/* kernels/cpu/attention.c - two small products and a softmax for each block of queries. */
#include "kernels/cpu/attention.h"

#include <cblas.h>
#include <math.h>
#include <string.h>

size_t sp_attention_scratch(uint32_t longest) {
  return (size_t)SP_ATTENTION_BLOCK * longest;
}

/* The keys that query i sees: [*begin, *end). */
static void visible_keys(const sp_attention *a, uint32_t i, uint32_t visible,
                         uint32_t *begin, uint32_t *end) {
  uint32_t w = a->window;
  *begin = 0;
  *end = visible;
  if (a->causal) {
    if (w && i >= w) *begin = i - w + 1;
    if (i + 1 < *end) *end = i + 1;
  } else if (w) {
    if (i > w) *begin = i - w;
    if (i + w + 1 < *end) *end = i + w + 1;
  }
  if (*begin > *end) *begin = *end;
}

/* Softmax over each row's own keys, zeros for the others of the block's range. */
static void weigh(const sp_attention *a, const sp_dense_ops *ops, uint32_t first,
                  uint32_t n, uint32_t visible, uint32_t from, uint32_t width,
                  float *scores) {
  float scale = 1.0f / sqrtf((float)a->head_dim);
  for (uint32_t r = 0; r < n; r++) {
    float *row = scores + (size_t)r * width;
    uint32_t begin, end;
    visible_keys(a, first + r, visible, &begin, &end);
    begin -= from;
    end -= from;
    if (end > begin) ops->softmax(row + begin, scale, end - begin);
    memset(row, 0, begin * sizeof *row);
    memset(row + end, 0, (width - end) * sizeof *row);
  }
}

void sp_attention_block(const sp_attention *a, const sp_dense_ops *ops, size_t start,
                        uint32_t visible, uint32_t head, uint32_t first, uint32_t n,
                        float *scratch) {
  /* Ranges only move forward with i, so the block's keys run from its first query's begin to
   * its last one's end. */
  uint32_t from, to, ignored;
  visible_keys(a, first, visible, &from, &ignored);
  visible_keys(a, first + n - 1, visible, &ignored, &to);
  size_t out_stride = (size_t)a->n_heads * a->head_dim;
  float *out = a->out + (start + first) * out_stride + (size_t)head * a->head_dim;
  if (to <= from) {
    for (uint32_t r = 0; r < n; r++)
      memset(out + r * out_stride, 0, a->head_dim * sizeof *out);
    return;
  }
  uint32_t width = to - from, group = head / (a->n_heads / a->n_kv_heads);
  const float *q = a->q + (start + first) * a->q_stride + (size_t)head * a->head_dim;
  size_t keys = (start + from) * a->kv_stride + (size_t)group * a->head_dim;
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n, (int)width,
              (int)a->head_dim, 1, q, (int)a->q_stride, a->k + keys, (int)a->kv_stride, 0,
              scratch, (int)width);
  weigh(a, ops, first, n, visible, from, width, scratch);
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n, (int)a->head_dim,
              (int)width, 1, scratch, (int)width, a->v + keys, (int)a->kv_stride, 0, out,
              (int)out_stride);
}
