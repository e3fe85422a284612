/* kernels/cpu/tile_256.h - three tokens by a panel in twelve registers of 256 bits, for the
 * AVX2 and AVX-VNNI kernels. All is as in tile_512.h; a register has eight sums. */
#include <string.h>

enum { TILE_TOKENS = 3 };

static inline SP_UNCHECKED __attribute__((always_inline)) void tile_of(
    const void *panel_bytes, const void *token_bytes, const int m, uint32_t groups,
    size_t stride, size_t step, TILE_SUM *sums, size_t ld) {
  const char *panel = panel_bytes, *u = token_bytes;
  TILE_REGISTER acc[TILE_TOKENS][4];
#pragma GCC unroll 3
  for (int t = 0; t < m; t++)
    for (int q = 0; q < 4; q++) acc[t][q] = (TILE_REGISTER){0};
  for (uint32_t g = 0; g < groups; g++, panel += 128, u += step)
#pragma GCC unroll 4
    for (int q = 0; q < 4; q++) {
      const __m256i w =
          _mm256_loadu_si256((const __m256i *)(const void *)(panel + 32 * q));
#pragma GCC unroll 3
      for (int t = 0; t < m; t++) {
        int32_t four;
        memcpy(&four, u + (size_t)t * stride, sizeof four);
        acc[t][q] = DOT(acc[t][q], _mm256_set1_epi32(four), w);
      }
    }
#pragma GCC unroll 3
  for (int t = 0; t < m; t++)
    for (int q = 0; q < 4; q++) {
      __asm__("" : "+x"(acc[t][q])); /* as in tile_512.h */
      PUT(sums + (size_t)t * ld + 8 * q, acc[t][q]);
    }
}

static inline SP_UNCHECKED __attribute__((always_inline)) void tile_of_any(
    const void *panel, const void *u, size_t m, uint32_t groups, size_t stride,
    size_t step, TILE_SUM *sums, size_t ld) {
  if (m == 3)
    tile_of(panel, u, 3, groups, stride, step, sums, ld);
  else if (m == 2)
    tile_of(panel, u, 2, groups, stride, step, sums, ld);
  else
    tile_of(panel, u, 1, groups, stride, step, sums, ld);
}

#include "kernels/cpu/tile_ways.h"
