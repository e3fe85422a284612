/* kernels/cpu/attention_float32.h - the numbers of attention_body.h in float32: a word of a row
 * is a float. */
#include <string.h>

#include "kernels/cpu/attention_room.h"

enum { WORD_NUMBERS = 1 };

typedef struct format {
  char nothing;
} format;

static format format_of(uint32_t d) {
  (void)d;
  return (format){0};
}

/* Writes a query or key as words; gives what they are to be multiplied by. */
static float load_row(const format *f, const float *x, uint32_t d, float *row) {
  (void)f;
  memcpy(row, x, d * sizeof *row);
  return 1;
}

static inline float key_scale(const attention_room *r, size_t key) {
  (void)r, (void)key;
  return 1;
}

/* Panels of n keys and some zeros behind them, up to a multiple of four. */
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

/* Makes the weights of n keys, whose sums and largest are given, words of SP_PANEL tokens;
 * gives what the products are to be multiplied by. */
static void load_weights(float *weights, size_t n, const float *sums, const float *most,
                         float *scales) {
  (void)weights, (void)n, (void)sums, (void)most;
  for (int r = 0; r < SP_PANEL; r++) scales[r] = 1;
}
