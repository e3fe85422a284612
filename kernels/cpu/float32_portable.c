/* kernels/cpu/float32_portable.c - kernels/cpu/float32.h in plain C. */
#include "kernels/cpu/float32.h"

enum { FLOAT32_TOKENS = 4 };

static void tile(const float *panel, const float *x, size_t m, uint32_t k,
                 float sums[FLOAT32_TOKENS][SP_PANEL]) {
  for (size_t t = 0; t < m; t++)
    for (int j = 0; j < SP_PANEL; j++) sums[t][j] = 0;
  for (uint32_t i = 0; i < k; i++, panel += SP_PANEL)
    for (size_t t = 0; t < m; t++) {
      float a = x[t * k + i];
      for (int j = 0; j < SP_PANEL; j++) sums[t][j] += a * panel[j];
    }
}

#define FLOAT32_NAME sp_float32_portable
#define FLOAT32_TEXT "portable"
#include "kernels/cpu/float32_body.h"
