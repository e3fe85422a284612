/* kernels/cpu/attention_int16_portable.c - kernels/cpu/attention.h in int16 in plain C. */
#include "kernels/cpu/attention_int16.h"

static inline void add_product(const float *word, const float *panel, int32_t *sums) {
  int16_t a[2], b[2 * SP_PANEL];
  memcpy(a, word, sizeof a);
  memcpy(b, panel, sizeof b);
  for (int j = 0; j < SP_PANEL; j++) sums[j] += a[0] * b[2 * j] + a[1] * b[2 * j + 1];
}

#define ATTENTION_SUM int32_t
#define ATTENTION_NAME sp_attention_int16_portable
#define ATTENTION_TEXT "portable"
#include "kernels/cpu/attention_plain.h"
