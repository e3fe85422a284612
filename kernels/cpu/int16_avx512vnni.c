/* kernels/cpu/int16_avx512vnni.c - kernels/cpu/int16.h with AVX-512 VNNI (vpdpwssd). */
#include <immintrin.h>

#include "kernels/cpu/int16.h"

/* Whole numbers add up in float32 behind each piece of columns. */
#define TILE_REGISTER __m512i
#define TILE_SUM float
#define PUT(at, sum) \
  _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), _mm512_cvtepi32_ps(sum)))
#define DOT(sum, token, weights) _mm512_dpwssd_epi32(sum, token, weights)
#include "kernels/cpu/tile_512.h"

enum { INT16_TOKENS = TILE_TOKENS };

static void tile16(const int16_t *panel, const int16_t *u, size_t m, uint32_t columns,
                   size_t stride, float sums[INT16_TOKENS][SP_PANEL]) {
  tile_rows(panel, u, m, columns / 2, stride * sizeof *u, sums[0], SP_PANEL);
}

#define INT16_NAME sp_int16_avx512vnni
#define INT16_TEXT "avx512-vnni"
#include "kernels/cpu/int16_body.h"
