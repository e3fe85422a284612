/* kernels/cpu/float32_body.h - what the kernels of kernels/cpu/float32.h share; each defines
 * FLOAT32_NAME, FLOAT32_TEXT, FLOAT32_TOKENS and tile(panel, x, m, k, sums), the products of
 * m <= FLOAT32_TOKENS tokens with one panel, and then includes this. */
#include <math.h>
#include <string.h>

static void multiply(const sp_float32_matrix *w, uint32_t panel, const float *x, size_t m,
                     const float *bias, float *y, size_t ld) {
  const size_t first = (size_t)panel * SP_PANEL;
  const size_t n = sp_panel_rows(w->n, panel);
  const float *weights = w->weights + first * w->k;
  float sums[FLOAT32_TOKENS][SP_PANEL];
  for (size_t i = 0, here; i < m; i += here) {
    here = sp_panel_share(m - i, FLOAT32_TOKENS);
    tile(weights, x + i * w->k, here, w->k, sums);
    for (size_t t = 0; t < here; t++) {
      float *out = y + (i + t) * ld;
      if (bias)
        for (size_t j = 0; j < n; j++) out[j] = sums[t][j] + bias[first + j];
      else
        memcpy(out, sums[t], n * sizeof *out);
    }
  }
}

static void raise_best(const sp_float32_matrix *w, uint32_t panel, const float *x,
                       size_t m, float *best) {
  const float *weights = w->weights + (size_t)panel * SP_PANEL * w->k;
  float sums[FLOAT32_TOKENS][SP_PANEL];
  for (size_t i = 0, here; i < m; i += here) {
    here = sp_panel_share(m - i, FLOAT32_TOKENS);
    tile(weights, x + i * w->k, here, w->k, sums);
    for (size_t t = 0; t < here; t++)
      for (int j = 0; j < SP_PANEL; j++)
        best[j] = sums[t][j] > best[j] ? sums[t][j] : best[j];
  }
}

extern const sp_float32_ops FLOAT32_NAME;
const sp_float32_ops FLOAT32_NAME = {FLOAT32_TEXT, multiply, raise_best};
