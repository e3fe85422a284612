/* kernels/cpu/attention_int16_avx512vnni.c - kernels/cpu/attention.h in int16 with AVX-512
 * VNNI (vpdpwssd). */
#include <immintrin.h>

#include "kernels/cpu/attention_int16.h"

#define TILE_SUM float
#define TILE_REGISTER __m512i
#define PUT(at, sum) _mm512_storeu_ps(at, _mm512_cvtepi32_ps(sum))
#define DOT(sum, token, weights) _mm512_dpwssd_epi32(sum, token, weights)
#include "kernels/cpu/tile_512.h"

#define ATTENTION_NAME sp_attention_int16_avx512vnni
#define ATTENTION_TEXT "avx512-vnni"
#include "kernels/cpu/attention_tiles.h"
