/* kernels/cpu/int8_avx2.c - kernels/cpu/int8.h with AVX2.
 *
 * vpmaddubsw would add two products in 16 bits and saturate, so both sides are widened to
 * 16 bits, even and odd bytes apart, and vpmaddwd adds in 32. */
#include <immintrin.h>

#include "kernels/cpu/int8.h"

static inline __m256i add_products(__m256i sum, __m256i u, __m256i w) {
  const __m256i low = _mm256_set1_epi16(0xff);
  __m256i even = _mm256_madd_epi16(_mm256_and_si256(u, low),
                                   _mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8));
  __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(u, 8), _mm256_srai_epi16(w, 8));
  return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
}

#define TILE_REGISTER __m256i
#define TILE_SUM int32_t
#define PUT(at, sum) _mm256_storeu_si256((__m256i *)(void *)(at), sum)
#define DOT(sum, token, weights) add_products(sum, token, weights)
#include "kernels/cpu/tile_256.h"

enum { INT8_TOKENS = TILE_TOKENS };

static void tile(const int8_t *panel, const uint8_t *u, size_t m, uint32_t k4,
                 int32_t sums[INT8_TOKENS][SP_PANEL]) {
  tile_rows(panel, u, m, k4 / 4, k4, sums[0], SP_PANEL);
}

#define INT8_NAME sp_int8_avx2
#define INT8_TEXT "avx2"
#include "kernels/cpu/int8_body.h"
