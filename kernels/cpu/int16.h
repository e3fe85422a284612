/* kernels/cpu/int16.h - products of whole numbers of 16 bits, where the 8 bits of
 * kernels/cpu/int8.h lose too much: half their speed, some fifty times as fine.
 *
 * A token x is stored as u = round(x / a), a = max|x| / 8191; a weight row w as
 * q = round(w / s), with the smallest s at which every q fits 16 bits and the sum of |q| over
 * any COLUMNS columns, times 8191, fits 32: for rows that look like a normal distribution q
 * reaches some 5,000. <x, w> = a s <u, q> to within the rounding: sums are exact over COLUMNS
 * columns and then added in float32. */
#ifndef SP_CPU_INT16_H
#define SP_CPU_INT16_H

#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"
#include "base/err.h"
#include "kernels/cpu/panel.h"

enum { SP_INT16_COLUMNS = 256, SP_INT16_TOKEN = 8191 };

typedef struct sp_int16_matrix {
  uint32_t n, k;     /* rows, columns */
  uint32_t k2;       /* k rounded up to a multiple of 2 */
  uint32_t n_panels; /* of SP_PANEL rows */
  int16_t *weights;  /* [n_panels][k2 / 2][PANEL][2], 64-byte aligned */
  float *scales;     /* [n_panels * PANEL] */
} sp_int16_matrix;

/* As sp_float32_matrix_new() and its fill, which quantizes. */
sp_err sp_int16_matrix_new(uint32_t n, uint32_t k, sp_int16_matrix *out);
void sp_int16_matrix_fill(sp_int16_matrix *m, uint32_t panel, const float *w);
void sp_int16_matrix_free(sp_int16_matrix *m); /* {0} is fine */

typedef struct sp_int16_ops {
  const char *name;
  /* Quantizes m tokens of k floats into u [m, k2] and scales [m]. */
  void (*quantize)(const float *x, size_t m, uint32_t k, int16_t *u, float *scales);
  /* y[i * ld + j] = <x_i, w_j> + bias[j], j < min(PANEL, rows left), for the rows of one
   * panel; bias NULL: none. */
  void (*multiply)(const sp_int16_matrix *w, uint32_t panel, const int16_t *u,
                   const float *scales, size_t m, const float *bias, float *y, size_t ld);
} sp_int16_ops;

/* As sp_int8_ops_get() and sp_int8_ops_at(). */
const sp_int16_ops *sp_int16_ops_get(sp_cpu_level level);
enum { SP_INT16_N_OPS = 3 };
const sp_int16_ops *sp_int16_ops_at(int i);

#endif
