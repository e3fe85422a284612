/* kernels/cpu/sparse_avx2.c - the sums of kernels/sparse.h with AVX2 and F16C. */
#include <immintrin.h>

#include "kernels/cpu/sparse_levels.h"

static float add_halves_of_8(__m256 x) {
  __m128 a = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  a = _mm_add_ps(a, _mm_movehl_ps(a, a));
  a = _mm_add_ss(a, _mm_movehdup_ps(a));
  return _mm_cvtss_f32(a);
}

static __m256 widen(const uint16_t *weights) {
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)weights));
}

static float half_to_float(uint16_t bits) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(bits)));
}

/* The 32 partial sums as four registers; the entries after the last whole 32 go through
 * memory, as AVX2 has no masked loads of 16-bit values. */
typedef struct partial {
  __m256 s[4];
} partial;

static float finish(const partial *p, const float *rest) {
  __m256 s[4];
  for (int r = 0; r < 4; r++)
    s[r] = _mm256_add_ps(p->s[r], _mm256_loadu_ps(rest + 8 * r));
  return add_halves_of_8(
      _mm256_add_ps(_mm256_add_ps(s[0], s[2]), _mm256_add_ps(s[1], s[3])));
}

static float dot_u16(const void *doc, uint32_t n, const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  partial p = {{_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                _mm256_setzero_ps()}};
  uint32_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int r = 0; r < 4; r++) {
      __m128i t = _mm_loadu_si128((const __m128i *)(const void *)(terms + i + 8 * r));
      __m256 q = _mm256_i32gather_ps(table, _mm256_cvtepu16_epi32(t), 4);
      p.s[r] = _mm256_add_ps(p.s[r], _mm256_mul_ps(q, widen(weights + i + 8 * r)));
    }
  float rest[32] = {0};
  for (uint32_t j = 0; i < n; i++, j++)
    rest[j] = table[terms[i]] * half_to_float(weights[i]);
  return finish(&p, rest);
}

static float dot_u32(const void *doc, uint32_t n, const float *table, uint32_t n_table) {
  const uint32_t *terms = doc;
  const uint16_t *weights = (const uint16_t *)(const void *)(terms + n);
  const __m256i limit = _mm256_set1_epi32((int)n_table);
  partial p = {{_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(),
                _mm256_setzero_ps()}};
  uint32_t i = 0;
  for (; i + 32 <= n; i += 32)
    for (int r = 0; r < 4; r++) {
      __m256i t = _mm256_loadu_si256((const __m256i *)(const void *)(terms + i + 8 * r));
      __m256 q = _mm256_i32gather_ps(table, _mm256_min_epu32(t, limit), 4);
      p.s[r] = _mm256_add_ps(p.s[r], _mm256_mul_ps(q, widen(weights + i + 8 * r)));
    }
  float rest[32] = {0};
  for (uint32_t j = 0; i < n; i++, j++)
    rest[j] = table[terms[i] < n_table ? terms[i] : n_table] * half_to_float(weights[i]);
  return finish(&p, rest);
}

static float dot_short(const void *doc, uint32_t n, const sp_short_query *q,
                       const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  float sums[16] = {0};
  uint32_t n_hits = 0, i = 0;
  for (; i + 16 <= n; i += 16) {
    __m256i t = _mm256_loadu_si256((const __m256i *)(const void *)(terms + i));
    __m256i hit = _mm256_setzero_si256();
    for (uint32_t j = 0; j < q->n; j++)
      hit = _mm256_or_si256(hit,
                            _mm256_cmpeq_epi16(t, _mm256_set1_epi16((short)q->terms[j])));
    for (uint32_t m = (uint32_t)_mm256_movemask_epi8(hit) & 0x55555555; m && n_hits < 32;
         m &= m - 1) {
      uint32_t at = i + (uint32_t)__builtin_ctz(m) / 2;
      sums[n_hits++ % 16] += table[terms[at]] * half_to_float(weights[at]);
    }
  }
  for (; i < n && n_hits < 32; i++) {
    if (q->slots[(uint16_t)(terms[i] * q->multiplier) >> 10] != terms[i]) continue;
    sums[n_hits++ % 16] += table[terms[i]] * half_to_float(weights[i]);
  }
  return add_halves_of_8(_mm256_add_ps(_mm256_loadu_ps(sums), _mm256_loadu_ps(sums + 8)));
}

/* AVX2 cannot scatter: plain code is as fast as any. */
const sp_sparse_kernels sp_sparse_avx2 = {
    SP_CPU_AVX2,          dot_u16, dot_u32, dot_short, sp_add_postings_portable,
    sp_take_sums_portable};
