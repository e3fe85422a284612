/* kernels/cpu/float32_avx2.c - kernels/cpu/float32.h with AVX2 and FMA. */
#include <immintrin.h>

#include "kernels/cpu/float32.h"

#define TILE_SUM float
#define TILE_REGISTER __m256
#define DOT(sums, token, weights) \
  _mm256_fmadd_ps(_mm256_castsi256_ps(token), _mm256_castsi256_ps(weights), sums)
#define PUT(at, sums) _mm256_storeu_ps(at, sums)
#include "kernels/cpu/tile_256.h"

enum { FLOAT32_TOKENS = TILE_TOKENS };

static void tile(const float *panel, const float *x, size_t m, uint32_t k,
                 float sums[FLOAT32_TOKENS][SP_PANEL]) {
  tile_rows(panel, x, m, k, k * sizeof *x, sums[0], SP_PANEL);
}

#define FLOAT32_NAME sp_float32_avx2
#define FLOAT32_TEXT "avx2"
#include "kernels/cpu/float32_body.h"
