/* kernels/cpu/attention_float32.h - the numbers of attention_body.h in float32: a word of a row
 * is a float. */
#include <string.h>

#include "kernels/cpu/attention_room.h"

enum { WORD_NUMBERS = 1 };

/* Rows of n keys. */
static void load_keys(const float *k, size_t stride, size_t n, uint32_t d,
                      const attention_room *r) {
  for (size_t j = 0; j < n; j++)
    memcpy(r->keys + j * r->words, k + j * stride, d * sizeof *k);
}

/* Panels of n keys' values and some zeros behind them, up to a multiple of four. */
static void load_values(const float *v, size_t stride, size_t n, uint32_t d,
                        const attention_room *r) {
  const size_t fours = (n + 3) / 4 * 4;
  float *out = r->values;
  for (size_t c = 0; c < d; c += SP_PANEL, out += (size_t)SP_ATTENTION_KEYS * SP_PANEL) {
    const size_t width = d - c < SP_PANEL ? d - c : SP_PANEL;
    memset(out + n * SP_PANEL, 0, (fours - n) * SP_PANEL * sizeof *out);
    for (size_t j = 0; j < n; j++) {
      float *row = out + j * SP_PANEL;
      memcpy(row, v + j * stride + c, width * sizeof *row);
      memset(row + width, 0, (SP_PANEL - width) * sizeof *row);
    }
  }
}

static inline float value_scale(const attention_room *r, size_t column) {
  (void)r, (void)column;
  return 1;
}

static void finish_queries(const attention_room *room, uint32_t d, float *factors) {
  (void)room, (void)d, (void)factors;
}

/* Gives what the products of weights are to be multiplied by. */
static void finish_weights(float *weights, size_t n, const float *sums, const float *most,
                           float *scales) {
  (void)weights, (void)n, (void)sums, (void)most;
  for (int r = 0; r < SP_PANEL; r++) scales[r] = 1;
}
