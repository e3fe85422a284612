/* kernels/cpu/int8_avxvnni.c - kernels/cpu/int8.h with AVX-VNNI (vpdpbusd on 256 bits). */
#include <immintrin.h>

#include "kernels/cpu/int8.h"

#define TILE_REGISTER __m256i
#define TILE_SUM int32_t
#define PUT(at, sum) _mm256_storeu_si256((__m256i *)(void *)(at), sum)
#define DOT(sum, token, weights) _mm256_dpbusd_avx_epi32(sum, token, weights)
#include "kernels/cpu/tile_256.h"

enum { INT8_TOKENS = TILE_TOKENS };

static void tile(const int8_t *panel, const uint8_t *u, size_t m, uint32_t k4,
                 int32_t sums[INT8_TOKENS][SP_PANEL]) {
  tile_rows(panel, u, m, k4 / 4, k4, sums[0], SP_PANEL);
}

#define INT8_NAME sp_int8_avxvnni
#define INT8_TEXT "avx-vnni"
#include "kernels/cpu/int8_body.h"
