/* kernels/cpu/sparse.c - which implementation, and the table of a short query. */
#include "kernels/sparse.h"

#include "kernels/cpu/sparse_levels.h"

const sp_sparse_kernels *sp_sparse_kernels_get(sp_cpu_level level) {
#if defined(__x86_64__)
  if (level == SP_CPU_AVX512) return &sp_sparse_avx512;
  if (level == SP_CPU_AVX2) return &sp_sparse_avx2;
#endif
  (void)level;
  return &sp_sparse_portable;
}

/* Puts the terms into the slots that `multiplier` gives them; false on a collision. */
static bool place(sp_short_query *q, uint16_t multiplier) {
  uint64_t taken = 0;
  for (uint32_t i = 0; i < q->n; i++) {
    uint32_t slot = (uint16_t)(q->terms[i] * multiplier) >> 10;
    if (taken >> slot & 1) return false;
    taken |= (uint64_t)1 << slot;
    q->slots[slot] = q->terms[i];
  }
  for (uint32_t s = 0; s < SP_SHORT_SLOTS; s++) /* its own slot is taken already */
    if (!(taken >> s & 1)) q->slots[s] = q->terms[0];
  q->multiplier = multiplier;
  return true;
}

bool sp_short_query_set(sp_short_query *q, const uint32_t *terms, uint32_t n) {
  if (n == 0 || n > SP_SHORT_MAX) return false;
  for (uint32_t i = 0; i < n; i++) {
    if (terms[i] > UINT16_MAX) return false;
    q->terms[i] = (uint16_t)terms[i];
  }
  q->n = n;
  /* 24 terms fall into 64 slots without a collision once in about 100 attempts. */
  for (uint32_t attempt = 0; attempt < 2048; attempt++)
    if (place(q, (uint16_t)(attempt * 0x9e36 + 0x9e37))) return true;
  return false;
}
