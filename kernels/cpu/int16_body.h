/* kernels/cpu/int16_body.h - what the kernels of kernels/cpu/int16.h share; each defines
 * INT16_NAME, INT16_TEXT, INT16_TOKENS and tile16(panel, u, m, columns, stride, sums), which
 * adds the exact products of m <= INT16_TOKENS tokens over `columns` columns to float sums;
 * `stride` columns from token to token. Then it includes this. */
#include <string.h>

#include "kernels/cpu/largest.h"

static void quantize16(const float *x, size_t m, uint32_t k, int16_t *u, float *scales) {
  uint32_t k2 = (k + 1) / 2 * 2;
  for (size_t i = 0; i < m; i++, x += k, u += k2) {
    const float above = SP_INT16_TOKEN + 1;
    float most = sp_largest(x, k), inverse = most > 0 ? SP_INT16_TOKEN / most : 0;
#pragma omp simd
    for (uint32_t j = 0; j < k; j++) {
      float v = x[j] * inverse + (above + 0.5f); /* > 0, so that cutting rounds */
      v = v < 1 ? 1 : v;
      v = v > 2 * above - 1 ? 2 * above - 1 : v;
      u[j] = (int16_t)((int32_t)v - (int32_t)above);
    }
    if (k2 > k) u[k] = 0;
    scales[i] = most / SP_INT16_TOKEN;
  }
}

static void multiply16(const sp_int16_matrix *w, uint32_t panel, const int16_t *u,
                       const float *scales, size_t m, const float *bias, float *y,
                       size_t ld) {
  const size_t first = (size_t)panel * SP_PANEL;
  const size_t n = sp_panel_rows(w->n, panel);
  const int16_t *weights = w->weights + first * w->k2;
  float sums[INT16_TOKENS][SP_PANEL];
  for (size_t i = 0, here; i < m; i += here) {
    here = sp_panel_share(m - i, INT16_TOKENS);
    memset(sums, 0, here * sizeof *sums);
    for (uint32_t k = 0; k < w->k2; k += SP_INT16_COLUMNS) {
      uint32_t columns = w->k2 - k < SP_INT16_COLUMNS ? w->k2 - k : SP_INT16_COLUMNS;
      tile16(weights + (size_t)k * SP_PANEL, u + i * w->k2 + k, here, columns, w->k2,
             sums);
    }
    for (size_t t = 0; t < here; t++) {
      float line[SP_PANEL], *out = y + (i + t) * ld;
      for (int j = 0; j < SP_PANEL; j++)
        line[j] = sums[t][j] * (scales[i + t] * w->scales[first + j]);
      if (bias)
        for (size_t j = 0; j < n; j++) out[j] = line[j] + bias[first + j];
      else
        memcpy(out, line, n * sizeof *out);
    }
  }
}

extern const sp_int16_ops INT16_NAME;
const sp_int16_ops INT16_NAME = {INT16_TEXT, quantize16, multiply16};
