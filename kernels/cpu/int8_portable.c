/* kernels/cpu/int8_portable.c - kernels/cpu/int8.h in plain C. */
#include <string.h>

#include "kernels/cpu/int8.h"

enum { INT8_TOKENS = 4 };
static void tile(const int8_t *panel, const uint8_t *u, size_t m, uint32_t k4,
                 int32_t sums[INT8_TOKENS][SP_PANEL]) {
  memset(sums, 0, m * sizeof *sums);
  for (uint32_t k = 0; k < k4; k += 4, panel += 4 * SP_PANEL)
    for (size_t t = 0; t < m; t++) {
      const uint8_t *a = u + t * k4 + k;
      for (int j = 0; j < SP_PANEL; j++) {
        const int8_t *b = panel + 4 * j;
        sums[t][j] += a[0] * b[0] + a[1] * b[1] + a[2] * b[2] + a[3] * b[3];
      }
    }
}

#define INT8_NAME sp_int8_portable
#define INT8_TEXT "portable"
#include "kernels/cpu/int8_body.h"
