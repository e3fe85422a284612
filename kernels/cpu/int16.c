/* kernels/cpu/int16.c - quantizes weights and picks the kernels. */
#include "kernels/cpu/int16.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/largest.h"

extern const sp_int16_ops sp_int16_portable, sp_int16_avx2, sp_int16_avx512vnni;

sp_err sp_int16_matrix_new(uint32_t n, uint32_t k, sp_int16_matrix *out) {
  *out = (sp_int16_matrix){.n = n, .k = k, .k2 = (k + 1) / 2 * 2};
  if (n == 0 || k == 0) return sp_fail(SP_EINVAL, "a 16-bit matrix without entries");
  out->n_panels = (n + SP_PANEL - 1) / SP_PANEL;
  size_t rows = (size_t)out->n_panels * SP_PANEL;
  out->weights = aligned_alloc(64, rows * out->k2 * sizeof *out->weights);
  out->scales = calloc(rows, sizeof *out->scales);
  if (!out->weights || !out->scales) {
    sp_int16_matrix_free(out);
    return sp_fail(SP_ENOMEM, "a 16-bit matrix of %u rows: out of memory", n);
  }
  return SP_OK;
}

/* 1 / s of the header; 0 for a row of zeros. */
static float steps_of(const float *w, uint32_t k) {
  /* 2^31 / 8191 less half a step for each column, and what the float sum may be off. */
  const float most_sum = 262000;
  float heaviest = 0, largest = sp_largest(w, k);
  for (uint32_t first = 0; first < k; first += SP_INT16_COLUMNS) {
    uint32_t end = k - first < SP_INT16_COLUMNS ? k : first + SP_INT16_COLUMNS;
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (uint32_t i = first; i < end; i++) sum += fabsf(w[i]);
    heaviest = sum > heaviest ? sum : heaviest;
  }
  if (!(largest > 0)) return 0;
  float most = floorf(most_sum * (largest / heaviest)); /* exact in rows of one weight */
  return fminf(INT16_MAX, most) / largest;
}

void sp_int16_matrix_fill(sp_int16_matrix *m, uint32_t panel, const float *w) {
  const uint32_t rows = sp_panel_rows(m->n, panel), first = panel * SP_PANEL;
  int16_t *out = m->weights + (size_t)first * m->k2;
  memset(out, 0, (size_t)SP_PANEL * m->k2 * sizeof *out);
  for (uint32_t r = 0; r < rows; r++, w += m->k) {
    float steps = steps_of(w, m->k);
    for (uint32_t i = 0; i < m->k; i++)
      out[((size_t)(i / 2) * SP_PANEL + r) * 2 + i % 2] = (int16_t)lrintf(w[i] * steps);
    m->scales[first + r] = steps > 0 ? 1 / steps : 0;
  }
}

void sp_int16_matrix_free(sp_int16_matrix *m) {
  free(m->weights);
  free(m->scales);
  *m = (sp_int16_matrix){0};
}

static const sp_int16_ops *const ALL[] = {&sp_int16_portable,
#if defined(__x86_64__)
                                          &sp_int16_avx2, &sp_int16_avx512vnni
#endif
};
enum { N_ALL = sizeof ALL / sizeof *ALL };

static bool can_run(const sp_int16_ops *ops, sp_cpu_level level) {
#if defined(__x86_64__)
  if (ops == &sp_int16_avx512vnni)
    return level >= SP_CPU_AVX512 && __builtin_cpu_supports("avx512vnni");
  if (ops == &sp_int16_avx2) return level >= SP_CPU_AVX2;
#endif
  (void)level;
  return ops == &sp_int16_portable;
}

const sp_int16_ops *sp_int16_ops_get(sp_cpu_level level) {
  const sp_int16_ops *best = ALL[0];
  for (int i = 1; i < N_ALL; i++)
    if (can_run(ALL[i], level)) best = ALL[i];
  return best;
}

const sp_int16_ops *sp_int16_ops_at(int i) {
  return i < N_ALL && can_run(ALL[i], sp_cpu_detect()) ? ALL[i] : NULL;
}
