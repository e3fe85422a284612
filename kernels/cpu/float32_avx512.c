/* kernels/cpu/float32_avx512.c - kernels/cpu/float32.h with AVX-512. */
#include <immintrin.h>

#include "kernels/cpu/float32.h"

#define TILE_SUM float
#define TILE_REGISTER __m512
#define DOT(sums, token, weights) \
  _mm512_fmadd_ps(_mm512_castsi512_ps(token), _mm512_castsi512_ps(weights), sums)
#define PUT(at, sums) _mm512_storeu_ps(at, sums)
#include "kernels/cpu/tile_512.h"

enum { FLOAT32_TOKENS = TILE_TOKENS };

static void tile(const float *panel, const float *x, size_t m, uint32_t k,
                 float sums[FLOAT32_TOKENS][SP_PANEL]) {
  tile_rows(panel, x, m, k, k * sizeof *x, sums[0], SP_PANEL);
}

#define FLOAT32_NAME sp_float32_avx512
#define FLOAT32_TEXT "avx512"
#include "kernels/cpu/float32_body.h"
