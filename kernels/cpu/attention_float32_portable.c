/* kernels/cpu/attention_float32_portable.c - kernels/cpu/attention.h in float32 in plain C. */
#include "kernels/cpu/attention_float32.h"

static inline void add_product(const float *word, const float *panel, float *sums) {
  for (int j = 0; j < SP_PANEL; j++) sums[j] += *word * panel[j];
}

#define ATTENTION_SUM float
#define ATTENTION_NAME sp_attention_float32_portable
#define ATTENTION_TEXT "portable"
#include "kernels/cpu/attention_plain.h"
