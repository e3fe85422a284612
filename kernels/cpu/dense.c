/* kernels/cpu/dense.c - picks the level. */
#include "kernels/cpu/dense.h"

extern const sp_dense_ops sp_dense_ops_portable;
#if defined(__x86_64__)
extern const sp_dense_ops sp_dense_ops_avx2, sp_dense_ops_avx512;
#endif

const sp_dense_ops *sp_dense_ops_at(sp_cpu_level level) {
#if defined(__x86_64__)
  if (level == SP_CPU_AVX512) return &sp_dense_ops_avx512;
  if (level == SP_CPU_AVX2) return &sp_dense_ops_avx2;
#endif
  (void)level;
  return &sp_dense_ops_portable;
}
