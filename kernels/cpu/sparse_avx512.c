/* kernels/cpu/sparse_avx512.c - the sums of kernels/sparse.h with AVX-512. */
#include <float.h>
#include <immintrin.h>

#include "kernels/cpu/sparse_levels.h"

static float add_halves_of_16(__m512 x) {
  __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  b = _mm_add_ps(b, _mm_movehl_ps(b, b));
  b = _mm_add_ss(b, _mm_movehdup_ps(b));
  return _mm_cvtss_f32(b);
}

/* Lanes below `n`, of 16. */
static __mmask16 first_lanes(uint32_t n) {
  return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

static __m512 products_u16(const uint16_t *terms, const uint16_t *weights,
                           const float *table) {
  __m512i t = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)terms));
  __m512 w = _mm512_cvtph_ps(_mm256_loadu_si256((const void *)weights));
  return _mm512_mul_ps(_mm512_i32gather_ps(t, table, 4), w);
}

static __m512 some_products_u16(const uint16_t *terms, const uint16_t *weights,
                                uint32_t n, const float *table) {
  __mmask16 m = first_lanes(n);
  __m512i t = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, terms));
  __m512 w = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, weights));
  return _mm512_mul_ps(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, t, table, 4), w);
}

static float dot_u16(const void *doc, uint32_t n, const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  uint32_t i = 0;
  for (; i + 32 <= n; i += 32) {
    low = _mm512_add_ps(low, products_u16(terms + i, weights + i, table));
    high = _mm512_add_ps(high, products_u16(terms + i + 16, weights + i + 16, table));
  }
  if (i < n)
    low = _mm512_add_ps(low, some_products_u16(terms + i, weights + i, n - i, table));
  if (i + 16 < n)
    high = _mm512_add_ps(
        high, some_products_u16(terms + i + 16, weights + i + 16, n - i - 16, table));
  return add_halves_of_16(_mm512_add_ps(low, high));
}

static __m512 some_products_u32(const uint32_t *terms, const uint16_t *weights,
                                uint32_t n, const float *table, __m512i limit) {
  __mmask16 m = first_lanes(n);
  __m512i t = _mm512_min_epu32(_mm512_maskz_loadu_epi32(m, terms), limit);
  __m512 w = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m, weights));
  return _mm512_mul_ps(_mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, t, table, 4), w);
}

static float dot_u32(const void *doc, uint32_t n, const float *table, uint32_t n_table) {
  const uint32_t *terms = doc;
  const uint16_t *weights = (const uint16_t *)(const void *)(terms + n);
  const __m512i limit = _mm512_set1_epi32((int)n_table);
  __m512 low = _mm512_setzero_ps(), high = _mm512_setzero_ps();
  for (uint32_t i = 0; i < n; i += 32) {
    low = _mm512_add_ps(low,
                        some_products_u32(terms + i, weights + i, n - i, table, limit));
    if (i + 16 < n)
      high = _mm512_add_ps(high, some_products_u32(terms + i + 16, weights + i + 16,
                                                   n - i - 16, table, limit));
  }
  return add_halves_of_16(_mm512_add_ps(low, high));
}

/* The products of the entries at `at`. Both gathers read four bytes where two are meant:
 * a term with what follows it (at worst the first weight), a weight with what precedes it
 * (at worst the last term), so that they stay within the document. */
static __m512 products_at(const uint16_t *terms, const uint16_t *weights,
                          const uint16_t *at, uint32_t n_hits, const float *table) {
  __mmask16 m = first_lanes(n_hits);
  __m512i zero = _mm512_setzero_si512();
  __m512i i = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)at));
  __m512i t = _mm512_mask_i32gather_epi32(zero, m, i, terms, 2);
  __m512i w = _mm512_mask_i32gather_epi32(zero, m, i, weights - 1, 2);
  t = _mm512_and_si512(t, _mm512_set1_epi32(0xffff));
  __m512 q = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, t, table, 4);
  return _mm512_mul_ps(q,
                       _mm512_cvtph_ps(_mm512_cvtepi32_epi16(_mm512_srli_epi32(w, 16))));
}

/* Looks every document term up in the query's table of 64 slots with one permutation,
 * keeps the positions of those that are there, and reads weights only for these: most of
 * the weights' cache lines are never touched. */
static float dot_short(const void *doc, uint32_t n, const sp_short_query *q,
                       const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  const __m512i slots0 = _mm512_load_si512(q->slots);
  const __m512i slots1 = _mm512_load_si512(q->slots + 32);
  const __m512i multiplier = _mm512_set1_epi16((short)q->multiplier);
  __m512i position =
      _mm512_set_epi16(31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15,
                       14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  uint16_t at[64];
  uint32_t n_hits = 0;
  for (uint32_t i = 0; i < n; i += 32) {
    __mmask32 valid = n - i >= 32 ? 0xffffffff : (1u << (n - i)) - 1;
    __m512i t = _mm512_maskz_loadu_epi16(valid, terms + i);
    __m512i slot = _mm512_srli_epi16(_mm512_mullo_epi16(t, multiplier), 10);
    __m512i there = _mm512_permutex2var_epi16(slots0, slot, slots1);
    __mmask32 hit = _mm512_mask_cmpeq_epi16_mask(valid, t, there);
    _mm512_storeu_si512(at + n_hits, _mm512_maskz_compress_epi16(hit, position));
    n_hits += (uint32_t)__builtin_popcount(hit);
    if (n_hits > 32) n_hits = 32; /* only a damaged document repeats its terms */
    position = _mm512_add_epi16(position, _mm512_set1_epi16(32));
  }
  __m512 sum = _mm512_setzero_ps();
  if (n_hits) sum = _mm512_add_ps(sum, products_at(terms, weights, at, n_hits, table));
  if (n_hits > 16)
    sum = _mm512_add_ps(sum, products_at(terms, weights, at + 16, n_hits - 16, table));
  return add_halves_of_16(sum);
}

static void add_postings(const uint16_t *docs, const uint8_t *codes, uint32_t n,
                         float scale, float shift, float *sums) {
  const __m512 zero = _mm512_setzero_ps(), tiny = _mm512_set1_ps(FLT_MIN);
  const __m512 q = _mm512_set1_ps(scale), less = _mm512_set1_ps(shift);
  for (uint32_t i = 0; i < n; i += 16) {
    __mmask16 m = first_lanes(n - i);
    __m512i d = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(m, docs + i));
    __m512i c = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(m, codes + i));
    __m512 before = _mm512_mask_i32gather_ps(zero, m, d, sums, 4);
    __m512 value = _mm512_sub_ps(_mm512_mul_ps(q, _mm512_cvtepi32_ps(c)), less);
    _mm512_mask_i32scatter_ps(sums, m, d,
                              _mm512_add_ps(before, _mm512_max_ps(value, tiny)), 4);
  }
}

static uint32_t take_sums(const uint16_t *docs, uint32_t n, float least, float *sums,
                          uint16_t *found_docs, float *found_sums) {
  const __m512 zero = _mm512_setzero_ps(), limit = _mm512_set1_ps(least);
  uint32_t n_found = 0;
  for (uint32_t i = 0; i < n; i += 16) {
    __mmask16 m = first_lanes(n - i);
    __m256i narrow = _mm256_maskz_loadu_epi16(m, docs + i);
    __m512i d = _mm512_cvtepu16_epi32(narrow);
    __m512 sum = _mm512_mask_i32gather_ps(zero, m, d, sums, 4);
    _mm512_mask_i32scatter_ps(sums, m, d, zero, 4);
    __mmask16 good = _mm512_mask_cmp_ps_mask(m, sum, zero, _CMP_GT_OQ);
    good = _mm512_mask_cmp_ps_mask(good, sum, limit, _CMP_GE_OQ);
    if (!good) continue;
    __m512i found = _mm512_maskz_compress_epi32(good, d);
    _mm256_storeu_si256((void *)(found_docs + n_found), _mm512_cvtepi32_epi16(found));
    _mm512_storeu_ps(found_sums + n_found, _mm512_maskz_compress_ps(good, sum));
    n_found += (uint32_t)__builtin_popcount(good);
  }
  return n_found;
}

const sp_sparse_kernels sp_sparse_avx512 = {SP_CPU_AVX512, dot_u16,      dot_u32,
                                            dot_short,     add_postings, take_sums};
