/* kernels/cpu/int8.c - quantizes weights and picks the kernels. */
#include "kernels/cpu/int8.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/largest.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

extern const sp_int8_ops sp_int8_portable, sp_int8_avx2, sp_int8_avxvnni,
    sp_int8_avx512vnni;

sp_err sp_int8_matrix_new(uint32_t n, uint32_t k, sp_int8_matrix *out) {
  *out = (sp_int8_matrix){.n = n, .k = k, .k4 = (k + 3) / 4 * 4};
  if (n == 0 || k == 0 || k > SP_INT8_MAX_K)
    return sp_fail(SP_EINVAL, "an 8-bit matrix of %u columns: 1 to %d", k, SP_INT8_MAX_K);
  out->n_panels = (n + SP_PANEL - 1) / SP_PANEL;
  size_t rows = (size_t)out->n_panels * SP_PANEL;
  out->weights = aligned_alloc(64, rows * out->k4);
  out->scales = calloc(rows, sizeof *out->scales);
  out->sums = calloc(rows, sizeof *out->sums);
  if (!out->weights || !out->scales || !out->sums) {
    sp_int8_matrix_free(out);
    return sp_fail(SP_ENOMEM, "an 8-bit matrix of %u rows: out of memory", n);
  }
  return SP_OK;
}

void sp_int8_matrix_fill(sp_int8_matrix *m, uint32_t panel, const float *w) {
  const uint32_t rows = sp_panel_rows(m->n, panel), first = panel * SP_PANEL;
  int8_t *out = m->weights + (size_t)first * m->k4;
  memset(out, 0, (size_t)SP_PANEL * m->k4);
  for (uint32_t r = 0; r < rows; r++, w += m->k) {
    float most = sp_largest(w, m->k), inverse = most > 0 ? 127 / most : 0;
    int32_t sum = 0;
    for (uint32_t i = 0; i < m->k; i++) {
      int8_t q = (int8_t)lrintf(w[i] * inverse);
      out[((size_t)(i / 4) * SP_PANEL + r) * 4 + i % 4] = q;
      sum += q;
    }
    m->scales[first + r] = most / 127;
    m->sums[first + r] = sum;
  }
}

void sp_int8_matrix_free(sp_int8_matrix *m) {
  free(m->weights);
  free(m->scales);
  free(m->sums);
  *m = (sp_int8_matrix){0};
}

#if defined(__x86_64__)
/* Leaf 7.1, EAX, bit 4: clang 14 has no name for it. */
static bool has_avx_vnni(void) {
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}
#endif

static bool can_run(const sp_int8_ops *ops, sp_cpu_level level) {
#if defined(__x86_64__)
  if (ops == &sp_int8_avx512vnni)
    return level >= SP_CPU_AVX512 && __builtin_cpu_supports("avx512vnni");
  if (ops == &sp_int8_avxvnni) return level >= SP_CPU_AVX2 && has_avx_vnni();
  if (ops == &sp_int8_avx2) return level >= SP_CPU_AVX2;
#endif
  (void)level;
  return ops == &sp_int8_portable;
}

/* From the slowest to the fastest. */
static const sp_int8_ops *const ALL[] = {&sp_int8_portable,
#if defined(__x86_64__)
                                         &sp_int8_avx2, &sp_int8_avxvnni,
                                         &sp_int8_avx512vnni
#endif
};
enum { N_ALL = sizeof ALL / sizeof *ALL };

const sp_int8_ops *sp_int8_ops_get(sp_cpu_level level) {
  const sp_int8_ops *best = ALL[0];
  for (int i = 1; i < N_ALL; i++)
    if (can_run(ALL[i], level)) best = ALL[i];
  return best;
}

const sp_int8_ops *sp_int8_ops_at(int i) {
  return i < N_ALL && can_run(ALL[i], sp_cpu_detect()) ? ALL[i] : NULL;
}
