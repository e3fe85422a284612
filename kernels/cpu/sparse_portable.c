/* kernels/cpu/sparse_portable.c - the sums of kernels/sparse.h in plain C: what the
 * others are held to. Compiled without contraction into fused multiply-adds. */
#include <float.h>
#include <string.h>

#include "base/half.h"
#include "kernels/cpu/sparse_levels.h"

/* Adds the upper half to the lower until one is left. */
static float add_by_halves(float *sums, uint32_t n) {
  for (uint32_t half = n / 2; half; half /= 2)
    for (uint32_t i = 0; i < half; i++) sums[i] += sums[i + half];
  return sums[0];
}

static float dot_u16(const void *doc, uint32_t n, const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  float sums[32] = {0};
  for (uint32_t i = 0; i < n; i++)
    sums[i % 32] += table[terms[i]] * sp_f16_to_f32(weights[i]);
  return add_by_halves(sums, 32);
}

static float dot_u32(const void *doc, uint32_t n, const float *table, uint32_t n_table) {
  const uint32_t *terms = doc;
  const uint16_t *weights = (const uint16_t *)(const void *)(terms + n);
  float sums[32] = {0};
  for (uint32_t i = 0; i < n; i++) {
    uint32_t term = terms[i] < n_table ? terms[i] : n_table;
    sums[i % 32] += table[term] * sp_f16_to_f32(weights[i]);
  }
  return add_by_halves(sums, 32);
}

static float dot_short(const void *doc, uint32_t n, const sp_short_query *q,
                       const float *table) {
  const uint16_t *terms = doc, *weights = terms + n;
  float sums[16] = {0};
  uint32_t n_hits = 0;
  for (uint32_t i = 0; i < n && n_hits < 32; i++) {
    if (q->slots[(uint16_t)(terms[i] * q->multiplier) >> 10] != terms[i]) continue;
    sums[n_hits++ % 16] += table[terms[i]] * sp_f16_to_f32(weights[i]);
  }
  return add_by_halves(sums, 16);
}

void sp_add_postings_portable(const uint16_t *docs, const uint8_t *codes, uint32_t n,
                              float scale, float shift, float *sums) {
  for (uint32_t i = 0; i < n; i++) {
    float product = scale * (float)codes[i], value = product - shift;
    sums[docs[i]] += value > FLT_MIN ? value : FLT_MIN;
  }
}

/* Without branches: which sums are large enough can't be guessed. */
uint32_t sp_take_sums_portable(const uint16_t *docs, uint32_t n, float least, float *sums,
                               uint16_t *found_docs, float *found_sums) {
  uint32_t n_found = 0;
  for (uint32_t i = 0; i < n; i++) {
    float sum = sums[docs[i]];
    sums[docs[i]] = 0;
    found_docs[n_found] = docs[i];
    found_sums[n_found] = sum;
    n_found += (sum > 0) & (sum >= least);
  }
  return n_found;
}

const sp_sparse_kernels sp_sparse_portable = {
    SP_CPU_PORTABLE,      dot_u16, dot_u32, dot_short, sp_add_postings_portable,
    sp_take_sums_portable};
