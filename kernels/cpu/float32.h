/* kernels/cpu/float32.h - products with float32 weights that are laid out once as they are
 * read. A library's sgemm must do that anew in each call, a fifth of its time where a call
 * has a hundred tokens, and cannot keep a maximum in place of the products. */
#ifndef SP_CPU_FLOAT32_H
#define SP_CPU_FLOAT32_H

#include <stdint.h>

#include "base/cpu.h"
#include "base/err.h"
#include "kernels/cpu/panel.h"

typedef struct sp_float32_matrix {
  uint32_t n, k;     /* rows, columns */
  uint32_t n_panels; /* of SP_PANEL rows */
  float *weights;    /* [n_panels][k][PANEL], 64-byte aligned */
} sp_float32_matrix;

/* Room for n rows of k, then one panel after the other: w holds the panel's rows, row-major
 * [sp_panel_rows(n, panel), k]. Different panels may be filled by different threads at once.
 * Errors: ENOMEM, EINVAL (k or n is 0). */
sp_err sp_float32_matrix_new(uint32_t n, uint32_t k, sp_float32_matrix *out);
void sp_float32_matrix_fill(sp_float32_matrix *m, uint32_t panel, const float *w);
void sp_float32_matrix_free(sp_float32_matrix *m); /* {0} is fine */

/* m tokens x [m, k] against the rows w_j of one panel. */
typedef struct sp_float32_ops {
  const char *name;
  /* y[i * ld + j] = <x_i, w_j> + bias[j], j < min(PANEL, rows left); bias is the whole
   * matrix's, or NULL. */
  void (*multiply)(const sp_float32_matrix *w, uint32_t panel, const float *x, size_t m,
                   const float *bias, float *y, size_t ld);
  /* best[j] = max(best[j], max over the tokens of <x_i, w_j>), j < PANEL. */
  void (*raise)(const sp_float32_matrix *w, uint32_t panel, const float *x, size_t m,
                float *best);
} sp_float32_ops;

/* The operations of a level <= sp_cpu_detect(). Never NULL. */
const sp_float32_ops *sp_float32_ops_at(sp_cpu_level level);

#endif
