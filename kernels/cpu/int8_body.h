/* kernels/cpu/int8_body.h - what the kernels of kernels/cpu/int8.h share; each defines
 * INT8_NAME, INT8_TEXT, INT8_TOKENS and tile(panel, u, m, k4, sums), the exact sums of m <=
 * INT8_TOKENS tokens against one panel, and then includes this. */
#include <math.h>
#include <string.h>

static void quantize(const float *x, size_t m, uint32_t k, uint8_t *u, float *scales,
                     int32_t *zeros) {
  uint32_t k4 = (k + 3) / 4 * 4;
  for (size_t i = 0; i < m; i++, x += k, u += k4) {
    float least = 0, most = 0; /* 0 must be exact: it is what most values are near */
#pragma omp simd reduction(min : least) reduction(max : most)
    for (uint32_t j = 0; j < k; j++) {
      least = x[j] < least ? x[j] : least;
      most = x[j] > most ? x[j] : most;
    }
    float scale = (most - least) / 255, inverse = scale > 0 ? 1 / scale : 0;
    int32_t zero = (int32_t)(-least * inverse + 0.5f);
    float shift = (float)zero + 0.5f;
#pragma omp simd
    for (uint32_t j = 0; j < k; j++) {
      float v = x[j] * inverse + shift;
      v = v < 0 ? 0 : v;
      v = v > 255 ? 255 : v;
      u[j] = (uint8_t)(int32_t)v;
    }
    for (uint32_t j = k; j < k4; j++) u[j] = 0; /* meets weights of 0 */
    scales[i] = scale;
    zeros[i] = zero;
  }
}

static void raise_best(const sp_int8_matrix *w, uint32_t panel, const sp_int8_tokens *x,
                       size_t m, float *best) {
  const size_t first = (size_t)panel * SP_PANEL;
  const int8_t *weights = w->weights + first * w->k4;
  const int32_t *rows = w->sums + first;
  int32_t sums[INT8_TOKENS][SP_PANEL];
  float most[SP_PANEL]; /* before the row's own scale, which is no less than 0 */
  for (int j = 0; j < SP_PANEL; j++) most[j] = -INFINITY;
  for (size_t i = 0, here; i < m; i += here) {
    here = sp_panel_share(m - i, INT8_TOKENS);
    tile(weights, x->u + i * w->k4, here, w->k4, sums);
    for (size_t t = 0; t < here; t++) {
      float a = x->scales[i + t];
      int32_t zero = x->zeros[i + t];
      for (int j = 0; j < SP_PANEL; j++) {
        float v = (float)(sums[t][j] - zero * rows[j]) * a;
        most[j] = v > most[j] ? v : most[j];
      }
    }
  }
  for (int j = 0; j < SP_PANEL; j++) {
    float v = most[j] * w->scales[first + j];
    best[j] = v > best[j] ? v : best[j];
  }
}

extern const sp_int8_ops INT8_NAME;
const sp_int8_ops INT8_NAME = {INT8_TEXT, quantize, raise_best};
