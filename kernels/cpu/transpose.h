/* kernels/cpu/transpose.h - turns rows of four-byte words into a panel: what lies side by side
 * in panel.h. Compiled for the level of the source that includes it. */
#ifndef SP_CPU_TRANSPOSE_H
#define SP_CPU_TRANSPOSE_H

#include <stddef.h>
#include <string.h>

#include "kernels/cpu/panel.h"

#if defined(__AVX512F__)
#include <immintrin.h>

enum { TRANSPOSE_SIDE = 16 };

/* Four steps: pairs of rows interleaved by one word, by two, and then quarters of registers
 * moved twice. */
static inline void transpose_square(const float *rows, size_t ld, float *out) {
  __m512i a[16], b[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(rows + (size_t)i * ld);
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
    a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
    a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
    a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
  }
  /* Quarter q of a[4 g + c]: column 4 q + c of rows 4 g .. 4 g + 3. */
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) {
    const __m512i low02 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x88);
    const __m512i low13 = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xdd);
    const __m512i high02 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x88);
    const __m512i high13 = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xdd);
    float *at = out + (size_t)c * SP_PANEL;
    const size_t four = (size_t)4 * SP_PANEL;
    _mm512_storeu_si512(at, _mm512_shuffle_i32x4(low02, high02, 0x88));
    _mm512_storeu_si512(at + four, _mm512_shuffle_i32x4(low13, high13, 0x88));
    _mm512_storeu_si512(at + 2 * four, _mm512_shuffle_i32x4(low02, high02, 0xdd));
    _mm512_storeu_si512(at + 3 * four, _mm512_shuffle_i32x4(low13, high13, 0xdd));
  }
}

#elif defined(__AVX2__)
#include <immintrin.h>

enum { TRANSPOSE_SIDE = 8 };

static inline void transpose_square(const float *rows, size_t ld, float *out) {
  __m256 a[8], b[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(rows + (size_t)i * ld);
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
#pragma GCC unroll 2
  for (int i = 0; i < 8; i += 4) {
    a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
    a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
    a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
    a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
  }
#pragma GCC unroll 4
  for (int c = 0; c < 4; c++) {
    float *at = out + (size_t)c * SP_PANEL;
    _mm256_storeu_ps(at, _mm256_permute2f128_ps(a[c], a[4 + c], 0x20));
    _mm256_storeu_ps(at + (size_t)4 * SP_PANEL,
                     _mm256_permute2f128_ps(a[c], a[4 + c], 0x31));
  }
}

#else

enum { TRANSPOSE_SIDE = 1 };

static inline void transpose_square(const float *rows, size_t ld, float *out) {
  (void)ld;
  memcpy(out, rows, sizeof *out); /* whatever the four bytes are */
}

#endif

/* rows [SP_PANEL, ld], of which the first n words, rounded up to 16, give out [n, SP_PANEL];
 * the rounded up are read and written too. */
static inline void transpose_to_panel(const float *rows, size_t ld, size_t n,
                                      float *out) {
  for (size_t c = 0; c < n; c += TRANSPOSE_SIDE)
    for (size_t r = 0; r < SP_PANEL; r += TRANSPOSE_SIDE)
      transpose_square(rows + r * ld + c, ld, out + c * SP_PANEL + r);
}

#endif
