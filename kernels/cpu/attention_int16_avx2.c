/* kernels/cpu/attention_int16_avx2.c - kernels/cpu/attention.h in int16 with AVX2 (vpmaddwd). */
#include <immintrin.h>

#include "kernels/cpu/attention_int16.h"

#define TILE_SUM float
#define TILE_REGISTER __m256i
#define PUT(at, sum) _mm256_storeu_ps(at, _mm256_cvtepi32_ps(sum))
#define DOT(sum, token, weights) _mm256_add_epi32(sum, _mm256_madd_epi16(token, weights))
#include "kernels/cpu/tile_256.h"

#define ATTENTION_NAME sp_attention_int16_avx2
#define ATTENTION_TEXT "avx2"
#include "kernels/cpu/attention_tiles.h"
