/* kernels/cpu/tile_512.h - twelve tokens by a panel in 24 registers of 512 bits, for
 * int8_avx512vnni.c and int16_avx512vnni.c, which define DOT(sum, token, weights), the
 * instruction that adds the products of four bytes to each sum.
 *
 * The panel lies in groups of four bytes a row, 128 bytes a group; `stride` bytes from
 * token to token. */
#include <string.h>

enum { TILE_TOKENS = 12 };

static inline __attribute__((always_inline)) void tile_of(const void *panel_bytes,
                                                          const void *token_bytes,
                                                          const int m, uint32_t groups,
                                                          size_t stride,
                                                          int32_t sums[][SP_INT8_PANEL]) {
  const char *panel = panel_bytes, *u = token_bytes;
  __m512i low[TILE_TOKENS], high[TILE_TOKENS];
#pragma GCC unroll 12
  for (int t = 0; t < m; t++) low[t] = high[t] = _mm512_setzero_si512();
  for (uint32_t g = 0; g < groups; g++, panel += 128, u += 4) {
    const __m512i w0 = _mm512_loadu_si512(panel), w1 = _mm512_loadu_si512(panel + 64);
#pragma GCC unroll 12
    for (int t = 0; t < m; t++) {
      int32_t four;
      memcpy(&four, u + (size_t)t * stride, sizeof four);
      const __m512i a = _mm512_set1_epi32(four);
      low[t] = DOT(low[t], a, w0);
      high[t] = DOT(high[t], a, w1);
    }
  }
#pragma GCC unroll 12
  for (int t = 0; t < m; t++) {
    _mm512_storeu_si512(&sums[t][0], low[t]);
    _mm512_storeu_si512(&sums[t][16], high[t]);
  }
}

/* What is left after the twelves goes in sixes, threes and ones. */
static void tile_512(const void *panel, const void *tokens, size_t m, uint32_t groups,
                     size_t stride, int32_t sums[][SP_INT8_PANEL]) {
  const char *u = tokens;
  if (m == 12) {
    tile_of(panel, u, 12, groups, stride, sums);
    return;
  }
  for (; m >= 6; u += 6 * stride, sums += 6, m -= 6)
    tile_of(panel, u, 6, groups, stride, sums);
  for (; m >= 3; u += 3 * stride, sums += 3, m -= 3)
    tile_of(panel, u, 3, groups, stride, sums);
  for (; m > 0; u += stride, sums++, m--) tile_of(panel, u, 1, groups, stride, sums);
}
