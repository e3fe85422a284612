/* kernels/cpu/attention_int16.h - the numbers of attention_body.h as whole numbers of 16 bits:
 * a word of a row is two of them; the words of values and weights are of two keys. The
 * ranges are told in attention.h. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attention_room.h"

enum { WORD_NUMBERS = 2, MOST_INT16 = 8191 };

/* The two numbers nearest to a and b, |a|, |b| < 2^15, as a word, the first at the lower
 * address. */
static inline void put_pair(float *at, float a, float b) {
  const float magic =
      12582912.0f; /* 1.5 * 2^23: leaves the whole number in the low bits */
  a += magic, b += magic;
  uint32_t first, second;
  memcpy(&first, &a, sizeof first);
  memcpy(&second, &b, sizeof second);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  uint32_t word = first << 16 | (second & 0xffff);
#else
  uint32_t word = (first & 0xffff) | second << 16;
#endif
  memcpy(at, &word, sizeof word);
}

/* Rows of SP_PANEL floats, n an even number of them, times steps: two become one, in place. */
static void pair_up(float *rows, size_t n, const float *steps) {
  for (size_t j = 0; j < n; j += 2) {
    const float *a = rows + j * SP_PANEL, *b = a + SP_PANEL;
    float *row = rows + j / 2 * SP_PANEL; /* read before */
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++)
      put_pair(row + r, a[r] * steps[r], b[r] * steps[r]);
  }
}

/* Column c .. of a row of d floats, SP_PANEL of them, as they lie or with zeros behind. */
static inline const float *columns_of(const float *row, size_t c, size_t d,
                                      float padded[SP_PANEL]) {
  if (d - c >= SP_PANEL) return row + c;
  for (size_t i = 0; i < SP_PANEL; i++) padded[i] = c + i < d ? row[c + i] : 0;
  return padded;
}

/* The largest of SP_PANEL columns from c on, over n rows of d floats. */
static void find_largest(const float *x, size_t stride, size_t n, size_t c, size_t d,
                         float most[SP_PANEL]) {
  float padded[4][SP_PANEL];
  for (int i = 0; i < SP_PANEL; i++) most[i] = 0;
  for (size_t j = 0; j < n; j += 4, x += 4 * stride) {
    const float *rows[4];
    for (size_t r = 0; r < 4; r++)
      rows[r] = columns_of(j + r < n ? x + r * stride : x, c, d, padded[r]);
    const float *e = rows[0], *f = rows[1], *g = rows[2], *h = rows[3];
#pragma omp simd
    for (int i = 0; i < SP_PANEL; i++) {
      float ef = fabsf(e[i]) > fabsf(f[i]) ? fabsf(e[i]) : fabsf(f[i]);
      float gh = fabsf(g[i]) > fabsf(h[i]) ? fabsf(g[i]) : fabsf(h[i]);
      float all = ef > gh ? ef : gh;
      most[i] = most[i] > all ? most[i] : all;
    }
  }
}

/* The steps of columns whose largest are given, `top` of them to the largest, and their
 * inverses. */
static void fit(const float most[SP_PANEL], float top, float *scales,
                float inverses[SP_PANEL]) {
#pragma omp simd
  for (int i = 0; i < SP_PANEL; i++) {
    scales[i] = most[i] > 0 ? most[i] / top : 1;
    inverses[i] = 1 / scales[i];
  }
}

/* Of a query's and of a key's numbers: d products of two fit 31 bits. */
static float most_of_row(uint32_t d) {
  float most = floorf(sqrtf((float)INT32_MAX / (float)(d + d % 2)) * 0.99999f);
  return most < MOST_INT16 ? most : MOST_INT16;
}

/* Rows of n keys, each column with its own step. */
static void load_keys(const float *k, size_t stride, size_t n, uint32_t d,
                      const attention_room *r) {
  const float top = most_of_row(d);
  for (size_t c = 0; c < d; c += SP_PANEL) {
    const size_t words = (d - c + 1) / 2;
    const size_t bytes = words < SP_PANEL / 2 ? words * 4 : SP_PANEL * 2;
    float most[SP_PANEL], inverses[SP_PANEL], padded[SP_PANEL], line[SP_PANEL / 2];
    find_largest(k, stride, n, c, d, most);
    fit(most, top, r->key_scales + c, inverses);
    for (size_t j = 0; j < n; j++) {
      const float *x = columns_of(k + j * stride, c, d, padded);
      for (int i = 0; i < SP_PANEL / 2; i++)
        put_pair(line + i, x[2 * i] * inverses[2 * i],
                 x[2 * i + 1] * inverses[2 * i + 1]);
      memcpy(r->keys + j * r->words + c / 2, line, bytes);
    }
  }
}

/* Panels of n keys' values and some zeros behind them, up to a multiple of four. */
static void load_values(const float *v, size_t stride, size_t n, uint32_t d,
                        const attention_room *r) {
  static const float ZEROS[SP_PANEL];
  const size_t fours = (n + 3) / 4 * 4;
  float *out = r->values;
  for (size_t c = 0; c < d; c += SP_PANEL, out += (size_t)SP_ATTENTION_KEYS * SP_PANEL) {
    float most[SP_PANEL], inverses[SP_PANEL], padded[2][SP_PANEL];
    find_largest(v, stride, n, c, d, most);
    fit(most, MOST_INT16, r->value_scales + c, inverses);
    for (size_t j = 0; j < fours; j += 2) {
      const float *at = v + j * stride;
      const float *a = j < n ? columns_of(at, c, d, padded[0]) : ZEROS;
      const float *b = j + 1 < n ? columns_of(at + stride, c, d, padded[1]) : ZEROS;
      float *row = out + j / 2 * SP_PANEL;
#pragma omp simd
      for (int i = 0; i < SP_PANEL; i++)
        put_pair(row + i, a[i] * inverses[i], b[i] * inverses[i]);
    }
  }
}

static inline float value_scale(const attention_room *r, size_t column) {
  return r->value_scales[column];
}

/* The turned queries of d columns, times the keys' steps, as words; multiplies factors by
 * what products are to be multiplied by. */
static void finish_queries(const attention_room *room, uint32_t d, float *factors) {
  const float top = most_of_row(d);
  float most[SP_PANEL] = {0}, steps[SP_PANEL];
  for (uint32_t c = 0; c < d; c++) {
    float *row = room->queries + (size_t)c * SP_PANEL;
    const float scale = room->key_scales[c];
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++) {
      row[r] *= scale;
      most[r] = fabsf(row[r]) > most[r] ? fabsf(row[r]) : most[r];
    }
  }
#pragma omp simd
  for (int r = 0; r < SP_PANEL; r++) {
    float scale = most[r] > 0 ? most[r] / top : 1;
    factors[r] *= scale;
    steps[r] = 1 / scale;
  }
  pair_up(room->queries, d + d % 2, steps);
}

/* Makes the weights of n keys, whose sums and largest are given, words of SP_PANEL tokens;
 * gives what the products are to be multiplied by. */
static void finish_weights(float *weights, size_t n, const float *sums, const float *most,
                           float *scales) {
  /* 2^31 / 8191 less half a step for each key, and what the float sum may be off. */
  const float most_sum = 261800;
  float steps[SP_PANEL];
#pragma omp simd
  for (int r = 0; r < SP_PANEL; r++) {
    float by_sum = most_sum / sums[r], by_most = INT16_MAX / most[r];
    float s =
        by_sum < by_most ? by_sum : by_most; /* infinite where there are no weights */
    steps[r] = s < 1e30f ? s : 0;
    scales[r] = s < 1e30f ? 1 / s : 0;
  }
  pair_up(weights, n, steps);
}
