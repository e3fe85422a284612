/* kernels/cpu/int16_portable.c - kernels/cpu/int16.h in plain C. */
#include "kernels/cpu/int16.h"

enum { INT16_TOKENS = 4 };

static void tile16(const int16_t *panel, const int16_t *u, size_t m, uint32_t columns,
                   size_t stride, float sums[INT16_TOKENS][SP_PANEL]) {
  int32_t exact[INT16_TOKENS][SP_PANEL] = {{0}};
  for (uint32_t k = 0; k < columns; k += 2, panel += 2 * SP_PANEL)
    for (size_t t = 0; t < m; t++) {
      const int16_t *a = u + t * stride + k;
      for (int j = 0; j < SP_PANEL; j++)
        exact[t][j] += a[0] * panel[2 * j] + a[1] * panel[2 * j + 1];
    }
  for (size_t t = 0; t < m; t++)
    for (int j = 0; j < SP_PANEL; j++) sums[t][j] += (float)exact[t][j];
}

#define INT16_NAME sp_int16_portable
#define INT16_TEXT "portable"
#include "kernels/cpu/int16_body.h"
