/* kernels/cpu/int16_avx2.c - kernels/cpu/int16.h with AVX2 (vpmaddwd). */
#include <immintrin.h>

#include "kernels/cpu/int16.h"

/* Whole numbers add up in float32 behind each piece of columns. */
#define TILE_REGISTER __m256i
#define TILE_SUM float
#define PUT(at, sum) \
  _mm256_storeu_ps(at, _mm256_add_ps(_mm256_loadu_ps(at), _mm256_cvtepi32_ps(sum)))
#define DOT(sum, token, weights) _mm256_add_epi32(sum, _mm256_madd_epi16(token, weights))
#include "kernels/cpu/tile_256.h"

enum { INT16_TOKENS = TILE_TOKENS };

static void tile16(const int16_t *panel, const int16_t *u, size_t m, uint32_t columns,
                   size_t stride, float sums[INT16_TOKENS][SP_PANEL]) {
  tile_rows(panel, u, m, columns / 2, stride * sizeof *u, sums[0], SP_PANEL);
}

#define INT16_NAME sp_int16_avx2
#define INT16_TEXT "avx2"
#include "kernels/cpu/int16_body.h"
