/* kernels/cpu/attention_int16.h - the numbers of attention_body.h as whole numbers of 16 bits:
 * a word of a row is two of them; the words of values and weights are of two keys. The
 * ranges are told in attention.h. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/attention_room.h"
#include "kernels/cpu/largest.h"

enum { WORD_NUMBERS = 2, MOST_INT16 = 8191 };

typedef struct format {
  float most; /* of a query's and of a key's numbers */
} format;

static format format_of(uint32_t d) {
  float most = floorf(sqrtf((float)INT32_MAX / (float)(d + d % 2)) * 0.99999f);
  return (format){most < MOST_INT16 ? most : MOST_INT16};
}

/* Rounds to the next whole number; |x| <= 8191. */
static inline int32_t round_of(float x) {
  const float above = MOST_INT16 + 1;
  float v = x + (above + 0.5f); /* > 0, so that cutting rounds */
  v = v < 1 ? 1 : v;
  v = v > 2 * above - 1 ? 2 * above - 1 : v;
  return (int32_t)v - (int32_t)above;
}

/* The two as a word, the first at the lower address. */
static inline void put_pair(float *at, int32_t first, int32_t second) {
  uint32_t word = ((uint32_t)first & 0xffff) | (uint32_t)second << 16;
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  word = word << 16 | word >> 16;
#endif
  memcpy(at, &word, sizeof word);
}

/* Writes a query or key as words; gives what they are to be multiplied by. */
static float load_row(const format *f, const float *x, uint32_t d, float *row) {
  int16_t *out = (int16_t *)(void *)row;
  float largest = sp_largest(x, d);
  float scale = largest > 0 ? largest / f->most : 1, inverse = 1 / scale;
#pragma omp simd
  for (uint32_t i = 0; i < d; i++) out[i] = (int16_t)round_of(x[i] * inverse);
  if (d % 2) out[d] = 0;
  return scale;
}

static inline float key_scale(const attention_room *r, size_t key) {
  return r->key_scales[key];
}

/* The steps of a panel's columns over n keys. */
static void fit_columns(const float *v, size_t stride, size_t n, size_t width,
                        float *inverses, float *scales) {
  float most[SP_PANEL] = {0};
  for (size_t j = 0; j < n; j++) {
#pragma omp simd
    for (size_t i = 0; i < width; i++) {
      float a = fabsf(v[j * stride + i]);
      most[i] = a > most[i] ? a : most[i];
    }
  }
  for (size_t i = 0; i < SP_PANEL; i++) {
    scales[i] = most[i] > 0 ? most[i] / MOST_INT16 : 1;
    inverses[i] = 1 / scales[i];
  }
}

/* Panels of n keys and some zeros behind them, up to a multiple of four. */
static void load_values(const float *v, size_t stride, size_t n, uint32_t d,
                        const attention_room *r) {
  static const float ZEROS[SP_PANEL];
  const size_t fours = (n + 3) / 4 * 4;
  float *out = r->values;
  for (size_t c = 0; c < d; c += SP_PANEL, out += (size_t)SP_ATTENTION_KEYS * SP_PANEL) {
    const size_t width = d - c < SP_PANEL ? d - c : SP_PANEL;
    float inverses[SP_PANEL];
    fit_columns(v + c, stride, n, width, inverses, r->value_scales + c);
    memset(out, 0, fours / 2 * SP_PANEL * sizeof *out);
    for (size_t j = 0; j < n; j += 2) {
      const float *a = v + j * stride + c, *b = j + 1 < n ? a + stride : ZEROS;
      float *row = out + j / 2 * SP_PANEL;
#pragma omp simd
      for (size_t i = 0; i < width; i++)
        put_pair(row + i, round_of(a[i] * inverses[i]), round_of(b[i] * inverses[i]));
    }
  }
}

static inline float value_scale(const attention_room *r, size_t column) {
  return r->value_scales[column];
}

/* Makes the weights of n keys, whose sums and largest are given, words of SP_PANEL tokens;
 * gives what the products are to be multiplied by. */
static void load_weights(float *weights, size_t n, const float *sums, const float *most,
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
  for (size_t j = 0; j < n; j += 2) {
    const float *a = weights + j * SP_PANEL, *b = a + SP_PANEL;
    float *row = weights + j / 2 * SP_PANEL; /* read before */
#pragma omp simd
    for (int r = 0; r < SP_PANEL; r++)
      put_pair(row + r, (int32_t)(a[r] * steps[r] + 0.5f),
               (int32_t)(b[r] * steps[r] + 0.5f));
  }
}
