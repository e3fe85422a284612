/* kernels/cpu/int8.h - products with weights of 8 bits, quantized once, and activations of 8
 * bits, quantized per token as they come.
 *
 * A weight row w is stored as round(w / s), s = max|w| / 127; a token x as the unsigned
 * u = round(x / a) + z, with a and z such that 0 .. 255 spans the token's least and largest
 * value. Then <x, w> = a s (<u, q> - z sum(q)) to within the rounding, and the sums are
 * whole numbers of 32 bits: every kernel gives the same result to the last bit, but for
 * the conversion to float32. */
#ifndef SP_CPU_INT8_H
#define SP_CPU_INT8_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/err.h"
#include "kernels/cpu/panel.h"

enum { SP_INT8_MAX_K = 65536 };

typedef struct sp_int8_matrix {
  uint32_t n, k;     /* rows, columns */
  uint32_t k4;       /* k rounded up to a multiple of 4: bytes of a quantized token */
  uint32_t n_panels; /* of SP_PANEL rows */
  int8_t *weights;   /* [n_panels][k4 / 4][PANEL][4], 64-byte aligned */
  float *scales;     /* [n_panels * PANEL] */
  int32_t *sums;     /* [n_panels * PANEL] of each row's quantized weights */
} sp_int8_matrix;

/* As sp_float32_matrix_new() and its fill, which quantizes; k is at most SP_INT8_MAX_K. */
sp_err sp_int8_matrix_new(uint32_t n, uint32_t k, sp_int8_matrix *out);
void sp_int8_matrix_fill(sp_int8_matrix *m, uint32_t panel, const float *w);
void sp_int8_matrix_free(sp_int8_matrix *m); /* {0} is fine */

/* Quantized tokens [m, k4]. */
typedef struct sp_int8_tokens {
  const uint8_t *u;
  const float *scales;  /* [m] a */
  const int32_t *zeros; /* [m] z */
} sp_int8_tokens;

typedef struct sp_int8_ops {
  const char *name; /* "avx512-vnni", "avx-vnni", "avx2", "portable" */

  /* Quantizes m tokens of k floats into u [m, k4], scales [m] and zeros [m]. */
  void (*quantize)(const float *x, size_t m, uint32_t k, uint8_t *u, float *scales,
                   int32_t *zeros);

  /* best[j] = max(best[j], max over the tokens of <x_i, w_j>), j < PANEL. */
  void (*raise)(const sp_int8_matrix *w, uint32_t panel, const sp_int8_tokens *x,
                size_t m, float *best);
} sp_int8_ops;

/* The best kernels of this processor at or below `level`. */
const sp_int8_ops *sp_int8_ops_get(sp_cpu_level level);

/* Kernel number i of all, the portable one first, or NULL where this processor cannot run
 * it; i < SP_INT8_N_OPS. */
enum { SP_INT8_N_OPS = 4 };
const sp_int8_ops *sp_int8_ops_at(int i);

#endif
