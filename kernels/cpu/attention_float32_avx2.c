/* kernels/cpu/attention_float32_avx2.c - kernels/cpu/attention.h in float32 with AVX2 and FMA. */
#include <immintrin.h>

#include "kernels/cpu/attention_float32.h"

#define TILE_SUM float
#define TILE_REGISTER __m256
#define DOT(sums, token, weights) \
  _mm256_fmadd_ps(_mm256_castsi256_ps(token), _mm256_castsi256_ps(weights), sums)
#define PUT(at, sums) _mm256_storeu_ps(at, sums)
#include "kernels/cpu/tile_256.h"

#define ATTENTION_NAME sp_attention_float32_avx2
#define ATTENTION_TEXT "avx2"
#include "kernels/cpu/attention_tiles.h"
