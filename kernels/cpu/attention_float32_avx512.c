/* kernels/cpu/attention_float32_avx512.c - kernels/cpu/attention.h in float32 with AVX-512. */
#include <immintrin.h>

#include "kernels/cpu/attention_float32.h"

#define TILE_SUM float
#define TILE_REGISTER __m512
#define DOT(sums, token, weights) \
  _mm512_fmadd_ps(_mm512_castsi512_ps(token), _mm512_castsi512_ps(weights), sums)
#define PUT(at, sums) _mm512_storeu_ps(at, sums)
#include "kernels/cpu/tile_512.h"

#define ATTENTION_NAME sp_attention_float32_avx512
#define ATTENTION_TEXT "avx512"
#include "kernels/cpu/attention_tiles.h"
