/* kernels/cpu/tile_512.h - up to twelve tokens by a panel in 24 registers of 512 bits, for
 * the AVX-512 kernels of float32.h, int16.h and int8.h.
 *
 * They define TILE_REGISTER, the type of sixteen sums; DOT(sums, token, weights), which adds
 * to each sum the product of one float, two numbers of 16 bits or four of 8; TILE_SUM, the
 * type of what is left of a sum; and PUT(at, sums), which leaves it at a TILE_SUM *. The
 * panel lies in groups of four bytes a row, 128 bytes a group; `stride` bytes from token to
 * token, `step` from group to group of a token; sums of token t at sums + t * ld. */
#include <string.h>

enum { TILE_TOKENS = 12 };

static inline SP_UNCHECKED __attribute__((always_inline)) void tile_of(
    const void *panel_bytes, const void *token_bytes, const int m, uint32_t groups,
    size_t stride, size_t step, TILE_SUM *sums, size_t ld) {
  const char *panel = panel_bytes, *u = token_bytes;
  TILE_REGISTER low[TILE_TOKENS], high[TILE_TOKENS];
#pragma GCC unroll 12
  for (int t = 0; t < m; t++) low[t] = high[t] = (TILE_REGISTER){0};
  for (uint32_t g = 0; g < groups; g++, panel += 128, u += step) {
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
    __asm__("" : "+v"(low[t]), "+v"(high[t])); /* lest gcc converts within the loop */
    PUT(sums + (size_t)t * ld, low[t]);
    PUT(sums + (size_t)t * ld + 16, high[t]);
  }
}

static inline SP_UNCHECKED __attribute__((always_inline)) void tile_of_any(
    const void *panel, const void *u, size_t m, uint32_t groups, size_t stride,
    size_t step, TILE_SUM *sums, size_t ld) {
#define TILE_CASE(n)                                      \
  case n:                                                 \
    tile_of(panel, u, n, groups, stride, step, sums, ld); \
    break
  switch (m) {
    TILE_CASE(1);
    TILE_CASE(2);
    TILE_CASE(3);
    TILE_CASE(4);
    TILE_CASE(5);
    TILE_CASE(6);
    TILE_CASE(7);
    TILE_CASE(8);
    TILE_CASE(9);
    TILE_CASE(10);
    TILE_CASE(11);
    TILE_CASE(12);
  }
#undef TILE_CASE
}

#include "kernels/cpu/tile_ways.h"
