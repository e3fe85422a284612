/* kernels/cpu/float32.c - lays out weights and picks the kernels. */
#include "kernels/cpu/float32.h"

#include <stdlib.h>

sp_err sp_float32_matrix_new(uint32_t n, uint32_t k, sp_float32_matrix *out) {
  *out = (sp_float32_matrix){.n = n, .k = k};
  if (n == 0 || k == 0) return sp_fail(SP_EINVAL, "a float32 matrix without entries");
  out->n_panels = (n + SP_PANEL - 1) / SP_PANEL;
  size_t floats = (size_t)out->n_panels * SP_PANEL * k; /* 64 bytes and more a column */
  out->weights = aligned_alloc(64, floats * sizeof *out->weights);
  if (!out->weights)
    return sp_fail(SP_ENOMEM, "a float32 matrix of %u rows: out of memory", n);
  return SP_OK;
}

void sp_float32_matrix_fill(sp_float32_matrix *m, uint32_t panel, const float *w) {
  uint32_t rows = sp_panel_rows(m->n, panel);
  float *out = m->weights + (size_t)panel * SP_PANEL * m->k;
  for (uint32_t i = 0; i < m->k; i++, out += SP_PANEL) {
    for (uint32_t r = 0; r < rows; r++) out[r] = w[(size_t)r * m->k + i];
    for (uint32_t r = rows; r < SP_PANEL; r++) out[r] = 0;
  }
}

void sp_float32_matrix_free(sp_float32_matrix *m) {
  free(m->weights);
  *m = (sp_float32_matrix){0};
}

extern const sp_float32_ops sp_float32_portable, sp_float32_avx2, sp_float32_avx512;

const sp_float32_ops *sp_float32_ops_at(sp_cpu_level level) {
#if defined(__x86_64__)
  if (level == SP_CPU_AVX512) return &sp_float32_avx512;
  if (level == SP_CPU_AVX2) return &sp_float32_avx2;
#endif
  (void)level;
  return &sp_float32_portable;
}
