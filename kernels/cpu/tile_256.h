/* kernels/cpu/tile_256.h - three tokens by a panel in twelve registers of 256 bits, for the
 * AVX2 and AVX-VNNI kernels, which define DOT(sum, token, weights): the products of four
 * bytes added to each sum. Layout as in tile_512.h. */
#include <string.h>

enum { TILE_TOKENS = 3 };

static inline __attribute__((always_inline)) void tile_of(const void *panel_bytes,
                                                          const void *token_bytes,
                                                          const int m, uint32_t groups,
                                                          size_t stride,
                                                          int32_t sums[][SP_INT8_PANEL]) {
  const char *panel = panel_bytes, *u = token_bytes;
  __m256i acc[TILE_TOKENS][4];
#pragma GCC unroll 3
  for (int t = 0; t < m; t++)
    for (int q = 0; q < 4; q++) acc[t][q] = _mm256_setzero_si256();
  for (uint32_t g = 0; g < groups; g++, panel += 128, u += 4)
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
    for (int q = 0; q < 4; q++)
      _mm256_storeu_si256((__m256i *)(void *)&sums[t][8 * q], acc[t][q]);
}

static void tile_256(const void *panel, const void *u, size_t m, uint32_t groups,
                     size_t stride, int32_t sums[][SP_INT8_PANEL]) {
  if (m == 3)
    tile_of(panel, u, 3, groups, stride, sums);
  else if (m == 2)
    tile_of(panel, u, 2, groups, stride, sums);
  else
    tile_of(panel, u, 1, groups, stride, sums);
}
